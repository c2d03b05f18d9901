"""Identical files in several places: labels that contradict each other, and tests that are no tests."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import combinations

from headstart.datasets.dataset import SPLITS, ImageDataset, Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overlap:
    """One file content with several labels.

    Attributes:
        paths: where it stands, as the table writes paths.
        classes: the class that each of these places gives it.
    """

    paths: tuple[str, ...]
    classes: tuple[str, ...]


def overlapping_labels(dataset: ImageDataset, digests: Sequence[Hashable]) -> tuple[Overlap, ...]:
    """Find images that stand in more than one class.

    Args:
        dataset: n images.
        digests: of each image file's content (n), for example its sha256.

    Returns:
        One record for each content with more than one label, in the order of its first row.
    """
    paths, labels = dataset.names(), dataset.labels().tolist()
    places: dict[Hashable, list[int]] = defaultdict(list)
    for row, digest in enumerate(_checked(dataset, digests)):
        places[digest].append(row)
    return tuple(
        Overlap(
            paths=tuple(paths[row] for row in rows),
            classes=tuple(dataset.classes[labels[row]] for row in rows),
        )
        for rows in places.values()
        if len({labels[row] for row in rows}) > 1
    )


def shared_between_splits(
    dataset: ImageDataset, digests: Sequence[Hashable]
) -> dict[tuple[Split, Split], int]:
    """Count the images of one split whose very content also stands in another.

    Args:
        dataset: n images with splits.
        digests: of each image file's content (n).

    Returns:
        For (train, val), (train, test) and (val, test), as far as the data set has them: how many images of
        the second also stand in the first.
    """
    contents: dict[Split, list[Hashable]] = {split: [] for split in dataset.splits}
    for digest, split in zip(_checked(dataset, digests), dataset.split_names(), strict=True):
        if split is not None:
            contents[split].append(digest)
    pairs = combinations([split for split in SPLITS if split in contents], 2)
    distinct = {split: set(held) for split, held in contents.items()}
    return {(a, b): sum(digest in distinct[a] for digest in contents[b]) for a, b in pairs}


def _checked(dataset: ImageDataset, digests: Sequence[Hashable]) -> Sequence[Hashable]:
    if len(digests) != len(dataset):
        raise ValueError(f"expected one digest for each of {len(dataset)} images, got {len(digests)}")
    return digests
