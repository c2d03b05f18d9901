"""A data set from class folders in a zip or tar archive, read in place: nothing is written to disk.

The layouts are those of a folder (`folders.layout`), and one folder of any name around it all is looked through.
Members that are links or devices, or whose names lead out of the archive, are passed over and counted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from headstart.datasets.dataset import ImageDataset
from headstart.datasets.files import ImageFiles
from headstart.datasets.folders.layout import EXPECTED, read_tree
from headstart.datasets.folders.name_tree import Contents, NameTree
from headstart.datasets.folders.tars import list_tar
from headstart.datasets.folders.walk import printable
from headstart.datasets.folders.zips import list_zip
from headstart.errors import DataError, name_some
from headstart.images import file_reason

ARCHIVE_SUFFIXES: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
"""Lower-case ends of the names of archives that can be read."""

_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        ".p": "pickled arrays",
        ".pkl": "pickled arrays",
        ".pickle": "pickled arrays",
        ".npz": "arrays",
        ".npy": "arrays",
        ".csv": "a table",
        ".tsv": "a table",
        ".parquet": "a table",
        ".zip": "another archive",
        ".tar": "another archive",
        ".tgz": "another archive",
        ".gz": "another archive",
    }
)
_ZIP_BEGINS: Final = (b"PK\x03\x04", b"PK\x05\x06")
_CIFAR: Final = ("data_batch_", "test_batch")


def read_archive(location: str) -> ImageDataset:
    """List the class folders of an archive without decoding an image.

    Args:
        location: a file with one of `ARCHIVE_SUFFIXES`.

    Returns:
        The images: of a zip archive sorted by path, of a tar archive in its own order, in which alone it can be
        read in one pass.

    Raises:
        DataError: the archive is missing or damaged, or does not hold at least two classes of images.
    """
    path = Path(location).expanduser()
    try:
        is_zip = _is_zip(path)
        contents, files = list_zip(path) if is_zip else list_tar(path)
    except OSError as error:
        raise DataError(f"Cannot read the archive {path}: {file_reason(error)}.") from error
    dataset = _dataset_of(path, contents, files)
    return dataset if is_zip else _in_order(dataset, contents.members)


def _is_zip(path: Path) -> bool:
    """Whatever the name says, where the first bytes are those of a zip archive."""
    with path.open("rb") as file:
        return file.read(4) in _ZIP_BEGINS or path.suffix.lower() == ".zip"


def _dataset_of(path: Path, contents: Contents, files: ImageFiles) -> ImageDataset:
    name = _name_of(path)
    tree = NameTree(str(path), name, contents)
    everything = tree.find("")
    if not everything.images and not everything.problems:
        raise DataError(f"{path} holds no image, but {_described(contents.members)}. {EXPECTED} in it.")
    dataset = read_tree(tree, name=name, files=files)
    notes = []
    if contents.passed_over:
        notes.append(
            f"{contents.passed_over:,} entries of the archive were passed over: links, devices, names that lead out of "
            "it, or names that come again later."
        )
    return dataclasses.replace(
        dataset, passed_over=dataset.passed_over + contents.passed_over, notes=(*dataset.notes, *notes)
    )


def _name_of(path: Path) -> str:
    suffix = max((end for end in ARCHIVE_SUFFIXES if path.name.lower().endswith(end)), key=len, default="")
    return path.name[: len(path.name) - len(suffix)] or path.name


def _in_order(dataset: ImageDataset, names: Iterable[str]) -> ImageDataset:
    """Sort the rows as the archive has its members."""
    place = {name: i for i, name in enumerate(names)}
    return dataset.subset(np.argsort([place[name] for name in dataset.names()]))


def _described(names: Iterable[str]) -> str:
    """What an archive holds in place of images."""
    files = [name.rpartition("/")[2] for name in names]
    if not files:
        return "nothing at all"
    if any(name.startswith(_CIFAR) for name in files):
        return f"the Python batches of CIFAR ({_some(files)})"
    kinds = {_KINDS[suffix] for name in files if (suffix := Path(name).suffix.lower()) in _KINDS}
    return f"{' and '.join(sorted(kinds)) or 'other files'} ({_some(files)})"


def _some(names: list[str]) -> str:
    return name_some([printable(name) for name in names], 3)
