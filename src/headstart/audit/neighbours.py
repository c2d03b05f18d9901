"""Nearest neighbours of all images among all, exactly, by blocks: memory grows with images, not with their square."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NEIGHBOURS: Final = 10
"""Each of 240 planted copies in four sets of photos was among the first ten, nearly all of them the first."""

_ROWS: Final = 2048
_FARTHEST: Final = -2.0  # below every cosine


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The k nearest images of each of n, the nearest first.

    Attributes:
        rows: (n, k) int64, which.
        cosines: (n, k) float32, of the centred features, -1 to 1.
    """

    rows: NDArray[np.int64]
    cosines: NDArray[np.float32]


@torch.no_grad()
def find_neighbours(features: NDArray[np.float32], k: int = NEIGHBOURS) -> Neighbours:
    """Find each image's nearest others by the cosine of features from which their mean has been taken.

    Each pair of blocks is multiplied once and serves both of them. Besides the features memory holds one copy of
    them, n x k results, and a block of 2,048 x 2,048.

    Args:
        features: (n, ...) float32; more than one dimension is flattened.
        k: how many; where there are fewer other images, those.

    Returns:
        The neighbours. An image whose features are the mean itself has cosine 0 to all.
    """
    units = _centred(torch.from_numpy(features).flatten(1))
    n, k = len(units), max(0, min(k, len(units) - 1))
    cosines = torch.full((n, k), _FARTHEST)
    rows = torch.zeros((n, k), dtype=torch.int64)
    for i in range(0, n if k else 0, _ROWS):
        for j in range(i, n, _ROWS):
            block = units[i : i + _ROWS] @ units[j : j + _ROWS].T
            if i == j:
                block.fill_diagonal_(_FARTHEST)  # nobody is his own neighbour
            else:
                _merge(cosines[j : j + _ROWS], rows[j : j + _ROWS], block.T, i)
            _merge(cosines[i : i + _ROWS], rows[i : i + _ROWS], block, j)
    return Neighbours(rows=rows.numpy(), cosines=cosines.clamp(-1, 1).numpy())


def _centred(features: Tensor) -> Tensor:
    units = features - features.mean(dim=0, dtype=torch.float64).float()
    return units.div_(units.norm(dim=1, keepdim=True).clamp_min_(1e-12))


def _merge(cosines: Tensor, rows: Tensor, block: Tensor, offset: int) -> None:
    """Take what a block (b, c) has of nearer neighbours into the best so far (b, k), in place."""
    nearer = (block.amax(dim=1) > cosines[:, -1]).nonzero()[:, 0]
    if not len(nearer):
        return
    k = cosines.shape[1]
    found, columns = block[nearer].topk(min(k, block.shape[1]), dim=1)
    both = torch.cat([cosines[nearer], found], dim=1)
    best, places = both.topk(k, dim=1)
    cosines[nearer] = best
    rows[nearer] = torch.cat([rows[nearer], columns + offset], dim=1).gather(1, places)
