"""The photos behind a source's rows: read and decoded when they are needed, and kept in memory up to a limit."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

import numpy as np
import psutil
from numpy.typing import NDArray
from torch import Tensor

from headstart.datasets import ImageFiles, Reader
from headstart.errors import DataError, UnreadableImageError
from headstart.images import Preprocess, decode_for

RGB = NDArray[np.uint8]
Draw = Callable[[RGB], RGB]
"""Draws a fixed variant of an image's pixels, (H, W, 3) uint8; from any thread."""

_MOST_BYTES: Final = 4 * 2**30


@dataclass(frozen=True, kw_only=True)
class Photos:
    """Which photo each row is.

    Attributes:
        files: where their bytes are read from.
        names: each row's photo, as `files` knows it; a photo may stand there more than once.
        views: each row's variant of its photo; None for the photos as they are.
    """

    files: ImageFiles
    names: Sequence[str]
    views: Sequence[Draw] | None = None

    def __post_init__(self) -> None:
        if self.views is not None and len(self.views) != len(self.names):
            raise ValueError(f"expected a view for each of {len(self.names)} rows, got {len(self.views)}")

    def __len__(self) -> int:
        return len(self.names)

    def readers(self, rows: Iterable[int]) -> Iterator[Reader]:
        """A reader for each row; quickest in ascending rows, as archives are read from front to back."""
        return self.files.readers(self.names[row] for row in rows)

    def decode(self, row: int, reader: Reader, preprocess: Preprocess) -> RGB:
        """A row's pixels, (H, W, 3) uint8, enough of them for `prepare_image`; from any thread.

        Raises:
            DataError: the photo cannot be read any more.
        """
        try:
            pixels = decode_for(reader(), preprocess)
        except UnreadableImageError as error:
            raise DataError(
                f"{self.files.place(self.names[row])} could be read before, and cannot be read now: {error}.\n"
                "Put it back as it was, or start again: without it, the run is another one."
            ) from error
        return pixels if self.views is None else self.views[row](pixels)


class PixelMemory:
    """Images in memory, up to a number of bytes; what comes later is not kept. For many threads at once.

    Args:
        limit: the most bytes to keep; by default a quarter of the memory that is free, and no more than 4 GB.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._left = limit if limit is not None else min(_MOST_BYTES, psutil.virtual_memory().available // 4)
        self._images: dict[tuple[int, bool], Tensor] = {}
        self._lock = Lock()

    def get(self, key: tuple[int, bool]) -> Tensor | None:
        """The image, or None."""
        return self._images.get(key)

    def keep(self, key: tuple[int, bool], image: Tensor) -> None:
        """Keep an image if there is room for it."""
        with self._lock:
            if image.nbytes <= self._left and key not in self._images:
                self._images[key] = image
                self._left -= image.nbytes
