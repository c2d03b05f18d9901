"""The archives that data sets are published in: fetched once, checked, unpacked beside themselves."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

from headstart.datasets.options import ReadOptions
from headstart.download import download
from headstart.unpacking import unpack_tar, unpack_zip

_SUFFIXES: Final = (".tar.gz", ".tgz", ".tar", ".zip")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Archive:
    """A file that a data set is published in.

    Attributes:
        url: where it is.
        sha256: its checksum; None where nobody has published one.
        md5: the checksum that is compared where there is no sha256.
        size: in bytes.
    """

    url: str
    sha256: str | None = None
    md5: str | None = None
    size: int

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The file's name without its suffix, which the folder it is unpacked into has."""
        return next(self.file.removesuffix(suffix) for suffix in _SUFFIXES if self.file.endswith(suffix))


def fetch(archive: Archive, folder: Path, options: ReadOptions) -> Path:
    """Give the archive's file in a folder, checked; downloads what is not there.

    Raises:
        DownloadError: it cannot be had; the message says which file to put into which folder.
    """
    return download(
        archive.url,
        folder / archive.file,
        sha256=archive.sha256,
        md5=archive.md5,
        size=archive.size,
        on_progress=options.progress,
    )


def fetch_unpacked(archive: Archive, folder: Path, options: ReadOptions) -> Path:
    """Give the folder that an archive was unpacked into, within another; fetches and unpacks where it is not there.

    Once it is unpacked the archive is not looked at again and may be deleted.

    Raises:
        DownloadError: the archive cannot be had or is damaged.
        DiskFullError: there is no room.
    """
    unpacked = folder / archive.stem
    if unpacked.is_dir():
        return unpacked
    file = fetch(archive, folder, options)
    return unpack_zip(file, unpacked) if file.suffix == ".zip" else unpack_tar(file, unpacked)
