"""Whether one classifier is really better than another on the same images."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import convolve
from scipy.stats import binom

from headstart.errors import DataError

# What float64 leaves of a sum of probabilities: less cannot be told from nothing, and no p-value is 0.
_LEAST_P = 1e-16


def paired_permutation(
    first: ArrayLike, second: ArrayLike, *, groups: NDArray[np.int64] | None = None
) -> float:
    """Two-sided p-value of the paired permutation test (sign flips) on the difference of two sums of hits.

    If both are equally good, it is a coin's throw which of them got an image's hits. All 2^n throws are counted, not a
    sample of them: the differences are whole numbers, so the distribution of their sum is a convolution of
    binomial ones. With one 0 or 1 an image this is McNemar's exact test.

    Args:
        first: (n,) in how many trials (seeds) each image was classified right by one.
        second: (n,) the same of the other, over the same trials.
        groups: (n,) what belongs together and is thrown together; None where each image is by itself.

    Returns:
        The probability of a difference at least as large in either direction, above 0 and at most 1.

    Raises:
        DataError: there is no image, or the lengths differ.
    """
    a, b = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise DataError(f"A paired test needs the same images twice; got {a.shape} and {b.shape}.")
    differences = a - b
    if groups is not None:
        _, numbers = np.unique(groups, return_inverse=True)
        totals = np.zeros(numbers.max() + 1, dtype=np.int64)
        np.add.at(totals, numbers, differences)
        differences = totals
    distribution, largest = _sum_of_flips(np.abs(differences))
    sums = np.arange(-largest, largest + 1)
    p = float(distribution[np.abs(sums) >= abs(int(differences.sum()))].sum())
    return min(1.0, max(p, _LEAST_P))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for how many there are (Holm, 1979), in the order they came in.

    Each can be held against the level that one alone would be: the chance of one false claim among all stays below it.
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(
        1.0, np.maximum.accumulate(np.asarray(p_values, dtype=float)[order] * factors)
    )
    return [float(p) for p in adjusted]


def _sum_of_flips(sizes: NDArray[np.int64]) -> tuple[NDArray[np.float64], int]:
    """The distribution of the sum of sizes, each with a random sign: over -largest to largest, and largest.

    m signs of the same size k add up to k * (2 * Binomial(m, 1/2) - m).
    """
    distribution = np.ones(1)
    for size, count in zip(*np.unique(sizes[sizes > 0], return_counts=True), strict=True):
        one = np.zeros(2 * int(size) * int(count) + 1)
        one[:: 2 * int(size)] = binom.pmf(np.arange(count + 1), count, 0.5)
        distribution = np.clip(convolve(distribution, one), 0.0, None)
    return distribution, (len(distribution) - 1) // 2
