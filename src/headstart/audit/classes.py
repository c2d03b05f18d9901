"""Which classes the features cannot tell apart."""

from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headstart.metrics import confusion_matrix

LEAST_SHARE: Final = 0.1
LEAST_COUNT: Final = 3
"""Listed are pairs of which so large a share, and so many images, are taken for the other class."""


@dataclass(frozen=True, kw_only=True)
class ConfusedClasses:
    """Two classes that are taken for each other.

    Attributes:
        first, second: the classes.
        share: of the images of both, how many were taken for the other, 0 to 1.
        count: how many images that is.
        rows: (count,) int64, which; those that were most surely taken for the other first.
    """

    first: int
    second: int
    share: float
    count: int
    rows: NDArray[np.int64]


def find_confused_classes(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], judged: NDArray[np.bool_]
) -> list[ConfusedClasses]:
    """Find pairs of classes that models which had not seen the images take for each other, the worst pair first.

    Args:
        probabilities: (n, K) out of fold.
        labels: (n,) int64, 0 to K - 1.
        judged: (n,) which images have such probabilities.

    Returns:
        Pairs with `LEAST_COUNT` images and `LEAST_SHARE` of the images of both taken for the other.
    """
    rows = np.flatnonzero(judged)
    said = probabilities.argmax(axis=1)
    matrix = confusion_matrix(labels[rows], said[rows], probabilities.shape[1])
    mutual, size = matrix + matrix.T, matrix.sum(axis=1)
    found = []
    for first, second in combinations(np.flatnonzero(size).tolist(), 2):
        count = int(mutual[first, second])
        share = count / float(size[first] + size[second])
        if count >= LEAST_COUNT and share >= LEAST_SHARE:
            pair = (labels == first) & (said == second) | (labels == second) & (said == first)
            taken = np.flatnonzero(pair & judged)
            surest = taken[np.argsort(-probabilities[taken, said[taken]], kind="stable")]
            found.append(ConfusedClasses(first=first, second=second, share=share, count=count, rows=surest))
    return sorted(found, key=lambda pair: -pair.share)
