"""How far a share may be off because the test set is a sample."""

from typing import Final

from scipy.stats import binomtest

from headstart.errors import DataError

INTERVAL: Final = "Wilson 95 %, sampling of the test set only"
"""What the interval beside an accuracy is, and what it leaves out: other training sets, seeds and domains."""


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
