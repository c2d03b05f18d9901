"""The picture of a learning curve, with and without an extrapolation."""

import dataclasses
import io

import numpy as np
from PIL import Image

from headstart.report import Learning, render_learning_curve
from headstart.report.learning import _apart, draw_learning_curve
from headstart.report.style import drawing


def test_it_is_a_picture(learning: Learning) -> None:
    png = render_learning_curve(learning, "photos, probes on tiny")
    with Image.open(io.BytesIO(png)) as image:
        assert image.width > 700
        assert len(image.convert("RGB").getcolors(1 << 24)) > 20


def test_what_is_asked_for_stands_on_the_curve(learning: Learning) -> None:
    with drawing():
        figure = draw_learning_curve(learning, "photos")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["now", "2 ×", "10 ×"]
    diamonds = next(line for line in axes.lines if line.get_marker() == "D")
    assert np.allclose(diamonds.get_ydata(), 1 - 1.5 * np.array([160, 320, 1600.0]) ** -0.3, atol=0.01)
    assert axes.get_xscale() == "log"
    assert axes.get_ylim()[1] <= 1.005


def test_without_extrapolation_only_what_was_measured(learning: Learning) -> None:
    with drawing():
        figure = draw_learning_curve(dataclasses.replace(learning, band=None), "few")
    (axes,) = figure.axes
    assert not axes.texts
    assert [label.get_text() for label in axes.get_xticklabels()] == ["30", "50", "80", "130"]


def test_ticks_do_not_run_into_each_other() -> None:
    assert _apart([30, 50, 60, 61, 80]) == [30, 61, 80]
