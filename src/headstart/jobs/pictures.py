"""Small pictures of all images, on a file: memory does not grow with their number."""

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.audit import SIDE
from headstart.datasets import ImageDataset, Reader
from headstart.errors import DataError, UnreadableImageError
from headstart.features import Progress
from headstart.features.stream import in_order
from headstart.images import decode_image
from headstart.threads import usable_cores

_WINDOW = 64


def read_pictures(dataset: ImageDataset, progress: Progress | None) -> NDArray[np.uint8]:
    """Small pictures of the images, squashed to squares: (n, SIDE, SIDE, 3) uint8, mapped from an unnamed file.

    Args:
        dataset: n images that can be read.
        progress: told how many are done.

    Raises:
        DataError: one cannot be read any more.
    """
    names = dataset.names()
    with tempfile.TemporaryFile() as file:
        pictures = np.memmap(file, np.uint8, "w+", shape=(max(1, len(names)), SIDE, SIDE, 3))
    pool = ThreadPoolExecutor(usable_cores(), "headstart-audit")
    try:
        rows = in_order(pool, _draw, zip(names, dataset.files.readers(names), strict=True), window=_WINDOW)
        for done, picture in enumerate(rows, start=1):
            pictures[done - 1] = picture
            if progress is not None and (done % _WINDOW == 0 or done == len(names)):
                progress(done, len(names))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return pictures[: len(names)]


def read_thumbnails(dataset: ImageDataset, names: Sequence[str], side: int) -> dict[str, bytes]:
    """Thumbnails of some images by name, as JPEG."""
    from headstart.report import draw_thumbnail

    drawn: dict[str, bytes] = {}
    for name, read in zip(names, dataset.files.readers(names), strict=True):
        drawn[name] = draw_thumbnail(_decode(name, read, 2 * side), side=side)
    return drawn


def _draw(image: tuple[str, Reader]) -> NDArray[np.uint8]:
    small = Image.fromarray(_decode(*image, 2 * SIDE)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(small)


def _decode(name: str, read: Reader, least_side: int) -> NDArray[np.uint8]:
    try:
        return decode_image(read(), least_side=least_side)
    except UnreadableImageError as error:
        raise DataError(
            f"{name} was readable and is not any more: {error}.\nRun the same command again."
        ) from error
