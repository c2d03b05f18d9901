"""Files of features as they come: plain, or in a zip, whose size is checked before any of it is unpacked."""

import io
import os
import re
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, Literal

from headstart.errors import DataError
from headstart.files import human_bytes

Part = Literal["train", "validation"]

MEMBER_SIGN: Final = "!/"
"""Between a zip's path and the member that is meant: `pack.zip!/folder/train.p`."""

MOST_BYTES: Final = 8 * 2**30
"""What may be unpacked of a zip: more is no file of features that fits into memory."""

# A zip bomb gives itself away by a ratio that features, float32 noise between zeros, never reach.
_MOST_RATIO: Final = 200
_RATIO_FREE_BYTES: Final = 64 * 2**20
_PART_WORDS: Final[dict[Part, set[str]]] = {
    "train": {"train", "training"},
    "validation": {"val", "valid", "validation"},
}


@dataclass(frozen=True, kw_only=True)
class OpenPack:
    """A file of features, open.

    Attributes:
        name: what to call it in messages: its path, with the member where it is in a zip.
        suffix: of the file or member, in small letters.
        file: binary, seekable, at its beginning.
    """

    name: str
    suffix: str
    file: BinaryIO


@contextmanager
def open_pack(
    path: str | os.PathLike[str], suffixes: Collection[str], part: Part | None = None
) -> Iterator[OpenPack]:
    """Open a file of features, or the one that is meant in a zip.

    Args:
        path: the file; a zip; or `ZIP!/MEMBER`, a member by its whole name or its last part.
        suffixes: what such files end in, in small letters.
        part: where a zip holds several, the one with the word train or validation (val) in its name is meant.

    Raises:
        DataError: it is missing, of another suffix, or a zip that is damaged, too big, or leaves open which
            member is meant.
    """
    file, member = _split_path(os.fspath(path))
    if file.suffix.lower() != ".zip":
        _require_suffix(file, suffixes)
        with _open(file) as opened:
            yield OpenPack(name=str(file), suffix=file.suffix.lower(), file=opened)
        return
    with _open(file) as opened:
        found = _unpack(file, opened, member, suffixes, part)
    yield found


def check_npz(name: str, file: BinaryIO) -> None:
    """Refuse an `.npz` that would unpack to too much, before any of it is read.

    Raises:
        DataError: it is no zip archive, holds more than `MOST_BYTES`, or has a ratio that only a bomb has.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            _check_size(name, archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        raise DataError(f"{name} is damaged, or no .npz file: {error}.") from error
    file.seek(0)


def _check_size(name: str, members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse members of a zip that together unpack to too much."""
    size = sum(info.file_size for info in members)
    packed = sum(info.compress_size for info in members)
    if size > MOST_BYTES:
        raise DataError(
            f"{name} unpacks to {human_bytes(size)}; at most {human_bytes(MOST_BYTES)} can be read.\n"
            "Divide it into smaller files."
        )
    if size > _RATIO_FREE_BYTES and size > _MOST_RATIO * packed:
        raise DataError(
            f"{name} unpacks from {human_bytes(packed)} to {human_bytes(size)}, which features do not: it is refused.\n"
            "If you trust it, unpack it yourself."
        )


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Unpack a member, and no more than its header promises: `ZipFile.read` itself would believe the stream."""
    with archive.open(info) as file:
        return file.read(info.file_size)


def _split_path(text: str) -> tuple[Path, str | None]:
    """The file, and the member that is named behind it."""
    file, sign, member = text.rpartition(f".zip{MEMBER_SIGN}")
    if not sign or Path(text).exists():
        return Path(text), None
    return Path(f"{file}.zip"), member


@contextmanager
def _open(file: Path) -> Iterator[BinaryIO]:
    try:
        opened = file.open("rb")
    except FileNotFoundError as error:
        raise DataError(f"There is no file {file}.") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error
    with opened:
        yield opened


def _require_suffix(file: Path, suffixes: Collection[str]) -> None:
    if file.suffix.lower() not in suffixes:
        kind = f"ends in {file.suffix!r}" if file.suffix else "has no suffix"
        raise DataError(f"{file} {kind}.\nFiles of features end in {', '.join(suffixes)}, or are in a .zip.")


def _unpack(
    file: Path, opened: BinaryIO, member: str | None, suffixes: Collection[str], part: Part | None
) -> OpenPack:
    """Read one member into memory."""
    try:
        with zipfile.ZipFile(opened) as archive:
            info = _choose(file, archive.infolist(), member, suffixes, part)
            _check_size(f"{file}{MEMBER_SIGN}{info.filename}", [info])
            data = _read_member(archive, info)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{file} is damaged, or no zip: {error}.") from error
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or an unknown method
        raise DataError(f"{file} cannot be unpacked: {error}.\nUnpack it yourself.") from error
    name = f"{file}{MEMBER_SIGN}{info.filename}"
    return OpenPack(name=name, suffix=_suffix(info.filename), file=_Member(data, name))


class _Member(io.BytesIO):
    """A member in memory that has a name, as open files have."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def _choose(
    file: Path,
    members: Sequence[zipfile.ZipInfo],
    wanted: str | None,
    suffixes: Collection[str],
    part: Part | None,
) -> zipfile.ZipInfo:
    """The member that is meant."""
    fitting = [info for info in members if _suffix(info.filename) in suffixes and not _hidden(info)]
    if not fitting:
        raise DataError(f"{file} holds no file that ends in {', '.join(suffixes)}.")
    chosen = fitting
    if wanted is not None:
        chosen = [info for info in fitting if info.filename == wanted] or [
            info for info in fitting if PurePosixPath(info.filename).name == wanted
        ]
    elif part is not None and len(fitting) > 1:
        chosen = [info for info in fitting if _PART_WORDS[part] & _words(info.filename)]
    if len(chosen) == 1:
        return chosen[0]
    what = wanted if wanted is not None else f"the {part} features" if part else "features"
    names = ", ".join(info.filename for info in fitting[:5]) + (" and more" if len(fitting) > 5 else "")
    raise DataError(
        f"{file} holds {len(chosen)} files that could be {what}: it has {names}.\n"
        f"Name one: {file}{MEMBER_SIGN}{fitting[0].filename}"
    )


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _words(name: str) -> set[str]:
    """The words of a member's last part."""
    return set(re.split(r"[^a-z]+", PurePosixPath(name).name.lower()))


def _hidden(info: zipfile.ZipInfo) -> bool:
    """What macOS adds, and other hidden files."""
    parts = PurePosixPath(info.filename).parts
    return info.is_dir() or any(part.startswith(".") or part == "__MACOSX" for part in parts)
