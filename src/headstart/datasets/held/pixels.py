"""Images that are held as pixels, not as image files: arrays, and whatever else gives pixels on demand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.datasets.files import HeldFiles, Reader
from headstart.files import FileStamp

Pixels = npt.NDArray[np.uint8]


def encode_ppm(pixels: npt.NDArray[Any]) -> bytes:
    """Write pixels as the simplest image file there is, a binary PPM, in which nothing is lost.

    Args:
        pixels: (H, W, 3) uint8 RGB, or (H, W) uint8 grey, which becomes RGB.
    """
    rgb = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"expected uint8 of (H, W, 3) or (H, W), got {pixels.dtype} of {pixels.shape}")
    return b"P6\n%d %d\n255\n" % (rgb.shape[1], rgb.shape[0]) + rgb.tobytes()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ArrayFiles(HeldFiles):
    """The images of an array that one file on disk holds; their names are their numbers.

    Attributes:
        path: that file.
        listed: the file's stamp before the pixels were read. It stays theirs when the file changes: with the new
            stamp, the feature store would take these pixels for the new file's.
        pixels: (N, H, W, 3) or, grey, (N, H, W) uint8, perhaps mapped from the disk.
    """

    listed: FileStamp = dataclasses.field(repr=False)
    pixels: Pixels = dataclasses.field(repr=False)

    def stamp(self, place: str) -> FileStamp:
        """The stamp that belongs to the pixels, whatever has become of the file."""
        return self.listed

    def readers(self, names: Iterable[str]) -> Iterator[Reader]:
        """Each gives the image as a PPM file."""
        return (partial(self._read, int(name)) for name in names)

    def _read(self, number: int) -> bytes:
        return encode_ppm(self.pixels[number])


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class JoinedFiles:
    """Several files that hold images, as one source; an image's name is `PART/NAME`.

    Attributes:
        parts: by a name of their own without a slash.
    """

    parts: Mapping[str, HeldFiles]

    def place(self, name: str) -> str:
        """`PATH!/PART/NAME` with the path of the part: several may lie in one file."""
        return f"{self.parts[name.partition('/')[0]].path}!/{name}"

    def stamp(self, place: str) -> FileStamp:
        """As the image's part gives it."""
        part = place.rpartition("!/")[2].partition("/")[0]
        return self.parts[part].stamp(place)

    def readers(self, names: Iterable[str]) -> Iterator[Reader]:
        """As each image's part gives them."""
        for name in names:
            part, _, rest = name.partition("/")
            yield from self.parts[part].readers([rest])
