"""Figures with photos in them: thumbnails, confident mistakes, predictions."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageOps

from headstart.errors import DataError
from headstart.report.findings import Mistake
from headstart.report.style import INK, MUTED, RIGHT, RULE, WRONG, drawing, label, path_label, to_png
from headstart.report.words import percent

MOST_PHOTOS: Final = 100
"""So many photos fit in one figure of predictions."""

THUMBNAIL_SIDE: Final = 224
"""Pixels of a large thumbnail's longer side."""

_COLUMNS: Final = 6
_PHOTO_SIDE: Final = 2.2  # inches
_ROW_GAP: Final = 0.35


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictedPhoto:
    """A photo and what a classifier says of it.

    Attributes:
        title: what to write above, such as the file's name.
        pixels: (H, W, 3) uint8 RGB.
        classes: names of the classes, in any order.
        probabilities: of each of them, 0 to 1.
        note: what else is to be said of it, above the bars.
    """

    title: str
    pixels: NDArray[np.uint8]
    classes: Sequence[str]
    probabilities: ArrayLike
    note: str = ""


def draw_thumbnail(pixels: NDArray[np.uint8], *, side: int = THUMBNAIL_SIDE) -> bytes:
    """A small JPEG of a photo.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        side: length of the longer side in pixels; a smaller photo keeps its size.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=82 if side > 100 else 68, optimize=True)
    return buffer.getvalue()


def draw_mistakes(mistakes: Sequence[Mistake], thumbnails: Mapping[str, bytes]) -> Figure:
    """The most confident mistakes as a sheet of photos, each with its true and its predicted class.

    Args:
        mistakes: at least one.
        thumbnails: JPEG or PNG by path; a photo that is missing leaves its place empty.
    """
    rows = -(-len(mistakes) // _COLUMNS)
    figure = Figure(figsize=(_COLUMNS * 1.7, rows * 2.1))
    gaps = {"hspace": 0.3, "wspace": 0.1}
    grid = figure.subplots(rows, _COLUMNS, squeeze=False, gridspec_kw=gaps)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, mistake in zip(grid.flat, mistakes, strict=False):  # the last row may not be full
        _show(axes, thumbnails.get(mistake.path))
        said = f"{label(mistake.predicted, 19)} {percent(mistake.probability, 0)}"
        _write_below(axes, f"is {label(mistake.true, 22)}", line=0, colour=INK)
        _write_below(axes, f"✗ {said}", line=1, colour=WRONG)
    return figure


def draw_prediction(
    pixels: NDArray[np.uint8],
    classes: Sequence[str],
    probabilities: ArrayLike,
    *,
    top: int = 5,
    title: str = "",
) -> bytes:
    """A photo beside its most probable classes, as PNG.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        classes: names of the classes, in any order.
        probabilities: of each of them, 0 to 1.
        top: how many classes to show at most.
        title: what to write above, such as the file's name.

    Raises:
        DataError: there are not as many probabilities as classes.
    """
    photo = PredictedPhoto(title=title, pixels=pixels, classes=classes, probabilities=probabilities)
    return draw_predictions([photo], top=top)


def draw_predictions(photos: Sequence[PredictedPhoto], *, top: int = 5) -> bytes:
    """A row for each photo: the photo beside its most probable classes, as PNG.

    Args:
        photos: 1 to `MOST_PHOTOS`.
        top: how many classes to show at most.

    Raises:
        DataError: there are no photos or too many, or a photo has not as many probabilities as classes.
    """
    if not 1 <= len(photos) <= MOST_PHOTOS:
        raise DataError(
            f"A figure of predictions holds 1 to {MOST_PHOTOS} photos; got {len(photos)}.\nName fewer photos."
        )
    height = len(photos) * (_PHOTO_SIDE + _ROW_GAP)
    with drawing():
        figure = Figure(figsize=(2.9 * _PHOTO_SIDE, height))
        grid = figure.subplots(
            len(photos),
            2,
            squeeze=False,
            gridspec_kw={
                "width_ratios": (1, 1.75),
                "wspace": 0.06,
                "hspace": _ROW_GAP / _PHOTO_SIDE,
                **{"left": 0, "right": 1, "bottom": 0, "top": 1},
            },
        )
        for (left, right), photo in zip(grid, photos, strict=True):
            left.imshow(photo.pixels)
            left.set_axis_off()
            left.set_anchor("N")
            _draw_bars(right, photo, top)
        return to_png(figure)


def _draw_bars(axes: Axes, photo: PredictedPhoto, top: int) -> None:
    """Class names above their bars, so that a long name takes no room from them."""
    p = np.asarray(photo.probabilities, dtype=np.float64)
    if p.shape != (len(photo.classes),):
        raise DataError(
            f"{photo.title or 'The photo'} has probabilities of shape {p.shape}; expected one for each of "
            f"{len(photo.classes)} classes."
        )
    best = np.argsort(-p, kind="stable")[:top]
    for y, i in enumerate(best):
        weight = "bold" if y == 0 else "normal"
        axes.barh(y, 1, height=0.16, color=RULE, alpha=0.6)
        axes.barh(y, p[i], height=0.16, color=RIGHT, alpha=1 if y == 0 else 0.55)
        axes.text(0, y - 0.16, label(photo.classes[i], 36), va="bottom", color=INK, weight=weight)
        axes.text(1, y - 0.16, percent(p[i]), va="bottom", ha="right", color=INK, weight=weight)
    axes.set(xlim=(0, 1), ylim=(max(len(best), 4) - 0.7, -0.85))
    axes.set_title(path_label(photo.title), color=MUTED, fontsize=8)
    axes.set_title(photo.note, loc="right", color=WRONG, fontsize=8)
    axes.set_axis_off()


def _show(axes: Axes, thumbnail: bytes | None) -> None:
    if thumbnail is None:
        axes.text(
            0.5, 0.5, "photo not\navailable", ha="center", va="center", color=MUTED, transform=axes.transAxes
        )
    else:
        with Image.open(io.BytesIO(thumbnail)) as image:
            axes.imshow(np.asarray(ImageOps.fit(image.convert("RGB"), (THUMBNAIL_SIDE, THUMBNAIL_SIDE))))


def _write_below(axes: Axes, text: str, *, line: int, colour: str) -> None:
    axes.annotate(
        text,
        (0, 0),
        xytext=(0, -4 - 11 * line),
        xycoords="axes fraction",
        textcoords="offset points",
        va="top",
        fontsize=8,
        color=colour,
    )
