"""Learning curves: a power law through accuracies of growing training sets, and what it says beyond them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError

LEAST_POINTS: Final = 4
"""A power law has three numbers: of fewer points nothing is foretold."""

_EXPONENTS: Final = np.arange(0.05, 2.01, 0.05)
_RESAMPLES: Final = 400
_TAIL: Final = 2.5  # percent on either side


@dataclass(frozen=True, kw_only=True)
class Extrapolation:
    """The accuracies that a learning curve leads to expect.

    Attributes:
        targets: (T,) numbers of training images.
        expected: (T,) accuracy, 0 to 1.
        low, high: (T,) where 95 % of the resampled curves go.
    """

    targets: NDArray[np.float64]
    expected: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def at(self, numbers: Sequence[float]) -> NDArray[np.float64]:
        """What is expected with other numbers of images between the first and the last target, (len(numbers),)."""
        found = np.interp(np.log(numbers), np.log(self.targets), self.expected)
        return np.asarray(found, dtype=np.float64)

    def part(self, which: slice) -> "Extrapolation":
        """Some of the targets."""
        return Extrapolation(
            targets=self.targets[which],
            expected=self.expected[which],
            low=self.low[which],
            high=self.high[which],
        )


def extrapolate_curve(
    sizes: NDArray[np.float64],
    right: NDArray[np.bool_],
    *,
    targets: NDArray[np.float64],
    groups: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> Extrapolation | None:
    """Fit power laws to a learning curve and follow them beyond it.

    error(n) = a + b n^-c, the form that fits learning curves best most often (Viering & Loog 2021, arXiv:2103.10948,
    section 3), by least squares with a, b >= 0 and 0.05 <= c <= 2. Few points cannot tell where the curve ends, so the
    law with a = 0, which ends at no error, is fitted beside it; expected is the mean of both. Repeats and images (or
    whole groups) are resampled together 400 times, and both laws fitted anew to each: the interval holds 95 % of
    all of these curves. It does not know of laws other than these two.

    Args:
        sizes: (S,) numbers of training images, ascending.
        right: (R, S, n) whether each of n images was classified right, in R repeats.
        targets: (T,) numbers of training images to foretell the accuracy for.
        groups: (n,) group of each image.
        seed: of the resampling.

    Returns:
        The expectation; None with fewer than `LEAST_POINTS` sizes.

    Raises:
        DataError: the shapes do not fit.
    """
    repeats, points, n = right.shape
    if len(sizes) != points:
        raise DataError(f"A learning curve got {len(sizes)} sizes for {points} points.")
    if points < LEAST_POINTS:
        return None
    curves = np.concatenate(
        [1 - right.mean(axis=(0, 2))[None], 1 - _resampled(right, groups, np.random.default_rng(seed))]
    )
    deviations = np.maximum(curves[1:].std(axis=0), 0.5 / (n * repeats))
    foretold = np.stack(
        [_follow(sizes, curves, deviations, targets, asymptote=asymptote) for asymptote in (True, False)]
    )  # (2, 1 + B, T)
    resampled = foretold[:, 1:].reshape(-1, len(targets))
    low, high = np.percentile(1 - resampled, [_TAIL, 100 - _TAIL], axis=0)
    return Extrapolation(targets=targets, expected=1 - foretold[:, 0].mean(axis=0), low=low, high=high)


def _resampled(
    right: NDArray[np.bool_], groups: NDArray[np.int64] | None, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Accuracies (B, S) of resampled repeats and images."""
    repeats, points, n = right.shape
    numbers = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(numbers.max()) + 1
    found = np.empty((_RESAMPLES, points))
    flat = right.astype(np.float32)
    for row in found:
        weights = rng.multinomial(units, np.full(units, 1 / units))[numbers].astype(np.float32)
        chosen = rng.multinomial(repeats, np.full(repeats, 1 / repeats))
        row[:] = (chosen @ (flat @ weights)) / (repeats * weights.sum())
    return found


def _follow(
    sizes: NDArray[np.float64],
    errors: NDArray[np.float64],
    deviations: NDArray[np.float64],
    targets: NDArray[np.float64],
    *,
    asymptote: bool,
) -> NDArray[np.float64]:
    """Errors (B, T) at the targets, by the law that fits each row of errors (B, S) best.

    For a given exponent the law is linear in a and b, so the exponent alone is searched, on a grid.
    """
    w = 1 / np.square(deviations)
    best = np.full(len(errors), np.inf)
    found = np.empty((len(errors), len(targets)))
    for exponent in _EXPONENTS:
        x, beyond = (sizes / sizes[-1]) ** -exponent, (targets / sizes[-1]) ** -exponent
        a, b = _not_negative(x, errors, w, asymptote=asymptote)
        losses = (w * np.square(a[:, None] + b[:, None] * x - errors)).sum(axis=1)
        better = losses < best
        best[better] = losses[better]
        found[better] = (a[:, None] + b[:, None] * beyond)[better]
    return np.clip(found, 0, 1)


def _not_negative(
    x: NDArray[np.float64], y: NDArray[np.float64], w: NDArray[np.float64], *, asymptote: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted least squares of y (B, S) = a + b x, a and b (B,) not negative; y is not."""
    through_zero = (y * w * x).sum(axis=1) / (w * x * x).sum()
    nothing = np.zeros(len(y))
    if not asymptote:
        return nothing, through_zero
    level = (y * w).sum(axis=1) / w.sum()
    centre = (w * x).sum() / w.sum()
    b = (w * (x - centre) * y).sum(axis=1) / (w * np.square(x - centre)).sum()
    a = level - b * centre
    # One of them negative: the best lies on that side's edge. For b it is the mean, for a the law without it.
    a, b = np.where(b < 0, level, a), np.maximum(b, 0)
    return np.maximum(a, 0), np.where(a < 0, through_zero, b)
