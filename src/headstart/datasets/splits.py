"""Which images train, which choose, which test: rules that depend on names, labels and a seed alone.

Every draw goes by the hash of (seed, path): the order in which a folder was listed does not matter, images
keep their places as others come or go, and the five of ``per_class=5`` contain the one of ``per_class=1``.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from headstart.datasets.dataset import ImageDataset
from headstart.datasets.groups import draw_groups
from headstart.datasets.protocols import Protocol, parse_protocol
from headstart.errors import DataError

Choice = Literal["validation", "cross-validation", "none"]

TEST_SHARE: Final = 0.1
VALIDATION_SHARE: Final = 0.2
FEW_IMAGES: Final = 20
"""With fewer training images in the smallest class, choices are made by cross-validation."""
MOST_FOLDS: Final = 5
VALIDATION_MADE: Final = "validation a stratified fifth of train"
"""The words of a rule for a validation split that is taken out of train."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitRecord:
    """How images were split and how choices (head strength, epoch, recipe) are to be made.

    Attributes:
        rule: where train, validation and test come from, in plain words.
        choice: ``validation``, ``cross-validation`` within train, or ``none`` where some class has a single
            training image or group of them and nothing can be held out.
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
            "none": "no choices made: a class has a single training image, or a single group of them",
        }[self.choice]
        return f"{self.rule}; {how}"


def assign_splits(
    dataset: ImageDataset, *, split: str = "auto", seed: int = 0, per_class: int | None = None
) -> tuple[ImageDataset, SplitRecord]:
    """Give every image a split, keeping those that are given unless `split` says otherwise.

    With ``auto``: without a test split, a stratified tenth becomes one (of train, where train and val are given):
    at least one image of each class of three or more, none of smaller classes. Only where every image is given
    to train no test is made: the caller tests elsewhere. Without a validation split, a stratified part of train
    becomes one, unless a class of train has fewer than `FEW_IMAGES` images or a single group (then
    cross-validation chooses, where it can). With shares or a reference program's protocol, given splits are
    pooled and made anew. Where the data set has groups no group is ever divided, and shares are met as nearly as
    whole groups allow.

    Args:
        dataset: images without any split, or all with one.
        split: what `parse_protocol` reads.
        seed: another seed draws other images; a protocol may have its own.
        per_class: keep at most this many labelled images of each class. Train and validation are pooled for
            this, even where both are given, and a validation split is made anew; test keeps all its images.

    Returns:
        The data set (rows left out by `per_class` are gone; the order is kept) and the rule that was used.

    Raises:
        ConfigError: `split` is no such rule.
        DataError: if splits are given for some images only, or none is given to train.
    """
    protocol = parse_protocol(split)
    _check_given(dataset)
    if protocol is not None:
        seed = seed if protocol.seed is None else protocol.seed
        per_class = protocol.per_class if per_class is None else per_class
    draw = _Draw(order=_draw_order(dataset.names(), seed), labels=dataset.labels(), groups=dataset.groups())
    splits, made = _divide(dataset, draw, protocol)
    if per_class is not None:
        made.append(_keep_few(splits, draw, per_class))
    held_out = draw.most_folds(splits == "train")
    if "val" not in splits and held_out >= 2 and draw.smallest_class(splits == "train") >= FEW_IMAGES:
        # Without given splits: a tenth of all images, not of what the test has left.
        anew = protocol is None and not dataset.splits and per_class is None
        share = TEST_SHARE / (1 - TEST_SHARE) if anew else VALIDATION_SHARE
        splits[draw.part(splits == "train", share, keep=1)] = "val"
        if not anew:
            made.append(VALIDATION_MADE)
    record = _record(made, splits, held_out, seed, per_class, draw)
    return dataset.with_splits(splits).subset(splits.astype(bool)), record


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Draw:
    """Draws parts of images: `order` (n,) row numbers as shuffled, labels (n,), groups (n,) or None."""

    order: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    groups: npt.NDArray[np.int64] | None

    def part(self, among: npt.NDArray[np.bool_], share: float, *, keep: int) -> npt.NDArray[np.bool_]:
        """Draw about a share of each class, at least one image, but leave `keep` images or groups: an (n,) mask."""
        counts = np.bincount(self.labels[among], minlength=self.labels.max(initial=0) + 1)
        wanted = np.minimum(counts, np.maximum(1, np.floor(counts * share + 0.5).astype(np.int64)))
        if self.groups is not None:
            return draw_groups(self.order.tolist(), self.groups, self.labels, among, wanted, keep=keep)
        ranks = _ranks(self.order, self.labels, among)
        part: npt.NDArray[np.bool_] = (ranks >= 0) & (ranks < np.minimum(wanted, counts - keep)[self.labels])
        return part

    def smallest_class(self, among: npt.NDArray[np.bool_]) -> int:
        """How many images the smallest class has."""
        return _smallest_class(self.labels[among])

    def most_folds(self, among: npt.NDArray[np.bool_]) -> int:
        """In how many parts every class can be dealt: its images, or where there are groups its groups."""
        if self.groups is None:
            return self.smallest_class(among)
        pairs = np.unique(np.stack([self.labels[among], self.groups[among]]), axis=1)
        return _smallest_class(pairs[0])


def _divide(
    dataset: ImageDataset, draw: _Draw, protocol: Protocol | None
) -> tuple[npt.NDArray[np.object_], list[str]]:
    """Each row's split, (n,) objects, and what was done in words."""
    if protocol is None:
        return _divide_as_given(dataset, draw)
    if protocol.moved is not None and "test" in dataset.splits:
        return _move_test_to_train(dataset, draw, protocol.moved)
    return _divide_by_shares(draw, protocol)


def _divide_as_given(dataset: ImageDataset, draw: _Draw) -> tuple[npt.NDArray[np.object_], list[str]]:
    """Splits as they are given, with a test taken out where there is none, and what was done in words."""
    given, splits = dataset.splits, dataset.split_names()
    made = [f"{', '.join(given)} as given"] if given else []
    if not given:
        splits[:] = "train"
    if "test" not in given and given != ("train",):
        splits[draw.part(splits == "train", TEST_SHARE, keep=2)] = "test"
        if given:
            made.append("test a stratified tenth of train")
    return splits, made


def _divide_by_shares(draw: _Draw, protocol: Protocol) -> tuple[npt.NDArray[np.object_], list[str]]:
    """Splits of all images by the protocol's shares."""
    splits = np.full(len(draw.labels), "train", dtype=object)
    splits[draw.part(splits == "train", protocol.test / 100, keep=2)] = "test"
    if protocol.val:
        splits[draw.part(splits == "train", protocol.val / (100 - protocol.test), keep=1)] = "val"
    shares = [share for share in (protocol.train, protocol.val, protocol.test) if share]
    return splits, [f"stratified {'/'.join(map(str, shares))} of all images"]


def _move_test_to_train(
    dataset: ImageDataset, draw: _Draw, moved: float
) -> tuple[npt.NDArray[np.object_], list[str]]:
    """Train and val as given, and a part of test with them."""
    splits = dataset.split_names()
    is_test = splits == "test"
    splits[:] = "train"
    free = is_test
    if draw.groups is not None:  # what belongs to an image of train as given has to join it
        free = is_test & ~np.isin(draw.groups, draw.groups[~is_test])
    splits[draw.part(free, (1 - moved) * is_test.sum() / max(1, free.sum()), keep=0)] = "test"
    return splits, [f"train, val and {100 * moved:.0f} % of test as given for training"]


def _keep_few(splits: npt.NDArray[np.object_], draw: _Draw, per_class: int) -> str:
    """Pool train and val and take the split of all but a few images of each class; says so in words."""
    pooled = " of train and val together" if "val" in splits else ""
    splits[splits == "val"] = "train"
    splits[_ranks(draw.order, draw.labels, splits == "train") >= per_class] = None
    return f"at most {per_class} images a class{pooled}"


def stratified_folds(
    labels: npt.NDArray[np.integer],
    folds: int,
    seed: int,
    *,
    groups: npt.NDArray[np.integer] | None = None,
) -> npt.NDArray[np.int64]:
    """Deal images into folds of about equal size, each with its share of every class and with whole groups.

    Args:
        labels: (n,) class of each image.
        folds: how many; at least 2 and at most the size of the smallest class present.
        seed: another seed deals otherwise.
        groups: (n,) group of each image; images of one group come into one fold.

    Returns:
        (n,) int64, the fold (0 to folds - 1) in which each image is held out.

    Raises:
        ValueError: if `folds` is out of its range.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if not 2 <= folds <= _smallest_class(labels):
        raise ValueError(f"expected 2 to {_smallest_class(labels)} folds (the smallest class), got {folds}")
    held_out = np.empty(len(labels), dtype=np.int64)
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    dealer = kind(folds, shuffle=True, random_state=seed)
    for fold, (_, rows) in enumerate(dealer.split(np.zeros(len(labels)), labels, groups)):
        held_out[rows] = fold
    return held_out


def stratified_sample(
    dataset: ImageDataset, most: int, *, least: int = 0, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Draw images of each class in proportion to its size.

    As in every draw here, a smaller sample is a part of a larger one of the same seed.

    Args:
        dataset: n images.
        most: how many to draw; more where `least` of each class are more.
        least: of each class at least so many, or all it has.
        seed: another seed draws others.

    Returns:
        Row numbers, ascending.
    """
    labels = dataset.labels()
    ranks = _ranks(_draw_order(dataset.names(), seed), labels, np.ones(len(labels), dtype=bool))
    counts = np.bincount(labels, minlength=1)
    # The share of its class that is drawn before an image: drawn in this order, all classes fill up evenly.
    place = np.where(ranks < least, -1.0, (ranks + 0.5) / counts[labels])
    order = np.lexsort((labels, place))
    return np.sort(order[: max(most, int((ranks < least).sum()))])


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


def _smallest_class(labels: npt.NDArray[np.integer]) -> int:
    counts = np.bincount(labels)
    return int(counts[counts > 0].min(initial=len(labels)))


def _record(
    made: Sequence[str],
    splits: npt.NDArray[np.object_],
    held_out: int,
    seed: int,
    per_class: int | None,
    draw: _Draw,
) -> SplitRecord:
    """The record; `made` says in words what was done besides what goes without saying."""
    has_validation = "val" in splits
    folds = 0 if has_validation or held_out < 2 else min(MOST_FOLDS, held_out)
    if not made or made[0].startswith("at most"):
        usual = "test a stratified tenth" if made else "stratified 90/10 into train and test"
        made = ["stratified 80/10/10" if has_validation and not made else usual, *made]
    if draw.groups is not None:
        made = [*made, _words_on_groups(splits, draw.groups)]
    as_given = len(made) == 1 and made[0].endswith("as given")
    return SplitRecord(
        rule=", ".join(made) + ("" if as_given else f", seed {seed}"),
        choice="validation" if has_validation else "cross-validation" if folds else "none",
        folds=folds,
        seed=seed,
        per_class=per_class,
    )


def _words_on_groups(splits: npt.NDArray[np.object_], groups: npt.NDArray[np.int64]) -> str:
    """Only splits that were given can divide a group, and then the test is no test of what is new."""
    pairs = {
        (group, split) for group, split in zip(groups.tolist(), splits, strict=True) if split is not None
    }
    divided = sum(n > 1 for n in Counter(group for group, _ in pairs).values())
    return f"{divided:,} groups divided by the splits as given" if divided else "no group divided"
