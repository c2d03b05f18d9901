"""A data set from two sequences, as scikit-learn's estimators are given them."""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Iterable, Sequence

from headstart.datasets.dataset import ImageDataset, Split, make_table
from headstart.errors import DataError


def dataset_from_arrays(
    paths: Sequence[str | os.PathLike[str]],
    labels: Iterable[Hashable],
    *,
    split: Split | None = "train",
    name: str = "arrays",
) -> ImageDataset:
    """Make a data set of image files and their labels.

    Args:
        paths: n files, kept in this order.
        labels: n labels of one sortable kind (strings, numbers, ...).
        split: the split of all of them; None lets `assign_splits` take a test set out of them.
        name: what to call the data set in reports.

    Returns:
        n rows; `classes` are the labels as text, sorted as `numpy.unique` sorts the labels themselves.

    Raises:
        DataError: if the lengths differ, there is no image, or the labels cannot be told apart or sorted.
    """
    values = list(labels)
    if len(paths) != len(values):
        raise DataError(f"Expected as many labels as paths, got {len(values)} and {len(paths)}.")
    if not values:
        raise DataError("Expected at least one image, got none.")
    distinct = _sorted_labels(values)
    number = {label: index for index, label in enumerate(distinct)}
    return ImageDataset(
        name=name,
        table=make_table(
            [_path_text(path) for path in paths], [number[label] for label in values], [split] * len(values)
        ),
        classes=tuple(str(label) for label in distinct),
    )


def _sorted_labels(values: Sequence[Hashable]) -> list[Hashable]:
    try:
        distinct = sorted(set(values))  # type: ignore[type-var]
    except TypeError as error:
        raise DataError(
            "Labels are of one sortable kind, such as strings or numbers, one for each image; several labels "
            f"for an image cannot be used yet ({error})."
        ) from error
    if len({str(label) for label in distinct}) < len(distinct) or any(map(_is_nan, distinct)):
        raise DataError("Labels are told apart by their text, and none is missing or NaN; these are not.")
    return distinct


def _is_nan(label: Hashable) -> bool:
    return isinstance(label, float) and math.isnan(label)


def _path_text(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{text!r}: the file's name is not valid UTF-8. Rename it.") from error
    return text
