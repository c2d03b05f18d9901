import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as oracle

from headstart.errors import DataError
from headstart.metrics import Scores, calibration_error, reliability_bins, score_predictions, wilson_interval


def some_predictions(
    seed: int, n: int, k: int, sharpness: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(n, k))
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True), rng.integers(0, k, size=n)


def brute_force_ece(p: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    edges, error = np.linspace(0, 1, 16), 0.0
    for low, high in itertools.pairwise(edges):
        inside = [i for i in range(len(p)) if low < max(p[i]) <= high]
        if inside:
            accuracy = sum(int(np.argmax(p[i])) == labels[i] for i in inside) / len(inside)
            confidence = sum(max(p[i]) for i in inside) / len(inside)
            error += len(inside) / len(p) * abs(accuracy - confidence)
    return error


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(2, 9), st.sampled_from([0.1, 1.0, 5.0]))
def test_agrees_with_the_oracles(seed: int, n: int, k: int, sharpness: float) -> None:
    p, labels = some_predictions(seed, n, k, sharpness)
    said, present = p.argmax(axis=1), np.unique(labels)
    scores = score_predictions(p, labels)
    assert scores.n == n
    assert scores.accuracy == pytest.approx(oracle.accuracy_score(labels, said))
    assert scores.accuracy_ci95 == wilson_interval(int((said == labels).sum()), n)
    assert scores.balanced_accuracy == pytest.approx(
        oracle.recall_score(labels, said, labels=present, average="macro", zero_division=0)
    )
    assert scores.macro_f1 == pytest.approx(oracle.f1_score(labels, said, labels=present, average="macro"))
    # Of float32 rows scikit-learn clips at the same epsilon.
    expected = oracle.log_loss(labels, p.astype(np.float32), labels=range(k))
    assert scores.log_loss == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert scores.ece == pytest.approx(brute_force_ece(p, labels), abs=1e-12)


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_the_order_of_images_does_not_matter(seed: int, n: int) -> None:
    p, labels = some_predictions(seed, n, 4)
    order = np.random.default_rng(seed).permutation(n)
    a, b = score_predictions(p, labels), score_predictions(p[order], labels[order])
    assert (a.accuracy, a.n, a.macro_f1) == (b.accuracy, b.n, b.macro_f1)
    assert (a.log_loss, a.ece) == pytest.approx((b.log_loss, b.ece))


def test_perfect_and_certain() -> None:
    scores = score_predictions(np.eye(3), [0, 1, 2])
    assert (scores.accuracy, scores.balanced_accuracy, scores.macro_f1) == (1, 1, 1)
    assert math.copysign(1, scores.log_loss) == 1
    assert scores.log_loss == scores.ece == 0


def test_certain_and_wrong_costs_a_finite_price() -> None:
    scores = score_predictions([[1.0, 0.0]], [1])
    assert scores.log_loss == pytest.approx(-math.log(np.finfo(np.float32).eps))
    assert scores.ece == 1


def test_ece_puts_an_edge_into_the_lower_bin() -> None:
    # 0.6 is the upper edge of bin 9, and 0.61 lies in bin 10: were both in one, the gaps would partly cancel.
    p = np.array([[0.6, 0.4], [0.61, 0.39]])
    assert score_predictions(p, [0, 1]).ece == pytest.approx((0.4 + 0.61) / 2)


def test_absent_classes_do_not_count_in_the_means() -> None:
    p = np.array([[0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]])
    scores = score_predictions(p, [0, 0, 1, 1])  # class 2 is predicted once, but has no image
    assert scores.balanced_accuracy == pytest.approx((1 + 1 / 2) / 2)
    assert scores.macro_f1 == pytest.approx((1 + 2 / 3) / 2)


def test_float32_rows_are_taken() -> None:
    p, labels = some_predictions(3, 50, 200)
    assert score_predictions(p.astype(np.float32), labels).accuracy == score_predictions(p, labels).accuracy


def test_to_dict_is_json() -> None:
    scores = score_predictions(*some_predictions(0, 10, 3))
    content = json.loads(json.dumps(scores.to_dict()))
    assert list(content) == [
        *("accuracy", "accuracy_ci95", "interval", "balanced_accuracy", "macro_f1", "log_loss", "ece", "n")
    ]
    assert content["interval"] == "Wilson 95 %, sampling of the test set only"
    content["accuracy_ci95"] = tuple(content["accuracy_ci95"])
    assert Scores(**content) == scores


@pytest.mark.parametrize(
    ("p", "labels", "message"),
    [
        (np.empty((0, 3)), [], "no images"),
        ([[0.5, 0.5], [np.nan, 0.5]], [0, 1], "1 of 2 images hold NaN or infinity, first in row 1"),
        ([[0.5, np.inf]], [0], "NaN or infinity"),
        ([[2.0, -1.0]], [0], "Row 0 holds no probabilities"),
        ([[3.0, 1.0]], [0], "sum 4"),
        ([0.5, 0.5], [0], r"shape \(images, classes\)"),
        ([[0.5, 0.5]], [0, 1], "2 labels for 1 rows"),
        ([[0.5, 0.5]], [2], "expected 0 to 1"),
    ],
)
def test_what_cannot_be_scored(p: NDArray[np.float64], labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        score_predictions(p, labels)


def test_reliability_bins_hold_every_image_and_make_the_calibration_error() -> None:
    p, labels = some_predictions(5, 200, 4)
    bins = reliability_bins(p, labels)
    assert bins.images.sum() == 200
    assert bins.correct.sum() == (p.argmax(axis=1) == labels).sum()
    assert bins.confidence.sum() == pytest.approx(p.max(axis=1).sum())
    low, high = bins.edges[:-1][bins.images > 0], bins.edges[1:][bins.images > 0]
    mean = (bins.confidence / np.maximum(bins.images, 1))[bins.images > 0]
    assert ((low < mean) & (mean <= high)).all()
    assert calibration_error(p, labels) == pytest.approx(np.abs(bins.confidence - bins.correct).sum() / 200)
