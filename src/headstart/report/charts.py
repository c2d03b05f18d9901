"""The charts of a page, as plotly.js takes them: plain data, in the light theme's colours.

The page's script exchanges these for the colours of the reader's theme.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headstart.metrics import ReliabilityBin, wilson_interval
from headstart.report.findings import ClassFinding
from headstart.report.record import Learning
from headstart.report.style import INK, MUTED, RIGHT, RULE, WRONG
from headstart.report.words import percent

MOST_BARS: Final = 200
"""A chart of more classes shows the lowest ones."""

PALETTE: Final = (
    *(
        "#2f5fd0",
        "#c2571a",
        "#1a8a5a",
        "#a8408f",
        "#8a6d00",
        "#0e7f95",
        "#c03a4b",
        "#6b5bd0",
        "#5d7a1f",
        "#7a5c4a",
    ),
)
"""Colours that are told apart on light and on dark paper."""

_BAND: Final = "rgba(90, 130, 220, 0.2)"  # behind lines, on light and on dark paper
_ROW: Final = 24  # pixels of one class
_LEGEND_BELOW: Final = {
    "showlegend": True,
    "legend": {
        "orientation": "h",
        "x": 0,
        "yref": "container",
        "y": 0,
        "yanchor": "bottom",
        "font": {"color": INK},
    },
    "margin": {"l": 48, "r": 12, "t": 28, "b": 84},
}
PERCENT_AXIS: Final = {"tickformat": ".1~%"}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart and what it shows in words.

    Attributes:
        data: the traces.
        layout: the axes, and what else there is.
        height: in pixels.
        alt: what it shows, for those who do not see it.
    """

    data: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    height: int
    alt: str

    def figure(self) -> dict[str, Any]:
        """As the script takes it."""
        return {"data": list(self.data), "layout": {**self.layout, "height": self.height}}


def chart_layout(**changes: Any) -> dict[str, Any]:
    """The house style; keywords are added to it."""
    return {
        "margin": {"l": 48, "r": 12, "t": 28, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": MUTED, "size": 12},
        "hoverlabel": {"bgcolor": INK, "bordercolor": INK, "font": {"color": "#ffffff"}, "align": "left"},
        "hovermode": "closest",
        "dragmode": False,
        "showlegend": False,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"color": INK}},
        **changes,
    }


def axis(title: str = "", **changes: Any) -> dict[str, Any]:
    """An axis in the house style."""
    return {
        "title": {"text": title, "font": {"color": MUTED}},
        "gridcolor": RULE,
        "linecolor": RULE,
        "zeroline": False,
        "automargin": True,
        **changes,
    }


def class_chart(findings: Sequence[ClassFinding], accuracy: float) -> Chart:
    """Each class's share of right answers with its 95 % interval, the lowest at the top."""
    shown = [each for each in findings if each.n][:MOST_BARS]
    places = list(range(len(shown)))
    recalls = [each.correct / each.n for each in shown]
    bounds = [wilson_interval(each.correct, each.n) for each in shown]
    hover = [
        f"{escaped(each.name)}<br>{each.correct} of {each.n} right<br>{100 * low:.1f} to {percent(high)}"
        for each, (low, high) in zip(shown, bounds, strict=True)
    ]
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": recalls,
        "y": places,
        "marker": {"color": RIGHT, "size": 8},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - share for (_, high), share in zip(bounds, recalls, strict=True)],
            "arrayminus": [share - low for (low, _), share in zip(bounds, recalls, strict=True)],
            "color": RIGHT,
            "thickness": 1.4,
            "width": 0,
        },
        "text": hover,
        "hovertemplate": "%{text}<extra></extra>",
    }
    worst = shown[0]
    line = {"type": "line", "x0": accuracy, "x1": accuracy, "y0": 0, "y1": 1, "yref": "paper"}
    return Chart(
        data=[dots],
        layout=chart_layout(
            margin={"l": 8, "r": 16, "t": 44, "b": 8},
            xaxis=axis(range=[-0.02, 1.02], side="top", fixedrange=True, **PERCENT_AXIS),
            yaxis=axis(
                tickvals=places,
                ticktext=[escaped(_short(each.name)) for each in shown],
                range=[len(shown) - 0.4, -0.6],
                showgrid=False,
                fixedrange=True,
                tickfont={"color": INK},
            ),
            shapes=[{**line, "line": {"color": INK, "width": 1, "dash": "dot"}}],
        ),
        height=70 + _ROW * len(shown),
        alt=f"Share of right answers in each class, from {worst.name} ({worst.correct} of {worst.n}) upwards; "
        f"a line stands at {percent(accuracy)}, that of all images. The table of classes has the numbers.",
    )


def reliability_chart(bins: Sequence[ReliabilityBin], ece: float) -> Chart:
    """How often it is right against how sure it is, and how many images there are of each."""
    correct = [round(each.accuracy * each.count) for each in bins]
    bounds = [wilson_interval(k, each.count) for k, each in zip(correct, bins, strict=True)]
    hover = [
        f"said {percent(each.confidence, 0)} on average<br>right {percent(each.accuracy, 0)}: {k} of {each.count}"
        for k, each in zip(correct, bins, strict=True)
    ]
    diagonal = {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "hoverinfo": "skip"}
    dots = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [each.confidence for each in bins],
        "y": [each.accuracy for each in bins],
        "line": {"color": RIGHT, "width": 1},
        "marker": {"color": RIGHT, "size": 8},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [high - each.accuracy for (_, high), each in zip(bounds, bins, strict=True)],
            "arrayminus": [each.accuracy - low for (low, _), each in zip(bounds, bins, strict=True)],
            "color": RIGHT,
            "thickness": 1,
            "width": 0,
        },
        "text": hover,
        "hovertemplate": "%{text}<extra></extra>",
    }
    bars = {
        "type": "bar",
        "x": [(each.low + each.high) / 2 for each in bins],
        "y": [each.count for each in bins],
        "width": [0.9 * (each.high - each.low) for each in bins],
        "yaxis": "y2",
        "marker": {"color": MUTED, "opacity": 0.45},
        "hovertemplate": "%{y} images<extra></extra>",
    }
    return Chart(
        data=[{**diagonal, "line": {"color": MUTED, "dash": "dot", "width": 1}}, dots, bars],
        layout=chart_layout(
            xaxis=axis("how sure it is", range=[0, 1.02], fixedrange=True, anchor="y2", **PERCENT_AXIS),
            yaxis=axis(
                "how often it is right", range=[-0.03, 1.03], fixedrange=True, domain=[0.3, 1], **PERCENT_AXIS
            ),
            yaxis2=axis("images", fixedrange=True, domain=[0, 0.2], nticks=3),
        ),
        height=440,
        alt=f"Reliability diagram: how often the classifier is right against how sure it is, in {len(bins)} bins; "
        f"calibration error {percent(ece)}. The table of bins has the numbers.",
    )


def curves_chart(epochs: Sequence[Mapping[str, Any]], best: int | None, alt: str) -> Chart:
    """Loss above and accuracy below against the epoch, the kept epoch marked.

    Args:
        epochs: those of one phase (see `RunRecord`).
        best: the epoch whose weights were kept; None where none was chosen.
        alt: the same in words.
    """
    parts = (("train", MUTED, "dash"), ("validation", RIGHT, "solid"))
    traces = [
        trace
        for what, place in (("accuracy", "y"), ("loss", "y2"))
        for part, colour, dash in parts
        if (trace := _curve(epochs, part, what, place, colour, dash)) is not None
    ]
    line = {"type": "line", "x0": best, "x1": best, "y0": 0, "y1": 1, "yref": "paper"}
    mark = {"x": best, "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False}
    kept = {"text": f"kept: epoch {best}", "font": {"color": WRONG}, **mark}
    return Chart(
        data=traces,
        layout=chart_layout(
            **_LEGEND_BELOW,
            hovermode="x unified",
            hoverlabel={"align": "left"},
            xaxis=axis("epoch", anchor="y", fixedrange=True, rangemode="normal", **epoch_ticks(len(epochs))),
            yaxis=axis("accuracy", domain=[0, 0.47], fixedrange=True, **PERCENT_AXIS),
            yaxis2=axis("loss", domain=[0.53, 1], fixedrange=True, rangemode="tozero"),
            shapes=[]
            if best is None
            else [{**line, "layer": "below", "line": {"color": WRONG, "width": 1.2}}],
            annotations=[] if best is None else [kept],
        ),
        height=430,
        alt=alt,
    )


def path_chart(
    path: Sequence[Mapping[str, float | None]], swept: str, title: str, chosen: float, alt: str
) -> Chart:
    """Loss and accuracy against what the path runs over, the chosen value marked."""
    traces = []
    for what, place in (("accuracy", "y"), ("loss", "y2")):
        for part, colour, dash in (("train", MUTED, "dash"), ("validation", RIGHT, "solid")):
            rows = [row for row in path if row[f"{part}_{what}"] is not None]
            if rows:
                pairs = [row[swept] for row in rows], [row[f"{part}_{what}"] for row in rows]
                traces.append(_line(part, pairs, place, colour, dash, what, markers=False))
    line = {"type": "line", "x0": chosen, "x1": chosen, "y0": 0, "y1": 1, "yref": "paper"}
    return Chart(
        data=traces,
        layout=chart_layout(
            **_LEGEND_BELOW,
            xaxis=axis(
                title, type="log", anchor="y", fixedrange=True, exponentformat="power", tickangle=0, nticks=7
            ),
            yaxis=axis("accuracy", domain=[0, 0.47], fixedrange=True, **PERCENT_AXIS),
            yaxis2=axis("loss", domain=[0.53, 1], fixedrange=True),
            shapes=[{**line, "layer": "below", "line": {"color": WRONG, "width": 1.2}}],
        ),
        height=430,
        alt=alt,
    )


def learning_chart(learning: Learning) -> Chart:
    """Accuracy against the number of training images, with where power laws take it, on a logarithmic axis."""
    mean = learning.accuracies.mean(axis=0)
    sizes = learning.sizes.tolist()
    traces: list[Mapping[str, Any]] = []
    if (band := learning.band) is not None:
        edge = {"type": "scatter", "mode": "lines", "x": band.targets.tolist(), "hoverinfo": "skip"}
        clear = {"color": RIGHT, "width": 0}
        traces += [
            {**edge, "y": band.low.tolist(), "line": clear, "showlegend": False},
            {
                **edge,
                "y": band.high.tolist(),
                "line": clear,
                "fill": "tonexty",
                "fillcolor": _BAND,
                "name": "95 % of curves",
            },
            {
                **edge,
                "y": band.expected.tolist(),
                "line": {"color": RIGHT, "width": 1.4, "dash": "dot"},
                "name": "expected",
            },
        ]
    traces += [
        {
            "type": "scatter",
            "mode": "markers",
            "x": sizes * len(learning.accuracies),
            "y": learning.accuracies.ravel().tolist(),
            "marker": {"color": MUTED, "size": 4},
            "name": "each repeat",
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "x": sizes,
            "y": mean.tolist(),
            "marker": {"color": RIGHT, "size": 9},
            "name": "measured, mean",
            "hovertemplate": "%{x:,.0f} training images<br>%{y:.1%}<extra></extra>",
        },
    ]
    if band is not None:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": list(learning.targets),
                "y": band.at(learning.targets).tolist(),
                "marker": {"color": WRONG, "size": 9, "symbol": "diamond"},
                "name": "now, twice, ten times",
                "hovertemplate": "%{x:,.0f} training images<br>expected %{y:.1%}<extra></extra>",
            }
        )
    return Chart(
        data=traces,
        layout=chart_layout(
            **_LEGEND_BELOW,
            xaxis=axis("training images", type="log", fixedrange=True, dtick="D2", tickformat=",d"),
            yaxis=axis("accuracy on images not trained on", fixedrange=True, **PERCENT_AXIS),
        ),
        height=400,
        alt=f"Learning curve: {percent(mean[0])} right with {sizes[0]:,.0f} training images, {percent(mean[-1])} with "
        f"{sizes[-1]:,.0f}. The table has the numbers.",
    )


def matrix_chart(cells: Sequence[tuple[int, int, int, float]], classes: Sequence[str], alt: str) -> Chart:
    """A confusion matrix of more classes than a table has room for: a square for each cell that is not empty.

    Args:
        cells: true class, predicted class, images, share of the true class's.
        classes: their names.
        alt: the same in words.
    """
    k = len(classes)
    squares = {
        "type": "scatter",
        "mode": "markers",
        "x": [j for _, j, _, _ in cells],
        "y": [i for i, _, _, _ in cells],
        "customdata": [[i, j] for i, j, _, _ in cells],
        "marker": {
            "symbol": "square",
            "size": max(3, min(9, 560 // k)),
            "color": [RIGHT if i == j else WRONG for i, j, _, _ in cells],
            "opacity": [0.3 + 0.7 * share for *_, share in cells],
        },
        "text": [
            f"{count} of {escaped(classes[i])}<br>taken for {escaped(classes[j])}" for i, j, count, _ in cells
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }
    ticks = {"showticklabels": False, "showgrid": False, "fixedrange": True}
    return Chart(
        data=[squares],
        layout=chart_layout(
            margin={"l": 30, "r": 8, "t": 8, "b": 30},
            xaxis=axis("predicted class", range=[-1, k], **ticks),
            yaxis=axis("true class", range=[k, -1], **ticks),
        ),
        height=640,
        alt=alt,
    )


def escaped(text: str) -> str:
    """A name for a chart: plotly takes some markup in texts, and names are none."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _short(name: str, limit: int = 24) -> str:
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def _curve(
    epochs: Sequence[Mapping[str, Any]], part: str, what: str, place: str, colour: str, dash: str
) -> dict[str, Any] | None:
    known = [row for row in epochs if row[f"{part}_{what}"] is not None]
    if not known:
        return None
    pairs = [row["epoch"] for row in known], [row[f"{part}_{what}"] for row in known]
    return _line(part, pairs, place, colour, dash, what, markers=len(epochs) <= 30)


def _line(
    part: str,
    pairs: tuple[Sequence[Any], Sequence[Any]],
    place: str,
    colour: str,
    dash: str,
    what: str,
    *,
    markers: bool,
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers" if markers else "lines",
        "x": list(pairs[0]),
        "y": list(pairs[1]),
        "yaxis": place,
        "name": part,
        "legendgroup": part,
        "showlegend": place == "y",
        "line": {"color": colour, "dash": dash, "width": 2},
        "marker": {"color": colour, "size": 5},
        "hovertemplate": f"{part} {what} %{{y:{'.1%' if what == 'accuracy' else '.3f'}}}<extra></extra>",
    }


def epoch_ticks(epochs: int) -> dict[str, Any]:
    """There is no half epoch."""
    return {"dtick": 1, "tick0": 1} if epochs <= 12 else {"nticks": 10}
