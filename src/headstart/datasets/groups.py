"""Groups: images that belong together (frames of one sign, photos of one animal) and are never divided."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from headstart.datasets.dataset import ImageDataset
from headstart.errors import ConfigError, DataError, name_some

_NAMED: Final = 3


def group_by_pattern(dataset: ImageDataset, pattern: str) -> ImageDataset:
    r"""Give images their groups by a regular expression on their names.

    Args:
        dataset: n images.
        pattern: searched in each file's name or, where the pattern holds a ``/``, in its path. Its first group, or
            without one the whole match, names the image's group: ``^(\d+)_`` for files called TRACK_FRAME,
            ``([^/]+/\d+)_`` where the tracks of each class folder are counted anew.

    Returns:
        The same images with groups.

    Raises:
        ConfigError: the pattern is no regular expression.
        DataError: it does not match every name.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"The group pattern '{pattern}' is no regular expression: {error}.") from error
    names = dataset.names()
    texts = names if "/" in pattern else [name.rpartition("/")[2] for name in names]
    found = [expression.search(text) for text in texts]
    groups = [_group_of(match) for match in found]
    if missed := [name for name, group in zip(names, groups, strict=True) if group is None]:
        raise DataError(
            f"The group pattern '{pattern}' does not match {name_some(missed, _NAMED)}.\n"
            "Each image needs a group, because a split divides none: give a pattern that matches every name."
        )
    return dataset.with_groups([group for group in groups if group is not None])


def _group_of(match: re.Match[str] | None) -> str | None:
    if match is None:
        return None
    return match.group(1 if match.re.groups else 0) or None


def draw_groups(
    ranked: Sequence[int],
    groups: npt.NDArray[np.int64],
    labels: npt.NDArray[np.integer],
    among: npt.NDArray[np.bool_],
    wanted: npt.NDArray[np.int64],
    *,
    keep: int,
) -> npt.NDArray[np.bool_]:
    """Draw whole groups until each class has about what is wanted of it.

    Groups are met in the order of their first image in `ranked`. One is taken if that brings the classes nearer to
    what is wanted, all in all; then a class that got nothing gets its smallest group, if it can spare one. So where
    each group is of one class, a class of two groups or more gets some, and is off by no more than half its largest
    group, or its smallest group, or what must be left.

    Args:
        ranked: row numbers in drawing order.
        groups: (n,) each row's group.
        labels: (n,) each row's class.
        among: (n,) which rows may be drawn.
        wanted: (K,) images wanted of each class.
        keep: how many groups of a class must be left; of one that has no more, one.

    Returns:
        (n,) mask of the rows drawn.
    """
    members = _members(ranked, groups, labels, among)
    draw = _GroupDraw(members, wanted, keep)
    for group in members:
        if draw.gain(group) > 0 and draw.can_spare(group):
            draw.take(group)
    for label in np.flatnonzero(wanted).tolist():
        draw.make_up_for(label)
    return among & np.isin(groups, np.array(sorted(draw.taken), np.int64))


def _members(
    ranked: Sequence[int],
    groups: npt.NDArray[np.int64],
    labels: npt.NDArray[np.integer],
    among: npt.NDArray[np.bool_],
) -> dict[int, Counter[int]]:
    """How many images of each class each group has, in the order of the groups' first images."""
    members: dict[int, Counter[int]] = {}
    group_of, label_of, may_be = groups.tolist(), labels.tolist(), among.tolist()
    for row in ranked:
        if may_be[row]:
            members.setdefault(group_of[row], Counter())[label_of[row]] += 1
    return members


class _GroupDraw:
    """What has been taken so far, what each class still wants, and how many groups it has left."""

    def __init__(self, members: Mapping[int, Counter[int]], wanted: npt.NDArray[np.int64], keep: int) -> None:
        self._members = members
        self._wanted = wanted.tolist()
        self._of_class: dict[int, list[int]] = defaultdict(list)
        for group, held in members.items():
            for label in held:
                self._of_class[label].append(group)
        self._left = {label: len(held) for label, held in self._of_class.items()}
        self._least = {label: min(keep, max(1, n - 1)) for label, n in self._left.items()}
        self._served: set[int] = set()
        self.taken: set[int] = set()

    def gain(self, group: int) -> int:
        """By how many images the classes come nearer to what is wanted if the group is taken."""
        held = self._members[group].items()
        return sum(abs(self._wanted[label]) - abs(self._wanted[label] - n) for label, n in held)

    def can_spare(self, group: int) -> bool:
        """Whether each class in the group has enough groups left without it."""
        return all(self._left[label] > self._least[label] for label in self._members[group])

    def take(self, group: int) -> None:
        """Take a group."""
        self.taken.add(group)
        for label, n in self._members[group].items():
            self._wanted[label] -= n
            self._left[label] -= 1
            self._served.add(label)

    def make_up_for(self, label: int) -> None:
        """Take the smallest group of a class that has got nothing, if it and its company can spare it."""
        if label not in self._served:
            free = [group for group in self._of_class[label] if self.can_spare(group)]
            if free:
                self.take(min(free, key=lambda group: self._members[group].total()))
