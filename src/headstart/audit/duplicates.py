"""Which images are copies of each other, or as near as two frames of one film."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from headstart.audit.alignment import Agreement, compare_pictures
from headstart.audit.neighbours import Neighbours


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """D pairs of images that are the same, the surest first.

    Attributes:
        pairs: (D, 2) int64, rows of images, the lower first.
        scores: (D,) float64: 1 for identical files, else the correlation of their detail.
        identical: (D,) bool, whether the files are the same byte for byte.
        mirrored: (D,) bool, whether one is the mirror image of the other.
    """

    pairs: NDArray[np.int64]
    scores: NDArray[np.float64]
    identical: NDArray[np.bool_]
    mirrored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.pairs)

    def across(self, splits: NDArray[np.object_]) -> NDArray[np.bool_]:
        """(D,) which pairs stand in two splits."""
        return np.asarray(splits[self.pairs[:, 0]] != splits[self.pairs[:, 1]], dtype=np.bool_)


def candidate_pairs(neighbours: Neighbours) -> NDArray[np.int64]:
    """Each image with each of its neighbours, once: (P, 2) int64, the lower row first."""
    n, k = neighbours.rows.shape
    pairs = np.stack([np.repeat(np.arange(n), k), neighbours.rows.ravel()], axis=1)
    pairs.sort(axis=1)
    numbers = np.unique(pairs[:, 0] * np.int64(max(1, n)) + pairs[:, 1])
    return np.stack([numbers // max(1, n), numbers % max(1, n)], axis=1)


def identical_pairs(digests: Sequence[bytes]) -> NDArray[np.int64]:
    """Identical files: each with the first of its kind, (P, 2) int64."""
    first: dict[bytes, int] = {}
    found = [(first[sha], row) for row, sha in enumerate(digests) if first.setdefault(sha, row) != row]
    return np.array(found, np.int64).reshape(-1, 2)


def find_duplicates(
    digests: Sequence[bytes], pictures: NDArray[np.uint8], candidates: NDArray[np.int64]
) -> Duplicates:
    """Find identical files, and among the candidates those whose pixels are the same.

    Args:
        digests: of each file's content (n).
        pictures: (n, SIDE, SIDE, 3) uint8, see `compare_pictures`.
        candidates: (P, 2) rows of images that may be copies.

    Returns:
        The pairs; of more than two identical files each with the first.
    """
    identical = identical_pairs(digests)
    distinct = np.array([digests[i] != digests[j] for i, j in candidates.tolist()], dtype=np.bool_)
    others = candidates[distinct]
    agreement = compare_pictures(pictures, others)
    return _ordered(identical, others, agreement)


def _ordered(identical: NDArray[np.int64], others: NDArray[np.int64], agreement: Agreement) -> Duplicates:
    same = np.flatnonzero(agreement.same)
    same = same[np.argsort(-agreement.detail[same], kind="stable")]
    n = len(identical)
    return Duplicates(
        pairs=np.concatenate([identical, others[same]]),
        scores=np.concatenate([np.ones(n), agreement.detail[same].astype(np.float64)]),
        identical=np.arange(n + len(same)) < n,
        mirrored=np.concatenate([np.zeros(n, np.bool_), agreement.mirrored[same]]),
    )


def join_pairs(n: int, *links: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number n images so that those that pairs link, directly or through others, have the same number.

    Args:
        n: how many images.
        links: (P, 2) rows of images that belong together.

    Returns:
        (n,) int64, from 0.
    """
    pairs = np.concatenate([np.empty((0, 2), np.int64), *links])
    graph = coo_array((np.ones(len(pairs), np.bool_), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def links_of_groups(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each image with the first of its group: (n, 2) rows, for `join_pairs`."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.stack([first[inverse], np.arange(len(groups))], axis=1)
