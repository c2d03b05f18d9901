"""How figures look, and how they become files; and the colours of the page."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK: Final = "#1b1f24"
MUTED: Final = "#5b6570"
RULE: Final = "#d9dee4"
RIGHT: Final = "#2f5fd0"
WRONG: Final = "#c2571a"
PAPER: Final = "#ffffff"

PAGE_COLOURS: Final = MappingProxyType(
    {INK: "--ink", MUTED: "--muted", RULE: "--rule", RIGHT: "--right", WRONG: "--wrong", PAPER: "--paper"}
)
"""What stands for these colours in a page, so that they follow the reader's light or dark theme: see report.css."""

_PNG_DPI: Final = 160
_PADDING: Final = 0.08  # inches
# Class names come in every script; those of these that are installed draw what DejaVu Sans lacks.
_OTHER_SCRIPTS: Final = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Zen Hei"),
    *("Hiragino Sans", "PingFang SC", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "Arial Unicode MS"),
)


@contextmanager
def drawing() -> Iterator[None]:
    """The house style while a figure is drawn and saved; the process's own style comes back afterwards.

    matplotlib's settings belong to the process, so figures are for one thread at a time.
    """
    # A person's matplotlibrc must not change a report; the backend is theirs and plays no part here.
    settings = {key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith("backend")}
    with mpl.rc_context({**settings, **_house_style()}), warnings.catch_warnings():
        # Where no installed font has a script, the PNG shows boxes; the page uses the browser's fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def exact_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Axes of exactly this size in inches; what stands around them makes the saved figure larger."""
    figure = Figure(figsize=(width, height))
    return figure, figure.add_axes((0.0, 0.0, 1.0, 1.0))


def to_png(figure: Figure) -> bytes:
    """A figure on white, as PNG."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=_PNG_DPI,
        bbox_inches="tight",
        pad_inches=_PADDING,
        metadata={"Software": None},
    )
    return buffer.getvalue()


def label(text: str, limit: int = 28) -> str:
    """A name as a figure can show it: on one line, printable, and not too long."""
    clean = _printable(text)
    return clean if len(clean) <= limit else f"{clean[: limit - 1]}…"


def path_label(path: str, limit: int = 44) -> str:
    """A path likewise; what is left out is its beginning."""
    clean = _printable(path)
    return clean if len(clean) <= limit else f"…{clean[1 - limit :]}"


def _printable(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)


def _house_style() -> dict[Any, Any]:
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return {
        "font.family": ["DejaVu Sans", *(name for name in _OTHER_SCRIPTS if name in installed)],
        "font.size": 9,
        "text.color": INK,
        "text.parse_math": False,  # a class may be called $x$
        "axes.edgecolor": RULE,
        "axes.facecolor": "none",
        "axes.labelcolor": MUTED,
        "axes.titlecolor": INK,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": RULE,
        "grid.linewidth": 0.7,
        "xtick.color": RULE,
        "ytick.color": RULE,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "legend.frameon": False,
        "figure.facecolor": PAPER,
    }
