"""Groups: images that belong together (frames of one sign, photos of one animal) and are never divided."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from headstart.datasets.dataset import ImageDataset
from headstart.errors import ConfigError, DataError

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
        raise ConfigError(f"The group pattern {pattern!r} is no regular expression: {error}.") from error
    names = dataset.names()
    texts = names if "/" in pattern else [name.rpartition("/")[2] for name in names]
    found = [expression.search(text) for text in texts]
    groups = [_group_of(match) for match in found]
    if missed := [name for name, group in zip(names, groups, strict=True) if group is None]:
        more = f" and {len(missed) - _NAMED:,} more" if len(missed) > _NAMED else ""
        raise DataError(
            f"The group pattern {pattern!r} does not match {', '.join(missed[:_NAMED])}{more}.\n"
            "Each image needs a group, because a split divides none: give a pattern that matches every name."
        )
    return dataset.with_groups([group for group in groups if group is not None])


def _group_of(match: re.Match[str] | None) -> str | None:
    if match is None:
        return None
    return match.group(1 if match.re.groups else 0)


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
    what is wanted, all in all; then a class that got nothing gets its smallest group, if it can spare one.

    Args:
        ranked: row numbers in drawing order.
        groups: (n,) each row's group.
        labels: (n,) each row's class.
        among: (n,) which rows may be drawn.
        wanted: (K,) images wanted of each class.
        keep: how many images of a class must be left.

    Returns:
        (n,) mask of the rows drawn.
    """
    order = list(dict.fromkeys(groups[row] for row in ranked if among[row]))
    position = {group: i for i, group in enumerate(order)}
    counts = np.zeros((len(order), len(wanted)), np.int64)  # images of each class in each group
    rows = np.flatnonzero(among)
    np.add.at(counts, (np.array([position[group] for group in groups[rows]]), labels[rows]), 1)
    taken = np.zeros(len(order), dtype=bool)
    drawn, left = np.zeros_like(wanted), counts.sum(axis=0)
    for i, count in enumerate(counts):
        gain = (np.abs(wanted - drawn) - np.abs(wanted - drawn - count))[count > 0].sum()
        if gain > 0 and _can_spare(left, count, keep):
            taken[i] = True
            drawn, left = drawn + count, left - count
    for label in np.flatnonzero((drawn == 0) & (wanted > 0)):
        if drawn[label]:  # a group that was taken for another class had some
            continue
        holders = np.flatnonzero((counts[:, label] > 0) & ~taken)
        spare = [i for i in holders if _can_spare(left, counts[i], keep)]
        if spare:
            smallest = min(spare, key=lambda i: int(counts[i].sum()))
            taken[smallest] = True
            drawn, left = drawn + counts[smallest], left - counts[smallest]
    return among & np.isin(groups, np.array(order, np.int64)[taken])


def _can_spare(left: npt.NDArray[np.int64], count: npt.NDArray[np.int64], keep: int) -> bool:
    """Whether every class in the group still has `keep` images without it."""
    held = count > 0
    return bool((left[held] - count[held] >= keep).all())
