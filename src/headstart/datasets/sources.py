"""Where a data set can come from: one seam, one dictionary of sources."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from headstart.datasets.dataset import ImageDataset
from headstart.datasets.folder import read_folder
from headstart.errors import DataError


class DataSource(Protocol):
    """Reads a data set from the place that its own kind of location names."""

    def __call__(self, location: str) -> ImageDataset:
        """List the images without decoding them; raises `DataError` where that cannot be done."""
        ...


SOURCES: Final[Mapping[str, DataSource]] = MappingProxyType({"folder": read_folder})
"""By scheme; a location without a scheme is a folder."""

# Two letters at least, since C:\ is a drive.
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]+):(?://)?(.*)", re.IGNORECASE | re.DOTALL)


def load_dataset(source: str | os.PathLike[str]) -> ImageDataset:
    """List a data set: which images there are, with which labels, in which splits. Nothing is decoded.

    Args:
        source: a folder, ``PHOTOS/CLASS/*.jpg`` or ``PHOTOS/{train,val,test}/CLASS/*.jpg``; or
            ``SCHEME:LOCATION`` with one of `SOURCES`.

    Returns:
        The data set, with splits where the source gives them; see `assign_splits` for the others.

    Raises:
        DataError: if the source is unknown, missing, or not laid out as expected.
    """
    location = os.fspath(source)
    if not location:
        raise DataError("No folder of photos was named.")
    match = _SCHEME.fullmatch(location)
    if match is None or isinstance(source, Path) or Path(location).exists():
        return SOURCES["folder"](location)
    if (read := SOURCES.get(match[1].lower())) is None:
        raise DataError(
            f"Unknown kind of data set {match[1]!r} in {location!r}; known: {', '.join(SOURCES)}. "
            "Give a folder of class folders."
        )
    return read(match[2])
