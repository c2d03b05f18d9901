"""Data sets whose images are arrays in files: `.npz`, pickled dicts such as `train.p`, and CIFAR-10's batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from headstart.datasets.dataset import ImageDataset, Split, make_table
from headstart.datasets.folders.tars import first_names
from headstart.datasets.held.cifar import (
    TEST_BATCH,
    TRAIN_BATCHES,
    UNPACKED,
    read_cifar,
    require_batches,
)
from headstart.datasets.held.pickled import LabelledArrays, read_npz, read_pickled_dict
from headstart.datasets.held.pixels import ArrayFiles, JoinedFiles
from headstart.errors import DataError
from headstart.files import FileStamp, file_stamp
from headstart.images import file_reason

ARRAY_READERS: Final[Mapping[str, Callable[[Path], LabelledArrays]]] = MappingProxyType(
    {
        ".npz": read_npz,
        ".p": read_pickled_dict,
        ".pkl": read_pickled_dict,
        ".pickle": read_pickled_dict,
    }
)
"""By the lower-case suffix of a file."""

_BATCHES: Final[Mapping[str, Split]] = MappingProxyType(
    {**dict.fromkeys(TRAIN_BATCHES, "train"), TEST_BATCH: "test"}
)
_TAR_SUFFIXES: Final = (".tar.gz", ".tgz", ".tar")
# A tar archive of CIFAR begins with its folder or a batch.
_LOOK_AT: Final = 3


def read_array_file(location: str) -> ImageDataset:
    """List the images of an array file, one of `ARRAY_READERS`; pickles are read without running anything in them.

    Raises:
        DataError: the file is not there, or holds no images and labels that can be used.
        PickleRefusedError: it is damaged, or asks for what is not admitted.
    """
    path = Path(location).expanduser()
    listed = _stamp(path)
    return _dataset_of(path, listed, ARRAY_READERS[path.suffix.lower()](path))


def is_cifar(path: Path) -> bool:
    """Whether a path is CIFAR-10's folder of batches, its archive, or one batch; looks at names alone."""
    if path.is_dir():
        return any((folder / TRAIN_BATCHES[0]).is_file() for folder in (path, path / UNPACKED))
    if not path.is_file():
        return False
    return path.name in _BATCHES or (path.name.lower().endswith(_TAR_SUFFIXES) and _begins_as_cifar(path))


def _begins_as_cifar(path: Path) -> bool:
    names = [Path(name).name for name in first_names(path, _LOOK_AT)]
    return any(name in _BATCHES or name == UNPACKED for name in names)


def read_cifar_batches(location: str) -> ImageDataset:
    """List CIFAR-10 as its authors publish it for Python: a folder of batches, the archive of them, or one batch.

    Raises:
        DataError: a batch is missing, or is none.
        PickleRefusedError: a batch is damaged, or asks for what is not admitted.
    """
    path = Path(location).expanduser()
    if not path.is_dir():
        listed = _stamp(path)
        return _dataset_of(path, listed, read_cifar(path))
    folder = path / UNPACKED if (path / UNPACKED).is_dir() else path
    require_batches([name for name in _BATCHES if (folder / name).is_file()], folder)
    stamps = {name: _stamp(folder / name) for name in _BATCHES}
    batches = {name: read_cifar(folder / name) for name in _BATCHES}
    names = [(name, k) for name, batch in batches.items() for k in range(len(batch.pixels))]
    return ImageDataset(
        name=path.resolve().name,
        # Each batch with its own file, so that a changed one is noticed.
        files=JoinedFiles(
            parts={
                name: ArrayFiles(path=folder / name, listed=stamps[name], pixels=batch.pixels)
                for name, batch in batches.items()
            }
        ),
        table=make_table(
            [f"{name}/{k}" for name, k in names],
            np.concatenate([batch.labels for batch in batches.values()]),
            [_BATCHES[name] for name, _ in names],
        ),
        # Without batches.meta they are numbers, up to the largest in each batch.
        classes=max((batch.classes for batch in batches.values()), key=len),
    )


def _stamp(path: Path) -> FileStamp:
    """The stamp of a file whose pixels are yet to be read."""
    try:
        return file_stamp(path)
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {file_reason(error)}.") from error


def _dataset_of(path: Path, listed: FileStamp, arrays: LabelledArrays) -> ImageDataset:
    """The images that one file holds."""
    n = len(arrays.pixels)
    return ImageDataset(
        name=path.name.partition(".")[0] or path.name,
        files=ArrayFiles(path=path, listed=listed, pixels=arrays.pixels),
        table=make_table([str(k) for k in range(n)], arrays.labels, arrays.splits or [None] * n),
        classes=arrays.classes,
    )
