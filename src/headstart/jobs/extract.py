"""Extract the features of a data set and write them to files for other programs."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headstart.backbones import Backbone, load_backbone
from headstart.config import ExtractConfig
from headstart.datasets import ImageDataset, Problem, Split, assign_splits, load_dataset
from headstart.errors import DataError
from headstart.features import (
    Extraction,
    FeatureStore,
    FeatureTable,
    Progress,
    check_writable,
    extract_features,
    write_features,
)
from headstart.jobs.bottleneck import PER_CLASS, bottleneck_names, split_bottleneck
from headstart.jobs.common import named_problems

SplitRule = Callable[[ImageDataset], tuple[ImageDataset, str]]


@dataclass(frozen=True, kw_only=True)
class WrittenFile:
    """A file of features.

    Attributes:
        path: where it is.
        images: how many it holds.
        shape: of one image's features, as the network gave them.
        words: which images they are.
    """

    path: Path
    images: int
    shape: tuple[int, ...]
    words: str


@dataclass(frozen=True, kw_only=True)
class ExtractedFiles:
    """What an extraction wrote.

    Attributes:
        files: the files, training before validation.
        problems: images that could not be read and were left out.
        extracted: how many forward passes were made.
        from_store: how many images needed none.
        seconds: how long the features took.
    """

    files: tuple[WrittenFile, ...]
    problems: tuple[Problem, ...]
    extracted: int
    from_store: int
    seconds: float


def extract(
    config: ExtractConfig,
    out: str | os.PathLike[str],
    *,
    store: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> ExtractedFiles:
    """Write the features of all images to one file, with labels and where the format has them paths and splits.

    The splits are those that `train` makes with the same options.

    Args:
        config: the photos, the network and where it is cut.
        out: the file, `.p`, `.npz` or `.parquet`.
        store: folder of the feature store; by default the user's own.
        progress: told how far the extraction is, in images.

    Raises:
        DataError: the photos cannot be used as they are, or there is no such format or folder.
        BackboneError: there is no such backbone or layer.
        StoreError: the store cannot be used.
        DiskFullError: there is no room.
    """
    file = Path(out)
    check_writable(file)

    def split(dataset: ImageDataset) -> tuple[ImageDataset, str]:
        made, record = assign_splits(dataset, seed=config.seed, per_class=config.per_class)
        return made, record.rule

    got = _extract(config, store, progress, split)
    return got.written([_write(file, got.table(), got.words)])


def extract_bottleneck(
    config: ExtractConfig,
    out: str | os.PathLike[str],
    *,
    store: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> ExtractedFiles:
    """Write the two files of features that programs on bottleneck features read, under their own names.

    See `jobs.bottleneck` for the names and for which images are in them; `per_class` is 100 where it is not set.

    Args:
        config: the photos, the network and where it is cut.
        out: the folder of the files; it is made where it is missing.
        store: folder of the feature store; by default the user's own.
        progress: told how far the extraction is, in images.

    Raises:
        DataError: the photos cannot be used as they are, or the folder cannot be made.
        BackboneError: there is no such backbone or layer.
        StoreError: the store cannot be used.
        DiskFullError: there is no room.
    """
    folder = _make_folder(Path(out))
    size = config.per_class or PER_CLASS
    got = _extract(
        config, store, progress, lambda dataset: split_bottleneck(dataset, size=size, seed=config.seed)
    )
    names = bottleneck_names(config.backbone, got.dataset.name, size)
    return got.written(
        [
            _write(folder / names[0], got.table("train"), f"training, at most {size} a class"),
            _write(folder / names[1], got.table("val"), f"validation, {got.words}"),
        ]
    )


@dataclass(frozen=True, kw_only=True)
class _Extracted:
    """Features of the readable images of a data set that has splits."""

    dataset: ImageDataset
    words: str
    got: Extraction
    problems: tuple[Problem, ...]
    extracted: int
    seconds: float

    def table(self, split: Split | None = None) -> FeatureTable:
        """The features of one split, or of all, with what is known of the images."""
        rows = self.dataset.rows(split)
        if not len(rows):
            raise DataError(
                f"No readable image of {self.dataset.name} is left in its {split or 'whole'} part."
            )
        features = self.got.features
        return FeatureTable(
            features=replace(features, sha256s=tuple(features.sha256s[row] for row in rows)).load(),
            labels=self.dataset.labels(split).astype(np.int64),
            classes=self.dataset.classes,
            names=tuple(self.dataset.names(split)),
            splits=tuple(self.dataset.split_names()[rows]),
        )

    def written(self, files: list[WrittenFile]) -> ExtractedFiles:
        """The account of it all."""
        return ExtractedFiles(
            files=tuple(files),
            problems=self.problems,
            extracted=self.extracted,
            from_store=len(self.dataset) - self.extracted,
            seconds=self.seconds,
        )


def _extract(
    config: ExtractConfig, store: str | os.PathLike[str] | None, progress: Progress | None, split: SplitRule
) -> _Extracted:
    """Split, extract, and split again without what cannot be read, as if it had never been there."""
    listed = load_dataset(config.data)
    backbone = load_backbone(config.backbone, weights=config.weights, seed=config.seed)
    opened = FeatureStore(store)
    problems, extracted, seconds = listed.problems, 0, 0.0
    while True:
        dataset, words = split(listed)
        got = _features(dataset, config, backbone, opened, progress)
        extracted, seconds = extracted + got.extracted, seconds + got.seconds
        if got.readable.all():
            return _Extracted(
                dataset=dataset, words=words, got=got, problems=problems, extracted=extracted, seconds=seconds
            )
        problems += named_problems(dataset, got)
        unreadable = set(np.array(dataset.names(), dtype=object)[~got.readable])
        listed = listed.subset(np.array([name not in unreadable for name in listed.names()]))
        if not len(listed):
            raise DataError(
                f"None of the {len(problems)} images of {listed.name} can be read.\n"
                f"The first, {problems[0].path}: {problems[0].reason}."
            )


def _features(
    dataset: ImageDataset,
    config: ExtractConfig,
    backbone: Backbone,
    store: FeatureStore,
    progress: Progress | None,
) -> Extraction:
    return extract_features(
        dataset.paths(), backbone, layer=config.layer, store=store, device=config.device, progress=progress
    )


def _write(file: Path, table: FeatureTable, words: str) -> WrittenFile:
    write_features(file, table)
    return WrittenFile(path=file, images=len(table), shape=table.features.shape[1:], words=words)


def _make_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The folder {folder} cannot be made: {error.strerror}.") from error
    return folder
