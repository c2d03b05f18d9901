"""Training curves: how loss and accuracy went, epoch by epoch."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from headstart.report.record import Phase
from headstart.report.style import INK, MUTED, RIGHT, WRONG, label
from headstart.report.words import percent

PHASE_NAMES: Final[Mapping[Phase, str]] = MappingProxyType(
    {"probe": "Probe (feature extraction)", "finetune": "Fine-tuning"}
)
"""What a phase is called in words."""

_PLOTS: Final[Mapping[Phase, str]] = MappingProxyType({"probe": "fextract_plot", "finetune": "finetune_plot"})
_DOTTED: Final = 30  # up to so many epochs each has a dot: a single one would not be seen as a line
_MOST_TICKS: Final = 10
_TITLE_LIMIT: Final = 50  # characters, as wide as the panels
_ROOM: Final = 0.04  # around the first and the last point, as a share of the axis
_PARTS: Final = (("train", MUTED, (0, (3, 1.5))), ("validation", RIGHT, "solid"))


def name_plot(phase: Phase, backbone: str) -> str:
    """The name, without a suffix, of the figure of one phase's curves, such as `finetune_plot_squeezenet`.

    Args:
        phase: which.
        backbone: as the user named it; what stands before its last slash is left out, and what does not belong in
            a file's name is replaced.
    """
    name = re.sub(r"[^\w.-]+", "-", shorten(backbone))
    return f"{_PLOTS[phase]}_{name}"


def shorten(backbone: str) -> str:
    """A backbone's name without the library that it is from: `timm/resnet50` is `resnet50`."""
    return backbone.rpartition("/")[2]


def draw_training_curves(epochs: Sequence[Mapping[str, Any]], best: int | None, title: str) -> Figure:
    """Loss above and accuracy below against the epoch, in training and in validation, the kept epoch marked.

    Args:
        epochs: the E >= 1 epochs of one phase, in order (see `RunRecord`).
        best: the epoch whose weights were kept; None where none was chosen.
        title: what was trained.
    """
    numbers = np.array([row["epoch"] for row in epochs])
    figure = Figure(figsize=(4.6, 4.7))
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"hspace": 0.22})
    figure.suptitle(
        label(title, limit=_TITLE_LIMIT), x=figure.subplotpars.left, y=0.97, ha="left", fontsize=10
    )
    for axes, what in ((upper, "loss"), (lower, "accuracy")):
        _draw_panel(axes, numbers, epochs, what)
        if best is not None:
            axes.axvline(best, color=WRONG, linewidth=1.2, zorder=1.5)  # behind the curves
    if best is not None:
        upper.set_title(f"kept: epoch {best}", loc="right", color=WRONG)
    lower.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, labelcolor=INK, fontsize=8)
    room = 0.5 if len(numbers) == 1 else _ROOM * (numbers[-1] - numbers[0])
    lower.set_xlim(
        numbers[0] - min(room, 0.5), numbers[-1] + room
    )  # there is no epoch 0 to the left of the first
    lower.xaxis.set_major_locator(MaxNLocator(_MOST_TICKS, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    upper.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
    lower.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    _limit(upper, highest=np.inf)
    _limit(lower, highest=1)
    lower.set_xlabel("epoch")
    return figure


def describe_curves(epochs: Sequence[Mapping[str, Any]], best: int | None, title: str) -> str:
    """The same in words, for those who do not see it; arguments as for `draw_training_curves`."""
    last = epochs[-1]
    sentences = [
        f"{title}: loss and accuracy of {len(epochs)} {'epoch' if len(epochs) == 1 else 'epochs'}.",
        f"The last, epoch {last['epoch']}: {_figures(last)}.",
    ]
    if best is not None:
        (kept,) = (row for row in epochs if row["epoch"] == best)
        sentences.append(f"Kept was epoch {best}{'' if kept is last else f': {_figures(kept)}'}.")
    return " ".join(sentences)


def is_validated(epochs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there is a validation figure among them."""
    return any(row["validation_loss"] is not None for row in epochs)


def _draw_panel(
    axes: Axes, numbers: NDArray[np.int64], epochs: Sequence[Mapping[str, Any]], what: str
) -> None:
    for part, colour, dashes in _PARTS:
        values = np.array([row[f"{part}_{what}"] for row in epochs], dtype=float)
        known = ~np.isnan(values)
        if known.any():
            axes.plot(
                numbers[known],
                values[known],
                color=colour,
                linestyle=dashes,
                linewidth=1.6,
                marker="o" if len(numbers) <= _DOTTED else None,
                markersize=3.5,
                label=part,
            )
    axes.set_title(what)
    axes.grid(axis="y")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _limit(axes: Axes, *, highest: float) -> None:
    """Show no loss below 0, no accuracy beyond 100 %, where all values are the same and there is room for a tick."""
    low, high = axes.get_ylim()
    room = _ROOM * (high - low)
    axes.set_ylim(max(low, -room), min(high, highest + room))


def _figures(row: Mapping[str, Any]) -> str:
    train = f"train loss {row['train_loss']:.3f} and accuracy {percent(row['train_accuracy'])}"
    if row["validation_loss"] is None:
        return train
    return f"{train}, validation loss {row['validation_loss']:.3f} and accuracy {percent(row['validation_accuracy'])}"
