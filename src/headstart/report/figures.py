"""The charts of a report."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from numpy.typing import NDArray

from headstart.report.findings import ClassFinding
from headstart.report.style import INK, MUTED, RIGHT, RULE, WRONG, exact_axes, label
from headstart.report.words import percent, power_of_ten

MOST_BARS: Final = 200
"""A chart of more classes shows the lowest ones."""

SWEPT: Final = {"strength": "strengths", "neighbours": "numbers of neighbours"}
"""What the path may run over, by its key in the history: several of them."""

_MOST_COUNTS: Final = 20
"""Up to so many classes each cell of the confusion matrix holds its count."""

_LABEL_ROOM: Final = 0.13  # inches between two class labels
_FAINTEST: Final = 0.1


def draw_confusion_matrix(matrix: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Which class is taken for which: each row's shares as colour, counts too where there is room.

    Args:
        matrix: (K, K) counts, row = true class, column = predicted class.
        classes: K names.
    """
    k = len(classes)
    side = min(0.5 * k, 6.5) if k <= 38 else min(0.17 * k, 11.0)
    figure, axes = exact_axes(side, side)
    support = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, support, out=np.zeros(matrix.shape), where=support > 0)
    # Colour as opacity suits light and dark paper alike; a small image of K x K pixels stays small.
    axes.imshow(_tints(shares), interpolation="none", aspect="equal")
    if k <= _MOST_COUNTS:
        _write_counts(axes, matrix, shares)
    _name_classes(axes, classes, cell=side / k)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.spines[:].set_visible(True)
    return figure


def draw_per_class_accuracy(findings: Sequence[ClassFinding], accuracy: float) -> Figure:
    """Each class's share of right answers with its 95 % interval, the lowest first.

    Args:
        findings: the classes, sorted; those without test images are left out.
        accuracy: over all images, drawn as a line.
    """
    shown = [each for each in findings if each.n][:MOST_BARS]
    rows = np.arange(len(shown))
    recalls = np.array([each.correct / each.n for each in shown])
    low, high = np.array([each.interval for each in shown], dtype=float).T
    figure, axes = exact_axes(3.4, 0.24 * len(shown) + 0.1)
    axes.barh(rows, recalls, height=0.62, color=RIGHT, alpha=0.25, linewidth=0)
    axes.hlines(rows, low, high, color=RIGHT, linewidth=1.4)
    axes.plot(recalls, rows, "o", color=RIGHT, markersize=4, clip_on=False)
    for row, each in enumerate(shown):
        axes.text(1.03, row, f"{each.correct} of {each.n}", va="center", color=MUTED, fontsize=8)
    axes.axvline(accuracy, color=INK, linewidth=0.9, linestyle=(0, (3, 2)))
    axes.set_title(f"all images {percent(accuracy)}", fontsize=8, loc="center", x=accuracy, pad=18)
    axes.set_yticks(rows, [label(each.name) for each in shown], color=INK)
    axes.xaxis.tick_top()  # where the eye starts, and where a long chart is scrolled to at first
    axes.set(xlim=(0, 1), ylim=(len(shown) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.grid(axis="x")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def draw_regularisation_path(path: Sequence[Mapping[str, float | None]], swept: str, chosen: float) -> Figure:
    """Loss and accuracy against the strength of regularisation or the number of neighbours, the chosen one marked.

    Args:
        path: one mapping a point (see `RunRecord`).
        swept: what it runs over, a key of `SWEPT`.
        chosen: the value that was taken.
    """
    figure = Figure(figsize=(4.6, 4.4))
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"hspace": 0.22})
    swept_values = [row[swept] for row in path]
    for axes, what in ((upper, "loss"), (lower, "accuracy")):
        for part, colour, dashes in (("train", MUTED, (0, (3, 1.5))), ("validation", RIGHT, "solid")):
            values = np.array([row[f"{part}_{what}"] for row in path], dtype=float)
            if not np.isnan(values).all():
                axes.plot(swept_values, values, color=colour, linestyle=dashes, linewidth=1.6, label=part)
        axes.axvline(chosen, color=WRONG, linewidth=1.2)
        axes.set_title(what)
        axes.grid(axis="y")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    lower.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, labelcolor=INK, fontsize=8)
    upper.set_title(f"chosen: {chosen:.2g}", loc="right", color=WRONG)
    lower.set_xscale("log")
    lower.xaxis.set_minor_locator(NullLocator())
    if swept == "strength":
        lower.xaxis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
        lower.set_xlabel("strength of regularisation (weak to strong)")
    else:
        lower.set_xticks(swept_values, [f"{value:g}" for value in swept_values])
        lower.set_xlabel("number of neighbours")
    lower.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    return figure


def _tints(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, K, 4) colours: right answers blue, mistakes orange, and even a single one to be seen."""
    rgba = np.empty((*shares.shape, 4))
    rgba[..., :3] = to_rgb(WRONG)
    rgba[np.arange(len(shares)), np.arange(len(shares)), :3] = to_rgb(RIGHT)
    rgba[..., 3] = np.where(shares > 0, _FAINTEST + (1 - _FAINTEST) * shares, 0)
    return rgba


def _write_counts(axes: Axes, matrix: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    size = 9 if len(matrix) <= 12 else 7
    for i, j in np.argwhere(matrix):
        colour = "white" if shares[i, j] > 0.65 else INK
        axes.text(j, i, str(matrix[i, j]), ha="center", va="center", color=colour, fontsize=size)


def _name_classes(axes: Axes, classes: Sequence[str], *, cell: float) -> None:
    """Class names on both sides; every second, third, ... where cells are too small for all."""
    step = int(np.ceil(_LABEL_ROOM / cell))
    ticks = range(0, len(classes), step)
    names = [label(classes[i], limit=24) for i in ticks]
    size = 9 if cell > 0.3 else 7
    axes.set_xticks(ticks, names, rotation=90, fontsize=size, color=INK)
    axes.set_yticks(ticks, names, fontsize=size, color=INK)
    axes.tick_params(length=0 if step == 1 else 3, pad=3, color=RULE)
