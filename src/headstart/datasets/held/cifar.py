"""CIFAR-10 as its authors publish it for Python: pickled batches, one by one or in the .tar.gz of them all."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np
import numpy.typing as npt

from headstart.datasets.held.pickled import LabelledArrays, as_labels
from headstart.errors import DataError
from headstart.files import human_bytes
from headstart.safe_pickle import load_pickle

Array = npt.NDArray[np.uint8]

TRAIN_BATCHES: Final = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST_BATCH: Final = "test_batch"
NAMES: Final = "batches.meta"
UNPACKED: Final = "cifar-10-batches-py"

_SIDE: Final = 32
_MOST_UNPACKED: Final = 400_000_000
"""More than twice the real archive; a bomb ends there."""


def read_cifar(path: Path) -> LabelledArrays:
    """Read CIFAR-10.

    Args:
        path: one batch, beside which batches.meta is looked for; or the archive of them all (.tar.gz or .tar),
            which is read in one pass and unpacked nowhere.

    Returns:
        (N, 32, 32, 3) images; with the splits train and test, except for a single batch. Without batches.meta,
        classes are called by their numbers.

    Raises:
        DataError: a batch is missing, or is none.
        PickleRefusedError: a batch is damaged, or asks for what is not admitted.
    """
    if not path.is_file():
        raise DataError(f"There is no file {path}.")
    if path.name.lower().endswith((".tar.gz", ".tgz", ".tar")):
        return _join(_read_archive(path), path)
    return _read_batch_file(path)


def require_batches(found: Collection[str], path: Path) -> None:
    """See that all batches are there; raises DataError where one is missing."""
    if missing := [name for name in (*TRAIN_BATCHES, TEST_BATCH) if name not in found]:
        raise DataError(
            f"{path} lacks {', '.join(missing)}.\n"
            "Expected CIFAR-10 for Python: data_batch_1 to data_batch_5, test_batch and batches.meta."
        )


def _read_batch_file(path: Path) -> LabelledArrays:
    names = path.parent / NAMES
    batch = check_batch(load_pickle(path), path)
    classes = _class_names(load_pickle(names), names) if names.is_file() else None
    return _arrays({path.name: batch}, classes, path, splits=None)


def _join(found: Mapping[str, Any], path: Path) -> LabelledArrays:
    """All batches together, in their order."""
    require_batches(found, path)
    batches = {name: check_batch(found[name], path / name) for name in (*TRAIN_BATCHES, TEST_BATCH)}
    classes = _class_names(found[NAMES], path / NAMES) if NAMES in found else None
    splits = [
        "test" if name == TEST_BATCH else "train" for name, (pixels, _) in batches.items() for _ in pixels
    ]
    return _arrays(batches, classes, path, splits=tuple(splits))


def _arrays(
    batches: Mapping[str, tuple[Array, list[Any]]],
    classes: tuple[str, ...] | None,
    path: Path,
    *,
    splits: tuple[str, ...] | None,
) -> LabelledArrays:
    pixels = np.concatenate([pixels for pixels, _ in batches.values()])
    listed = [label for _, labels in batches.values() for label in labels]
    if any(isinstance(label, str) for label in listed):
        raise DataError(
            f"{path}: its labels are text; expected whole numbers, as CIFAR-10's batches have them."
        )
    labels, numbers = as_labels(listed, len(pixels), path)
    if classes is not None and len(classes) < len(numbers):
        raise DataError(
            f"{path}: {NAMES} names {len(classes)} classes, but labels go up to {len(numbers) - 1}."
        )
    return LabelledArrays(pixels=pixels, labels=labels, splits=splits, classes=classes or numbers)


def check_batch(value: object, path: Path, labels_key: str = "labels") -> tuple[Array, list[Any]]:
    """Images (n, 32, 32, 3) and labels of one batch, whose rows are all red, then all green, then all blue.

    Raises:
        DataError: it is no such batch.
    """
    data, labels = (value.get("data"), value.get(labels_key)) if isinstance(value, dict) else (None, None)
    if not isinstance(data, np.ndarray) or not isinstance(labels, list) or len(labels) != len(data):
        raise DataError(f"{path} is no batch of CIFAR: expected a pickled dict with data and {labels_key}.")
    if data.dtype != np.uint8 or data.shape[1:] != (3 * _SIDE * _SIDE,) or not len(data):
        raise DataError(f"{path}: expected data (n, 3072) uint8, got {data.shape} {data.dtype}.")
    return np.ascontiguousarray(data.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)), labels


def _class_names(value: object, path: Path) -> tuple[str, ...]:
    names = value.get("label_names") if isinstance(value, dict) else None
    if not isinstance(names, list) or not names or not all(type(name) is str for name in names):
        raise DataError(f"{path}: expected a pickled dict with label_names, a list of text.")
    if len(set(names)) != len(names):
        raise DataError(f"{path}: a name stands twice; classes are told apart by their names.")
    return tuple(names)


def _read_archive(path: Path) -> dict[str, Any]:
    """The batches in an archive by name, read as they come; what else is in it is passed over."""
    try:
        with path.open("rb") as file, _unpacked(file) as unpacked:
            bounded = cast(BinaryIO, io.BufferedReader(_Bounded(unpacked, path)))
            with tarfile.open(fileobj=bounded, mode="r|") as archive:
                return dict(_read_members(archive))
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise DataError(f"{path} is no tar archive, or a damaged one: {error}.\nFetch it again.") from error


def _unpacked(file: BinaryIO) -> BinaryIO:
    compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if compressed else file


def _read_members(archive: tarfile.TarFile) -> Iterator[tuple[str, Any]]:
    wanted = {*TRAIN_BATCHES, TEST_BATCH, NAMES}
    for member in archive:
        name = member.name.rpartition("/")[2]
        if name in wanted and member.isreg() and (file := archive.extractfile(member)) is not None:
            wanted.remove(name)
            data = io.BytesIO(file.read())
            data.name = member.name
            yield name, load_pickle(data)
        if not wanted:  # what comes after them need not even be unpacked
            return


class _Bounded(io.RawIOBase):
    """A file that refuses to give more than `_MOST_UNPACKED` bytes."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._given += len(data)
        if self._given > _MOST_UNPACKED:
            raise DataError(
                f"{self._path} unpacks to more than {human_bytes(_MOST_UNPACKED)}, so it is not CIFAR-10."
            )
        return len(data)
