"""Features with their labels as files that other programs read: `.p`, `.npz`, `.parquet`.

`.p` is what programs on bottleneck features in Keras read: a pickled dict of `features` and `labels`. `.npz` is for
NumPy, `.parquet` for everything that reads tables.
"""

import json
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from headstart.datasets.dataset import Split
from headstart.datasets.names import SPLIT_NAMES
from headstart.errors import DataError
from headstart.features.packs import MOST_BYTES, Part, check_npz, open_pack
from headstart.files import atomic_write, human_bytes, require_place_for
from headstart.safe_pickle import load_npz, load_pickle

_SHAPE_KEY: Final = b"headstart.shape"
_CLASSES_KEY: Final = b"headstart.classes"
_ROW_GROUP_BYTES: Final = 64 * 2**20
_Columns = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureTable:
    """Features of n images with their labels, in memory.

    Attributes:
        features: (n, ...) float32, finite.
        labels: (n,) int64, from 0.
        classes: names, in the order of the labels; None where the file does not say.
        names: n paths or other names of the images; None where the file does not say.
        splits: "train", "val", "test" or None for each of the n images; None where the file does not say.
        groups: (n,) int64, which images belong together (frames of one object); None where the file does not say.
    """

    features: NDArray[np.float32] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    classes: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = field(default=None, repr=False)
    splits: tuple[Split | None, ...] | None = field(default=None, repr=False)
    groups: NDArray[np.int64] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, rows: NDArray[np.int64]) -> "FeatureTable":
        """The images of these row numbers, in that order."""
        return FeatureTable(
            features=self.features[rows],
            labels=self.labels[rows],
            classes=self.classes,
            names=None if self.names is None else tuple(self.names[row] for row in rows),
            splits=None if self.splits is None else tuple(self.splits[row] for row in rows),
            groups=None if self.groups is None else self.groups[rows],
        )


def read_features(path: str | os.PathLike[str], *, part: Part | None = None) -> FeatureTable:
    """Read a file of features, also from inside a zip.

    Args:
        path: a `.p`, `.npz` or `.parquet` file; a zip that holds one; or `pack.zip!/member`.
        part: which one of a zip of several is meant, by the word train or validation in its name.

    Returns:
        The features, in memory. Labels (n, 1) become (n,); other kinds of numbers become float32 and int64.

    Raises:
        DataError: the file is missing, of another kind, damaged, too big, or holds something that must not or
            cannot be used: a pickle that would run code, no labels, other lengths, values that are not finite.
    """
    with open_pack(path, tuple(_READERS), part) as pack:
        return _READERS[pack.suffix](pack.name, pack.file)


def write_features(path: str | os.PathLike[str], table: FeatureTable) -> None:
    """Write a file of features, in the format of its suffix, atomically.

    `.p`: a dict `features` float32, (n, C) as (n, 1, 1, C), and `labels` (n,) int64, in pickle's protocol 2, which
    Python 2 and old NumPy read. `.npz`: features, labels, and classes, paths, splits and groups where they are known.
    `.parquet`: path, label, class, split, group, features as fixed-size lists, the shape in the schema's metadata.

    Args:
        path: the file; its folder exists.
        table: what to write.

    Raises:
        DataError: there is no such format, or no such folder.
        DiskFullError: there is no room.
    """
    file = Path(path)
    check_writable(file)
    atomic_write(file, _WRITERS[file.suffix.lower()](table))


def check_writable(file: Path) -> None:
    """Make sure that features can be written to a file of this name, before they are computed.

    Raises:
        DataError: there is no such format, or no such folder.
    """
    if file.suffix.lower() not in _WRITERS:
        raise DataError(
            f"Features cannot be written to {file}.\nGive a file that ends in {', '.join(_WRITERS)}."
        )
    require_place_for(file)


# Pickle


def _read_pickle(name: str, file: BinaryIO) -> FeatureTable:
    content = load_pickle(file)
    if not isinstance(content, Mapping):
        raise DataError(
            f"{name} holds a {type(content).__name__}.\nExpected a dict with the keys 'features' and 'labels'."
        )
    return _table(name, {str(key): value for key, value in content.items()})


def _pickle(table: FeatureTable) -> bytes:
    features = table.features
    if features.ndim == 2:  # Keras' average pooling keeps two dimensions of size 1
        features = features[:, None, None, :]
    content = {"features": np.ascontiguousarray(features), "labels": table.labels}
    # NumPy 2 has moved the function that remakes arrays; the old place is known to every NumPy. It is named once,
    # before any of the data: what is replaced is never part of them.
    return pickle.dumps(content, protocol=2).replace(
        b"cnumpy._core.multiarray\n_reconstruct\n", b"cnumpy.core.multiarray\n_reconstruct\n", 1
    )


# npz


def _read_npz(name: str, file: BinaryIO) -> FeatureTable:
    check_npz(name, file)
    return _table(name, load_npz(file, max_bytes=MOST_BYTES))


def _npz(table: FeatureTable) -> Callable[[BinaryIO], object]:
    arrays: dict[str, NDArray[Any]] = {"features": table.features, "labels": table.labels}
    if table.classes is not None:
        arrays["classes"] = np.array(table.classes, dtype=np.str_)
    if table.names is not None:
        arrays["paths"] = np.array(table.names, dtype=np.str_)
    if table.splits is not None:
        arrays["splits"] = np.array([split or "" for split in table.splits], dtype=np.str_)
    if table.groups is not None:
        arrays["groups"] = table.groups
    return lambda file: np.savez(file, **arrays)  # type: ignore[arg-type]


# Parquet


def _read_parquet(name: str, file: BinaryIO) -> FeatureTable:
    try:
        with pq.ParquetFile(file) as parquet:
            _check_values(name, parquet.metadata)
            table = parquet.read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{name} is damaged, or no Parquet file: {error}") from error
    metadata = table.schema.metadata or {}
    columns: dict[str, Any] = dict.fromkeys(table.column_names)
    if "features" in columns:
        columns["features"] = _read_lists(name, table["features"], metadata.get(_SHAPE_KEY))
    if "label" in columns:
        columns["labels"] = table["label"].to_numpy()
    if _CLASSES_KEY in metadata:
        columns["classes"] = np.array(_parse_list(name, metadata[_CLASSES_KEY]), dtype=np.str_)
    for column, key in (("path", "paths"), ("split", "splits")):
        if column in columns and table[column].null_count < len(table):
            columns[key] = np.array([value or "" for value in table[column].to_pylist()], dtype=np.str_)
    if "group" in columns and table["group"].null_count < len(table):
        if missing := table["group"].null_count:
            raise DataError(
                f"{name} has no group in {missing:,} rows.\nExpected one in each row, or in none."
            )
        columns["groups"] = table["group"].to_numpy()
    return _table(name, columns, labels_key="label")


def _check_values(name: str, metadata: pq.FileMetaData) -> None:
    """A few bytes of Parquet can stand for a great many equal values."""
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    size = 4 * sum(group.column(j).num_values for group in groups for j in range(group.num_columns))
    if size > MOST_BYTES:
        raise DataError(
            f"{name} unpacks to {human_bytes(size)}; at most {human_bytes(MOST_BYTES)} can be read.\n"
            "Divide it into smaller files."
        )


def _parse_list(name: str, text: bytes) -> list[Any]:
    """What `_parquet` keeps in a schema's metadata."""
    try:
        values = json.loads(text)
    except ValueError as error:
        raise DataError(f"{name} has damaged metadata: {error}.") from error
    if not isinstance(values, list):
        raise DataError(f"{name} has damaged metadata: {text[:80]!r} is no list.")
    return values


def _read_lists(name: str, column: "pa.ChunkedArray[Any]", shape: bytes | None) -> NDArray[Any]:
    """A column of lists, all of one length, as (n, *shape)."""
    lists = column.combine_chunks()
    if not (
        pa.types.is_list(lists.type)
        or pa.types.is_large_list(lists.type)
        or pa.types.is_fixed_size_list(lists.type)
    ):
        raise DataError(f"The column 'features' of {name} is {lists.type}.\nExpected lists of float32.")
    flat = pc.list_flatten(lists)
    own = [len(flat) // max(1, len(lists))] if shape is None else _parse_list(name, shape)
    lengths = set(pc.list_value_length(lists).unique().to_pylist())
    if flat.null_count or lengths - {int(np.prod(own))}:
        raise DataError(
            f"The column 'features' of {name} has missing values, or lists that are not of one length."
        )
    values: NDArray[Any] = flat.to_numpy().reshape(len(lists), *own)
    return values


def _parquet(table: FeatureTable) -> Callable[[BinaryIO], object]:
    n, shape = len(table), table.features.shape[1:]
    width = int(np.prod(shape))
    classes = None if table.classes is None else np.array(table.classes, dtype=object)[table.labels]
    metadata = {_SHAPE_KEY: json.dumps(shape).encode()}
    if table.classes is not None:
        metadata[_CLASSES_KEY] = json.dumps(table.classes).encode()
    columns = {
        "path": pa.array(table.names or [None] * n, pa.string()),
        "label": pa.array(table.labels, pa.int64()),
        "class": pa.array([None] * n if classes is None else classes, pa.string()),
        "split": pa.array(table.splits or [None] * n, pa.string()),
        "group": pa.array([None] * n if table.groups is None else table.groups, pa.int64()),
        "features": pa.FixedSizeListArray.from_arrays(
            pa.array(np.ascontiguousarray(table.features).ravel()), width
        ),
    }
    made = pa.table(columns).replace_schema_metadata(metadata)
    rows = max(1, _ROW_GROUP_BYTES // (4 * width))
    return lambda file: pq.write_table(
        made, file, compression="zstd", row_group_size=rows, use_dictionary=False
    )


# What all formats share


def _table(name: str, columns: _Columns, *, labels_key: str = "labels") -> FeatureTable:
    """Check what was read: `columns` holds features, labels, and perhaps classes, paths, splits and groups."""
    held = ", ".join(repr(key) for key in columns) or "nothing"
    for key, wanted in (("features", "features"), ("labels", labels_key)):
        if columns.get(key) is None:
            raise DataError(
                f"{name} lacks {wanted!r}; it holds {held}.\nExpected 'features' and {labels_key!r}."
            )
    features = _features(name, columns["features"])
    labels = _labels(name, columns["labels"])
    classes, names, splits = (_strings(columns.get(key)) for key in ("classes", "paths", "splits"))
    groups = None if columns.get("groups") is None else _groups(name, columns["groups"])
    for what, values in (("labels", labels), ("paths", names), ("splits", splits), ("groups", groups)):
        if values is not None and len(values) != len(features):
            raise DataError(f"{name} holds {len(features):,} features, but {len(values):,} {what}.")
    if classes is not None and int(labels.max()) >= len(classes):
        raise DataError(f"{name} holds the label {int(labels.max())}, but only {len(classes)} class names.")
    return FeatureTable(
        features=features,
        labels=labels,
        classes=classes,
        names=names,
        splits=None if splits is None else tuple(_split(name, word) for word in splits),
        groups=groups,
    )


def _features(name: str, values: Any) -> NDArray[np.float32]:
    """(n, ...) float32, finite."""
    array = _array(name, "features", values)
    if array.dtype.kind not in "fiu" or array.ndim < 2 or not array.size:
        raise DataError(
            f"The features of {name} are {_shape(array)} {array.dtype}.\nExpected numbers (N, ...), N at least 1."
        )
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is named below
        features: NDArray[np.float32] = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features)).reshape(len(features), -1).any(axis=1).sum())
        raise DataError(f"{name} holds NaN or infinite values in the features of {bad:,} images.")
    return features


def _labels(name: str, values: Any) -> NDArray[np.int64]:
    """(n,) int64, from 0; (n, 1) is taken as well."""
    array = _array(name, "labels", values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise DataError(
            f"The labels of {name} are {_shape(array)} {array.dtype}.\nExpected whole numbers, (N,) or (N, 1)."
        )
    if array.size and (array.min() < 0 or array.max() > np.iinfo(np.int32).max):
        raise DataError(
            f"The labels of {name} run from {array.min()} to {array.max()}.\nExpected classes from 0."
        )
    return array.astype(np.int64)


def _groups(name: str, values: Any) -> NDArray[np.int64]:
    """(n,) int64, from 0, of numbers or text."""
    array = _array(name, "groups", values)
    if array.ndim != 1 or array.dtype.kind not in "iuU":
        array = np.array([str(value) for value in array.ravel()], dtype=np.str_)
    return np.unique(array, return_inverse=True)[1].astype(np.int64)


def _split(name: str, word: str) -> Split | None:
    """A split by one of the names that tables of images may give it too; None for nothing."""
    if not word:
        return None
    if (split := SPLIT_NAMES.get(word.strip().casefold())) is None:
        raise DataError(f"{name} has the split {word!r}.\nExpected train, val or test, or nothing.")
    return split


def _array(name: str, what: str, values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"The {what} of {name} are no array: {error}.") from error


def _strings(values: Any) -> tuple[str, ...] | None:
    return None if values is None else tuple(str(value) for value in np.atleast_1d(values))


def _shape(array: NDArray[Any]) -> str:
    return f"({', '.join(map(str, array.shape))}{',' if array.ndim == 1 else ''})"


_READERS: Final[Mapping[str, Callable[[str, BinaryIO], FeatureTable]]] = {
    ".p": _read_pickle,
    ".npz": _read_npz,
    ".parquet": _read_parquet,
}
_WRITERS: Final[Mapping[str, Callable[[FeatureTable], bytes | Callable[[BinaryIO], object]]]] = {
    ".p": _pickle,
    ".npz": _npz,
    ".parquet": _parquet,
}
