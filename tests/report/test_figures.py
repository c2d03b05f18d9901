import io
import itertools
import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from headstart.report.figures import (
    MOST_BARS,
    draw_confusion_matrix,
    draw_per_class_accuracy,
    draw_regularisation_path,
)
from headstart.report.findings import find_classes
from headstart.report.style import drawing, to_png


def some_matrix(k: int) -> np.ndarray:
    return np.random.default_rng(k).integers(0, 3, size=(k, k)) + 20 * np.eye(k, dtype=np.int64)


def label_boxes(figure: Figure, axis: str) -> list:
    FigureCanvasAgg(figure).draw()
    labels = getattr(figure.axes[0], f"get_{axis}ticklabels")()
    return [text.get_window_extent() for text in labels if text.get_text()]


@pytest.mark.parametrize("k", [2, 5, 37, 43, 200])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_class_names_do_not_overlap(k: int, axis: str) -> None:
    with drawing():
        figure = draw_confusion_matrix(some_matrix(k), [f"a longish name {i:03d}" for i in range(k)])
        boxes = label_boxes(figure, axis)
    assert len(boxes) >= min(k, 40)
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))


@pytest.mark.parametrize("k", [2, 5, 37, 43, 200, 1000])
def test_confusion_matrix_is_of_a_sane_size(k: int) -> None:
    with drawing():
        image = Image.open(
            io.BytesIO(to_png(draw_confusion_matrix(some_matrix(k), [f"c{i}" for i in range(k)])))
        )
    assert max(image.size) < 2200
    assert min(image.size) >= 160


def test_counts_are_written_where_there_is_room() -> None:
    with drawing():
        few = draw_confusion_matrix(np.array([[7, 0], [2, 5]]), ["a", "b"])
        many = draw_confusion_matrix(some_matrix(43), [f"c{i}" for i in range(43)])
    assert sorted(text.get_text() for text in few.axes[0].texts) == ["2", "5", "7"]
    assert not many.axes[0].texts


def test_colour_is_the_share_of_the_row() -> None:
    with drawing():
        figure = draw_confusion_matrix(np.array([[50, 50, 0], [0, 4, 0], [0, 0, 0]]), ["a", "b", "absent"])
    alpha = figure.axes[0].images[0].get_array()[..., 3]
    assert alpha[0, 0] == alpha[0, 1]
    assert alpha[1, 1] == 1
    assert alpha[0, 2] == 0
    assert not alpha[2].any()
    rgb = figure.axes[0].images[0].get_array()[..., :3]
    assert (rgb[0, 0] != rgb[0, 1]).any()  # a right answer and a mistake


def test_bars_are_sorted_and_absent_classes_left_out() -> None:
    findings = find_classes(np.array([[9, 1, 0], [4, 6, 0], [0, 0, 0]]), ["good", "bad", "absent"])
    with drawing():
        axes = draw_per_class_accuracy(findings, 0.75).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["bad", "good"]
    assert [bar.get_width() for bar in axes.patches] == [0.6, 0.9]
    assert axes.yaxis_inverted()  # the first stands on top
    assert [text.get_text() for text in axes.texts] == ["6 of 10", "9 of 10"]
    (segments,) = [collection.get_segments() for collection in axes.collections]
    np.testing.assert_allclose(segments[0][:, 0], findings[0].interval)


def test_too_many_bars_show_the_lowest() -> None:
    k = MOST_BARS + 5
    matrix = np.diag(np.full(k, 3))
    matrix[k - 1] = 1
    with drawing():
        axes = draw_per_class_accuracy(find_classes(matrix, [f"c{i}" for i in range(k)]), 0.9).axes[0]
    assert len(axes.patches) == MOST_BARS
    assert axes.get_yticklabels()[0].get_text() == f"c{k - 1}"


def test_path_marks_the_chosen_strength(make_record) -> None:
    with drawing():
        figure = draw_regularisation_path(make_record().path, "strength", 1e-3)
        FigureCanvasAgg(figure).draw()
    loss, accuracy = figure.axes
    assert [line.get_label() for line in loss.lines[:2]] == ["train", "validation"]
    np.testing.assert_allclose(loss.lines[1].get_ydata(), [0.8, 0.7, 0.6, 0.5, 0.6, 0.7])
    for axes in (loss, accuracy):
        assert list(axes.lines[-1].get_xdata()) == [1e-3, 1e-3]
    assert "10⁻³" in [text.get_text() for text in accuracy.get_xticklabels()]


def test_path_without_validation_has_one_line(make_record) -> None:
    rows = [{**row, "validation_loss": None, "validation_accuracy": None} for row in make_record().path]
    with drawing():
        figure = draw_regularisation_path(rows, "strength", 1e-3)
    assert [line.get_label() for line in figure.axes[0].lines[:-1]] == ["train"]


def test_a_path_over_neighbours_names_each_number(make_record) -> None:
    rows = [
        {"neighbours": k, **{key: value for key, value in row.items() if key != "strength"}}
        for k, row in zip((50, 20, 10, 5, 2, 1), make_record().path, strict=True)
    ]
    with drawing():
        figure = draw_regularisation_path(rows, "neighbours", 5)
        FigureCanvasAgg(figure).draw()
    lower = figure.axes[1]
    assert [text.get_text() for text in lower.get_xticklabels()] == ["50", "20", "10", "5", "2", "1"]
    assert lower.get_xlabel() == "number of neighbours"
    assert list(lower.lines[-1].get_xdata()) == [5, 5]


def test_names_in_any_script_draw_without_a_warning() -> None:
    names = ["雛菊", "роза", "$\\frac", "<b>", "two\nlines", "emoji 🌷", "x" * 300, ""]
    with warnings.catch_warnings(), drawing():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # as `drawing` does
        to_png(draw_confusion_matrix(some_matrix(len(names)), names))
