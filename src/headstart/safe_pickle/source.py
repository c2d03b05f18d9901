"""The bytes of a file that nobody vouches for, and how much memory its values may take."""

from __future__ import annotations

import errno
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Literal, NoReturn, cast

from headstart.errors import PickleRefusedError
from headstart.files import human_bytes

Readable = str | os.PathLike[str] | BinaryIO
"""A path, or a binary file that is open and can seek."""

OldText = Literal["latin1", "utf-8", "ascii", "bytes"]
"""How Python 2's `str` is decoded; "bytes" leaves it as it is."""

_ROOM: Final = 2**28
_ROOM_PER_BYTE: Final = 4
_ADMITTED: Final = (
    "Admitted are numpy arrays (not structured), dict, list, tuple, set, frozenset, str, bytes and numbers."
)


# What damaged bytes make Python's own functions raise; zipfile means archives of unknown versions by the last.
_DAMAGE: Final = (
    ValueError,
    LookupError,
    OverflowError,
    EOFError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    NotImplementedError,
)


class Refusal(Exception):  # noqa: N818 - becomes a PickleRefusedError where the file's name is known
    """Why a file is not read.

    Args:
        reason: half a sentence that follows the file's name.
        forbidden: the global that the file asks for, `module.name`, where it is that.
    """

    def __init__(self, reason: str, *, forbidden: str | None = None) -> None:
        super().__init__(reason)
        self.forbidden = forbidden


class Room:
    """How many more bytes of memory the values may take: few bytes of a file can ask for very many.

    Args:
        size: size of the file, in bytes.
        max_bytes: the room; None for 256 MiB, or four times a larger file.
    """

    def __init__(self, size: int, max_bytes: int | None) -> None:
        # What costs C stack or time rather than memory is counted.
        self.object_arrays = 1000
        self.rare_keys = 10_000
        self.total = max(_ROOM, _ROOM_PER_BYTE * size) if max_bytes is None else max_bytes
        self.left = self.total

    def spend(self, n: int) -> None:
        """Take `n` bytes, before they are allocated.

        Raises:
            Refusal: so many are not left.
        """
        self.left -= n
        if self.left < 0:
            raise Refusal(f"its values would take more memory than the {human_bytes(self.total)} allowed")


class Source:
    """A file read from where it stands to its end; no more is ever asked of it than it has.

    Args:
        file: open for reading.
        size: how many bytes there are to read.
        room: what the values may take.
    """

    def __init__(self, file: BinaryIO, size: int, room: Room) -> None:
        self.file = file
        self.remaining = size
        self.room = room

    def take(self, n: int) -> bytes:
        """Read exactly `n` bytes.

        Raises:
            Refusal: the file ends before.
        """
        self._reserve(n)
        data = self.file.read(n)
        if len(data) != n:
            _cut_off()
        return data

    def take_buffer(self, n: int) -> bytearray:
        """Read exactly `n` bytes to where an array can use them without another copy."""
        self._reserve(n)
        self.room.spend(n)
        data = bytearray(n)
        view, filled = memoryview(data), 0
        while filled < n:
            # BinaryIO names no readinto, but every binary file has it.
            got = self.file.readinto(view[filled:])  # type: ignore[attr-defined]
            if not got:
                _cut_off()
            filled += got
        view.release()
        return data

    def take_line(self, longest: int | None = None) -> bytes:
        """Read up to the next newline, which is left out."""
        line = self.file.readline(self.remaining if longest is None else min(longest, self.remaining))
        self.remaining -= len(line)
        if not line.endswith(b"\n"):
            _cut_off() if self.remaining == 0 else _too_long()
        return line[:-1]

    def _reserve(self, n: int) -> None:
        if n > self.remaining:
            _cut_off()
        self.remaining -= n


def _cut_off() -> NoReturn:
    raise Refusal("it ends too early: it is cut off, damaged, or not such a file at all")


def _too_long() -> NoReturn:
    raise Refusal("it is damaged, or not such a file at all: a name or number in it has no end")


@contextmanager
def opened(readable: Readable, max_bytes: int | None) -> Iterator[Source]:
    """Open a file, and turn whatever is wrong with it into one error that names it.

    Raises:
        PickleRefusedError: instead of a `Refusal` and of what damaged bytes make Python's own functions raise.
        OSError: the file cannot be opened.
    """
    with explained(name_of(readable)), _opened_file(readable) as file:
        start = file.tell()
        size = file.seek(0, os.SEEK_END) - start
        file.seek(start)
        yield Source(file, size, Room(size, max_bytes))


def name_of(readable: Readable) -> str:
    """What to call the file in an error."""
    if isinstance(readable, str | os.PathLike):
        return os.fspath(readable)
    name = getattr(readable, "name", None)
    return name if isinstance(name, str) else "The open file"


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Name the file in whatever goes wrong."""
    try:
        yield
    except Refusal as refusal:
        raise PickleRefusedError(f"{name}: {refusal}.\n{_ADMITTED}", forbidden=refusal.forbidden) from None
    except _DAMAGE as error:
        raise _damaged(name, error) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # zipfile seeks to wherever a damaged archive says
            raise
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> PickleRefusedError:
    return PickleRefusedError(f"{name}: it is damaged ({str(error)[:120]}).\n{_ADMITTED}")


@contextmanager
def _opened_file(readable: Readable) -> Iterator[BinaryIO]:
    if isinstance(readable, str | os.PathLike):
        with Path(readable).open("rb") as file:
            yield cast(BinaryIO, file)
    else:
        yield readable
