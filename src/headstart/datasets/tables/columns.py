"""What the columns of a table mean, whatever kind of file it is: image, label, split and group."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headstart.datasets.dataset import ImageDataset, Split, make_table
from headstart.datasets.files import ImageFiles
from headstart.datasets.names import SPLIT_NAMES, check_known_to_train, listed
from headstart.errors import DataError, name_some

# The first line is what the documentation promises; the second is looked at where the first finds nothing.
_IMAGE: Final = (("path", "file", "filename", "image"), ("filepath", "imagepath", "img"))
_LABEL: Final = (("label", "class", "target"), ("classid", "classname"))
_SPLIT: Final = (("split",),)
_GROUP: Final = (("group",),)
_WHOLE_NUMBER: Final = re.compile(r"-?[0-9]+")
_LOOKED_FOR: Final = 20
_NAMED: Final = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Columns:
    """The names of a table's columns, as the table writes them.

    Attributes:
        image: with the path or the bytes of each image.
        label: with its class.
        split, group: likewise; None where the table has no such column.
    """

    image: str
    label: str
    split: str | None
    group: str | None

    def beside_image(self) -> list[str]:
        """All but the images."""
        return [name for name in (self.label, self.split, self.group) if name is not None]


def choose_columns(names: Sequence[str], group: str | None, table: Path) -> Columns:
    """Find the columns of a table; upper and lower case, ``_``, ``-`` and spaces in their names do not count.

    Args:
        names: those of all columns.
        group: the name of the column that says what belongs together; None takes one called ``group``.
        table: the file, for messages.

    Raises:
        DataError: a column is missing, or there are several that it could be, or several of one name.
    """
    if doubled := {name for name in names if names.count(name) > 1}:
        raise DataError(f"{table} has several columns called {listed(map(repr, doubled))}. Rename them.")
    image = _find(names, _IMAGE, table)
    label = _find(names, _LABEL, table)
    if image is None or label is None:
        missing = [
            f"{what} ({', '.join(words[0])})"
            for what, words, name in (("the image", _IMAGE, image), ("its label", _LABEL, label))
            if name is None
        ]
        raise DataError(
            f"{table} has no column for {' and none for '.join(missing)}; its columns: {_quoted(names)}.\n"
            "Expected one of these names for each, in any case; and, if you like, split (train, val, test) and group."
        )
    wanted = _GROUP if group is None else ((_plain(group),),)
    found = _find(names, wanted, table)
    if group is not None and found is None:
        raise DataError(f"{table} has no column {group!r} for the groups; its columns: {_quoted(names)}.")
    return Columns(image=image, label=label, split=_find(names, _SPLIT, table), group=found)


def _find(names: Sequence[str], words: Sequence[Sequence[str]], table: Path) -> str | None:
    """The one column that is called like one of the words; the first line of words that is met decides."""
    for line in words:
        found = [name for name in names if _plain(name) in line]
        if len(found) > 1:
            raise DataError(
                f"{table} has several columns that could be meant: {', '.join(found)}. "
                "Rename all but the one that counts."
            )
        if found:
            return found[0]
    return None


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.casefold())


def _quoted(names: Sequence[str]) -> str:
    return name_some([repr(name) for name in names], 20) or "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """What a table says of its n images.

    Attributes:
        table: the file or folder, for messages; its name is the data set's.
        files: where the images' bytes are read from.
        names: (n) what `files` knows the images by.
        labels: (n) text, whole numbers or yes and no.
        class_names: names of the labels that are whole numbers from 0; None where labels name themselves.
        splits, groups: (n), or None.
    """

    table: Path
    files: ImageFiles
    names: Sequence[str]
    labels: pa.Array[Any]
    class_names: Sequence[str] | None
    splits: pa.Array[Any] | None
    groups: pa.Array[Any] | None


def dataset_of_rows(rows: Rows) -> ImageDataset:
    """Make a data set that keeps the order of a table's rows.

    Raises:
        DataError: a label, split or group is missing or means nothing, or there are not two classes.
    """
    labels, classes = _encode_labels(rows)
    splits = _read_splits(rows)
    if len(classes) < 2:
        found = f"images of one class only, {classes[0]!r}" if classes else "no image"
        raise DataError(f"{rows.table} holds {found}; a classifier needs at least two classes.")
    _check_splits(labels, classes, splits)
    return ImageDataset(
        name=rows.table.stem,
        files=rows.files,
        table=make_table(rows.names, labels, splits, _read_groups(rows)),
        classes=classes,
    )


def _encode_labels(rows: Rows) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    """Labels as (n,) indices into the class names, which are sorted."""
    kind = rows.labels.type
    if not (pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise DataError(f"{rows.table} has labels of the type {kind}; expected text or whole numbers.")
    _refuse_empty(rows.labels, "label", rows.table)
    encoded = rows.labels.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    names = _names_of(values, rows)
    order = sorted(range(len(values)), key=_sorting_keys(values).__getitem__)
    number = np.empty(len(values), np.int32)
    number[order] = np.arange(len(values))
    return number[encoded.indices.to_numpy()], tuple(names[i] for i in order)


def _names_of(values: Sequence[Any], rows: Rows) -> list[str]:
    if rows.class_names is None or not all(isinstance(value, int) for value in values):
        return [str(value) for value in values]
    if wrong := [value for value in values if not 0 <= value < len(rows.class_names)]:
        bad = np.isin(rows.labels.to_numpy(), wrong)
        raise DataError(
            f"{rows.table}: {_row_numbers(bad)} the label {wrong[0]}, but there are names for "
            f"0 to {len(rows.class_names) - 1} only."
        )
    return [rows.class_names[value] for value in values]


def _sorting_keys(values: Sequence[Any]) -> list[Any]:
    """Whole numbers sort as numbers even where they are text: "2" before "10", and "007" stays apart from "7"."""
    if all(isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value) for value in values):
        return [(int(value), value) for value in values]
    return list(values)


def _read_splits(rows: Rows) -> npt.NDArray[np.object_]:
    """Each row's split, (n,) "train", "val", "test" or None."""
    if rows.splits is None:
        return np.full(len(rows.names), None, dtype=object)
    texts = [text or "" for text in tidy_text(rows.splits, "split", rows.table).to_pylist()]
    encoded = pa.array(texts, pa.string()).dictionary_encode()
    meaning: list[Split | None] = []
    for code, text in enumerate(map(str, encoded.dictionary.to_pylist())):
        split = SPLIT_NAMES.get(text.casefold())
        if split is None and text:
            bad = encoded.indices.to_numpy() == code
            raise DataError(
                f"{rows.table}: {_row_numbers(bad)} the split {text!r}; expected train, val or test, "
                "or nothing in all rows."
            )
        meaning.append(split)
    splits: npt.NDArray[np.object_] = np.array(meaning, dtype=object)[encoded.indices.to_numpy()]
    return splits


def _read_groups(rows: Rows) -> list[str] | None:
    if rows.groups is None:
        return None
    groups = tidy_text(rows.groups, "group", rows.table)
    _refuse_empty(groups, "group", rows.table)
    return [str(group) for group in groups.to_pylist()]


def _check_splits(
    labels: npt.NDArray[np.int32], classes: Sequence[str], splits: npt.NDArray[np.object_]
) -> None:
    pairs = set(zip(labels.tolist(), splits, strict=True))
    check_known_to_train(
        {name: [split for label, split in pairs if label == number] for number, name in enumerate(classes)}
        if len({split for _, split in pairs}) > 1
        else {}
    )


def tidy_text(column: pa.Array[Any], what: str, table: Path) -> pa.Array[Any]:
    """As `plain_text`, without blanks around it and with accents composed: what is equal looks equal."""
    trimmed = pc.utf8_trim_whitespace(plain_text(column, what, table))
    tidy: pa.Array[Any] = pc.call_function("utf8_normalize", [trimmed], pc.Utf8NormalizeOptions("NFC"))
    return tidy


def plain_text(column: pa.Array[Any], what: str, table: Path) -> pa.Array[Any]:
    """A column as text; raises DataError if it cannot be."""
    if pa.types.is_floating(column.type) or pa.types.is_nested(column.type):
        raise DataError(f"{table}: the column of each {what} has the type {column.type}; expected text.")
    try:
        texts = column.cast(pa.string())
        texts.validate(full=True)  # Parquet promises UTF-8, and nobody has looked yet
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{table}: the column of each {what} is no text but of type {column.type} ({first_line(error)})."
        ) from error
    return texts


def check_paths(paths: pa.Array[Any], table: Path) -> list[str]:
    r"""A column of paths with ``/`` between folders, also where a table from Windows has ``\``.

    Raises:
        DataError: a row has no path.
    """
    _refuse_empty(paths, "path", table)
    return [str(path) for path in pc.replace_substring(paths, "\\", "/").to_pylist()]


def check_some_exist(files: ImageFiles, names: Sequence[str], table: Path) -> None:
    """Tell a folder that is missing as a whole from a file here and there, which the extraction reports by name.

    Raises:
        DataError: not one of the first files exists.
    """
    places = [files.place(name) for name in islice(names, _LOOKED_FOR)]
    if places and not any(map(os.path.exists, places)):
        first = "the only file" if len(places) == 1 else f"the first {len(places)} files"
        raise DataError(
            f"Not one of {first} that {table} names exists; looked for {places[0]!r}, from {names[0]!r} in the table.\n"
            "Paths in a table are relative to the table's own folder, or absolute."
        )


def _refuse_empty(column: pa.Array[Any], what: str, table: Path) -> None:
    empty = column.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_string(column.type):
        empty |= np.array(column.to_pylist(), dtype=object) == ""
    if empty.any():
        raise DataError(f"{table}: {_row_numbers(empty)} no {what}. Each image needs one.")


def _row_numbers(mask: npt.NDArray[np.bool_]) -> str:
    """The rows of a mask in words, counted from 1 below the header, with "has" or "have"."""
    rows = np.flatnonzero(mask) + 1
    numbers = name_some([f"{row:,}" for row in rows], _NAMED)
    return f"row {numbers} has" if len(rows) == 1 else f"rows {numbers} have"


def first_line(error: Exception) -> str:
    """The first line of an error's text, without a full stop."""
    return str(error).partition("\n")[0].strip().rstrip(".")
