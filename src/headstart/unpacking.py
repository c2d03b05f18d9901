"""Archives unpacked with suspicion: into a folder that is either whole or not there, and nowhere else."""

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from headstart.errors import DownloadError
from headstart.files import full_disk_explained, human_bytes, temporary_beside


def unpack_tar(archive: Path, destination: Path, *, max_bytes: int = 50_000_000_000) -> Path:
    """Unpack a tar archive (plain, gz, bz2 or xz) into a new folder that is either whole or not there.

    Only files and folders are taken: an archive with a link, a device or a name that leads out of the folder
    is refused as a whole. A folder that is there already is taken for whole and left alone.

    Args:
        archive: the file, as `download` checked it: a tar archive has no checksum of its files.
        destination: the folder to make; what lies at the archive's top comes to lie in it.
        max_bytes: what all files may come to, against archives that swell without end.

    Returns:
        `destination`.

    Raises:
        DownloadError: the archive is damaged, swells beyond the limit, or was refused.
        DiskFullError: there is no room for its files.
    """
    if not destination.is_dir():
        with _whole_folder(archive, destination) as folder:
            _extract_tar(archive, folder, max_bytes)
    return destination


def unpack_zip(archive: Path, destination: Path, *, max_bytes: int = 50_000_000_000) -> Path:
    """Unpack a zip archive as `unpack_tar` does a tar archive, with the same arguments, care and errors.

    The checksums that a zip archive has of its files are compared.
    """
    if not destination.is_dir():
        with _whole_folder(archive, destination) as folder:
            _extract_zip(archive, folder, max_bytes)
    return destination


@contextmanager
def _whole_folder(archive: Path, destination: Path) -> Iterator[Path]:
    """A temporary folder that becomes the destination when all has gone well."""
    temporary = temporary_beside(destination)
    try:
        with full_disk_explained(destination, None):
            temporary.mkdir(parents=True)
            yield temporary
            _rename_folder(temporary, destination)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        OSError,
        RuntimeError,  # zip: encrypted, or (NotImplementedError) of an unknown compression
    ) as error:
        raise DownloadError(
            f"{archive} cannot be unpacked into {destination}: {error}.\n"
            "If it is damaged, delete it and fetch it again."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _extract_zip(archive: Path, folder: Path, max_bytes: int) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        # zipfile gives no more of a file than its entry promises.
        _check_total(archive, sum(member.file_size for member in members), max_bytes)
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0 from systems without such modes
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DownloadError(_refusal(archive, f"{member.filename} in it is no file and no folder"))
            path = _place_inside(folder, member.filename, archive)
            if member.is_dir():
                path.mkdir(parents=True, exist_ok=True)
            else:
                with opened.open(member) as content:
                    _write(content, path)


def _extract_tar(archive: Path, folder: Path, max_bytes: int) -> None:
    total = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            total += member.size
            # Before it is read: a few bytes of archive can promise, and give, terabytes of zeros.
            _check_total(archive, total, max_bytes)
            if not (member.isreg() or member.isdir()):
                raise DownloadError(_refusal(archive, f"{member.name} in it is no file and no folder"))
            _write_member(tar, member, _place_inside(folder, member.name, archive))


def _check_total(archive: Path, total: int, max_bytes: int) -> None:
    if total > max_bytes:
        raise DownloadError(_refusal(archive, f"its files come to more than {human_bytes(max_bytes)}"))


def _refusal(archive: Path, reason: str) -> str:
    return f"{archive} is not unpacked: {reason}."


def _place_inside(folder: Path, name: str, archive: Path) -> Path:
    """Give the path of a member, whose name may lead anywhere; no link in the folder can mislead it further."""
    path = (folder / name.lstrip("/")).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise DownloadError(_refusal(archive, f"{name} in it leads out of the folder"))
    return path


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    """Write a file's bytes or make a folder, and nothing else of what an archive can carry.

    `TarFile.extract` would be as safe with a filter, which the first releases of Python 3.11 do not have.
    """
    content = tar.extractfile(member)
    if content is None:
        path.mkdir(parents=True, exist_ok=True)
        return
    with content:
        _write(content, path)


def _write(content: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(content, file)


def _rename_folder(temporary: Path, destination: Path) -> None:
    try:
        temporary.rename(destination)
    except OSError:
        if not destination.is_dir():  # else another process was faster, and its folder is as good
            raise
