"""How far a share may be off because the test set is a sample."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap

from headstart.errors import DataError

INTERVAL: Final = "Wilson 95 %, sampling of the test set only"
"""What the interval beside an accuracy is, and what it leaves out: other training sets, seeds and domains."""

GROUPED_INTERVAL: Final = "clustered bootstrap 95 % over groups, sampling of the test set only"
"""The same where images come in groups: a test set of ten signs, thirty frames each, is one of ten, not of 300."""

_RESAMPLES: Final = 9999
_BATCH: Final = 100  # resamples at once: a hundred thousand groups then take 160 MB


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a binomial share (Wilson, 1927).

    Args:
        correct: number of images that were classified right, 0 to `n`.
        n: number of images, at least 1.
        confidence: coverage of the interval, between 0 and 1.

    Returns:
        Lower and upper bound of the share, 0 to 1.

    Raises:
        DataError: `n` is 0, or `correct` lies outside 0 to `n`.
    """
    if n < 1:
        raise DataError(f"An interval needs at least one image; got n = {n}.")
    if not 0 <= correct <= n:
        raise DataError(f"{correct} of {n} images cannot be right; expected 0 to {n}.")
    interval = binomtest(int(correct), int(n)).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def cluster_interval(
    correct: NDArray[np.bool_], groups: NDArray[np.int64], confidence: float = 0.95
) -> tuple[float, float]:
    """The percentile interval of an accuracy when whole groups are drawn (Field & Welsh, 2007, section 3).

    It is never narrower than Wilson's: with few groups, or none of them wrong, the bootstrap has nothing to vary.

    Args:
        correct: (n,) whether each image was classified right.
        groups: (n,) each image's group.
        confidence: coverage of the interval, between 0 and 1.

    Returns:
        Lower and upper bound of the accuracy, 0 to 1; the same for the same images, whatever their order.

    Raises:
        DataError: there is no image.
    """
    low, high = wilson_interval(int(correct.sum()), len(correct), confidence)
    _, numbers = np.unique(groups, return_inverse=True)
    sizes = np.bincount(numbers)
    hits = np.bincount(numbers, weights=correct)
    if len(sizes) == 1:
        return 0.0, 1.0  # one group says nothing of how groups differ
    order = np.lexsort((hits, sizes))
    interval = bootstrap(
        (hits[order], sizes[order]),
        _share,
        paired=True,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        confidence_level=confidence,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return min(low, float(interval.low)), max(high, float(interval.high))


def _share(hits: NDArray[np.float64], sizes: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
    """Accuracy of resampled groups."""
    share: NDArray[np.float64] = hits.sum(axis=axis) / sizes.sum(axis=axis)
    return share
