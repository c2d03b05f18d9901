"""Every chart is one that plotly knows, and shows the numbers it is given."""

import numpy as np
import plotly.graph_objects as go
import pytest

from headstart.metrics import reliability, wilson_interval
from headstart.report import charts
from headstart.report.curves import describe_curves
from headstart.report.embedding import ImageMap
from headstart.report.findings import find_classes
from headstart.report.map_chart import map_chart

NAMES = ["<b>ant</b>", "bee", "c" * 60]
MATRIX = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])


def known(chart: charts.Chart) -> go.Figure:
    """The figure, where plotly finds nothing that it does not know."""
    figure = go.Figure(**chart.figure())
    assert figure.layout.height == chart.height
    assert len(chart.alt) > 20
    return figure


def test_classes() -> None:
    figure = known(charts.class_chart(find_classes(MATRIX, NAMES), 0.75))
    (dots,) = figure.data
    assert dots.x == (0.75, 0.75)  # the class without images is left out
    low, high = wilson_interval(6, 8)
    assert dots.error_x.arrayminus[0] == pytest.approx(0.75 - low)
    assert dots.error_x.array[0] == pytest.approx(high - 0.75)
    assert figure.layout.yaxis.ticktext[0] == "&lt;b&gt;ant&lt;/b&gt;"  # a name is no markup


def test_reliability() -> None:
    p = np.array([[0.9, 0.1], [0.92, 0.08], [0.3, 0.7]])
    figure = known(charts.reliability_chart(reliability(p, np.array([0, 1, 1])), 0.1))
    _, dots, bars = figure.data
    np.testing.assert_allclose(dots.x, [0.7, 0.91])
    np.testing.assert_allclose(dots.y, [1, 0.5])
    assert sum(bars.y) == 3


@pytest.mark.parametrize("n", [1, 10, 100])
def test_curves(make_epochs, n: int) -> None:
    rows = make_epochs(n)
    figure = known(charts.curves_chart(rows, n, describe_curves(rows, n, "Fine-tuning")))
    by_name = {(trace.name, trace.yaxis): trace for trace in figure.data}
    assert by_name["validation", "y2"].y == tuple(row["validation_loss"] for row in rows)
    assert by_name["train", "y"].x == tuple(range(1, n + 1))
    assert figure.layout.annotations[0].text == f"kept: epoch {n}"


def test_curves_without_validation(make_epochs) -> None:
    figure = known(charts.curves_chart(make_epochs(3, validated=False), None, "a chart of three epochs"))
    assert {trace.name for trace in figure.data} == {"train"}
    assert not figure.layout.shapes


def test_path(make_record) -> None:
    figure = known(
        charts.path_chart(make_record().path, "strength", "strength", 1e-3, "what it shows, in words")
    )
    assert len(figure.data) == 4
    assert figure.layout.xaxis.type == "log"


def test_matrix() -> None:
    cells = [(0, 0, 6, 0.75), (0, 1, 2, 0.25)]
    (squares,) = known(charts.matrix_chart(cells, NAMES, "what it shows, in words")).data
    assert [tuple(pair) for pair in squares.customdata] == [(0, 0), (0, 1)]
    assert "2 of &lt;b&gt;ant" in squares.text[1]


@pytest.mark.parametrize("k", [3, 30])
def test_map_has_every_image_once(k: int) -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, k, 50), rng.integers(0, k, 50)
    places = ImageMap(places=rng.normal(size=(50, 2)).astype(np.float32), method="PCA")
    figure = known(map_chart(places, labels, predicted, [f"class {i}" for i in range(k)]))
    assert len(figure.data) == (k if k == 3 else 2)
    found = {
        row: (x, y)
        for trace in figure.data
        for row, x, y in zip(trace.customdata, trace.x, trace.y, strict=True)
    }
    assert set(found) == set(range(50))
    np.testing.assert_allclose(found[7], places.places[7], atol=1e-3)
    symbols = {
        row: symbol
        for trace in figure.data
        for row, symbol in zip(trace.customdata, trace.marker.symbol, strict=True)
    }
    assert all((symbols[i] == "circle") == (labels[i] == predicted[i]) for i in range(50))
