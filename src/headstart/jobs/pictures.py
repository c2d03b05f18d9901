"""Small pictures: of all images, on a file, so that memory does not grow with their number; and thumbnails of some."""

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
from headstart.report import draw_thumbnail
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


def draw_thumbnails(photos: ImageDataset, names: Sequence[str], side: int) -> dict[str, bytes]:
    """Small JPEGs of photos by name, without those that have gone or changed since they were read."""
    wanted = set(names)
    ordered = [name for name in photos.names() if name in wanted]  # as an archive is read in one pass

    def draw(read: Reader) -> bytes | None:
        try:
            # Decoded to no more pixels than the thumbnail needs, with as many again for a clean resize.
            return draw_thumbnail(decode_image(read(), least_side=2 * side), side=side)
        except UnreadableImageError:
            return None

    with ThreadPoolExecutor(usable_cores(), "headstart-thumbnails") as pool:
        drawn = in_order(pool, draw, photos.files.readers(ordered), window=4 * usable_cores())
        return {name: image for name, image in zip(ordered, drawn, strict=True) if image is not None}


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
