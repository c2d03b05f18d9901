"""Where a data set can come from: one seam, one dictionary of sources."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from headstart.datasets.dataset import ImageDataset
from headstart.datasets.folders.archives import ARCHIVE_SUFFIXES, read_archive
from headstart.datasets.folders.folder import read_folder
from headstart.datasets.held.files import ARRAY_READERS, is_cifar, read_array_file, read_cifar_batches
from headstart.datasets.held.pickled import SIGN_NAMES
from headstart.datasets.named.huggingface import read_huggingface
from headstart.datasets.named.registry import NAMED, close_name, read_named
from headstart.datasets.named.torchvision_sets import read_torchvision
from headstart.datasets.options import ReadOptions
from headstart.datasets.tables.parquet import shards_of
from headstart.datasets.tables.table import read_table
from headstart.download import Progress
from headstart.errors import DataError
from headstart.files import default_store


class DataSource(Protocol):
    """Reads a data set from the place that its own kind of location names."""

    def __call__(self, location: str, options: ReadOptions) -> ImageDataset:
        """List the images without decoding them; raises `DataError` where that cannot be done."""
        ...


def _ungrouped(read: Callable[[str], ImageDataset]) -> DataSource:
    """A source that has no columns, and so none for groups."""

    def source(location: str, options: ReadOptions) -> ImageDataset:
        _refuse_group(location, options)
        return read(location)

    return source


def _refuse_group(location: str, options: ReadOptions) -> None:
    if options.group is not None:
        raise DataError(
            f"{location} is no table and so has no column {options.group!r}.\n"
            "What belongs together can be told from file names: --group-pattern."
        )


def _read_folder(location: str) -> ImageDataset:
    try:
        return read_folder(location)
    except DataError as error:
        if (close := _meant_name(location)) is not None:
            raise DataError(f"{error}\nDid you mean the data set {close!r}?") from error
        if (held := _data_files(location)) and "\n" not in str(error):
            raise DataError(f"{error}\nTo read {' or '.join(held)} in it, give that file.") from error
        raise


def _meant_name(location: str) -> str | None:
    """The data set that somebody may have meant by a bare word (perhaps made absolute) that is no path."""
    path = Path(location)
    bare = not path.exists() and path.absolute().parent == Path.cwd()
    return close_name(path.name) if bare else None


def _data_files(location: str) -> list[str]:
    """Up to three files directly in a folder that are data sets by their names."""
    try:
        names = sorted(path.name for path in Path(location).expanduser().iterdir())
    except OSError:
        return []  # no folder, or one that cannot be read, as the error says already
    return [name for name in names if name.lower().endswith(tuple(_SUFFIXES)) and name != SIGN_NAMES][:3]


def _read_table(location: str, options: ReadOptions) -> ImageDataset:
    return read_table(location, options.group)


def _read_named(location: str, options: ReadOptions) -> ImageDataset:
    _refuse_group(location, options)
    return read_named(location, options)


def _read_torchvision(location: str, options: ReadOptions) -> ImageDataset:
    _refuse_group(location, options)
    return read_torchvision(location, options)


SOURCES: Final[Mapping[str, DataSource]] = MappingProxyType(
    {
        "folder": _ungrouped(_read_folder),
        "table": _read_table,
        "archive": _ungrouped(read_archive),
        "arrays": _ungrouped(read_array_file),
        "cifar": _ungrouped(read_cifar_batches),
        "name": _read_named,
        "torchvision": _read_torchvision,
        "hf": read_huggingface,
    }
)
"""By scheme. Without a scheme, what lies at the location decides, and a name that is no path is looked up."""

# Two letters at least, since C:\ is a drive.
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]+):(?://)?(.*)", re.IGNORECASE | re.DOTALL)
# Longest first: .tar.gz is no .gz.
_SUFFIXES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys((".csv", ".tsv", ".parquet"), "table"),
        **dict.fromkeys(ARCHIVE_SUFFIXES, "archive"),
        **dict.fromkeys(ARRAY_READERS, "arrays"),
    }
)


def load_dataset(
    source: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] | None = None,
    group: str | None = None,
    progress: Progress | None = None,
) -> ImageDataset:
    """List a data set: which images there are, with which labels, in which splits. Nothing is decoded.

    Args:
        source: a folder, ``PHOTOS/CLASS/*.jpg`` or ``PHOTOS/{train,val,test}/CLASS/*.jpg``; the same in a zip or
            tar archive; a table (``.csv``, ``.tsv``, ``.parquet``, or a folder of Parquet files for each split); a file
            of arrays (``.npz``, ``.p``); CIFAR-10's batches for Python, in their folder or archive; the
            name of a data set (`NAMED`), unless there is a file or folder of that name; or ``SCHEME:LOCATION`` with
            one of `SOURCES`.
        cache: folder for what is downloaded, in its subfolder ``datasets``; by default the user's store.
        group: the column of a table that says what belongs together.
        progress: told how far a download is, in bytes.

    Returns:
        The data set, with splits where the source gives them; see `assign_splits` for the others.

    Raises:
        DataError: if the source is unknown, missing, or not laid out as expected.
        DownloadError: if a file cannot be had; the message says which one to put into which folder.
    """
    location = os.fspath(source)
    if not location:
        raise DataError("No folder of photos was named.")
    scheme, rest = _resolve(location, is_path=isinstance(source, Path))
    if (read := SOURCES.get(scheme)) is None:
        raise DataError(
            f"Unknown kind of data set {scheme!r} in {location!r}; known: {', '.join(SOURCES)}. "
            "Give a folder of class folders."
        )
    folder = (default_store() if cache is None else Path(cache).expanduser()).absolute() / "datasets"
    dataset = read(rest, ReadOptions(cache=folder, group=group, progress=progress))
    if dataset.splits == ("train",):  # one split that holds everything says nothing about how to split
        return dataset.with_splits([None] * len(dataset))
    return dataset


def full_location(location: str) -> str:
    """Make a path absolute, ``~`` written out, links and all, also behind a scheme; leave names as they are."""
    scheme, rest = _resolve(location, is_path=False)
    if scheme in ("name", "torchvision") or not location:
        return location
    absolute = os.path.abspath(Path(rest).expanduser())  # noqa: PTH100 - links stay
    if rest == location:
        return absolute
    return f"{scheme}:{absolute}" if Path(absolute).exists() else location


def _resolve(location: str, *, is_path: bool) -> tuple[str, str]:
    """The scheme of a location, and what is left of it."""
    match = _SCHEME.fullmatch(location)
    if match is not None and not is_path and not Path(location).exists():
        return match[1].lower(), match[2]
    if location in NAMED and not is_path and not Path(location).exists():
        return "name", location
    return _scheme_of_path(location), location


def _scheme_of_path(location: str) -> str:
    if is_cifar(Path(location).expanduser()):
        return "cifar"
    name = Path(location).name.lower()
    if Path(location).expanduser().is_dir():
        return "table" if shards_of(Path(location).expanduser()) else "folder"
    return next((scheme for suffix, scheme in _SUFFIXES.items() if name.endswith(suffix)), "folder")
