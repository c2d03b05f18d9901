"""Data sets of Hugging Face's library `datasets`: `hf:OWNER/NAME`, `hf:OWNER/NAME:CONFIG`, `hf:FOLDER`.

The library itself downloads them and writes them to its Arrow files, in a folder of their own within the cache (what
comes from the hub also lies in the hub's own cache). No code of a data set's repository is ever run: versions of the
library that could do so are not used. The images' bytes are taken as they are, without decoding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from headstart.datasets.dataset import ImageDataset, Split, make_table
from headstart.datasets.files import HeldFiles, Reader
from headstart.datasets.held.pixels import JoinedFiles
from headstart.datasets.names import SPLIT_NAMES
from headstart.datasets.options import ReadOptions
from headstart.errors import DataError, DownloadError, UnreadableImageError
from headstart.images import read_image_file

_SPLITS: Final[Mapping[str, Split]] = MappingProxyType({**SPLIT_NAMES, "dev": "val"})

# Where several columns would do, these are meant, in this order.
_IMAGE_NAMES: Final = ("image", "img")
_LABEL_NAMES: Final = ("label", "labels", "fine_label")


def read_huggingface(location: str, options: ReadOptions) -> ImageDataset:
    """List a data set of the hub, or a folder that the library `datasets` can read.

    Args:
        location: OWNER/NAME or NAME on the hub, or a folder (of class folders, Parquet files, or one that
            `save_to_disk` wrote); then, after a colon, the name of the configuration where there are several.
        options: the cache, and the column that says what belongs together.

    Returns:
        The data set. Its image column is the one of type Image (`image` or `img` where there are several), its
        labels the one of type ClassLabel (`label`, `labels` or `fine_label`). Splits called train, validation (valid,
        val, dev) and test are kept; others beside them are passed over, with a note, as are images whose label is
        missing or -1. A single split, and splits of other names alone, are left to be divided.

    Raises:
        DataError: the library is not installed, knows no such data set, or it has no images or no labels.
        DownloadError: the hub cannot be reached.
    """
    library = _library()
    name, config = _parse(location)
    parts = _load(library, name, config, options.cache / "huggingface")
    columns = _Columns.of(library, next(iter(parts.values())).features, options.group, location)
    notes = list(columns.notes)
    if not _SPLITS.keys().isdisjoint(parts):
        for split in [split for split in parts if split not in _SPLITS]:
            notes.append(f"{len(parts.pop(split)):,} images of the split {split!r} were passed over.")
    return _gather(library, name, parts, columns, notes)


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            'Data sets of Hugging Face (hf:NAME) need its library "datasets", which is not installed.\n'
            'Install it: pip install "headstart[hf]"'
        ) from error
    return datasets


def _parse(location: str) -> tuple[str, str | None]:
    """The name or folder, and the configuration."""
    name, colon, config = location.rpartition(":")
    if not location:
        raise DataError("hf: needs the name of a data set, such as hf:OWNER/NAME, or a folder.")
    if not colon or not name or Path(location).expanduser().exists():
        name, config = location, ""
    folder = Path(name).expanduser()
    return (str(folder.resolve()) if folder.exists() else name), config or None


def _load(library: Any, name: str, config: str | None, cache: Path) -> dict[str, Any]:
    """The library's own object for each split, mapped from the disk."""
    with _explained(name, config):
        if any((Path(name) / file).is_file() for file in ("dataset_dict.json", "state.json")):
            found = library.load_from_disk(name)
        else:
            found = library.load_dataset(name, config, cache_dir=str(cache))
    return dict(found) if isinstance(found, dict) else {"all": found}


@contextmanager
def _explained(name: str, config: str | None) -> Iterator[None]:
    """Turn whatever the library raises into an error that says what to do."""
    what = name if config is None else f"{name}:{config}"
    try:
        yield
    except ConnectionError as error:
        raise DownloadError(
            f"The data set hf:{what} cannot be fetched: {_one_line(error)}.\n"
            "Try again, or get its files by other means and give their folder: hf:FOLDER."
        ) from error
    except (
        Exception
    ) as error:  # the library raises a dozen kinds, for no such data set, configuration or file format
        raise DataError(f"The data set hf:{what} cannot be read: {_one_line(error)}.") from error


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__).rstrip(".")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Columns:
    """Which columns are read; `classes` are the labels' names, and `notes` say what else might have been meant."""

    image: str
    label: str
    group: str | None
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, library: Any, features: Any, group: str | None, location: str) -> _Columns:
        """Find the columns by their types."""
        images = [name for name, kind in features.items() if isinstance(kind, library.Image)]
        labels = [name for name, kind in features.items() if isinstance(kind, library.ClassLabel)]
        for found, kind in ((images, "Image"), (labels, "ClassLabel")):
            if not found:
                columns = ", ".join(f"{name} ({type(kind).__name__})" for name, kind in features.items())
                raise DataError(
                    f"The data set hf:{location} has no column of type {kind}, so it is no image classification set "
                    f"as it stands.\nIts columns: {columns}."
                )
        if group is not None and group not in features:
            raise DataError(
                f"The data set hf:{location} has no column {group!r} for groups; it has {', '.join(features)}."
            )
        image, label = _preferred(images, _IMAGE_NAMES), _preferred(labels, _LABEL_NAMES)
        rest = [name for name in (*images, *labels) if name not in (image, label)]
        notes = (f"Columns {image} and {label} were read, not {', '.join(rest)}.",) if rest else ()
        return cls(image=image, label=label, group=group, classes=tuple(features[label].names), notes=notes)


def _preferred(names: Sequence[str], order: Sequence[str]) -> str:
    return next((name for name in order if name in names), names[0])


def _gather(
    library: Any, name: str, parts: Mapping[str, Any], columns: _Columns, notes: list[str]
) -> ImageDataset:
    files: dict[str, _RowFiles] = {}
    names: list[str] = []
    labels: list[npt.NDArray[np.int64]] = []
    splits: list[Split | None] = []
    groups: list[str] = []
    for split, part in parts.items():
        values = pc.fill_null(part.data.column(columns.label), -1).to_numpy()
        rows = np.flatnonzero(values >= 0)
        if missing := len(values) - len(rows):
            notes.append(f"{missing:,} images of {split} have no label and were passed over.")
        files[split] = _RowFiles.of(library, part, columns.image)
        names += [f"{split}/{row}" for row in rows]
        labels.append(values[rows])
        splits += [_SPLITS.get(split)] * len(rows)
        if columns.group is not None:
            groups += _groups(part, columns.group, rows)
    if len(parts) == 1:  # whatever it is called
        splits = [None] * len(names)
    return ImageDataset(
        name=Path(name).name,
        files=JoinedFiles(parts=files),
        table=make_table(
            names, np.concatenate(labels), splits, groups if columns.group is not None else None
        ),
        classes=columns.classes,
        notes=tuple(notes),
    )


def _groups(part: Any, column: str, rows: npt.NDArray[np.int64]) -> list[str]:
    values = part.data.column(column).take(rows).to_pylist()
    if None in values:
        raise DataError(f"The column {column!r} for groups has empty cells; every image needs a group.")
    return [str(value) for value in values]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _RowFiles(HeldFiles):
    """The image column of one split, in the library's Arrow file; the images' names are their rows."""

    rows: Any
    column: str

    @classmethod
    def of(cls, library: Any, part: Any, column: str) -> _RowFiles:
        """Take the column without decoding."""
        rows = part.select_columns([column]).cast_column(column, library.Image(decode=False))
        # The library names the folder after a fingerprint of the source: other images, another file.
        return cls(path=Path(part.cache_files[0]["filename"]), rows=rows, column=column)

    def readers(self, names: Iterable[str]) -> Iterator[Reader]:
        """Each takes its row's bytes, or reads the file that the row names."""
        return (partial(self._read, int(name)) for name in names)

    def _read(self, number: int) -> bytes:
        image = self.rows[number][self.column]
        if image is None:
            raise UnreadableImageError("no image in this row")
        if image["bytes"] is not None:
            return bytes(image["bytes"])
        return read_image_file(image["path"])
