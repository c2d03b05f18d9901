"""Listing the files below a folder, quickly and without being led astray by links."""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from headstart.datasets.dataset import Problem
from headstart.errors import DataError
from headstart.images import IMAGE_SUFFIXES, SNIFF_BYTES, file_reason, sniff_image

# Droppings of operating systems and archivers, besides all that begins with a dot.
_DROPPINGS: Final = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini"})
NOT_UTF8: Final = "its name is not valid UTF-8: rename it"
"""The fault of a file whose name `is_utf8` denies."""


@dataclasses.dataclass(kw_only=True)
class Found:
    """What a listing found: paths relative to the data set's root, with ``/`` on every system."""

    images: list[str] = dataclasses.field(default_factory=list)
    problems: list[Problem] = dataclasses.field(default_factory=list)
    passed_over: int = 0

    def add(self, other: Found) -> None:
        """Take in what another listing found."""
        self.images += other.images
        self.problems += other.problems
        self.passed_over += other.passed_over


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiskTree:
    """The folders and files below one on disk; see `headstart.datasets.folders.layout.Tree`."""

    root: Path

    def shown(self, folder: str) -> str:
        """The folder's path."""
        return printable(str(self.root / folder))

    def aliases(self, folder: str) -> set[str]:
        """The folder's name, and the name of what it links to."""
        path = self.root / folder
        return {path.name, path.resolve().name}

    def folders(self, folder: str) -> list[str]:
        """The names of the visible folders, and links to folders, directly within one, sorted."""
        entries = _scan(os.fspath(self.root / folder))
        return sorted(entry.name for entry in entries if _is_visible_folder(entry))

    def files(self, folder: str) -> list[str]:
        """The names of all else that is directly within one."""
        entries = _scan(os.fspath(self.root / folder))
        return [entry.name for entry in entries if not _is_visible_folder(entry)]

    def find(self, folder: str, *, recursive: bool = True) -> Found:
        """The images in a folder; raises DataError as `list_folder` does."""
        return list_folder(self.root, self.root / folder, recursive=recursive)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Folder:
    path: str
    name: str  # as in `Found`
    real: str  # with all links resolved
    entered: tuple[str, ...]  # real paths of the folders that the links on the way here stood in


def list_folder(root: Path, folder: Path, *, recursive: bool = True) -> Found:
    """List the image files below a folder.

    Args:
        root: what the paths are to be relative to.
        folder: `root` itself or a folder below it.
        recursive: whether to look into the folders below; otherwise they are left out altogether.

    Raises:
        DataError: if a link leads back to a folder that it lies in, or a folder may not be read.
    """
    found = Found()
    waiting = [_start(root, folder)]
    while waiting:
        current = waiting.pop()
        for entry in _scan(current.path):
            if not _is_visible_folder(entry):
                name = current.name + entry.name
                sort_in(found, name, partial(_fault, name, entry), partial(_begins_as_image, entry.path))
            elif recursive:
                waiting.append(_enter(current, entry))
    found.images.sort()
    return found


def printable(name: str) -> str:
    r"""Write the undecodable bytes of a file's name as ``\xNN``, so that it can be shown and stored."""
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")


def _start(root: Path, folder: Path) -> _Folder:
    name = folder.relative_to(root).as_posix()
    return _Folder(
        path=os.fspath(folder),
        name="" if name == "." else f"{name}/",
        real=os.path.realpath(folder),
        entered=(),
    )


def _enter(current: _Folder, entry: os.DirEntry[str]) -> _Folder:
    real = os.path.realpath(entry.path)
    if any(_lies_in(above, real) for above in (current.real, *current.entered)):
        raise DataError(
            f"{printable(entry.path)} is a link to {printable(real)}, in which it lies itself: "
            "a listing would never end. Remove the link."
        )
    jumped = os.path.dirname(real) != current.real  # noqa: PTH120 - a Path for each folder costs more than it tells
    entered = (*current.entered, current.real) if jumped else current.entered
    return _Folder(path=entry.path, name=f"{current.name}{entry.name}/", real=real, entered=entered)


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def sort_in(
    found: Found, name: str, fault: Callable[[], str | None], begins_as_image: Callable[[], bool]
) -> None:
    """Put one file among the images, the problems or those passed over.

    Args:
        found: what has been found so far.
        name: the file's path from the top.
        fault: says why the file cannot be an image of the data set, or None.
        begins_as_image: whether the first bytes are those of an image; asked only where the suffix says nothing.
    """
    own_name = name.rpartition("/")[2]
    is_meant = has_image_suffix(own_name)
    if is_hidden(own_name):
        found.passed_over += 1
    elif reason := fault():
        if is_meant:
            found.problems.append(Problem(path=printable(name), reason=reason))
        else:
            found.passed_over += 1
    elif is_meant or begins_as_image():
        found.images.append(name)
    else:
        found.passed_over += 1


def _fault(name: str, entry: os.DirEntry[str]) -> str | None:
    """Say why a file cannot be an image of the data set, without a system call for ordinary files."""
    if not is_utf8(name):
        return NOT_UTF8
    if entry.is_file(follow_symlinks=False):
        return None
    try:
        return None if stat.S_ISREG(entry.stat().st_mode) else "not a regular file"
    except OSError as error:
        return file_reason(error)


def _begins_as_image(path: str) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - no Path for each of perhaps many files
            return sniff_image(file.read(SNIFF_BYTES)) is not None
    except OSError:
        return False  # neither its name nor its content says that it is an image


def _scan(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"Cannot look into the folder {printable(path)}: {file_reason(error)}.") from error


def _is_visible_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() and not is_hidden(entry.name)
    except OSError:  # a link in a circle
        return False


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is an operating system's own."""
    return name.startswith(".") or name.casefold() in _DROPPINGS


def has_image_suffix(name: str) -> bool:
    """Whether a file's name, without folders, says that it is meant to be an image."""
    stem, dot, suffix = name.rpartition(".")
    return bool(stem) and dot + suffix.lower() in IMAGE_SUFFIXES


def is_utf8(name: str) -> bool:
    """Whether a name can be written as text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
