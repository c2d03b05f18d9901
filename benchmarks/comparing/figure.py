"""The figure: seconds of each side, and what it got right, by comparison."""

import statistics
from pathlib import Path
from typing import Any

from comparing.rows import Row, Rows
from comparing.table import ORDER, TITLES
from comparing.verdict import cases

_OURS, _THEIRS = "#1b6ca8", "#9aa5b1"
_PANELS = [name for name in ORDER if name != "settings"]


def draw_figure(rows: Rows, file: Path, machine: str) -> None:
    """A panel for each case of each comparison: medians as bars, all repeats as dots, in seconds."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    panels = [(name, case) for name in _PANELS for case in cases(rows, name)]
    if not panels:
        return
    sides = [len(_sides(rows, *panel)) for panel in panels]
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(9, 0.9 * len(panels) + 0.34 * sum(sides)),
        squeeze=False,
        gridspec_kw={"height_ratios": [count + 0.6 for count in sides]},
        layout="constrained",
    )
    for panel, axis in zip(panels, axes[:, 0], strict=True):
        _draw_panel(axis, rows, *panel)
    axes[-1, 0].set_xlabel("seconds (bars: medians, dots: repeats)")
    figure.suptitle("headstart beside its peers, same photos, same weights", fontsize=12)
    figure.text(0.99, -0.005, machine.splitlines()[0], ha="right", va="top", fontsize=7, color="#555555")
    figure.savefig(file, dpi=130, bbox_inches="tight")
    plt.close(figure)


def _sides(rows: Rows, name: str, case: str) -> dict[str, list[Row]]:
    """Own sides as they were measured, first runs first; then the others from fast to slow."""
    found: dict[str, list[Row]] = {}
    for row in rows.of(name, case):
        found.setdefault(row.side, []).append(row)
    own = [side for side in found if side.startswith("headstart")]
    others = sorted(found.keys() - set(own), key=lambda side: statistics.median(_seconds(found[side])))
    return {side: found[side] for side in (*own, *others)}


def _seconds(rows: list[Row]) -> list[float]:
    return [row.seconds for row in rows]


def _draw_panel(axis: Any, rows: Rows, name: str, case: str) -> None:
    sides = _sides(rows, name, case)
    medians = [statistics.median(_seconds(each)) for each in sides.values()]
    places = range(len(sides))
    colours = [_OURS if side.startswith("headstart") else _THEIRS for side in sides]
    axis.barh(places, medians, color=colours, height=0.7)
    for place, (each, median) in enumerate(zip(sides.values(), medians, strict=True)):
        seconds = _seconds(each)
        axis.plot(seconds, [place] * len(seconds), "o", color="#22303c", markersize=3)
        known = [row.accuracy for row in each if row.accuracy is not None]
        words = f"{median:.3g} s" + (f", {100 * statistics.mean(known):.1f} % right" if known else "")
        axis.annotate(
            words, (max(seconds), place), (5, 0), textcoords="offset points", va="center", fontsize=8
        )
    axis.set_yticks(places, list(sides), fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.3 * max(max(_seconds(each)) for each in sides.values()))
    axis.set_title(f"{TITLES[name]}: {case}", fontsize=9, loc="left")
    axis.tick_params(axis="x", labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
