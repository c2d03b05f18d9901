"""Images that are unlike all others."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headstart.audit.neighbours import Neighbours

FAR: Final = 2.5
"""Listed is what lies further from the median distance than so many robust standard deviations."""

_LEAST_IMAGES: Final = 20
_TO_SIGMA: Final = 1.4826  # of a normal distribution: standard deviation over median absolute deviation


@dataclass(frozen=True, kw_only=True)
class Outliers:
    """U images that are far from all others, the farthest first.

    Attributes:
        rows: (U,) int64.
        scores: (U,) float64, how many robust standard deviations further than the median from their neighbours.
        nearest: (U,) int64, the nearest other image of each.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    nearest: NDArray[np.int64]


def find_outliers(neighbours: Neighbours) -> Outliers:
    """Find images whose nearest neighbours are far: mean distance to k of them (Angiulli & Pizzuti 2002).

    Args:
        neighbours: of n images.

    Returns:
        The far ones; none among fewer than 20 images, of which nothing can be said.
    """
    n, k = neighbours.cosines.shape
    if n < _LEAST_IMAGES or not k:
        none = np.empty(0, np.int64)
        return Outliers(rows=none, scores=none.astype(np.float64), nearest=none)
    distances = 1 - neighbours.cosines.mean(axis=1, dtype=np.float64)
    middle = np.median(distances)
    spread = _TO_SIGMA * float(np.median(np.abs(distances - middle)))
    scores = (distances - middle) / max(spread, 1e-9)
    rows = np.flatnonzero(scores >= FAR)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    return Outliers(rows=rows, scores=scores[rows], nearest=neighbours.rows[rows, 0])
