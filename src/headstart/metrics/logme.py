"""LogME: how well features explain labels, without training anything."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError

_MOST_STEPS: Final = 500
_TOLERANCE: Final = 1e-6
_FURTHEST: Final = 1e12  # the ratio lies within the largest eigenvalue times or over this


def logme(features: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The logarithm of the maximum evidence of labels given features (You et al. 2021, arXiv:2102.11005).

    For each class, a Bayesian linear regression of whether an image is of it: weights ~ N(0, 1 / alpha), noise
    ~ N(0, 1 / beta), without a constant, and alpha and beta such that the evidence (equation 2 there) is largest. With
    F = U diag(sqrt(s)) V', x = U'y, r = |y|^2 - |x|^2 and t = alpha / beta, the best beta for a given t is

        beta = n / (r + sum(x^2 t / (s + t)))

    which leaves of the log evidence

        n / 2 (log beta - 1 - log 2 pi) - 1 / 2 sum(log(1 + s / t))

    to be maximised over t alone, by the fixed point of the follow-up (You et al. 2022, arXiv:2110.10545, algorithm 3).
    One decomposition serves all classes. Multiplying all features by a number, turning them, or adding features that
    are 0 changes nothing.

    Args:
        features: (n, ...) of n images, more than one dimension is flattened.
        labels: (n,) their classes; a class without images does not count.

    Returns:
        The log evidence per image, averaged over the classes that have images; higher is better. Comparable between
        networks on the same images only.

    Raises:
        DataError: there are fewer than two images or classes, or features that are not finite.
    """
    F = np.asarray(features, dtype=np.float64).reshape(len(features), -1)
    present = np.unique(labels)
    if len(labels) != len(F):
        raise DataError(f"LogME got {len(labels)} labels for the features of {len(F)} images.")
    if len(present) < 2:
        raise DataError("LogME needs images of at least two classes.")
    if not np.isfinite(F).all():
        raise DataError("The features hold NaN or infinity: the network's weights or its input are broken.")
    U, singular, _ = np.linalg.svd(F, full_matrices=False)
    Y = (np.asarray(labels)[:, None] == present).astype(np.float64)  # (n, K)
    x2 = np.square(U.T @ Y)  # (r, K)
    outside = np.maximum(0.0, Y.sum(axis=0) - x2.sum(axis=0))  # what no weights explain; |y|^2 is its sum
    return float(np.mean(_best_evidence(np.square(singular)[:, None], x2, outside, len(F))) / len(F))


def _best_evidence(
    s: NDArray[np.float64], x2: NDArray[np.float64], outside: NDArray[np.float64], n: int
) -> NDArray[np.float64]:
    """The largest log evidence of each class, (K,), of eigenvalues (r, 1) and squared projections (r, K)."""
    largest = float(s.max())
    if largest == 0:  # features that say nothing: no weights, and the noise is all there is
        return _evidence(np.full_like(outside, np.inf), s, x2, outside, n)
    t = np.full_like(outside, largest / len(s))
    for _ in range(_MOST_STEPS):
        ratio = t / (s + t)
        used = (s / (s + t)).sum(axis=0)  # gamma, the effective number of weights
        weights = (s * x2 / np.square(s + t)).sum(axis=0)
        residual = (x2 * np.square(ratio)).sum(axis=0) + outside
        with np.errstate(divide="ignore"):
            new = used * residual / ((n - used) * weights)
        new = np.clip(new, largest / _FURTHEST, largest * _FURTHEST)
        settled = bool((np.abs(new - t) <= _TOLERANCE * t).all())
        t = new
        if settled:
            break
    return _evidence(t, s, x2, outside, n)


def _evidence(
    t: NDArray[np.float64],
    s: NDArray[np.float64],
    x2: NDArray[np.float64],
    outside: NDArray[np.float64],
    n: int,
) -> NDArray[np.float64]:
    """The log evidence of each class at its ratio t, with the best beta for it."""
    ratio = 1 / (1 + s / t)
    log_beta = np.log(n / (outside + (x2 * ratio).sum(axis=0)))
    volume = np.log1p(s / t).sum(axis=0)
    evidence: NDArray[np.float64] = n / 2 * (log_beta - 1 - np.log(2 * np.pi)) - volume / 2
    return evidence
