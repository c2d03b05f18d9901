r"""Do file names say what belongs together? `00012_00003.ppm` is a frame of track 00012, if it looks like one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headstart.audit.neighbours import Neighbours

PATTERNS: Final = (
    r"^(.+)[_-][^_-]+$",  # what comes before the last part: IMG_123 of IMG_123_a.jpg
    r"^([^_-]+)[_-]",  # the first part: 00012 of 00012_00003.ppm
    r"([^/]+/[^/]+)[_-][^/_-]+$",  # the same with the class folder, where each counts anew
    r"([^/]+/[^/_-]+)[_-][^/]*$",
)
"""Tried in this order; of those that hold, the one that explains most is suggested."""

LEAST_EXCESS: Final = 0.2
_LEAST_DEVIATIONS: Final = 5.0
_LEAST_SHARE: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class SuggestedPattern:
    """A pattern for `--group-pattern` that file names show and pixels bear out.

    Attributes:
        pattern: the regular expression.
        groups: (n,) int64, each image's group by it.
        observed: share of images whose nearest image of the same class is of the same group.
        expected: the same, if groups had nothing to do with looks.
        example: two names of one group.
    """

    pattern: str
    groups: NDArray[np.int64]
    observed: float
    expected: float
    example: tuple[str, str]

    @property
    def n_groups(self) -> int:
        """How many groups there are."""
        return int(self.groups.max(initial=-1)) + 1


def suggest_pattern(
    names: Sequence[str], labels: NDArray[np.int64], neighbours: Neighbours
) -> SuggestedPattern | None:
    """Suggest a group pattern where names share prefixes and images that share one are nearer than others of the class.

    Args:
        names: n paths.
        labels: (n,) int64.
        neighbours: of the n images.

    Returns:
        The pattern whose groups agree best with what is near, beyond chance; None where none does.
    """
    nearest = _nearest_of_class(labels, neighbours)
    tried = [_try_pattern(pattern, names, labels, nearest) for pattern in PATTERNS]
    found = [suggested for suggested in tried if suggested is not None]
    return max(found, key=lambda each: _excess(each.observed, each.expected), default=None)


def _nearest_of_class(labels: NDArray[np.int64], neighbours: Neighbours) -> NDArray[np.int64]:
    """(n,) the nearest image of the same class among the neighbours; -1 where there is none."""
    same = labels[neighbours.rows] == labels[:, None]
    if not same.shape[1]:
        return np.full(len(labels), -1, np.int64)
    nearest = neighbours.rows[np.arange(len(labels)), same.argmax(axis=1)]
    return np.where(same.any(axis=1), nearest, -1)


def _try_pattern(
    pattern: str, names: Sequence[str], labels: NDArray[np.int64], nearest: NDArray[np.int64]
) -> SuggestedPattern | None:
    """The pattern with its figures, where it matches every name, makes groups, and they are near."""
    expression = re.compile(pattern)
    # As `group_by_pattern` reads it.
    texts = names if "/" in pattern else [name.rpartition("/")[2] for name in names]
    matches = [expression.search(text) for text in texts]
    if not names or not all(matches):
        return None
    _, groups = np.unique([match[1] for match in matches if match is not None], return_inverse=True)
    if _mixes_classes(groups, labels):
        return None
    of_group, of_class = np.bincount(groups)[groups], np.bincount(labels)[labels]
    free = (of_group > 1) & (of_class > of_group)  # a class of one group says nothing
    if free.mean() < _LEAST_SHARE:
        return None
    rows = np.flatnonzero(free & (nearest >= 0))
    hits = groups[nearest[rows]] == groups[rows]
    chance = (of_group[rows] - 1) / (of_class[rows] - 1)
    deviations = (hits.sum() - chance.sum()) / np.sqrt(max(1e-9, float((chance * (1 - chance)).sum())))
    observed, expected = float(hits.mean()), float(chance.mean())
    if deviations < _LEAST_DEVIATIONS or _excess(observed, expected) < LEAST_EXCESS:
        return None
    first, second = np.flatnonzero(groups == groups[rows[hits][0]])[:2]
    return SuggestedPattern(
        pattern=pattern,
        groups=groups.astype(np.int64),
        observed=observed,
        expected=expected,
        example=(names[first], names[second]),
    )


def _mixes_classes(groups: NDArray[np.int64], labels: NDArray[np.int64]) -> bool:
    """Whether many groups hold several classes: numbers that each class counts anew."""
    pairs = np.unique(np.stack([groups, labels]), axis=1)
    return bool((np.bincount(pairs[0]) > 1).mean() > 0.1)


def _excess(observed: float, expected: float) -> float:
    """By how much a share is beyond chance, 1 where it is whole (Cohen 1960)."""
    return (observed - expected) / max(1e-9, 1 - expected)
