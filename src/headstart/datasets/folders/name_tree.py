"""The folders and files of an archive as a tree, so that the rules for folders on disk hold for it too."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Final

from headstart.datasets.folders.walk import NOT_UTF8, Found, is_hidden, is_utf8, sort_in
from headstart.datasets.names import SPLIT_NAMES

_DRIVE: Final = re.compile(r"[A-Za-z]:")
_DEEPEST: Final = 100


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file in an archive.

    Attributes:
        fault: why it cannot be an image of the data set, or None.
        begins_as_image: whether its first bytes are those of an image; asked only where its name says nothing.
    """

    fault: str | None
    begins_as_image: Callable[[], bool]


@dataclasses.dataclass(kw_only=True)
class Contents:
    """What an archive holds, in its order.

    Attributes:
        members: its files by their names, cleaned of ``.`` and doubled ``/``. Of several members of one name the
            last one counts, as if the archive were unpacked.
        folders: those that are named for themselves, perhaps empty.
        passed_over: how many members lead out of the archive (``..``, absolute names), lie absurdly deep, are links
            or devices, or are followed by another one of the same name.
    """

    members: dict[str, Member] = dataclasses.field(default_factory=dict)
    folders: list[str] = dataclasses.field(default_factory=list)
    passed_over: int = 0

    def add_folder(self, name: str) -> None:
        """Take in a folder."""
        clean = clean_name(name)
        if clean is None:
            self.passed_over += 1
        elif clean:
            self.folders.append(clean)

    def add_file(self, name: str, member: Member) -> str | None:
        """Take in a file; gives the name it has now, or None where it is passed over."""
        clean = clean_name(name)
        if not clean:
            self.passed_over += 1
            return None
        if self.members.pop(clean, None) is not None:
            self.passed_over += 1
        self.members[clean] = member
        return clean


def clean_name(name: str) -> str | None:
    """A member's name without ``.`` and doubled ``/``; None where it leads out of the archive or too deep."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or len(parts) > _DEEPEST or _DRIVE.match(name):
        return None
    return "/".join(parts)


@dataclasses.dataclass(slots=True, kw_only=True)
class _Folder:
    folders: dict[str, _Folder] = dataclasses.field(default_factory=dict)
    hidden: set[str] = dataclasses.field(default_factory=set)
    files: list[str] = dataclasses.field(default_factory=list)
    found: Found = dataclasses.field(default_factory=Found)


class NameTree:
    """An archive's folders and files; see `headstart.datasets.folders.layout.Tree`."""

    def __init__(self, place: str, name: str, contents: Contents) -> None:
        self._place, self._name = place, name
        self._top = _Folder()
        for folder in contents.folders:
            self._enter(folder.split("/"))
        for path, member in contents.members.items():
            self._add(path, member)

    def _enter(self, parts: list[str]) -> _Folder | None:
        """The folder, made if need be; None where it lies in a hidden one."""
        folder = self._top
        for part in parts:
            if is_hidden(part):
                folder.hidden.add(part)
                return None
            folder = folder.folders.setdefault(part, _Folder())
        return folder

    def _add(self, path: str, member: Member) -> None:
        *parts, name = path.split("/")
        folder = self._enter(parts)
        if folder is not None:
            folder.files.append(name)
            fault = member.fault if is_utf8(path) else NOT_UTF8
            sort_in(folder.found, path, lambda: fault, member.begins_as_image)

    def _at(self, folder: str) -> _Folder:
        found = self._top
        for part in folder.split("/") if folder else []:
            found = found.folders[part]
        return found

    def shown(self, folder: str) -> str:
        """`ARCHIVE!/FOLDER`."""
        return f"{self._place}!/{folder}" if folder else self._place

    def aliases(self, folder: str) -> set[str]:
        """The folder's name; at the top also that of a single folder, in which archives like to keep everything."""
        if folder:
            return {folder.rpartition("/")[2]}
        inner = self.folders("")
        wraps = len(inner) == 1 and inner[0].casefold() not in SPLIT_NAMES
        return {self._name, *inner} if wraps else {self._name}

    def folders(self, folder: str) -> list[str]:
        """The names of the folders directly within one, sorted, without hidden ones."""
        return sorted(self._at(folder).folders)

    def files(self, folder: str) -> list[str]:
        """The names of the files directly within one."""
        return self._at(folder).files

    def find(self, folder: str, *, recursive: bool = True) -> Found:
        """The images in a folder, sorted."""
        found = Found()
        waiting = [self._at(folder)]
        while waiting:
            current = waiting.pop()
            found.add(current.found)
            found.passed_over += len(current.hidden)
            if recursive:
                waiting.extend(current.folders.values())
        found.images.sort()
        return found
