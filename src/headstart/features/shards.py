"""Shards: immutable files with the features of some hundreds of images.

A shard is a safetensors file with three tensors: `features` (n, ...), `sha256` (n, 32) of the images, and
`crc32` (n,), each row's checksum over its type, its image's sha256 and its features. A flipped byte anywhere
breaks either the file's header or some row's checksum.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from headstart.files import atomic_write

SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A shard as read: rows whose checksum fails are marked, not raised.

    Attributes:
        features: (n, ...) as stored.
        sha256s: the images' sha256, 32 bytes each.
        sound: (n,) bool, whether the row's checksum holds.
    """

    features: NDArray[Any]
    sha256s: list[bytes]
    sound: NDArray[np.bool_]


def write_shard(path: Path, features: NDArray[Any], sha256s: Sequence[bytes], *, digest: str) -> int:
    """Write a shard beside its place, sync it and rename it into place.

    Args:
        path: where it is to stand.
        features: (n, ...) rows.
        sha256s: n sha256 of 32 bytes.
        digest: the store key's digest, kept in the file's metadata.

    Returns:
        The file's size in bytes.

    Raises:
        DiskFullError: there is no room; nothing is left behind.
    """
    rows = np.ascontiguousarray(features)
    tensors = {
        "features": rows,
        "sha256": np.frombuffer(b"".join(sha256s), np.uint8).reshape(len(rows), 32),
        "crc32": np.array([_checksum(sha, row) for sha, row in zip(sha256s, rows, strict=True)], np.uint32),
    }
    data = safetensors.numpy.save(tensors, metadata={"key": digest})
    atomic_write(path, data)
    return len(data)


def read_shard(path: Path) -> Shard | None:
    """Read and check a shard; None where the file is gone or is no shard at all."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            features, shas, sums = (file.get_tensor(name) for name in ("features", "sha256", "crc32"))
    except (OSError, safetensors.SafetensorError):
        return None
    if not (shas.shape == (len(features), 32) and shas.dtype == np.uint8 and sums.shape == (len(features),)):
        return None
    sha256s = [bytes(row) for row in shas]
    sound = np.array(
        [_checksum(s, row) == total for s, row, total in zip(sha256s, features, sums, strict=True)]
    )
    return Shard(features=features, sha256s=sha256s, sound=sound.astype(bool))


def _checksum(sha256: bytes, row: NDArray[Any]) -> int:
    # With the type: one byte of the header makes integers of floats, without moving a byte of the rows.
    kind = f"{row.dtype.str} {row.shape}".encode()
    return zlib.crc32(np.ascontiguousarray(row).data, zlib.crc32(sha256, zlib.crc32(kind)))
