"""Images in a tar archive, compressed or not: listed in one pass, read in one pass, nothing unpacked.

A member is remembered by its place in the stream of unpacked bytes, so reading needs no second look at headers.
"""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Final

from headstart.datasets.files import HeldFiles, Reader, fail, give_unchanged
from headstart.datasets.folders.name_tree import Contents, Member
from headstart.datasets.folders.walk import has_image_suffix
from headstart.errors import DataError
from headstart.files import FileStamp, file_stamp
from headstart.images import BYTE_LIMIT, SNIFF_BYTES, file_reason, sniff_image

# What tarfile reads in one piece: headers of 512 bytes and lists of attributes, never a file.
_HEADER_LIMIT: Final = 1 << 20
_STEP: Final = 64 << 20
_BOMB_BYTES: Final = 1 << 30
_BOMB_RATIO: Final = 200
_BLOCK: Final = 512
_DAMAGE: Final = (EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, ValueError)


class _Damaged(tarfile.TarError):
    """What stands in the archive cannot be; the message says what."""


class _Stream:
    """The unpacked bytes of an archive, with limits on what hostile headers can ask for."""

    def __init__(self, raw: IO[bytes], unpacked: IO[bytes]) -> None:
        self._raw, self._unpacked = raw, unpacked
        self.limit = _HEADER_LIMIT

    def tell(self) -> int:
        """The place, in unpacked bytes."""
        return self._unpacked.tell()

    def seek(self, place: int) -> int:
        """Go to a place in steps, so that a bomb is seen long before it has been unpacked."""
        if place < 0:
            raise _Damaged("a header of negative size")
        while self._unpacked is not self._raw and (here := self._unpacked.tell()) + _STEP < place:
            if self._unpacked.seek(here + _STEP) < here + _STEP:
                break
            self._check_ratio()
        return self._unpacked.seek(place)

    def read(self, size: int) -> bytes:
        """Read a header or a file."""
        if not 0 <= size <= self.limit:
            raise _Damaged(f"a header of {size:,} bytes")
        self._check_ratio()
        return self._unpacked.read(size)

    def _check_ratio(self) -> None:
        place = self._unpacked.tell()
        if place > _BOMB_BYTES and place > _BOMB_RATIO * self._raw.tell():
            raise _Damaged(f"{self._raw.tell():,} bytes expand to more than {place:,}, as no photos do")


@contextmanager
def _opened(path: Path) -> Iterator[_Stream]:
    """Open an archive, compressed as its first bytes say."""
    with path.open("rb") as raw:
        head = raw.read(6)
        raw.seek(0)
        if head.startswith(b"\x1f\x8b"):
            unpacked: IO[bytes] = gzip.GzipFile(fileobj=raw)  # type: ignore[assignment]
        elif head.startswith(b"BZh"):
            unpacked = bz2.BZ2File(raw)
        elif head.startswith(b"\xfd7zXZ\x00"):
            unpacked = lzma.LZMAFile(raw)  # noqa: SIM115 - closed with the file below it
        else:
            unpacked = raw
        yield _Stream(raw, unpacked)


def list_tar(path: Path) -> tuple[Contents, TarFiles]:
    """List a tar archive in one pass, and what reads its files.

    Raises:
        DataError: it is no tar archive, or a damaged one.
        OSError: it cannot be opened.
    """
    stamp = file_stamp(path)
    contents = Contents()
    places: dict[str, tuple[int, int]] = {}
    with _opened(path) as stream:
        for header in _headers(path, stream):
            if header.isdir():
                contents.add_folder(header.name)
            elif not header.isreg():
                contents.passed_over += 1
            else:
                member = Member(
                    fault=_fault(header), begins_as_image=partial(bool, _is_image(stream, header))
                )
                if clean := contents.add_file(header.name, member):
                    places[clean] = (header.offset_data, header.size)
    return contents, TarFiles(path=path, members=places, listed=stamp)


def first_names(path: Path, count: int) -> list[str]:
    """The names of the first members of a tar archive; fewer, or none, where it is damaged or is none."""
    names: list[str] = []
    try:
        with _opened(path) as stream:
            names.extend(header.name for header in islice(_headers(path, stream), count))
    except (DataError, OSError):
        return names  # whoever reads it says so
    return names


def _headers(path: Path, stream: _Stream) -> Iterator[tarfile.TarInfo]:
    """The headers from first to last; raises DataError at the first damage."""
    number = 0
    try:
        archive = tarfile.TarFile(fileobj=stream, errors="surrogateescape", encoding="utf-8")  # type: ignore[arg-type]
        while (header := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined] # it would keep every header
            if header.size < 0 or archive.offset < header.offset_data:
                raise _Damaged("a file of negative size")
            number += 1
            yield header
        _check_end(archive, stream)
    except (*_DAMAGE, RecursionError) as error:
        after = f", after {number:,} members" if number else ""
        raise DataError(f"{path} is no tar archive, or a damaged one{after}: {error}.") from error
    except OSError as error:
        if error.errno:
            raise
        raise DataError(f"{path} is damaged, after {number:,} members: {error}.") from error


def _check_end(archive: tarfile.TarFile, stream: _Stream) -> None:
    """Tell the end of an archive from a damaged header, which tarfile takes for the end, and go to the very end."""
    stream.seek(archive.offset)
    if stream.read(_BLOCK).strip(b"\0"):
        raise _Damaged("no header where one should be")
    while stream.read(_HEADER_LIMIT):
        pass  # to the checksum behind the last of compressed bytes


def _is_image(stream: _Stream, header: tarfile.TarInfo) -> bool:
    """Whether a file is one by its name or, which takes a look on the way, by its first bytes."""
    if has_image_suffix(header.name.rpartition("/")[2]):
        return True
    stream.seek(header.offset_data)
    return sniff_image(stream.read(min(SNIFF_BYTES, header.size))) is not None


def _fault(header: tarfile.TarInfo) -> str | None:
    if header.issparse():
        return "a sparse file, not supported: pack it as an ordinary one"
    if header.size > BYTE_LIMIT:
        return f"{header.size:,} bytes, over the limit of {BYTE_LIMIT:,}"
    return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TarFiles(HeldFiles):
    """Images in a tar archive. In the order of the archive they take one pass; in another order, several.

    Attributes:
        members: by name, where each begins in the unpacked bytes, and its size.
        listed: the archive's stamp when it was listed.
    """

    members: Mapping[str, tuple[int, int]] = dataclasses.field(repr=False)
    listed: FileStamp = dataclasses.field(repr=False)

    def readers(self, names: Iterable[str]) -> Iterator[Reader]:
        """Each gives bytes that have been read already."""
        wanted = iter(names)
        try:
            with _opened(self.path) as stream:
                stream.limit = BYTE_LIMIT
                for name in wanted:
                    yield self._reader(stream, name)
        except OSError as error:
            reason = file_reason(error)
            yield from (partial(fail, reason) for _ in wanted)

    def _reader(self, stream: _Stream, name: str) -> Reader:
        place, size = self.members[name]
        try:
            stream.seek(place)
            data = stream.read(size)
        except (*_DAMAGE, OSError) as error:
            return partial(fail, f"damaged in the archive ({str(error)[:80]})")
        if len(data) < size:
            return partial(fail, "cut short in the archive")
        return partial(give_unchanged, data, self.path, self.listed)
