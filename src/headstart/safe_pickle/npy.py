""".npy and .npz files, whose headers are Python source and whose object arrays are pickles."""

from __future__ import annotations

import math
import re
import zipfile
from typing import Any, BinaryIO, Final, cast

import numpy as np
import numpy.typing as npt

from headstart.safe_pickle.admitted import check_shape, make_array, parse_dtype
from headstart.safe_pickle.pickles import run
from headstart.safe_pickle.source import OldText, Readable, Refusal, Room, Source, opened

Array = npt.NDArray[Any]

_MAGIC: Final = b"\x93NUMPY"
_LONGEST_HEADER: Final = 10_000  # numpy's own limit
_MOST_MEMBERS: Final = 10_000
_ENCRYPTED: Final = 1
# numpy writes the keys in this order, and so does everybody else; Python 2 on Windows wrote 10L for 10.
_HEADER: Final = re.compile(
    r"""\{\s*['"]descr['"]:\s*['"](?P<order>[<>|=]?)(?P<code>[^'"]*)['"],\s*"""
    r"""['"]fortran_order['"]:\s*(?P<fortran>True|False),\s*"""
    r"""['"]shape['"]:\s*\((?P<shape>[0-9L, ]*)\),?\s*\}\s*"""
)


def load_npy(readable: Readable, *, encoding: OldText = "latin1", max_bytes: int | None = None) -> Array:
    """Read an .npy file, also one that holds a pickled object, as `load_pickle` reads it.

    Args:
        readable: the file. What follows the array in it is left alone.
        encoding: how the `str` of Python 2 in a pickle is decoded.
        max_bytes: the most memory its values may take; None for 256 MiB, or four times a larger file.

    Returns:
        The array. A dict that was saved is in an array of shape () and dtype object: `array.item()`.

    Raises:
        PickleRefusedError: the file is no .npy file, is damaged, is structured, or holds what is not admitted.
        OSError: the file cannot be read.
    """
    with opened(readable, max_bytes) as source:
        return _read_array(source, encoding)


def load_npz(
    readable: Readable, *, encoding: OldText = "latin1", max_bytes: int | None = None
) -> dict[str, Array]:
    """Read all arrays of an .npz file, compressed or not.

    Args:
        readable: the file.
        encoding: how the `str` of Python 2 in a pickle is decoded.
        max_bytes: the most memory all its arrays may take; None for 256 MiB, or four times a larger file.

    Returns:
        The arrays by name, in the file's order.

    Raises:
        PickleRefusedError: as `load_npy`, or it is no zip archive, or holds more than arrays.
        OSError: the file cannot be read.
    """
    with opened(readable, max_bytes) as source, zipfile.ZipFile(source.file) as archive:
        members = archive.infolist()
        if len(members) > _MOST_MEMBERS:
            raise Refusal(f"it holds {len(members)} files")
        return {_name(member): _read_member(archive, member, source.room, encoding) for member in members}


def _name(member: zipfile.ZipInfo) -> str:
    if not member.filename.endswith(".npy"):
        raise Refusal(f"it holds {ascii(member.filename)[:80]}, which is no .npy file")
    return member.filename.removesuffix(".npy")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, room: Room, encoding: OldText) -> Array:
    if member.flag_bits & _ENCRYPTED or member.compress_type not in (
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
    ):
        raise Refusal(f"{ascii(member.filename)[:80]} in it is encrypted or compressed in an unusual way")
    with archive.open(member) as file:
        # The size is only what the archive says: one that is too large finds the end of the data.
        try:
            array = _read_array(Source(cast(BinaryIO, file), member.file_size, room), encoding)
        except Refusal as refusal:
            raise Refusal(
                f"in {ascii(member.filename)[1:-1][:80]}, {refusal}", forbidden=refusal.forbidden
            ) from None
        file.read(1)  # only at its end the checksum is looked at
        return array


def _read_array(source: Source, encoding: OldText) -> Array:
    dtype, fortran, shape = _read_header(source)
    if dtype.kind == "O":
        value = run(source, encoding)
        if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != shape:
            raise Refusal("its pickle is not the array of objects that its header announces")
        return value
    size = math.prod(shape) * dtype.itemsize
    return make_array(source.room, source.take_buffer(size), dtype, shape, "F" if fortran else "C")


def _read_header(source: Source) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """The dtype, whether the first index runs fastest, and the shape."""
    text = _header_text(source)
    found = _HEADER.fullmatch(text)
    if found is None:
        raise Refusal(f"its header is damaged or describes a structured array: {ascii(text)[:120]}")
    dtype = parse_dtype(found["order"] or "=", found["code"])
    sizes = found["shape"].replace("L", "").split(",")
    shape = check_shape(tuple(int(size) for size in sizes if size.strip()))
    return dtype, found["fortran"] == "True", shape


def _header_text(source: Source) -> str:
    magic = source.take(len(_MAGIC) + 2)
    major = magic[-2]
    if not magic.startswith(_MAGIC) or not 1 <= major <= 3:
        raise Refusal("it is no .npy file")
    size = int.from_bytes(source.take(2 if major == 1 else 4), "little")
    if size > _LONGEST_HEADER:
        raise Refusal(f"its header claims {size} bytes")
    return source.take(size).decode("utf-8" if major == 3 else "latin1")
