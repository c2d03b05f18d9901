"""The page of a comparison: verdict, leaderboard, pictures of it, and what others have published."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from headstart.report import words
from headstart.report.assets import Section, render_page
from headstart.report.charts import PALETTE, PERCENT_AXIS, Chart, axis, chart_layout, epoch_ticks, escaped
from headstart.report.comparison import Column, ComparisonRecord
from headstart.report.style import INK

_IN_BRACKETS: Final = ("accuracy_low", "accuracy_high")  # they stand in the cell of the accuracy
_SHARES: Final = {"autorangeoptions": {"clipmin": 0, "clipmax": 1.02}}
_MOST_NAMED: Final = 12  # curves that a legend has room for

_WRITTEN: Final[Mapping[str, Callable[[Any], str]]] = MappingProxyType(
    {
        "percent": words.percent,
        "seconds": words.duration,
        "integer": "{:,}".format,
        "number": lambda value: f"{value:.3f}" if abs(value) < 100 else f"{value:,.1f}",
        "text": str,
    }
)

Row = Mapping[str, Any]
"""A row of the leaderboard, or of a history, by column."""


def render_comparison(record: ComparisonRecord) -> str:
    """The page of a comparison, self-contained; encodes as UTF-8.

    Args:
        record: what was compared, and what came out.
    """
    columns = [column for column in record.columns if column.key not in _IN_BRACKETS]
    pictures = _pictures(record.rows)
    drawn = {f"picture-{i}": chart for i, (_, chart) in enumerate(pictures)}
    if record.histories:
        drawn["curves"] = curves_chart(record.histories)
    context = {
        "record": record,
        "sections": _sections(record, drawn),
        "table": [
            [(_cell(row, column), _sort_value(row, column)) for column in columns] for row in record.rows
        ],
        "columns": columns,
        "first": {None: "ascending", "lower": "ascending", "higher": "descending"},
        "pictures": [(name, f"picture-{i}") for i, (name, _) in enumerate(pictures)],
        "charts": drawn,
        "runs": [row["run"] for row in record.rows if row.get("run")],
    }
    data = {"charts": {name: chart.figure() for name, chart in drawn.items()}}
    return render_page("comparison.html.j2", context, data)


def _sections(record: ComparisonRecord, drawn: Mapping[str, Chart]) -> list[Section]:
    """The parts of the page behind the verdict, in order."""
    listed = [
        ("leaderboard", "Leaderboard", "Leaderboard", True),
        ("picture", "Accuracy against time", "Picture", "picture-0" in drawn),
        ("epochs", "Training", "Training", "curves" in drawn),
        ("failures", "What failed", "Failures", bool(record.failures)),
        ("references", "What others have published", "References", bool(record.references)),
        ("again", "How to repeat it", "Repeat", True),
    ]
    return [Section(key=key, title=title, short=short) for key, title, short, there in listed if there]


def _cell(row: Row, column: Column) -> str:
    """A value as it is read."""
    value = row.get(column.key)
    if value is None:
        return "–"
    if (
        column.key == "accuracy"
        and row.get("accuracy_low") is not None
        and row.get("accuracy_high") is not None
    ):
        bounds = f"{100 * row['accuracy_low']:.1f} to {100 * row['accuracy_high']:.1f}"
        return f"{words.percent(value)} ({bounds})".replace(" ", "\N{NO-BREAK SPACE}")
    return _WRITTEN[column.kind](value)


def _sort_value(row: Row, column: Column) -> str:
    value = row.get(column.key)
    return "" if value is None else str(value)


def _pictures(rows: Sequence[Row]) -> list[tuple[str, Chart]]:
    """For each data set that has timed rows its name, and accuracy against seconds."""
    timed = [row for row in rows if row.get("seconds") and row.get("accuracy") is not None]
    datasets = list(dict.fromkeys(str(row.get("dataset") or "") for row in timed))
    colour_of = _colours(timed)
    return [
        (name, time_chart([row for row in timed if str(row.get("dataset") or "") == name], name, colour_of))
        for name in datasets
    ]


def _colours(rows: Sequence[Row]) -> dict[str, str]:
    """A colour for each backbone, the same in all pictures; they come again where there are many."""
    backbones = dict.fromkeys(str(row.get("backbone") or "") for row in rows)
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(backbones)}


def time_chart(rows: Sequence[Row], name: str, colour_of: Mapping[str, str]) -> Chart:
    """Accuracy with its interval against the seconds of training, each backbone in its colour.

    Args:
        rows: of one data set, with "accuracy" and "seconds".
        name: of the data set.
        colour_of: backbone -> colour.
    """
    best, fastest = max(rows, key=lambda row: row["accuracy"]), min(rows, key=lambda row: row["seconds"])
    traces = [
        _dots([row for row in rows if str(row.get("backbone") or "") == backbone], backbone, colour)
        for backbone, colour in colour_of.items()
        if any(str(row.get("backbone") or "") == backbone for row in rows)
    ]
    return Chart(
        data=traces,
        layout=chart_layout(
            margin={"l": 56, "r": 12, "t": 12, "b": 60 + 20 * -(-len(traces) // 2)},
            showlegend=True,
            legend={
                "orientation": "h",
                "x": 0,
                "yref": "container",
                "y": 0,
                "yanchor": "bottom",
                "font": {"color": INK},
            },
            xaxis=axis("seconds of training", type="log", tickangle=0, nticks=7, fixedrange=True),
            yaxis=axis("test accuracy", fixedrange=True, **_SHARES, **PERCENT_AXIS),
        ),
        height=400 + 20 * -(-len(traces) // 2),
        alt=f"Test accuracy against seconds of training on {name or 'the data'}, {len(rows)} rows. Most accurate: "
        f"{_title(best)}, {words.percent(best['accuracy'])} in {words.duration(best['seconds'])}. Fastest: "
        f"{_title(fastest)}, {words.percent(fastest['accuracy'])} in {words.duration(fastest['seconds'])}. "
        "The leaderboard has the numbers.",
    )


def _title(row: Row) -> str:
    return " ".join(str(row[key]) for key in ("backbone", "recipe") if row.get(key))


def _dots(rows: Sequence[Row], backbone: str, colour: str) -> dict[str, Any]:
    accuracy = [row["accuracy"] for row in rows]

    def reach(key: str, sign: int) -> list[float]:
        bounds = [row.get(key) if row.get(key) is not None else row["accuracy"] for row in rows]
        return [sign * (bound - share) for bound, share in zip(bounds, accuracy, strict=True)]

    return {
        "type": "scatter",
        "mode": "markers",
        "name": escaped(backbone),
        "x": [row["seconds"] for row in rows],
        "y": accuracy,
        "marker": {"color": colour, "size": 10},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": reach("accuracy_high", 1),
            "arrayminus": reach("accuracy_low", -1),
            "color": colour,
            "thickness": 1.2,
            "width": 0,
        },
        "text": [
            f"{escaped(_title(row))}<br>{words.percent(row['accuracy'])} in {words.duration(row['seconds'])}"
            for row in rows
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }


def curves_chart(histories: Mapping[str, Sequence[Row]]) -> Chart:
    """The accuracy of each row after each epoch: on validation images, or in training where nothing was validated."""
    traces = []
    for i, (label, history) in enumerate(histories.items()):
        part = "validation" if any(row["validation_accuracy"] is not None for row in history) else "train"
        # Phases follow one another: epochs are counted through.
        points = [
            (number, row[f"{part}_accuracy"])
            for number, row in enumerate(history, start=1)
            if row[f"{part}_accuracy"] is not None
        ]
        traces.append(_curve(label, part, points, PALETTE[i % len(PALETTE)]))
    named = len(traces) <= _MOST_NAMED
    ends = {label: _last(history) for label, history in histories.items()}
    best = max(ends, key=lambda label: ends[label])
    return Chart(
        data=traces,
        layout=chart_layout(
            margin={"l": 56, "r": 12, "t": 12, "b": 50 + (22 * len(traces) if named else 0)},
            showlegend=named,
            legend={"x": 0, "yref": "container", "y": 0, "yanchor": "bottom", "font": {"color": INK}},
            xaxis=axis("epoch", fixedrange=True, **epoch_ticks(max(map(len, histories.values())))),
            yaxis=axis("accuracy", fixedrange=True, **_SHARES, **PERCENT_AXIS),
        ),
        height=400 + (22 * len(traces) if named else 0),
        alt=f"Accuracy after each epoch of {len(traces)} trainings; {best} ends highest, "
        f"at {words.percent(ends[best])}.",
    )


def _last(history: Sequence[Row]) -> float:
    row = history[-1]
    return float(row["train_accuracy"] if row["validation_accuracy"] is None else row["validation_accuracy"])


def _curve(label: str, part: str, points: Sequence[tuple[int, float]], colour: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escaped(label),
        "x": [number for number, _ in points],
        "y": [share for _, share in points],
        "line": {"color": colour, "width": 1.6, "dash": "solid" if part == "validation" else "dash"},
        "marker": {"color": colour, "size": 4},
        "text": escaped(label),
        "hovertemplate": f"%{{text}}<br>epoch %{{x}}, {part} %{{y:.1%}}<extra></extra>",
    }
