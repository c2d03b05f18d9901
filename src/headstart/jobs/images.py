"""What every job begins with: list the images, divide them, and have the features of those that can be read."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from headstart.backbones import Backbone, load_backbone
from headstart.config import ExtractConfig
from headstart.datasets import ImageDataset, Problem, SplitRecord, group_by_pattern, load_dataset
from headstart.download import Progress as DownloadProgress
from headstart.errors import DataError
from headstart.features import (
    Extraction,
    Features,
    FeatureStore,
    Progress,
    extract_features,
    measure_channels,
    measure_images,
)
from headstart.files import parse_bytes
from headstart.runtimes import RuntimeName

Extract = Callable[[ImageDataset], Extraction]
"""Has the features of images, or whatever else shows which can be read."""

Division = Callable[[ImageDataset, Sequence[Problem]], tuple[ImageDataset, SplitRecord]]
"""Gives images their splits, knowing what could not be read; raises DataError where nothing can be made of them."""


@dataclass(frozen=True, kw_only=True)
class DividedImages:
    """The readable images of a job, with splits and stored features.

    Attributes:
        dataset: n images, each with a split.
        record: how they were divided.
        features: of the n images, in order.
        problems: what could not be read.
        extracted: how many forward passes were made.
        seconds: of the extraction.
        runtime: what computed the features, where there are several.
    """

    dataset: ImageDataset
    record: SplitRecord
    features: Features
    problems: tuple[Problem, ...]
    extracted: int
    seconds: float
    runtime: RuntimeName | None

    @property
    def from_store(self) -> int:
        """How many images needed no forward pass."""
        return len(self.dataset) - self.extracted


def list_images_of(
    config: ExtractConfig,
    cache: str | os.PathLike[str] | None,
    downloads: DownloadProgress | None,
) -> ImageDataset:
    """List the images that a configuration names, with their groups; downloads a data set that is not there."""
    listed = load_dataset(config.data, cache=cache, group=config.group, progress=downloads)
    return listed if config.group_pattern is None else group_by_pattern(listed, config.group_pattern)


def load_backbone_of(config: ExtractConfig) -> Backbone:
    """The network that a configuration names, for images as it wants them."""
    return load_backbone(
        config.backbone,
        weights=config.weights,
        seed=config.seed,
        size=config.size,
        resize_mode=None if config.resize == "weights" else config.resize,
    )


def extract_layer_of(
    config: ExtractConfig, backbone: Backbone, *, store: FeatureStore, progress: Progress | None
) -> Extract:
    """Extraction of the features that a configuration names."""
    return partial(
        extract_features,
        backbone=backbone,
        layer=config.layer,
        store=store,
        device=config.device,
        runtime=None if config.runtime == "auto" else config.runtime,
        precision=config.precision,
        max_store=parse_bytes(config.max_store),
        progress=progress,
    )


def decoding_for(backbone: Backbone, *, store: FeatureStore, progress: Progress | None) -> Extract:
    """Decoding alone, which shows what can be read; what `normalise_for` needs of each image is kept."""
    return partial(measure_images, preprocess=backbone.preprocess, store=store, progress=progress)


def normalise_for(
    dataset: ImageDataset, backbone: Backbone, config: ExtractConfig, *, store: FeatureStore
) -> Backbone:
    """The network for images as a configuration has them normalised: as its weights want, or by the training images.

    Args:
        dataset: readable images with splits; those to train on are measured.
        backbone: the network, as its weights want it.
        config: with `normalise`.
        store: where each image's mean and variance are kept.

    Raises:
        DataError: a channel of the training images has the same value everywhere.
    """
    if config.normalise == "weights":
        return backbone
    measured = measure_channels(dataset.subset(dataset.rows("train")), backbone.preprocess, store=store)
    return backbone.with_preprocess(replace(backbone.preprocess, mean=measured.mean, std=measured.std))


def extract_divided(
    listed: ImageDataset,
    divide: Division,
    backbone: Backbone,
    config: ExtractConfig,
    *,
    store: FeatureStore,
    progress: Progress | None,
) -> DividedImages:
    """The features that a configuration names, of images that are normalised as it says: see `divide_and_extract`.

    Raises:
        BackboneError: there is no such layer.
        DataError: a channel of the training images has the same value everywhere; or `divide` raises it.
    """
    if config.normalise == "dataset":
        decode = decoding_for(backbone, store=store, progress=progress)
        readable = divide_and_extract(listed, divide, decode).dataset
        backbone = normalise_for(readable, backbone, config, store=store)
    return divide_and_extract(
        listed, divide, extract_layer_of(config, backbone, store=store, progress=progress)
    )


def divide_and_extract(listed: ImageDataset, divide: Division, extract: Extract) -> DividedImages:
    """Divide, extract, and leave out what cannot be read, as if it had never been there.

    Which images are unreadable is known only once they have been decoded. So they are divided again without
    these: the outcome is the same as that of a folder from which they were removed.
    """
    problems = listed.problems
    extracted, seconds = 0, 0.0
    while True:
        dataset, record = _divide(listed, problems, divide)
        got = extract(dataset)
        extracted, seconds = extracted + got.extracted, seconds + got.seconds
        if got.readable.all():
            return DividedImages(
                dataset=dataset,
                record=record,
                features=got.features,
                problems=problems,
                extracted=extracted,
                seconds=seconds,
                runtime=got.runtime,
            )
        problems += got.problems
        unreadable = set(np.array(dataset.names(), dtype=object)[~got.readable])
        listed = listed.subset(np.array([name not in unreadable for name in listed.names()]))


def _divide(
    listed: ImageDataset, problems: Sequence[Problem], divide: Division
) -> tuple[ImageDataset, SplitRecord]:
    """Divide what can be read; where that is too little to divide, the error says why."""
    try:
        return divide(listed, problems)
    except DataError as error:
        if not problems or "\n" in str(error):
            raise
        last = problems[-1]
        raise DataError(
            f"{error}\n{len(problems)} files could not be read, such as {last.path}: {last.reason}."
        ) from error
