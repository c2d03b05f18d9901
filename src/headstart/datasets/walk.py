"""Listing the files below a folder, quickly and without being led astray by links."""

from __future__ import annotations

import dataclasses
import os
import stat
from pathlib import Path
from typing import Final

from headstart.datasets.dataset import Problem
from headstart.errors import DataError
from headstart.images import IMAGE_SUFFIXES, SNIFF_BYTES, file_reason, sniff_image

# Droppings of operating systems and archivers, besides all that begins with a dot.
_DROPPINGS: Final = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini"})


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
class _Folder:
    path: str
    name: str  # as in `Found`
    real: str  # with all links resolved
    entered: tuple[str, ...]  # real paths of the folders that the links on the way here stood in


def visible_folders(folder: Path) -> list[Path]:
    """Give the folders (or links to folders) directly within one, sorted by name, without hidden ones."""
    names = [entry.name for entry in _scan(os.fspath(folder)) if _is_visible_folder(entry)]
    return [folder / name for name in sorted(names)]


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
                _sort_in(found, current.name + entry.name, entry)
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


def _sort_in(found: Found, name: str, entry: os.DirEntry[str]) -> None:
    """Put one file among the images, the problems or those passed over."""
    is_meant = not _is_hidden(entry.name) and _suffix(entry.name) in IMAGE_SUFFIXES
    if _is_hidden(entry.name):
        found.passed_over += 1
    elif reason := _fault(name, entry):
        if is_meant:
            found.problems.append(Problem(path=printable(name), reason=reason))
        else:
            found.passed_over += 1
    elif is_meant or _begins_as_image(entry.path):
        found.images.append(name)
    else:
        found.passed_over += 1


def _fault(name: str, entry: os.DirEntry[str]) -> str | None:
    """Say why a file cannot be an image of the data set, without a system call for ordinary files."""
    if not _is_utf8(name):
        return "its name is not valid UTF-8: rename it"
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
        return entry.is_dir() and not _is_hidden(entry.name)
    except OSError:  # a link in a circle
        return False


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _DROPPINGS


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return dot + suffix.lower() if stem else ""


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
