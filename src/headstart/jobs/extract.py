"""Extract the features of a data set and write them to files for other programs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headstart.config import ExtractConfig
from headstart.datasets import ImageDataset, Problem, Split, SplitRecord, assign_splits
from headstart.download import Progress as DownloadProgress
from headstart.errors import DataError
from headstart.features import (
    FeatureStore,
    FeatureTable,
    Progress,
    check_writable,
    write_features,
)
from headstart.files import make_folder
from headstart.jobs.bottleneck import PER_CLASS, bottleneck_names, split_bottleneck
from headstart.jobs.images import (
    DividedImages,
    Division,
    extract_divided,
    list_images_of,
    load_backbone_of,
)


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
    downloads: DownloadProgress | None = None,
) -> ExtractedFiles:
    """Write the features of all images to one file, with labels and where the format has them paths, splits and groups.

    The splits are those that `train` makes with the same options; but where all images are given to train, no test
    is taken out of them, as whoever reads the file tests elsewhere.

    Args:
        config: the photos, the network and where it is cut.
        out: the file, `.p`, `.npz` or `.parquet`.
        store: folder of the feature store; by default the user's own.
        progress: told how far the extraction is, in images.
        downloads: told how far the download of a data set is, in bytes.

    Raises:
        DataError: the photos cannot be used as they are, or there is no such format or folder.
        BackboneError: there is no such backbone or layer.
        DownloadError: a data set that has a name cannot be fetched.
        StoreError: the store cannot be used.
        DiskFullError: there is no room.
    """
    file = Path(out)
    check_writable(file)

    def divide(images: ImageDataset, problems: Sequence[Problem]) -> tuple[ImageDataset, SplitRecord]:
        return assign_splits(images, split=config.split, seed=config.seed, per_class=config.per_class)

    got = _extract(list_images_of(config, store, downloads), config, store, progress, divide)
    return got.written([_write(file, got.table(), got.images.record.rule)])


def extract_bottleneck(
    config: ExtractConfig,
    out: str | os.PathLike[str],
    *,
    store: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    downloads: DownloadProgress | None = None,
) -> ExtractedFiles:
    """Write the two files of features that programs on bottleneck features read, under their own names.

    See `jobs.bottleneck` for the names and for which images are in them; `per_class` is 100 where it is not set.

    Args:
        config: the photos, the network and where it is cut.
        out: the folder of the files; it is made where it is missing.
        store: folder of the feature store; by default the user's own.
        progress: told how far the extraction is, in images.
        downloads: told how far the download of a data set is, in bytes.

    Raises:
        DataError: the photos cannot be used as they are, or the folder cannot be made.
        BackboneError: there is no such backbone or layer.
        DownloadError: a data set that has a name cannot be fetched.
        StoreError: the store cannot be used.
        DiskFullError: there is no room.
    """
    folder = make_folder(Path(out))
    size = config.per_class or PER_CLASS

    def divide(images: ImageDataset, problems: Sequence[Problem]) -> tuple[ImageDataset, SplitRecord]:
        return split_bottleneck(images, split=config.split, size=size, seed=config.seed)

    got = _extract(list_images_of(config, store, downloads), config, store, progress, divide)
    names = bottleneck_names(config.backbone, got.images.dataset.name, size)
    return got.written(
        [
            _write(folder / names[0], got.table("train"), f"training, at most {size} a class"),
            _write(folder / names[1], got.table("val"), f"validation; {got.images.record.rule}"),
        ]
    )


@dataclass(frozen=True, kw_only=True)
class _Extracted:
    """What was extracted, on its way into files."""

    images: DividedImages

    def table(self, split: Split | None = None) -> FeatureTable:
        """The features of one split, or of all, with what is known of the images."""
        dataset = self.images.dataset
        rows = dataset.rows(split)
        if not len(rows):
            raise DataError(f"No readable image of {dataset.name} is left for {split or 'the file'}.")
        features, groups = self.images.features, dataset.groups()
        return FeatureTable(
            features=replace(features, sha256s=tuple(features.sha256s[row] for row in rows)).load(),
            labels=dataset.labels(split).astype(np.int64),
            classes=dataset.classes,
            names=tuple(dataset.names(split)),
            splits=tuple(dataset.split_names()[rows]),
            groups=None if groups is None else groups[rows],
        )

    def written(self, files: list[WrittenFile]) -> ExtractedFiles:
        """The account of it all."""
        return ExtractedFiles(
            files=tuple(files),
            problems=self.images.problems,
            extracted=self.images.extracted,
            from_store=self.images.from_store,
            seconds=self.images.seconds,
        )


def _extract(
    listed: ImageDataset,
    config: ExtractConfig,
    store: str | os.PathLike[str] | None,
    progress: Progress | None,
    divide: Division,
) -> _Extracted:
    def divide_some(images: ImageDataset, problems: Sequence[Problem]) -> tuple[ImageDataset, SplitRecord]:
        if not len(images):
            raise DataError(
                f"None of the {len(problems)} images of {images.name} can be read.\n"
                f"The first, {problems[0].path}: {problems[0].reason}."
            )
        return divide(images, problems)

    backbone, features = load_backbone_of(config), FeatureStore(store)
    return _Extracted(
        images=extract_divided(listed, divide_some, backbone, config, store=features, progress=progress)
    )


def _write(file: Path, table: FeatureTable, words: str) -> WrittenFile:
    write_features(file, table)
    return WrittenFile(path=file, images=len(table), shape=table.features.shape[1:], words=words)
