r"""A data set from a table: a row for each image, with its label, perhaps its split and its group.

Columns, in any order and case, with any others beside them: ``path`` (or ``file``, ``filename``, ``image``),
relative to the table's folder or absolute, in Parquet also the image's bytes; ``label`` (or ``class``, ``target``);
if given, ``split`` (train, val, test) and ``group``. Everything in a CSV file is text: ``007`` stays ``007``.

A table is its user's own, so its paths may lead anywhere, ``..`` included: what they name is read, and only if it
is an image. Files that are missing are reported by the extraction, by name.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.csv as arrow_csv

from headstart.datasets.dataset import ImageDataset
from headstart.datasets.files import DiskFiles
from headstart.datasets.tables.columns import (
    Columns,
    Rows,
    check_paths,
    check_some_exist,
    choose_columns,
    dataset_of_rows,
    first_line,
    tidy_text,
)
from headstart.datasets.tables.parquet import read_parquet
from headstart.errors import DataError
from headstart.images import file_reason

_DELIMITERS: Final = (",", ";", "\t")
_BLOCK: Final = 1 << 20
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_table(location: str, group: str | None = None) -> ImageDataset:
    """List the images of a table.

    Args:
        location: a file: ``.parquet``, or any other for CSV with ``,``, ``;`` or tabs; or a folder of Parquet files
            called ``SPLIT-00000-of-00002.parquet`` or ``SPLIT.parquet``.
        group: the column that says what belongs together; by default one called ``group``.

    Returns:
        The images in the order of the rows; `classes` sorted, whole numbers by their value.

    Raises:
        DataError: there is no such file, it is damaged, or its columns or rows are not as they should be.
    """
    path = Path(location).expanduser()
    if path.suffix.lower() == ".parquet" or path.is_dir():
        return read_parquet(path, group)
    return read_csv(path, group)


def read_csv(table: Path, group: str | None = None) -> ImageDataset:
    """List the images of a CSV file; as `read_table`."""
    try:
        _check_utf8(table)
        delimiter, columns = _read_header(table, group)
        rows = _read_rows(table, delimiter, columns)
    except OSError as error:
        raise DataError(f"Cannot read the table {table}: {file_reason(error)}.") from error
    files = DiskFiles(root=table.parent)
    names = check_paths(rows[columns.image], table)
    check_some_exist(files, names, table)
    return dataset_of_rows(
        Rows(
            table=table,
            files=files,
            names=names,
            labels=tidy_text(rows[columns.label], "label", table),
            class_names=None,
            splits=None if columns.split is None else rows[columns.split],
            groups=None if columns.group is None else rows[columns.group],
        )
    )


def _check_utf8(table: Path) -> None:
    """Read the file once in blocks, so that the fault is named by its row and a large table takes no memory."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    with table.open("rb") as file:
        while True:
            block = file.read(_BLOCK)
            if line == 1 and block.startswith(_UTF16):
                raise DataError(f'{table} is written in UTF-16. Save it as "CSV UTF-8".')
            try:
                line += decoder.decode(block, final=not block).count("\n")
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                raise DataError(
                    f'{table} is not valid UTF-8 in line {line:,}. Save it as "CSV UTF-8".'
                ) from error
            if not block:
                return


def _read_header(table: Path, group: str | None) -> tuple[str, Columns]:
    """The delimiter with which the first line makes sense, and the columns."""
    with table.open("rb") as file:
        head = file.read(_BLOCK).decode("utf-8-sig", errors="ignore")
    if not head.strip():
        raise DataError(f"{table} is empty.")
    headers = {delimiter: _first_record(head, delimiter, table) for delimiter in _DELIMITERS}
    likely = sorted(_DELIMITERS, key=lambda delimiter: -len(headers[delimiter]))
    return likely[0], choose_columns(headers[likely[0]], group, table)


def _first_record(text: str, delimiter: str, table: Path) -> list[str]:
    try:
        return next(record for record in csv.reader(io.StringIO(text), delimiter=delimiter) if record)
    except (csv.Error, StopIteration) as error:
        raise DataError(f"{table} does not begin with a line of column names.") from error


def _read_rows(table: Path, delimiter: str, columns: Columns) -> dict[str, pa.Array[Any]]:
    """The columns that count, as text."""
    wanted = [columns.image, *columns.beside_image()]
    faults: list[Any] = []

    def note(row: Any) -> Literal["skip", "error"]:
        faults.append(row)
        return "error"

    try:
        rows = arrow_csv.read_csv(
            table,
            # In one thread, which alone counts rows for the message; a million rows take a second.
            read_options=arrow_csv.ReadOptions(use_threads=False),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note
            ),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string())
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(_row_fault(table, faults) or f"{table} is no CSV: {first_line(error)}.") from error
    return {name: rows[name].combine_chunks() for name in wanted}


def _row_fault(table: Path, faults: Sequence[Any]) -> str | None:
    if not faults:
        return None
    row = faults[0]
    return (
        f"{table}: row {row.number - 1:,} has {row.actual_columns} fields, the header {row.expected_columns}: "
        f"{row.text[:80]!r}.\nPut fields that hold the delimiter in double quotes."
    )
