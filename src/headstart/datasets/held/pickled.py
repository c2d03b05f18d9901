"""Data sets that are arrays in a file: `train.p` of the traffic signs, CIFAR-10's batches, .npz.

Whatever is pickled is read by `headstart.safe_pickle`, which runs nothing. Images are uint8; nothing is guessed about
floating-point ones, whose range could be 0 to 1, 0 to 255 or normalised.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError
from headstart.safe_pickle import load_npz, load_pickle

SIGN_NAMES: Final = "signnames.csv"
_MOST_CLASSES: Final = 100_000

# Names under which .npz files hold images and labels, all of one split and by split.
_PAIRS: Final = (("x", "y"), ("images", "labels"), ("features", "labels"), ("data", "labels"))
_SPLIT_PAIRS: Final = {
    "train": (("x_train", "y_train"),),
    "val": (("x_val", "y_val"), ("x_valid", "y_valid")),
    "test": (("x_test", "y_test"),),
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LabelledArrays:
    """Images and labels as arrays.

    Attributes:
        pixels: (N, H, W, 3) uint8 RGB.
        labels: (N,) int64, indexes into `classes`.
        splits: for each image "train", "val" or "test"; None where the file knows of no splits.
        classes: names, in the order of the labels.
    """

    pixels: npt.NDArray[np.uint8] = dataclasses.field(repr=False)
    labels: npt.NDArray[np.int64] = dataclasses.field(repr=False)
    splits: tuple[str | None, ...] | None = dataclasses.field(repr=False)
    classes: tuple[str, ...]


def read_pickled_dict(path: Path) -> LabelledArrays:
    """Read a pickled dict of `features` and `labels`, as the traffic signs' `train.p`; other keys are passed over.

    Args:
        path: the file. `signnames.csv` (ClassId, SignName) beside it names the classes; without, they are called
            by their numbers.

    Returns:
        The images, without splits.

    Raises:
        DataError: the file is not there, or holds no images and labels that can be used.
        PickleRefusedError: it is damaged, or asks for what is not admitted.
    """
    _require_file(path)
    value = load_pickle(path)
    if not isinstance(value, dict) or not {"features", "labels"} <= value.keys():
        raise DataError(f"{path} holds no data set.\nExpected a pickled dict with features and labels.")
    return _one_split(value["features"], value["labels"], path)


def read_npz(path: Path) -> LabelledArrays:
    """Read an .npz file of images and labels.

    Args:
        path: the file: x and y, images and labels, features and labels, data and labels; or by split x_train,
            y_train, x_val, y_val (or x_valid, y_valid), x_test, y_test. Capitals do not matter. `signnames.csv`
            beside it names the classes; without, they are called by their numbers, or by themselves where they
            are text.

    Returns:
        The images, with splits where the file has them.

    Raises:
        DataError: the file is not there, or holds no images and labels that can be used.
        PickleRefusedError: it is damaged, or holds what is not admitted.
    """
    _require_file(path)
    arrays = {name.lower(): array for name, array in load_npz(path).items()}
    found = {split: pair for split, pairs in _SPLIT_PAIRS.items() if (pair := _present(arrays, pairs))}
    if found:
        return _several_splits({split: (arrays[x], arrays[y]) for split, (x, y) in found.items()}, path)
    pair = _present(arrays, _PAIRS)
    if pair is None:
        raise DataError(
            f"{path} holds {', '.join(sorted(arrays)[:8]) or 'nothing'}, and no images with labels.\n"
            "Expected x and y, images and labels, features and labels, or x_train, y_train, x_test, y_test."
        )
    return _one_split(arrays[pair[0]], arrays[pair[1]], path)


def _present(arrays: Mapping[str, object], pairs: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    return next((pair for pair in pairs if arrays.keys() >= set(pair)), None)


def _one_split(features: object, labels: object, path: Path) -> LabelledArrays:
    pixels = as_pixels(features, path)
    numbers, classes = as_labels(labels, len(pixels), path)
    return LabelledArrays(pixels=pixels, labels=numbers, splits=None, classes=_named(classes, path))


def _several_splits(parts: Mapping[str, tuple[object, object]], path: Path) -> LabelledArrays:
    pixels = [as_pixels(features, path) for features, _ in parts.values()]
    listed = [
        _label_list(labels, len(own), path) for own, (_, labels) in zip(pixels, parts.values(), strict=True)
    ]
    numbers, classes = as_labels([label for own in listed for label in own], sum(map(len, pixels)), path)
    return LabelledArrays(
        pixels=join_pixels(pixels, path),
        labels=numbers,
        splits=tuple(split for split, own in zip(parts, pixels, strict=True) for _ in own),
        classes=_named(classes, path),
    )


def join_pixels(parts: Sequence[npt.NDArray[np.uint8]], path: Path) -> npt.NDArray[np.uint8]:
    """Put several (N, H, W, 3) together; raises DataError where their images differ in size."""
    if len({part.shape[1:] for part in parts}) != 1:
        sizes = ", ".join(sorted({f"{part.shape[1]} x {part.shape[2]}" for part in parts}))
        raise DataError(f"{path}: the images of its splits differ in size ({sizes}).")
    return np.concatenate(parts)


def as_pixels(value: object, path: Path) -> npt.NDArray[np.uint8]:
    """Make (N, H, W, 3) uint8 of images in colour, or in grey as (N, H, W) or (N, H, W, 1).

    Raises:
        DataError: they are anything else.
    """
    if not isinstance(value, np.ndarray):
        raise DataError(
            f"{path}: its images are a {type(value).__name__}.\nExpected an array (N, H, W, 3) uint8."
        )
    images = value[..., None] if value.ndim == 3 else value
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise DataError(
            f"{path}: its images have the shape {value.shape}.\n"
            "Expected (N, H, W, 3), or grey as (N, H, W) or (N, H, W, 1); the channels come last. Features are for "
            "`headstart probe`."
        )
    if value.dtype != np.uint8:
        raise DataError(
            f"{path}: its images are {value.dtype}, whose range nobody can know.\n"
            "Expected uint8, 0 to 255; images of 0 to 1 become that by (images * 255).round().astype('uint8')."
        )
    return np.ascontiguousarray(np.broadcast_to(images, (*images.shape[:3], 3)))


def as_labels(value: object, count: int, path: Path) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Make numbers of labels, and names of their classes.

    Args:
        value: an array (N,) or (N, 1) or a list, of whole numbers or of text.
        count: how many images there are.
        path: the file, for the message.

    Returns:
        (N,) int64, and the names: "0" to the largest for numbers, the sorted texts for texts.

    Raises:
        DataError: they are of another kind, or not as many as there are images.
    """
    labels = _label_list(value, count, path)
    if all(isinstance(label, str) for label in labels):
        classes = sorted(set(labels))
        number = {name: i for i, name in enumerate(classes)}
        return np.array([number[label] for label in labels], np.int64), tuple(classes)
    if not all(type(label) is int and 0 <= label < _MOST_CLASSES for label in labels):
        raise DataError(f"{path}: its labels are not all whole numbers from 0 on, nor all text.")
    return np.array(labels, np.int64), tuple(str(i) for i in range(max(labels) + 1))


def _label_list(value: object, count: int, path: Path) -> list[Any]:
    """The labels as Python's own numbers or text, without looking into anything nested."""
    labels = value
    if isinstance(value, np.ndarray):
        labels = value[:, 0] if value.ndim == 2 and value.shape[1] == 1 else value
        if labels.ndim != 1:
            raise DataError(
                f"{path}: its labels have the shape {value.shape}.\n"
                "Expected one label an image, (N,) or (N, 1); of one-hot rows, labels.argmax(1)."
            )
        labels = labels.tolist()
    if not isinstance(labels, list) or len(labels) != count:
        came = len(labels) if isinstance(labels, list) else "no list or array"
        raise DataError(f"{path}: expected a label for each of its {count} images, got {came}.")
    return [label.item() if isinstance(label, np.integer | np.str_) else label for label in labels]


def _named(classes: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """The names in `signnames.csv` beside the file, where that is there and the classes are numbers."""
    names_path = path.parent / SIGN_NAMES
    if not names_path.is_file() or not all(name.isdecimal() for name in classes):
        return classes
    names = read_sign_names(names_path)
    if len(names) < len(classes):
        raise DataError(
            f"{names_path} names {len(names)} classes, but {path} has labels up to {len(classes) - 1}."
        )
    return names


def read_sign_names(path: Path) -> tuple[str, ...]:
    """Read class names from a CSV table with the columns ClassId (0, 1, 2, ...) and SignName, in any order.

    Raises:
        DataError: columns or numbers are missing, or a number or name stands twice.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table in UTF-8: {error}.") from error
    pairs = [((row.get("ClassId") or "").strip(), (row.get("SignName") or "").strip()) for row in rows]
    names = {int(number): name for number, name in pairs if number.isdecimal() and name}
    if not names or len(names) != len(rows) or sorted(names) != list(range(len(names))):
        raise DataError(f"{path}: expected the columns ClassId, 0 to the last without a gap, and SignName.")
    if len(set(names.values())) != len(names):
        raise DataError(f"{path}: a name stands twice; classes are told apart by their names.")
    return tuple(names[i] for i in range(len(names)))


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"There is no file {path}.")
