"""Doubtful labels, against what was planted."""

import sys

import numpy as np
import pytest

from headstart.audit import can_be_judged, find_confused_classes, find_label_issues
from headstart.errors import ConfigError


def _judgement(n: int = 200, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    logits = 6 * np.eye(classes)[labels] + rng.normal(0, 1, (n, classes))
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), labels.astype(np.int64)


def test_planted_labels_are_named_first() -> None:
    probabilities, labels = _judgement()
    wrong = np.arange(0, 200, 17)
    truth = labels[wrong].copy()
    labels[wrong] = (labels[wrong] + 1) % 4

    found = find_label_issues(probabilities, labels, np.ones(200, bool))

    assert set(found.rows[: len(wrong)].tolist()) == set(wrong.tolist())
    suggested = dict(zip(found.rows.tolist(), found.suggested.tolist(), strict=True))
    assert [suggested[row] for row in wrong.tolist()] == truth.tolist()
    assert (np.diff(found.scores) >= 0).all()
    assert found.judged == 200
    assert abs(found.wrong - len(wrong)) <= 4


def test_classes_without_images_and_images_not_judged_do_not_matter() -> None:
    probabilities, labels = _judgement()
    labels[0] = 1
    wider = np.insert(probabilities, 2, 0.0, axis=1)  # a class that nobody has
    moved = labels + (labels >= 2)
    judged = np.ones(200, bool)
    judged[4] = False
    moved[4] = 1

    found = find_label_issues(wider, moved, judged)

    assert found.rows[0] == 0
    assert 4 not in found.rows
    assert found.judged == 199


def test_a_single_class_has_no_doubtful_label() -> None:
    found = find_label_issues(np.ones((5, 1)), np.zeros(5, np.int64), np.ones(5, bool))

    assert len(found.rows) == found.wrong == 0


def test_without_cleanlab_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)

    with pytest.raises(ConfigError, match=r'pip install "headstart\[audit\]".*--labels no'):
        find_label_issues(*_judgement(), np.ones(200, bool))


def test_a_class_in_one_fold_alone_cannot_be_judged() -> None:
    labels, folds = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0])

    assert can_be_judged(labels, folds, np.array([True] * 4 + [False])).tolist() == [True, True] + [False] * 3


def test_classes_taken_for_each_other_are_named_the_worst_first() -> None:
    labels = np.repeat(np.arange(3), 20)
    said = labels.copy()
    said[:8] = 1  # 8 of class 0 for 1
    said[20:22] = 0  # 2 of class 1 for 0
    said[40:42] = 0  # 2 of class 2 for 0: too few
    probabilities = 0.1 + 0.7 * np.eye(3)[said]
    probabilities[3] = (0.05, 0.9, 0.05)

    (pair,) = find_confused_classes(probabilities, labels, np.ones(60, bool))

    assert (pair.first, pair.second, pair.count, pair.share) == (0, 1, 10, 0.25)
    assert pair.rows[0] == 3
    assert set(pair.rows.tolist()) == {*range(8), 20, 21}
