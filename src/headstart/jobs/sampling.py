"""Training images to learn something from beforehand: which of them, and how they are dealt into folds."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from headstart.config import ExtractConfig
from headstart.datasets import (
    ImageDataset,
    Problem,
    SplitRecord,
    assign_splits,
    stratified_folds,
    stratified_sample,
)
from headstart.errors import DataError
from headstart.jobs.common import listing
from headstart.jobs.images import Division

LEAST_PER_CLASS = 5
"""A sample holds so many images of each class, or all that there are."""

_MOST_FOLDS = 5


def training_sample(config: ExtractConfig, most: int | None, *, validation: bool) -> Division:
    """Divides images as `train` does with the same options, and keeps a stratified sample of those to learn from.

    Args:
        config: how images are divided, and the seed.
        most: how many to keep, more where there are many classes; None for all.
        validation: whether validation images may be among them; test images never are.
    """

    def divide(images: ImageDataset, problems: Sequence[Problem]) -> tuple[ImageDataset, SplitRecord]:
        made, record = assign_splits(images, split=config.split, seed=config.seed, per_class=config.per_class)
        splits = made.split_names()
        made = made.subset((splits == "train") | (validation & (splits == "val")))
        if most is not None:
            made = made.subset(stratified_sample(made, most, least=LEAST_PER_CLASS, seed=config.seed))
        return _with_several_of_each(made), record

    return divide


def _with_several_of_each(dataset: ImageDataset) -> ImageDataset:
    """Leave out classes of a single image, or group, of which nothing can be held out, with a note of it.

    Raises:
        DataError: fewer than two classes are left.
    """
    units = _units_per_class(dataset)
    what = "training image" if dataset.groups() is None else "group of training images"
    if (units >= 2).sum() < 2:
        raise DataError(
            f"Fewer than two classes of {dataset.name} have more than a single {what}: nothing can be held out.\n"
            "Add photos."
        )
    single = [name for name, n in zip(dataset.classes, units, strict=True) if n == 1]
    if not single:
        return dataset
    note = f"Left out, as nothing of them can be held out: classes with a single {what}, {listing(single)}."
    kept = dataset.subset(units[dataset.labels()] >= 2)
    return replace(kept, notes=(*kept.notes, note))


def _units_per_class(dataset: ImageDataset) -> NDArray[np.int64]:
    """How many images, or groups, each class has: (K,)."""
    labels, groups = dataset.labels().astype(np.int64), dataset.groups()
    units = np.arange(len(labels)) if groups is None else groups
    return np.bincount(np.unique(np.stack([labels, units]), axis=1)[0], minlength=len(dataset.classes))


def deal_folds(dataset: ImageDataset, seed: int) -> tuple[NDArray[np.int64], int]:
    """Folds for cross-validation, at most five, with whole groups: (n,) fold of each image, and how many there are.

    Every class that has images has at least two of them, or two groups.
    """
    units = _units_per_class(dataset)
    folds = min(_MOST_FOLDS, int(units[units > 0].min()))
    return stratified_folds(dataset.labels(), folds, seed, groups=dataset.groups()), folds
