"""Training images to learn something from beforehand: which of them, and how they are dealt into folds."""

from collections.abc import Sequence

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
        if len(made.without_empty_classes().classes) < 2:
            raise DataError(f"{made.name} has readable training images of fewer than two classes.")
        return made, record

    return divide


def deal_folds(dataset: ImageDataset, seed: int) -> tuple[NDArray[np.int64], int]:
    """Folds for cross-validation, at most five, with whole groups: (n,) fold of each image, and how many there are.

    Raises:
        DataError: a class has a single image, or group, so that nothing of it can be held out.
    """
    labels, groups = dataset.labels().astype(np.int64), dataset.groups()
    units = np.arange(len(labels)) if groups is None else groups
    per_class = np.bincount(np.unique(np.stack([labels, units]), axis=1)[0], minlength=len(dataset.classes))
    if few := [name for name, n in zip(dataset.classes, per_class, strict=True) if n == 1]:
        what = "training image" if groups is None else "group of training images"
        raise DataError(
            f"There is a single {what} of {listing(few)}: nothing of it can be held out.\n"
            "Add photos of it, or leave it out."
        )
    folds = min(_MOST_FOLDS, int(per_class[per_class > 0].min()))
    return stratified_folds(labels, folds, seed, groups=groups), folds
