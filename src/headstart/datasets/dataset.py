"""What a data set is, whatever it came from: one row for each image, in one small table."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headstart.datasets.files import DiskFiles, ImageFiles
from headstart.errors import name_some

Split = Literal["train", "val", "test"]
_NAMED: Final = 5
SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")

_FIELDS: Final[list[pa.Field[Any]]] = [
    pa.field("path", pa.string(), nullable=False),
    pa.field("label", pa.int32(), nullable=False),
    pa.field("split", pa.dictionary(pa.int8(), pa.string())),
    pa.field("group", pa.dictionary(pa.int32(), pa.string())),
]
SCHEMA: Final = pa.schema(_FIELDS)
"""The columns of an `ImageDataset`'s table."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    r"""A file that is meant to be an image and cannot be used.

    Attributes:
        path: as in the table, relative to the data set's root; undecodable bytes are written as ``\xNN``.
        reason: a few plain words.
    """

    path: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ImageDataset:
    """Images with their labels and splits.

    Attributes:
        name: what to call it in reports.
        files: where the images' bytes are read from.
        table: one row for each image, sorted by path where it was listed from a folder. Columns: ``path``
            (string, what `files` knows the image by, with ``/`` on every system), ``label`` (int32, an index
            into `classes`), ``split`` (train, val or test; null while no split has been made), ``group`` (what
            belongs together, such as the frames of one sign or the photos of one animal, and is never divided
            by a split; null in every row where nothing is known of groups).
        classes: names, in the order of the labels; every one is kept even where a subset has no image of it.
        problems: files known to be unreadable without decoding them.
        passed_over: how many other files and hidden folders the listing came upon.
        notes: whole sentences on what the listing passed over, for reports.
    """

    name: str
    files: ImageFiles = dataclasses.field(default_factory=DiskFiles)
    table: pa.Table = dataclasses.field(repr=False)
    classes: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    passed_over: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.table.schema != SCHEMA:
            raise ValueError(
                f"expected the columns {SCHEMA.names} of datasets.SCHEMA, got {self.table.schema}"
            )

    def __len__(self) -> int:
        """Count the images of all splits."""
        return int(self.table.num_rows)

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that have an image, in the order train, val, test; none while no split has been made."""
        present = set(self.table["split"].unique().to_pylist())
        return tuple(split for split in SPLITS if split in present)

    def rows(self, split: Split | None = None) -> npt.NDArray[np.int64]:
        """Give the row numbers of one split, or of all, ascending."""
        if split is None:
            return np.arange(len(self))
        return np.flatnonzero(self.split_names() == split)

    def split_names(self) -> npt.NDArray[np.object_]:
        """Give each row's split: (n,) objects, "train", "val", "test" or None."""
        names: npt.NDArray[np.object_] = np.array(self.table["split"].to_pylist(), dtype=object)
        return names

    def labels(self, split: Split | None = None) -> npt.NDArray[np.int32]:
        """Give the labels of one split, or of all: (n,) int32."""
        labels: npt.NDArray[np.int32] = self.table["label"].to_numpy()
        return labels[self.rows(split)]

    def names(self, split: Split | None = None) -> list[str]:
        """Give the paths as the table holds them, for reports and records."""
        return [str(name) for name in self.table["path"].take(self.rows(split)).to_pylist()]

    def paths(self, split: Split | None = None) -> list[str]:
        """Give the places of the images, in the same order as `labels`: for files, paths that can be opened."""
        return [self.files.place(name) for name in self.names(split)]

    def groups(self) -> npt.NDArray[np.int64] | None:
        """Give each row's group as a number, (n,) int64 from 0; None where nothing is known of groups."""
        column = self.table["group"]
        if column.null_count:
            return None
        _, numbers = np.unique(np.array(column.to_pylist(), dtype=np.str_), return_inverse=True)
        return np.asarray(numbers, dtype=np.int64)

    def counts(self, split: Split | None = None) -> npt.NDArray[np.int64]:
        """Count the images of each class in one split, or in all: (n_classes,) int64."""
        return np.bincount(self.labels(split), minlength=len(self.classes))

    def subset(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.integer]) -> ImageDataset:
        """Keep the rows of a mask (n,) or of row numbers, in that order; classes stay as they are."""
        return dataclasses.replace(self, table=self.table.take(np.arange(len(self))[rows]))

    def without_empty_classes(self) -> ImageDataset:
        """Leave out classes without an image, with a note of it: a table or array may name more than it holds."""
        counts = self.counts()
        if counts.all():
            return self
        labels = pa.array((np.cumsum(counts > 0) - 1)[self.labels()], pa.int32())
        empty = [name for name, n in zip(self.classes, counts, strict=True) if not n]
        note = f"Classes without any image are left out: {name_some(empty, _NAMED)}."
        return dataclasses.replace(
            self,
            table=self.table.set_column(1, SCHEMA.field(1), labels),
            classes=tuple(name for name, n in zip(self.classes, counts, strict=True) if n),
            notes=(*self.notes, note),
        )

    def with_splits(self, names: Sequence[str | None] | npt.NDArray[np.object_]) -> ImageDataset:
        """Give the same images other splits: for each row "train", "val", "test" or None."""
        if wrong := set(names) - {*SPLITS, None}:
            raise ValueError(f"splits are {', '.join(SPLITS)}; got {wrong}")
        return dataclasses.replace(
            self, table=self.table.set_column(2, SCHEMA.field(2), _text_column(names, pa.int8()))
        )

    def with_groups(self, names: Sequence[str]) -> ImageDataset:
        """Give the same images other groups: for each row the name of what it belongs to."""
        return dataclasses.replace(
            self, table=self.table.set_column(3, SCHEMA.field(3), _text_column(names, pa.int32()))
        )


def make_table(
    paths: Sequence[str],
    labels: Sequence[int] | npt.NDArray[np.integer],
    splits: Iterable[str | None],
    groups: Iterable[str] | None = None,
) -> pa.Table:
    """Make an `ImageDataset`'s table of its columns, all of one length; without groups that column is null."""
    columns: list[pa.Array[Any]] = [
        pa.array(paths, pa.string()),
        pa.array(labels, pa.int32()),
        _text_column(splits, pa.int8()),
        _text_column([None] * len(paths) if groups is None else groups, pa.int32()),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _text_column(values: Iterable[str | None], index: pa.DataType) -> pa.Array[Any]:
    """Texts of which there are few, as a dictionary with indices of that type."""
    texts = pa.array(
        values if isinstance(values, Sequence) else list(values), pa.string()
    ).dictionary_encode()
    indices: Any = texts.indices.cast(index)
    return pa.DictionaryArray.from_arrays(indices, texts.dictionary)
