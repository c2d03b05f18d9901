"""Where the bytes of a data set's images are read from: a folder, an archive, a table, an array.

An image is the bytes of an image file, wherever they stand. So hashing, decoding, thumbnails and the feature
store know one thing only, and a photo has the same features inside a zip archive as beside it.
"""

from __future__ import annotations

import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn, Protocol

from headstart.errors import UnreadableImageError
from headstart.files import FileStamp, file_stamp
from headstart.images import file_reason, read_image_file

Reader = Callable[[], bytes]
"""Gives one image's bytes, from any thread; raises UnreadableImageError with the reason."""


class ImageFiles(Protocol):
    """Reads the images of one data set."""

    def place(self, name: str) -> str:
        """Where an image stands, for people and for the feature store: a path, or `ARCHIVE!/MEMBER`."""
        ...

    def stamp(self, place: str) -> FileStamp:
        """The stamp of the file that holds the image at that place; raises OSError where it has gone."""
        ...

    def readers(self, names: Iterable[str]) -> Iterator[Reader]:
        """One reader for each image, in order. Taken one by one, so that an archive is read from end to end."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiskFiles:
    """Image files in a folder, or anywhere.

    Attributes:
        root: the folder that relative paths start from; None where paths stand for themselves.
    """

    root: Path | None = None

    def place(self, name: str) -> str:
        """The path, which can be opened."""
        if self.root is None:
            return name
        return os.path.join(self.root, name)  # noqa: PTH118 - 5 x a Path's cost

    def stamp(self, place: str) -> FileStamp:
        """The file's own stamp."""
        return file_stamp(place)

    def readers(self, names: Iterable[str]) -> Iterator[Reader]:
        """Each opens its file when it is called."""
        return (partial(read_image_file, self.place(name)) for name in names)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldFiles(ABC):
    """Images that one file on disk holds, each under a number or name of its own; the base of such sources.

    Attributes:
        path: that file.
    """

    path: Path

    def place(self, name: str) -> str:
        """`PATH!/NAME`."""
        return f"{self.path}!/{name}"

    def stamp(self, place: str) -> FileStamp:
        """The stamp of the one file: as long as it does not change, none of its images does."""
        return file_stamp(self.path)

    @abstractmethod
    def readers(self, names: Iterable[str]) -> Iterator[Reader]:
        """One reader for each image, in order."""


def give_unchanged(data: bytes, path: Path, stamp: FileStamp) -> bytes:
    """Give bytes that were read from a file if it still has the stamp it had before; as a `Reader`'s body.

    The feature store remembers an image's content by its file's stamp, taken just before the bytes are asked for.

    Raises:
        UnreadableImageError: the file has changed since.
    """
    check_unchanged(path, stamp)
    return data


def check_unchanged(path: Path, stamp: FileStamp) -> None:
    """Raise UnreadableImageError if a file has another stamp than it had."""
    try:
        now = file_stamp(path)
    except OSError as error:
        raise UnreadableImageError(file_reason(error)) from error
    if now != stamp:
        raise UnreadableImageError(f"{path.name} has changed since it was opened")


def fail(reason: str) -> NoReturn:
    """Raise UnreadableImageError with a reason that is known already; as a `Reader`'s body."""
    raise UnreadableImageError(reason)


def read_image(files: ImageFiles, name: str) -> bytes:
    """The bytes of one image; raises UnreadableImageError."""
    return next(iter(files.readers([name])))()
