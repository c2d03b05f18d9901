"""Files that are either whole or not there, their checksums, and where headstart keeps its own."""

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import platformdirs

from headstart.errors import ConfigError, DataError, DiskFullError, RunError

STORE_VARIABLE = "HEADSTART_STORE"
CONVERTED_FOLDER = "converted"
"""In the store: networks as a runtime has converted them."""
LOCK_FILE = ".lock"
"""In a folder that one process at a time may write."""
TEMPORARY_SUFFIX = ".tmp"
"""What `temporary_beside` ends its names with: such a file, found later, is what a killed process left."""


_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True, kw_only=True)
class FileStamp:
    """What the file system says of a file; as long as none of it changes, its content is taken to be the same."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def file_stamp(path: str | os.PathLike[str]) -> FileStamp:
    """What the file system says of a file now; raises OSError where it says nothing."""
    status = os.stat(path)  # noqa: PTH116 - once for each of perhaps many files
    return FileStamp(
        size=status.st_size, mtime_ns=status.st_mtime_ns, ctime_ns=status.st_ctime_ns, inode=status.st_ino
    )


def atomic_write(path: Path, data: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file so that any other process, now or after a crash, sees all of it or what was there before.

    The bytes go to a temporary file in the same folder, are synced to the disk, and take the file's name in
    one step. Whatever goes wrong, the temporary file is removed; only a killed process leaves one behind.

    Args:
        path: the file; its folder exists.
        data: the bytes, or a function that writes them to the open binary file it is given.

    Raises:
        DiskFullError: the disk, or the user's quota on it, has no room.
        OSError: the folder is missing or cannot be written.
    """
    temporary = temporary_beside(path)
    try:
        with full_disk_explained(path, len(data) if isinstance(data, bytes) else None):
            # "x" rather than tempfile: a file that others may read, as far as the umask lets them.
            with temporary.open("xb") as file:
                if isinstance(data, bytes):
                    file.write(data)
                else:
                    data(file)
            replace_durably(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> Path:
    """Make a folder that files are to be written to, with those above it, where it is not there.

    Raises:
        DataError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The folder {folder} cannot be made: {error.strerror}.") from error
    return folder


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """A folder locked against other processes.

    Args:
        folder: it is there.
        what: another one does, for the error: "is writing to".

    Raises:
        RunError: another process holds it, or it cannot be written.
    """
    from filelock import FileLock, Timeout  # here, since commands that lock nothing need not wait for it

    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(
            f"Another headstart {what} {folder}.\nWait for it, or choose another --out."
        ) from error
    except OSError as error:
        raise RunError(f"The folder {folder} cannot be written: {error.strerror}.") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps an open file's name; the empty file does no harm
            (folder / LOCK_FILE).unlink()
        lock.release()


def require_place_for(file: Path) -> None:
    """Make sure that a file of this name can be there, before anything is computed for it.

    Raises:
        DataError: there is no such folder, a folder of the file's name, or something else that is not to be replaced.
    """
    if not file.parent.is_dir():
        raise DataError(f"There is no folder {file.parent} to write {file.name} to.\nMake it first.")
    if file.is_dir():
        raise DataError(f"{file} is a folder, and a file is to be written there.\nGive the name of a file.")
    # A finished file takes the place of what has its name: of /dev/stdout too, for whoever may.
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise DataError(f"{file} is a link or a device, which would be replaced.\nGive the name of a file.")


def temporary_beside(path: Path) -> Path:
    """Make up a free name in the same folder, hence on the same disk: a rename is one step only there.

    The name is hidden, and short whatever `path` is called, so that a long name which is legal stays so.
    """
    return path.parent / f".{secrets.token_hex(6)}{TEMPORARY_SUFFIX}"


def replace_durably(temporary: Path, path: Path) -> None:
    """Give a finished file its name, after its bytes and before its name have reached the disk."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Bring a rename to the disk, where the system can."""
    if os.name == "nt":  # Windows opens no folder; NTFS keeps renames in its journal
        return
    # Some network file systems do not sync folders. The file is whole either way: after a power cut, at
    # worst, the old one is there.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def full_disk_explained(path: Path, needed: int | None) -> Iterator[None]:
    """Turn a full disk, or a spent quota, while `path` is written into one clear error.

    Args:
        path: the file being written, for the message.
        needed: its size in bytes; None where nobody knows.

    Raises:
        DiskFullError: instead of the OSError; every other OSError passes through.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = human_bytes(shutil.disk_usage(path.parent).free)
        size = "" if needed is None else f"{human_bytes(needed)} needed, "
        raise DiskFullError(
            f"There is no room for {path}: {size}{free} free on its disk ({error.strerror}).\n"
            "Free some space, or choose a folder on another disk."
        ) from error


def sha256_of_file(path: Path) -> str:
    """Compute the sha256 of a file's bytes, as 64 lower-case hex digits.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def default_store() -> Path:
    """Where features and downloads are kept: HEADSTART_STORE, else headstart's folder in the user's cache."""
    chosen = os.environ.get(STORE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_cache_path("headstart", appauthor=False)


def human_bytes(n: float) -> str:
    """Write a number of bytes for people, in powers of 1000: `7 B`, `1.5 kB`, `412 MB`."""
    size, unit = float(n), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 999.5:  # would be written as 1000
            break
        size, unit = size / 1000, larger
    digits = 0 if unit == "B" or size >= 9.95 else 1
    return f"{size:.{digits}f} {unit}"


def parse_bytes(text: str) -> int:
    """Read a number of bytes as people write it: `500M`, `10 GB`, `0`, in powers of 1000.

    Raises:
        ConfigError: the text is no size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ConfigError(f"{text!r} is no size. Expected a number of bytes such as 500M, 10G or 0.")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def parse_duration(text: str) -> float:
    """Read seconds as people write them: `90s`, `5m`, `1.5h`; a plain number is seconds.

    Raises:
        ConfigError: the text is no duration.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip(), re.IGNORECASE)
    if match is None or float(match[1]) == 0:
        raise ConfigError(f"{text!r} is no duration. Expected a time such as 90s, 5m or 1h.")
    return float(match[1]) * _SECONDS[match[2].lower()]
