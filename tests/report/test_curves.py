"""Training curves at every length, with and without validation, and what the file is called."""

import io
import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from headstart.report.curves import describe_curves, draw_training_curves, is_validated, name_plot
from headstart.report.style import WRONG, drawing, to_png


def drawn(rows: list[dict], best: int | None = None, title: str = "Fine-tuning of squeezenet") -> Figure:
    with drawing():
        figure = draw_training_curves(rows, best, title)
        FigureCanvasAgg(figure).draw()
    return figure


def epoch(number: int, **changes: float | None) -> dict:
    figures = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    return {"phase": "probe", "epoch": number, **dict.fromkeys(figures, 0.5), **changes}


@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        ("squeezenet", "squeezenet"),
        ("timm/resnet50.a1_in1k", "resnet50.a1_in1k"),
        ("hf-hub:some one/net", "net"),
        ("a net: *new*?", "a-net-new-"),
    ],
)
def test_plots_are_named_by_technique_and_backbone(backbone: str, name: str) -> None:
    assert name_plot("probe", backbone) == f"fextract_plot_{name}"
    assert name_plot("finetune", backbone) == f"finetune_plot_{name}"


@pytest.mark.parametrize("n", [1, 2, 10, 100])
def test_curves_are_the_history(make_epochs, n: int) -> None:
    rows = make_epochs(n)
    loss, accuracy = drawn(rows, best=n).axes
    for axes, what in ((loss, "loss"), (accuracy, "accuracy")):
        lines = {line.get_label(): line for line in axes.lines}
        for part in ("train", "validation"):
            np.testing.assert_array_equal(lines[part].get_xdata(), range(1, n + 1))
            np.testing.assert_array_equal(lines[part].get_ydata(), [row[f"{part}_{what}"] for row in rows])


@pytest.mark.parametrize("n", [1, 2, 3, 10, 100, 1000])
def test_ticks_are_epochs_and_do_not_overlap(make_epochs, n: int) -> None:
    axes = drawn(make_epochs(n)).axes[1]
    low, high = axes.get_xlim()
    assert low < 1
    assert n < high
    shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert shown
    assert all(tick == int(tick) and 1 <= tick <= n for tick in shown)
    boxes = [text.get_window_extent() for text in axes.get_xticklabels() if text.get_text()]
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))


def test_the_kept_epoch_is_marked_and_named(make_epochs) -> None:
    loss, accuracy = drawn(make_epochs(10), best=7).axes
    assert loss.get_title(loc="right") == "kept: epoch 7"
    for axes in (loss, accuracy):
        (mark,) = [line for line in axes.lines if to_rgb(line.get_color()) == to_rgb(WRONG)]
        assert list(mark.get_xdata()) == [7, 7]
        assert mark.get_zorder() < axes.lines[0].get_zorder()  # no point is hidden


def test_none_is_marked_where_none_was_chosen(make_epochs) -> None:
    loss, _ = drawn(make_epochs(10)).axes
    assert loss.get_title(loc="right") == ""
    assert [line.get_label() for line in loss.lines] == ["train", "validation"]


def test_without_validation_there_is_train_alone(make_epochs) -> None:
    rows = make_epochs(5, validated=False)
    figure = drawn(rows)
    assert [line.get_label() for axes in figure.axes for line in axes.lines] == ["train", "train"]
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["train"]
    assert not is_validated(rows)
    assert is_validated(make_epochs(5))


def test_a_line_runs_on_over_epochs_that_were_not_validated() -> None:
    rows = [epoch(i, **({} if i % 2 else {"validation_loss": None})) for i in range(1, 8)]
    lines = {line.get_label(): line for line in drawn(rows).axes[0].lines}
    assert list(lines["validation"].get_xdata()) == [1, 3, 5, 7]


def test_few_epochs_have_dots(make_epochs) -> None:
    for n, marker in ((1, "o"), (10, "o"), (100, "None")):
        assert {line.get_marker() for line in drawn(make_epochs(n)).axes[0].lines} == {marker}


@pytest.mark.parametrize("n", [1, 12])
def test_no_axis_shows_what_cannot_be(n: int) -> None:
    perfect = {"train_loss": 0.0, "validation_loss": 0.0, "train_accuracy": 1.0, "validation_accuracy": 1.0}
    loss, accuracy = drawn([epoch(i + 1, **perfect) for i in range(n)]).axes
    assert min(tick for tick in loss.get_yticks() if tick >= loss.get_ylim()[0]) >= 0
    assert max(tick for tick in accuracy.get_yticks() if tick <= accuracy.get_ylim()[1]) <= 1
    assert accuracy.get_ylim()[1] > 1  # and the line itself is in the picture


@pytest.mark.parametrize("n", [1, 2, 10, 100])
def test_png_is_of_one_size_whatever_the_name(make_epochs, n: int) -> None:
    figure = drawn(make_epochs(n), best=1, title="Probe (feature extraction) of " + "some_long_name" * 9)
    with drawing():
        width, height = Image.open(io.BytesIO(to_png(figure))).size
    assert 600 < width < 800
    assert 650 < height < 800


def test_in_words() -> None:
    rows = [epoch(1), epoch(2, validation_accuracy=0.75), epoch(3, train_loss=0.25)]
    assert describe_curves(rows, 2, "Probe of net").replace("\N{NO-BREAK SPACE}", " ") == (
        "Probe of net: loss and accuracy of 3 epochs. "
        "The last, epoch 3: train loss 0.250 and accuracy 50.0 %, validation loss 0.500 and accuracy 50.0 %. "
        "Kept was epoch 2: train loss 0.500 and accuracy 50.0 %, validation loss 0.500 and accuracy 75.0 %."
    )
    alone = [epoch(1, validation_loss=None, validation_accuracy=None)]
    assert describe_curves(alone, 1, "Probe of net").replace("\N{NO-BREAK SPACE}", " ") == (
        "Probe of net: loss and accuracy of 1 epoch. "
        "The last, epoch 1: train loss 0.500 and accuracy 50.0 %. Kept was epoch 1."
    )
