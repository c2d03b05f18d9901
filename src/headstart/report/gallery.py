"""The test images as a page holds them: each with what was said of it, and a small thumbnail while there is room."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headstart.report.assets import data_uri
from headstart.report.record import RunRecord

ThumbnailsOf = Callable[[Sequence[str], int], Mapping[str, bytes]]
"""Gives small JPEGs or PNGs of images by path, whose longer side has so many pixels, without those that are gone."""

SIDE: Final = 80
"""Pixels of a thumbnail's longer side."""

MOST_BYTES: Final = 2_700_000
"""All thumbnails together; in the page they take a third more."""

MOST_THUMBNAILS: Final = 1500
"""Of more images none is opened: they would not fit."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The n test images, for the page's script.

    Attributes:
        rows: of each image its path, true class, predicted class, the probability in per mille, and its thumbnail as a
            data URI, or "".
        with_thumbnail: how many have one.
        cut_short: whether images are without one because there was no room.
    """

    rows: Sequence[tuple[str, int, int, int, str]]
    with_thumbnail: int
    cut_short: bool

    def note(self) -> str:
        """Which images are shown and which are only named, in a sentence."""
        n = len(self.rows)
        if self.with_thumbnail == n:
            return ""
        shown = f"{self.with_thumbnail:,} of {n:,} test images have a thumbnail in this page"
        if self.cut_short:
            return f"To keep it small, {shown}, mistakes first; the others are named."
        return f"{shown}; the others could not be opened when it was made, and are named."


def collect_images(
    record: RunRecord, thumbnails_of: ThumbnailsOf, *, most_bytes: int = MOST_BYTES
) -> Gallery:
    """Collect the test images, with thumbnails of the mistakes first and then of the least sure."""
    predicted, confidence = record.probabilities.argmax(axis=1), record.probabilities.max(axis=1)
    order = _most_telling(predicted != record.labels, confidence)[:MOST_THUMBNAILS]
    drawn = thumbnails_of([record.paths[i] for i in order], SIDE)
    shown, room, full = {}, most_bytes, len(order) < len(record.paths)
    for path in (record.paths[i] for i in order):
        if (image := drawn.get(path)) is None:
            continue
        if (room := room - len(image)) < 0:
            full = True
            break
        shown[path] = data_uri(image)
    columns: tuple[Any, ...] = (
        record.labels.tolist(),
        predicted.tolist(),
        np.rint(1000 * confidence).astype(int).tolist(),
    )
    rows = [
        (path, *values, shown.get(path, "")) for path, *values in zip(record.paths, *columns, strict=True)
    ]
    return Gallery(rows=rows, with_thumbnail=len(shown), cut_short=full)


def _most_telling(wrong: NDArray[np.bool_], confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Mistakes, the surest first; then right answers, the least sure first."""
    return np.lexsort((np.where(wrong, -confidence, confidence), ~wrong))
