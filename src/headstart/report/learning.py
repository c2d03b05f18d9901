"""The picture of a learning curve: what was measured, and where power laws take it."""

from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from headstart.metrics import Extrapolation
from headstart.report.record import Learning
from headstart.report.style import INK, MUTED, RIGHT, RULE, WRONG, drawing, label, to_png

_TITLE_LIMIT: Final = 60
_NEAR: Final = 1.3  # two ticks of the logarithmic axis are no nearer than this factor


def render_learning_curve(learning: Learning, title: str) -> bytes:
    """The figure of `draw_learning_curve` as PNG."""
    with drawing():
        return to_png(draw_learning_curve(learning, title))


def draw_learning_curve(learning: Learning, title: str) -> Figure:
    """Accuracy against the number of training images, on a logarithmic axis.

    Args:
        learning: each repeat is drawn as dots, and their means as larger ones.
        title: what was probed.
    """
    sizes, accuracies = learning.sizes, learning.accuracies
    figure = Figure(figsize=(6.0, 3.8))
    axes = figure.add_subplot()
    for repeat in accuracies:
        axes.plot(sizes, repeat, "o", color=MUTED, markersize=2.5, alpha=0.6, zorder=3)
    axes.plot(
        sizes, accuracies.mean(axis=0), "o", color=RIGHT, markersize=5.5, zorder=4, label="measured, mean"
    )
    ticks = list(sizes)
    if learning.band is not None:
        _draw_band(axes, learning.band, learning.targets, measured=float(sizes[-1]))
        ticks += list(learning.targets)
    axes.set_title(label(title, limit=_TITLE_LIMIT), fontsize=10)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    shown = _apart(ticks)
    axes.set_xticks(shown, [f"{tick:,.0f}" for tick in shown])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0), min(high, 1.005))
    axes.set_xlabel("training images")
    axes.set_ylabel("accuracy on images not trained on")
    axes.grid(axis="y")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.legend(loc="lower right", labelcolor=INK, fontsize=8)
    return figure


def _draw_band(axes: Axes, band: Extrapolation, targets: Sequence[float], measured: float) -> None:
    """The curve, dashed beyond what was measured, its interval, and what was asked for as diamonds with figures."""
    axes.fill_between(
        band.targets, band.low, band.high, color=RIGHT, alpha=0.13, linewidth=0, label="95 % of curves"
    )
    beyond = band.targets >= measured
    axes.plot(band.targets[~beyond], band.expected[~beyond], color=RIGHT, linewidth=1.4)
    axes.plot(
        band.targets[beyond], band.expected[beyond], color=RIGHT, linewidth=1.4, linestyle=(0, (3, 1.5)),
        label="expected beyond",
    )  # fmt: skip
    axes.axvline(targets[0], color=RULE, linewidth=1)
    expected = band.at(targets)
    axes.plot(targets, expected, "D", color=WRONG, markersize=4.5, zorder=5)
    for place, (target, accuracy) in enumerate(zip(targets, expected, strict=True)):
        words = "now" if not place else f"{target / targets[0]:g} ×"
        axes.annotate(
            words,
            (target, accuracy),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=WRONG,
        )


def _apart(ticks: Sequence[float]) -> list[float]:
    """Those that can be written beside each other, the last ones first."""
    kept: list[float] = []
    for tick in sorted(ticks, reverse=True):
        if not kept or kept[-1] / tick >= _NEAR:
            kept.append(tick)
    return kept[::-1]
