"""Ranking backbones without training: what a sample's frozen features tell of each.

One forward pass over a sample of the training images gives the pooled features, and these an accuracy of linear
probes and of nearest neighbours out of fold, and LogME. The features go through the store, so that whatever is done
next with the backbone that was chosen finds them there.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headstart.backbones import Backbone, find_card, imagenet_accuracy, list_backbones, parse_weights
from headstart.config import DEFAULT_ESTIMATOR, DEFAULT_SAMPLE, Estimator, ExtractConfig
from headstart.datasets import ImageDataset, Problem
from headstart.download import Progress as DownloadProgress
from headstart.errors import BackboneError, ConfigError, DataError
from headstart.features import FeatureStore, Progress
from headstart.jobs.defaults import size_for
from headstart.jobs.images import (
    DividedImages,
    extract_divided,
    list_images_of,
    load_backbone_of,
)
from headstart.jobs.sampling import deal_folds, training_sample
from headstart.metrics import Scores, logme, paired_permutation, score_predictions
from headstart.training import fit_head

_NO_LIMIT: Final = 10_000  # pixels: weights set the limit, each their own
_SURE: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class RankedBackbone:
    """What a sample tells of one backbone.

    Attributes:
        name: of the backbone.
        size: side of its input in pixels: that of its weights, or of the photos where they are smaller.
        parameters: of the whole network.
        width: values of one image's features.
        extracted: how many forward passes were made; the rest was in the store.
        feature_seconds: how long the features took, without loading the network.
        estimate_seconds: how long the estimates took.
        probe: scores of linear probes on the sample, out of fold.
        knn: share of the sample that nearest neighbours classify right, out of fold.
        logme: log evidence per image, mean over the classes.
        imagenet: accuracy on ImageNet as published; None where it is not known.
        right: (n,) whether the probes classified each image right.
        behind: by how much the probes are behind the first backbone's, as a share of 1; 0 for the first.
        p: of a paired permutation test of that difference; 1 for the first.
    """

    name: str
    size: int
    parameters: int
    width: int
    extracted: int
    feature_seconds: float
    estimate_seconds: float
    probe: Scores
    knn: float
    logme: float
    imagenet: float | None
    right: NDArray[np.bool_]
    behind: float = 0.0
    p: float = 1.0

    @property
    def ties(self) -> bool:
        """Whether the difference to the first is within what the sampling of images explains."""
        return self.p > _SURE


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A backbone that could not be judged, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Backbones, the most promising first.

    Attributes:
        by: what they are sorted by.
        backbones: those that could be judged.
        left_out: the others.
        images: how many images the sample has.
        of: how many training images there are.
        classes: how many classes.
        folds: how many folds the cross-validation had.
        grouped: whether groups were kept whole.
        problems: what could not be read.
        notes: whole sentences on what was left out.
    """

    by: Estimator
    backbones: tuple[RankedBackbone, ...]
    left_out: tuple[LeftOut, ...]
    images: int
    of: int
    classes: int
    folds: int
    grouped: bool
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def ties(self) -> tuple[str, ...]:
        """The backbones that the sample cannot tell from the first, without it."""
        return tuple(each.name for each in self.backbones[1:] if each.ties)


_ORDERS: Final[Mapping[Estimator, Callable[[RankedBackbone], tuple[float, ...]]]] = MappingProxyType(
    {
        "probe": lambda each: (-each.probe.accuracy, each.probe.log_loss),
        "knn": lambda each: (-each.knn, -each.probe.accuracy),
        "logme": lambda each: (-each.logme,),
    }
)
"""What is sorted by, the smallest first; the second number decides between equals."""


def rank_backbones(
    config: ExtractConfig,
    backbones: Sequence[str] = (),
    *,
    weights: Sequence[str] = (),
    sample: int = DEFAULT_SAMPLE,
    by: Estimator = DEFAULT_ESTIMATOR,
    store: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    downloads: DownloadProgress | None = None,
    begin: Callable[[str], object] | None = None,
) -> Ranking:
    """Rank backbones by what a sample of the training images tells of them; test images are not looked at.

    They look at the photos as fine-tuning does: as large as their weights want it, or where the photos are smaller,
    as large as these.

    Args:
        config: the photos, how they are divided and seen; its backbone and weights do not count.
        backbones: names; by default all whose weights are on this machine.
        weights: as `--weights` takes them: NAME=FILE for one backbone, or a word or file for all.
        sample: how many training images to look at, a stratified draw; at least five of each class, if it has them.
        by: what to sort by.
        store: folder of the feature store; by default the user's own.
        progress: told how far an extraction is, in images.
        downloads: told how far the download of a data set is, in bytes.
        begin: told of each backbone before its turn.

    Returns:
        The ranking. A backbone that cannot be had is left out of it, with the reason.

    Raises:
        ConfigError: a number cannot be used, or a backbone is named twice.
        DataError: the photos cannot be used, or fewer than two classes have several training images.
        BackboneError: there is no backbone of a name, none can be had, or `weights` names another one.
        StoreError: the store cannot be used.
    """
    names = _choose(backbones, sample)
    chosen = parse_weights(weights, names)
    listed = list_images_of(config, store, downloads)
    training, _ = training_sample(config, None, validation=False)(listed, ())
    looker = _Looker(
        listed=listed, sample=sample, photos_size=size_for(training, _NO_LIMIT), store=FeatureStore(store)
    )
    looks: list[_Look] = []
    left_out: list[LeftOut] = []
    for name in names:
        if begin is not None:
            begin(name)
        try:
            looks.append(looker.look(replace(config, backbone=name, weights=chosen[name]), progress))
        except BackboneError as error:
            left_out.append(LeftOut(name=name, reason=str(error)))
    if not looks:
        raise BackboneError(_nothing_left(left_out))
    _require_same_images(looks)
    first, ordered = looks[0], sorted((look.judged for look in looks), key=_ORDERS[by])
    groups = first.images.dataset.groups()
    return Ranking(
        by=by,
        backbones=tuple(_compare(each, ordered[0], groups) for each in ordered),
        left_out=tuple(left_out),
        images=len(first.images.dataset),
        of=len(training),
        classes=len(np.unique(first.images.dataset.labels())),
        folds=first.folds,
        grouped=groups is not None,
        problems=first.images.problems,
        notes=first.images.dataset.notes,
    )


def _choose(backbones: Sequence[str], sample: int) -> list[str]:
    """The names to rank, once nothing is wrong with what was asked for."""
    for name in backbones:
        find_card(name)  # a mistyped name is told of before anything is computed
    faults = [f"{name} is named twice" for name in dict.fromkeys(backbones) if backbones.count(name) > 1]
    if sample < 2:
        faults.append(f"sample is {sample}; expected at least 2 images")
    if faults:
        raise ConfigError("; ".join(faults) + ".")
    return list(backbones) or [card.name for card in list_backbones() if card.weights_here]


@dataclass(frozen=True, kw_only=True)
class _Look:
    """One backbone's look at the sample."""

    images: DividedImages
    folds: int
    judged: RankedBackbone


@dataclass(frozen=True, kw_only=True)
class _Looker:
    """Looks at the same images with one backbone after the other."""

    listed: ImageDataset
    sample: int
    photos_size: int
    store: FeatureStore

    def look(self, config: ExtractConfig, progress: Progress | None) -> _Look:
        """Extract one backbone's features, and judge them."""
        backbone = self._load(config)
        divide = training_sample(config, self.sample, validation=False)
        images = extract_divided(self.listed, divide, backbone, config, store=self.store, progress=progress)
        start = time.perf_counter()
        folds, count = deal_folds(images.dataset, config.seed)
        features = images.features.load()
        labels, groups = images.dataset.labels().astype(np.int64), images.dataset.groups()
        n_classes = len(images.dataset.classes)
        probe, knn = (
            fit_head(features, labels, n_classes=n_classes, kind=kind, folds=folds).validation_probabilities
            for kind in ("linear", "knn")
        )
        assert probe is not None  # there are folds
        assert knn is not None
        judged = RankedBackbone(
            name=config.backbone,
            size=backbone.preprocess.size,
            parameters=sum(each.numel() for each in backbone.network.parameters()),
            width=int(np.prod(features.shape[1:])),
            extracted=images.extracted,
            feature_seconds=images.seconds,
            probe=score_predictions(probe, labels, groups=groups),
            knn=float((knn.argmax(axis=1) == labels).mean()),
            logme=logme(features, labels),
            imagenet=imagenet_accuracy(backbone),
            right=probe.argmax(axis=1) == labels,
            estimate_seconds=time.perf_counter() - start,
        )
        return _Look(images=images, folds=count, judged=judged)

    def _load(self, config: ExtractConfig) -> Backbone:
        """The backbone for photos of the size that it would be fine-tuned at, or of its own where it takes no other."""
        backbone = load_backbone_of(config)
        if config.size is not None or self.photos_size >= backbone.preprocess.size:
            return backbone
        try:
            return load_backbone_of(replace(config, size=self.photos_size))
        except BackboneError:  # a transformer of fixed positions; its row shows the size
            return backbone


def _require_same_images(looks: Sequence[_Look]) -> None:
    if any(look.images.features.sha256s != looks[0].images.features.sha256s for look in looks):
        raise DataError(
            "The photos changed while they were looked at: the backbones did not see the same ones.\nRun it again."
        )


def _compare(each: RankedBackbone, first: RankedBackbone, groups: NDArray[np.int64] | None) -> RankedBackbone:
    """How far a backbone is behind the first, and how surely: images, or whole groups, change their sign at random."""
    behind = float(first.right.mean() - each.right.mean())
    p = paired_permutation(first.right.astype(np.int64), each.right.astype(np.int64), groups=groups)
    return replace(each, behind=behind, p=p)


def _nothing_left(left_out: Sequence[LeftOut]) -> str:
    first = left_out[0]
    others = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
    reason = first.reason.replace("\n", " ")
    return f"None of the backbones can be had.\n{first.name}{others}: {reason}"
