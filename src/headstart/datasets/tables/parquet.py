"""Tables in Parquet, whose images may stand in them as bytes, and Hugging Face's folders of them."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headstart.datasets.dataset import ImageDataset, Split
from headstart.datasets.files import DiskFiles, ImageFiles, Reader, fail, give_unchanged
from headstart.datasets.names import SPLIT_NAMES
from headstart.datasets.tables.columns import (
    Rows,
    check_paths,
    check_some_exist,
    choose_columns,
    dataset_of_rows,
    first_line,
    plain_text,
    tidy_text,
)
from headstart.errors import DataError
from headstart.files import FileStamp, file_stamp
from headstart.images import BYTE_LIMIT, file_reason

_SHARD: Final = re.compile(r"([a-z]+)(?:-\d+-of-\d+(?:-[0-9a-f]+)?)?\.parquet", re.IGNORECASE)
_BATCH_BYTES: Final = 8 << 20
_BUFFER: Final = 1 << 20
_FIRST_ROWS: Final = 20


def shards_of(folder: Path) -> dict[Path, Split]:
    """The Parquet files of a folder (or of the folder ``data`` in it) that are named after splits, by name.

    None where there is any other folder: then they are class folders, and the tables lie beside them.
    """
    try:
        inner = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        if [path.name for path in inner] == ["data"]:
            return shards_of(inner[0])
        paths = [] if inner else sorted(folder.glob("*.parquet"))
    except OSError:
        return {}  # whoever reads the folder says why not
    named = [(path, _SHARD.fullmatch(path.name)) for path in paths]
    splits = {path: SPLIT_NAMES.get(match[1].lower()) for path, match in named if match}
    return {path: split for path, split in splits.items() if split is not None}


def read_parquet(table: Path, group: str | None = None) -> ImageDataset:
    """List the images of a Parquet file or of a folder of them, reading the small columns only.

    Args:
        table: the file or the folder; see `shards_of`.
        group: the column that says what belongs together; by default one called ``group``.

    Raises:
        DataError: as `headstart.datasets.tables.table.read_table` says.
    """
    splits = shards_of(table) if table.is_dir() else {}
    parts = [_read_part(path, group, splits.get(path)) for path in splits or [table]]
    first = parts[0]
    for part in parts:
        if (part.rows.schema, part.class_names) != (first.rows.schema, first.class_names):
            raise DataError(
                f"{part.path} has other columns than {first.path.name} beside it: {_described(part.rows.schema)}, "
                f"not {_described(first.rows.schema)}."
            )
    rows = pa.concat_tables([part.rows for part in parts])
    files, names = _images(parts)
    return dataset_of_rows(
        Rows(
            table=table,
            files=files,
            names=names,
            labels=rows["label"].combine_chunks(),
            class_names=first.class_names,
            splits=rows["split"].combine_chunks() if "split" in rows.column_names else None,
            groups=rows["group"].combine_chunks() if "group" in rows.column_names else None,
        )
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Part:
    """One Parquet file.

    Attributes:
        path: the file.
        held: the column that holds the bytes, ``image`` or ``image.bytes``; None where paths name the images.
        rows: columns ``image`` (text: path, or a name that goes with the bytes, perhaps empty), ``label`` and, as
            far as there are such, ``split`` and ``group``.
        class_names: what Hugging Face's metadata call the labels.
    """

    path: Path
    held: str | None
    rows: pa.Table
    class_names: tuple[str, ...] | None


def _read_part(path: Path, group: str | None, split: Split | None) -> _Part:
    with _opened(path) as file:
        schema = file.schema_arrow
        columns = choose_columns(schema.names, group, path)
        held, named = _image_columns(file, columns.image, path)
        small = file.read(columns=[*columns.beside_image(), *([named] if named else [])])
    rows = {"image": _image_names(small, named, path), "label": _labels(small[columns.label], path)}
    if columns.split is not None:
        rows["split"] = small[columns.split].combine_chunks()
    elif split is not None:
        rows["split"] = pa.array([split] * len(small), pa.string())
    if columns.group is not None:
        rows["group"] = tidy_text(small[columns.group].combine_chunks(), "group", path)
    return _Part(
        path=path, held=held, rows=pa.table(rows), class_names=_class_names(schema.metadata, columns.label)
    )


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with open_parquet(path) as file:
            yield file
    except OSError as error:
        reason = file_reason(error) if error.errno else first_line(error)
        raise DataError(f"Cannot read the table {path}: {reason}.") from error
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no Parquet file, or a damaged one: {first_line(error)}.") from error


def _image_columns(file: pq.ParquetFile, image: str, path: Path) -> tuple[str | None, str | None]:
    """The columns of the images' bytes and of their names, in Parquet's own notation."""
    kind = file.schema_arrow.field(image).type
    if _is_binary(kind):
        return image, None
    if pa.types.is_struct(kind):  # Hugging Face's images
        held = {field.name for field in kind}
        named = f"{image}.path" if "path" in held else None
        if "bytes" in held and _begins_with_bytes(file, f"{image}.bytes"):
            return f"{image}.bytes", named
        if named:
            return None, named
    if pa.types.is_nested(kind) or pa.types.is_primitive(kind):
        raise DataError(
            f"{path}: the column {image!r} has the type {kind}; expected paths (text), bytes (binary), or a struct of "
            "bytes and path."
        )
    return None, image


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _begins_with_bytes(file: pq.ParquetFile, column: str) -> bool:
    """Whether one of the first rows holds an image; else they lie beside the table (statistics are optional)."""
    first = next(file.iter_batches(batch_size=_FIRST_ROWS, columns=[column]), None)
    return first is not None and _held(first).null_count < len(first)


def _image_names(small: pa.Table, named: str | None, path: Path) -> pa.Array[Any]:
    if named is None:
        return pa.nulls(len(small), pa.string()).fill_null("")
    if named in small.column_names:
        return plain_text(small[named].combine_chunks(), "path", path)
    outer, _, inner = named.rpartition(".")
    return plain_text(pc.struct_field(small[outer].combine_chunks(), inner), "path", path)


def _labels(column: pa.ChunkedArray[Any], path: Path) -> pa.Array[Any]:
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.combine_chunks()
    return tidy_text(column.combine_chunks(), "label", path)


def _class_names(metadata: Mapping[bytes, bytes] | None, label: str) -> tuple[str, ...] | None:
    """The names of a ClassLabel, which Hugging Face writes into a table's metadata."""
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
    except (LookupError, TypeError, ValueError):
        return None  # someone else's table
    is_names = isinstance(names, list) and len({str(name) for name in names}) == len(names)
    return tuple(str(name) for name in names) if is_names else None


def _described(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)


def _images(parts: Sequence[_Part]) -> tuple[ImageFiles, list[str]]:
    """Where the images are, and what they are called there."""
    if len({part.held for part in parts}) > 1:
        raise DataError(f"{parts[0].path.parent}: some tables hold images, others their paths only.")
    root, held = parts[0].path.parent, parts[0].held
    if held is not None:
        return ParquetFiles(root=root, column=held), [name for part in parts for name in _row_names(part)]
    files = DiskFiles(root=root)
    names = [name for part in parts for name in check_paths(part.rows["image"].combine_chunks(), part.path)]
    check_some_exist(files, names, parts[0].path)
    return files, names


def _row_names(part: _Part) -> Iterator[str]:
    """`TABLE/ROW`, and behind it the image's own name where the table has one."""
    for row, name in enumerate(part.rows["image"].to_pylist()):
        own = (name or "").replace("\\", "/").strip("/")
        yield f"{part.path.name}/{row}/{own}" if own else f"{part.path.name}/{row}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParquetFiles:
    """Images in the rows of Parquet files; they are called `TABLE/ROW` or `TABLE/ROW/NAME`.

    Attributes:
        root: the folder of the files.
        column: the column of the bytes in Parquet's notation, such as ``image.bytes``.
    """

    root: Path
    column: str

    def place(self, name: str) -> str:
        """`PATH!/ROW` or `PATH!/ROW/NAME`."""
        table, _, row = name.partition("/")
        return f"{self.root / table}!/{row}"

    def stamp(self, place: str) -> FileStamp:
        """The stamp of the table that holds the image."""
        name = place[len(str(self.root / "x")) - 1 :]
        return file_stamp(self.root / name.partition("!/")[0])

    def readers(self, names: Iterable[str]) -> Iterator[Reader]:
        """Images in ascending rows take one pass, over the row groups that hold them; a step back begins anew."""
        cursor: _Cursor | None = None
        try:
            for name in names:
                table, row = name.split("/")[:2]
                if cursor is None or cursor.path.name != table:
                    if cursor is not None:
                        cursor.close()
                    cursor = _Cursor(self.root / table, self.column)
                yield cursor.reader(int(row))
        finally:
            if cursor is not None:
                cursor.close()


class _Cursor:
    """Goes down one Parquet file in small batches of rows; a fault is the fault of the images it hits."""

    def __init__(self, path: Path, column: str) -> None:
        self.path = path
        self._column = column
        self._fault = ""
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._values: pa.Array[Any] = pa.array([], pa.binary())
        self._group, self._start = -1, 0
        try:
            self._stamp = file_stamp(path)
            self._file: pq.ParquetFile | None = open_parquet(path)
        except (OSError, pa.ArrowException) as error:
            self._file, self._fault = None, _reason(error)
        groups = self._file.metadata if self._file is not None else None
        sizes = [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] if groups else []
        self._starts = np.cumsum([0, *sizes])

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()

    def reader(self, row: int) -> Reader:
        """Move to a row, and give what reads it."""
        if self._file is None:
            return partial(fail, self._fault)
        if row >= self._starts[-1]:
            return partial(fail, "the table has fewer rows than when it was listed")
        try:
            self._move_to(row)
        except (OSError, pa.ArrowException) as error:
            self._group = -1
            return partial(fail, _reason(error))
        value = self._values[row - self._start].as_buffer()
        if value is None:
            return partial(fail, "no bytes in this row")
        if value.size > BYTE_LIMIT:
            return partial(fail, f"{value.size:,} bytes, over the limit of {BYTE_LIMIT:,}")
        # A copy: the buffer would keep its whole batch.
        return partial(give_unchanged, value.to_pybytes(), self.path, self._stamp)

    def _move_to(self, row: int) -> None:
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if group != self._group or row < self._start:
            self._batches = self._batches_of(group)
            self._group, self._start = group, int(self._starts[group])
            self._values = pa.array([], pa.binary())
        while row >= self._start + len(self._values):
            self._start += len(self._values)
            self._values = pa.array([], pa.binary())
            batch = next(self._batches, None)
            if batch is None:
                raise pa.ArrowInvalid("fewer rows than it should have")
            self._values = _held(batch)

    def _batches_of(self, group: int) -> Iterator[pa.RecordBatch]:
        assert self._file is not None
        chunk = self._file.metadata.row_group(group)
        rows = max(1, min(1024, _BATCH_BYTES * chunk.num_rows // max(1, chunk.total_byte_size)))
        return self._file.iter_batches(
            batch_size=rows, row_groups=[group], columns=[self._column], use_threads=False
        )


def _held(batch: pa.RecordBatch) -> pa.Array[Any]:
    """The bytes of a batch, also where they stand in a struct."""
    values = batch.column(0)
    return values.field(0) if isinstance(values, pa.StructArray) else values


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a file whose columns are then read bit by bit; without a buffer, a row group of images comes at once."""
    return pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return file_reason(error)
    return f"the table is damaged here ({first_line(error)[:100]})"
