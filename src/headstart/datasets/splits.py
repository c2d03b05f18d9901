"""Which images train, which choose, which test: rules that depend on names, labels and a seed alone.

Every draw goes by the hash of (seed, path): the order in which a folder was listed does not matter, images
keep their places as others come or go, and the five of ``per_class=5`` contain the one of ``per_class=1``.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from headstart.datasets.dataset import ImageDataset
from headstart.errors import DataError

Choice = Literal["validation", "cross-validation", "none"]

TEST_SHARE: Final = 0.1
VALIDATION_SHARE: Final = 0.2
FEW_IMAGES: Final = 20
"""With fewer training images in the smallest class, choices are made by cross-validation."""
MOST_FOLDS: Final = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitRecord:
    """How images were split and how choices (head strength, epoch, recipe) are to be made.

    Attributes:
        rule: where train, validation and test come from, in plain words.
        choice: ``validation``, ``cross-validation`` within train, or ``none`` where some class has a single
            training image and nothing can be held out.
        folds: number of folds for cross-validation; 0 otherwise.
        seed: what the draws depended on, besides paths and labels.
        per_class: how many labelled images of each class were kept at most; None for all.
    """

    rule: str
    choice: Choice
    folds: int
    seed: int
    per_class: int | None

    def __str__(self) -> str:
        """Say all of it in one line for reports."""
        how = {
            "validation": "choices made on validation",
            "cross-validation": f"choices made by {self.folds}-fold cross-validation within train",
            "none": "no choices made: a class has a single training image",
        }[self.choice]
        return f"{self.rule}; {how}"


def assign_splits(
    dataset: ImageDataset, *, seed: int = 0, per_class: int | None = None
) -> tuple[ImageDataset, SplitRecord]:
    """Give every image a split, keeping those that are given.

    Without a test split, a stratified tenth becomes one (of train, where train and val are given): at least
    one image of each class of three or more, none of smaller classes. Only where every image is given to
    train no test is made: the caller tests elsewhere. Without a validation split, a stratified part of train
    becomes one, unless a class of train has fewer than `FEW_IMAGES` images (then cross-validation chooses).

    Args:
        dataset: images without any split, or all with one.
        seed: another seed draws other images.
        per_class: keep at most this many labelled images of each class. Train and validation are pooled for
            this, even where both are given, and a validation split is made anew; test keeps all its images.

    Returns:
        The data set (rows left out by `per_class` are gone; the order is kept) and the rule that was used.

    Raises:
        DataError: if splits are given for some images only, or none is given to train.
    """
    given = dataset.splits
    _check_given(dataset)
    splits, labels = dataset.split_names(), dataset.labels()
    order = _draw_order(dataset.names(), seed)
    if not given:
        splits[:] = "train"
    if "test" not in given and given != ("train",):
        splits[_stratified_part(order, labels, splits == "train", TEST_SHARE, keep=2)] = "test"
    if per_class is not None:
        splits[splits == "val"] = "train"
        splits[_ranks(order, labels, splits == "train") >= per_class] = None
    smallest = _smallest_class(labels[splits == "train"])
    if "val" not in splits and smallest >= FEW_IMAGES:
        # Without given splits: a tenth of all images, not of what the test has left.
        share = VALIDATION_SHARE if given or per_class is not None else TEST_SHARE / (1 - TEST_SHARE)
        splits[_stratified_part(order, labels, splits == "train", share, keep=1)] = "val"
    record = _record(given, splits, smallest, seed, per_class)
    return dataset.with_splits(splits).subset(splits.astype(bool)), record


def stratified_folds(labels: npt.NDArray[np.integer], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Deal images into folds of about equal size, each with its share of every class.

    Args:
        labels: (n,) class of each image.
        folds: how many; at least 2 and at most the size of the smallest class present.
        seed: another seed deals otherwise.

    Returns:
        (n,) int64, the fold (0 to folds - 1) in which each image is held out.

    Raises:
        ValueError: if `folds` is out of its range.
    """
    from sklearn.model_selection import StratifiedKFold

    if not 2 <= folds <= _smallest_class(labels):
        raise ValueError(f"expected 2 to {_smallest_class(labels)} folds (the smallest class), got {folds}")
    held_out = np.empty(len(labels), dtype=np.int64)
    dealer = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, rows) in enumerate(dealer.split(np.zeros(len(labels)), labels)):
        held_out[rows] = fold
    return held_out


def imbalance(counts: npt.NDArray[np.integer]) -> float:
    """Give the largest class's size over that of the smallest that has an image; 1 is balanced."""
    present = counts[counts > 0]
    return float(present.max() / present.min())


def balanced_weights(labels: npt.NDArray[np.integer], n_classes: int) -> npt.NDArray[np.float64]:
    """Weigh images so that every class present counts the same.

    Args:
        labels: (n,) class of each image.
        n_classes: number of classes; some may have no image.

    Returns:
        (n,) float64 weights of mean 1, as scikit-learn's ``class_weight="balanced"``.
    """
    counts = np.bincount(labels, minlength=n_classes)
    weights: npt.NDArray[np.float64] = len(labels) / (np.count_nonzero(counts) * counts[labels])
    return weights


def _check_given(dataset: ImageDataset) -> None:
    undecided = dataset.table["split"].null_count
    if not dataset.splits:
        return
    if undecided:
        raise DataError(f"{undecided:,} of {len(dataset):,} images have no split; expected none or all.")
    if "train" not in dataset.splits:
        raise DataError(f"There are images for {' and '.join(dataset.splits)} but none to train on.")


def _draw_order(names: Sequence[str], seed: int) -> npt.NDArray[np.int64]:
    """Shuffle rows by the hash of (seed, name): (n,) row numbers."""
    salt = f"{seed}/".encode()
    digests = b"".join(hashlib.blake2b(salt + name.encode(), digest_size=8).digest() for name in names)
    return np.argsort(np.frombuffer(digests, dtype=">u8"), kind="stable")


def _ranks(
    order: npt.NDArray[np.int64], labels: npt.NDArray[np.int32], among: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Give the place of each row that is `among` in the draw of its class, from 0; -1 for the others."""
    rows = order[among[order]]
    rows = rows[np.argsort(labels[rows], kind="stable")]
    counts = np.bincount(labels[rows])
    starts = np.cumsum(counts) - counts
    ranks = np.full(len(labels), -1, dtype=np.int64)
    ranks[rows] = np.arange(len(rows)) - starts[labels[rows]]
    return ranks


def _stratified_part(
    order: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int32],
    among: npt.NDArray[np.bool_],
    share: float,
    *,
    keep: int,
) -> npt.NDArray[np.bool_]:
    """Draw about a share of each class, at least one image, but leave at least `keep`: an (n,) mask."""
    counts = np.bincount(labels[among], minlength=labels.max(initial=0) + 1)
    wanted = np.maximum(1, np.floor(counts * share + 0.5).astype(np.int64))
    taken = np.clip(wanted, 0, np.maximum(0, counts - keep))
    ranks = _ranks(order, labels, among)
    part: npt.NDArray[np.bool_] = (ranks >= 0) & (ranks < taken[labels])
    return part


def _smallest_class(labels: npt.NDArray[np.integer]) -> int:
    counts = np.bincount(labels)
    return int(counts[counts > 0].min(initial=len(labels)))


def _record(
    given: Sequence[str],
    splits: npt.NDArray[np.object_],
    smallest: int,
    seed: int,
    per_class: int | None,
) -> SplitRecord:
    has_validation = "val" in splits
    folds = 0 if has_validation or smallest < 2 else min(MOST_FOLDS, smallest)
    return SplitRecord(
        rule=_rule(given, has_validation, seed, per_class),
        choice="validation" if has_validation else "cross-validation" if folds else "none",
        folds=folds,
        seed=seed,
        per_class=per_class,
    )


def _rule(given: Sequence[str], has_validation: bool, seed: int, per_class: int | None) -> str:
    made = []
    if given:
        made.append(f"{', '.join(given)} as given")
        if "test" not in given and "val" in given:
            made.append("test a stratified tenth of train")
    elif per_class is None:
        made.append("stratified 80/10/10" if has_validation else "stratified 90/10 into train and test")
    else:
        made.append("test a stratified tenth")
    if per_class is not None:
        pooled = " of train and val together" if "val" in given else ""
        made.append(f"at most {per_class} images a class{pooled}")
    if has_validation and ("val" not in given or per_class is not None) and (given or per_class is not None):
        made.append("validation a stratified fifth of train")
    return ", ".join(made) + ("" if len(made) == 1 and given else f", seed {seed}")
