"""Images in a zip archive, read in place: nothing is unpacked, so no name in it can lead anywhere."""

from __future__ import annotations

import dataclasses
import io
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from headstart.datasets.files import HeldFiles, Reader, check_unchanged
from headstart.datasets.folders.name_tree import Contents, Member
from headstart.errors import DataError, UnreadableImageError
from headstart.files import FileStamp, file_stamp
from headstart.images import BYTE_LIMIT, SNIFF_BYTES, file_reason, sniff_image

_DIRECTORY_LIMIT: Final = 256 << 20  # some two million members
_METHODS: Final = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED: Final = 0x1
_UTF8: Final = 0x800
_UNIX: Final = 3
# What cannot be a photo: a black one of 12 megapixels as a deflated BMP expands less than this.
_BOMB_BYTES: Final = 64 << 20
_BOMB_RATIO: Final = 200
_DAMAGE: Final = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, NotImplementedError)


def list_zip(path: Path) -> tuple[Contents, ZipFiles]:
    """List a zip archive by its directory, and what reads its files.

    Raises:
        DataError: it is no zip archive, or a damaged one.
        OSError: it cannot be opened.
    """
    stamp = file_stamp(path)
    file = _BoundedFile(path)
    try:
        archive = zipfile.ZipFile(file)
    except _DAMAGE as error:
        file.close()
        raise DataError(f"{path} is no zip archive, or a damaged one: {error}.") from error
    file.limit = BYTE_LIMIT
    contents, infos = Contents(), {}
    opener = _Opener(archive)
    for info in archive.infolist():
        name = _name_of(info)
        kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == _UNIX else 0
        if name.endswith("/"):
            contents.add_folder(name)
        elif kind not in (0, stat.S_IFREG):
            contents.passed_over += 1
        elif clean := contents.add_file(
            name, Member(fault=_fault(info), begins_as_image=partial(opener.begins_as_image, info))
        ):
            infos[clean] = info
    return contents, ZipFiles(path=path, opener=opener, members=infos, listed=stamp)


class _BoundedFile(io.BufferedReader):
    """A file that is never read whole: the directory of a zip archive is read in one piece, however large."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.limit = _DIRECTORY_LIMIT

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= self.limit:
            size = self.limit + 1
        data = super().read(size)
        if len(data) > self.limit:
            raise zipfile.BadZipFile(f"a directory or file of more than {self.limit:,} bytes")
        return data


def _name_of(info: zipfile.ZipInfo) -> str:
    r"""The name; some pack UTF-8 without saying so, and some Windows programs write ``\``."""
    name = info.filename
    if not info.flag_bits & _UTF8:
        with suppress(UnicodeError):  # then it is what the format says: code page 437
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _fault(info: zipfile.ZipInfo) -> str | None:
    if info.flag_bits & _ENCRYPTED:
        return "encrypted"
    if info.compress_type not in _METHODS:
        # Python's decompressors for the others have no limit: some bytes could become gigabytes.
        return f"compressed by method {info.compress_type}, not supported: pack it as an ordinary zip"
    if info.file_size > BYTE_LIMIT:
        return f"{info.file_size:,} bytes, over the limit of {BYTE_LIMIT:,}"
    if info.file_size > max(_BOMB_BYTES, _BOMB_RATIO * info.compress_size):
        return f"{info.compress_size:,} bytes that expand to {info.file_size:,}, as no photo does"
    return None


@dataclasses.dataclass(frozen=True)
class _Opener:
    """Reads members from any thread. `zipfile` locks the file, but counts its own openings without a lock."""

    archive: zipfile.ZipFile
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def read(self, info: zipfile.ZipInfo, size: int) -> bytes:
        """At most `size` bytes; the checksum is checked where that is all."""
        try:
            with self.lock:
                member = self.archive.open(info)
            try:
                return member.read(size)
            finally:
                with self.lock:
                    member.close()
        except OSError as error:
            raise UnreadableImageError(file_reason(error)) from error
        except (*_DAMAGE, RuntimeError) as error:
            raise UnreadableImageError(
                f"damaged in the archive ({str(error)[:80] or 'cut short'})"
            ) from error

    def begins_as_image(self, info: zipfile.ZipInfo) -> bool:
        """Whether its first bytes are those of an image."""
        try:
            return sniff_image(self.read(info, SNIFF_BYTES)) is not None
        except UnreadableImageError:
            return False  # neither its name nor its content says that it is an image


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZipFiles(HeldFiles):
    """Images in a zip archive.

    Attributes:
        opener: the open archive.
        members: by name.
        listed: the archive's stamp when it was listed.
    """

    opener: _Opener = dataclasses.field(repr=False)
    members: Mapping[str, zipfile.ZipInfo] = dataclasses.field(repr=False)
    listed: FileStamp = dataclasses.field(repr=False)

    def readers(self, names: Iterable[str]) -> Iterator[Reader]:
        """Each reads its member when it is called."""
        return (partial(self._read, name) for name in names)

    def _read(self, name: str) -> bytes:
        info = self.members[name]
        # One byte more than there should be: only the end brings the checksum's check.
        data = self.opener.read(info, info.file_size + 1)
        check_unchanged(self.path, self.listed)
        return data
