"""What stands out in the predictions of a run: the weak classes, the confusions, the confident mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.metrics import per_class_scores, wilson_interval


@dataclass(frozen=True, kw_only=True)
class ClassFinding:
    """How one class fares.

    Attributes:
        name: the class.
        n: its test images.
        correct: how many of them were classified right.
        recall: correct / n, or None without test images.
        interval: Wilson 95 % interval of the recall, or None.
        precision: share of the answers with this class that were right; None where it was never the answer.
        f1: harmonic mean of recall and precision, or None.
    """

    name: str
    n: int
    correct: int
    recall: float | None
    interval: tuple[float, float] | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """`count` of the `n` test images of class `true` were taken for class `predicted`."""

    true: str
    predicted: str
    count: int
    n: int


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One test image that was classified wrong; `probability` is what the wrong class was given."""

    path: str
    true: str
    predicted: str
    probability: float


def find_classes(matrix: NDArray[np.int64], classes: Sequence[str]) -> list[ClassFinding]:
    """Each class's figures, the lowest recall first; classes without test images come last.

    Args:
        matrix: (K, K) confusion matrix, row = true class.
        classes: K names.
    """
    scores = per_class_scores(matrix)
    findings = [
        ClassFinding(
            name=name,
            n=int(scores.support[i]),
            correct=int(matrix[i, i]),
            recall=_defined(scores.recall[i]),
            interval=wilson_interval(int(matrix[i, i]), int(scores.support[i]))
            if scores.support[i]
            else None,
            precision=_defined(scores.precision[i]),
            f1=_defined(scores.f1[i]),
        )
        for i, name in enumerate(classes)
    ]
    # Of equal recalls, the one that more images speak for.
    return sorted(findings, key=lambda each: (each.recall is None, each.recall or 0.0, -each.n))


def find_confusions(matrix: NDArray[np.int64], classes: Sequence[str], *, limit: int) -> list[Confusion]:
    """The pairs of classes that are mixed up most often, at most `limit` of them.

    Args:
        matrix: (K, K) confusion matrix, row = true class.
        classes: K names.
        limit: how many at most.
    """
    wrong = matrix - np.diag(np.diagonal(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(flat), len(classes)) for flat in order]
    return [
        Confusion(true=classes[i], predicted=classes[j], count=int(wrong[i, j]), n=int(matrix[i].sum()))
        for i, j in pairs
        if wrong[i, j]
    ]


def find_mistakes(
    paths: Sequence[str],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    classes: Sequence[str],
    *,
    limit: int,
) -> list[Mistake]:
    """The mistakes that were made with the highest probability, at most `limit` of them.

    Args:
        paths: n images.
        labels: (n,) true classes.
        probabilities: (n, K).
        classes: K names.
        limit: how many at most.
    """
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:limit]
    return [
        Mistake(
            path=paths[i],
            true=classes[labels[i]],
            predicted=classes[predicted[i]],
            probability=float(confidence[i]),
        )
        for i in order
    ]


def _defined(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)
