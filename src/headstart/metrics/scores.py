"""The scores of one set of predictions."""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headstart.errors import DataError
from headstart.metrics.confusion import check_labels, confusion_matrix, per_class_scores
from headstart.metrics.intervals import GROUPED_INTERVAL, INTERVAL, cluster_interval, wilson_interval

_BINS: Final = 15
# One certain mistake would make the log loss infinite. Classifiers answer from float32 logits, which cannot
# tell a smaller probability from none.
_LEAST_PROBABILITY: Final = float(np.finfo(np.float32).eps)
# Room for rows that were rounded to float16 on their way.
_SUM_TOLERANCE: Final = 1e-2


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How good the predictions of n labelled images are.

    Attributes:
        accuracy: share of images whose most probable class is the true one, 0 to 1.
        accuracy_ci95: lower and upper bound of the accuracy.
        interval: what kind of interval that is.
        balanced_accuracy: mean recall over the classes that have images.
        macro_f1: mean F1 over the classes that have images.
        log_loss: mean of -ln(probability of the true class), in nats; probabilities below float32's epsilon
            (1.2e-7) count as that, so one image adds at most 15.9.
        ece: expected calibration error, 0 to 1 (see `calibration_error`).
        n: number of images.
    """

    accuracy: float
    accuracy_ci95: tuple[float, float]
    interval: str
    balanced_accuracy: float
    macro_f1: float
    log_loss: float
    ece: float
    n: int

    def to_dict(self) -> dict[str, Any]:
        """The scores as JSON has them: plain numbers, the interval's bounds as a list."""
        return {**asdict(self), "accuracy_ci95": list(self.accuracy_ci95)}


def score_predictions(
    probabilities: ArrayLike, labels: ArrayLike, *, groups: NDArray[np.int64] | None = None
) -> Scores:
    """Score class probabilities against true classes.

    Args:
        probabilities: (n, K) floats, each row adding up to 1. Of equally probable classes the first counts.
        labels: (n,) true classes, integers from 0 to K - 1; not every class must occur.
        groups: (n,) the group each image belongs to, for the interval; None where there are none.

    Returns:
        The scores.

    Raises:
        DataError: there are no images, the shapes do not fit, a label lies outside 0 to K - 1, or a row holds
            no probabilities (NaN, negative, or a sum other than 1).
    """
    p = _check_probabilities(probabilities)
    true = check_labels(labels, p.shape[1])
    if len(true) != len(p):
        raise DataError(
            f"Got {len(true)} labels for {len(p)} rows of probabilities; expected as many of each."
        )
    said = p.argmax(axis=1)
    matrix = confusion_matrix(true, said, p.shape[1])
    correct, n = int(np.trace(matrix)), len(true)
    of_class = per_class_scores(matrix)
    present = of_class.support > 0
    return Scores(
        accuracy=correct / n,
        accuracy_ci95=wilson_interval(correct, n)
        if groups is None
        else cluster_interval(said == true, groups),
        interval=INTERVAL if groups is None else GROUPED_INTERVAL,
        balanced_accuracy=float(of_class.recall[present].mean()),
        macro_f1=float(of_class.f1[present].mean()),
        log_loss=_log_loss(p, true),
        ece=calibration_error(p, true),
        n=n,
    )


def calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Expected calibration error (Guo et al., 2017, "On Calibration of Modern Neural Networks").

    Images are put into 15 equally wide bins (low, high] by the probability of their most probable class; the
    error is the mean distance between a bin's mean probability and its accuracy, weighted by its images.

    Args:
        probabilities: (n, K), each row adding up to 1.
        labels: (n,) true classes.

    Returns:
        The error, 0 (probabilities can be taken at their word) to 1.
    """
    bins = reliability_bins(probabilities, labels)
    # A bin's distance times its images is a distance of two sums, so empty bins need no care.
    return float(np.abs(bins.confidence - bins.correct).sum() / len(labels))


@dataclass(frozen=True, kw_only=True)
class ReliabilityBins:
    """Images by the probability of their most probable class, in B equally wide bins (low, high].

    Attributes:
        edges: (B + 1,) from 0 to 1.
        images: (B,) int64, how many are in each bin.
        confidence: (B,) the sum of their probabilities.
        correct: (B,) how many of them were classified right.
    """

    edges: NDArray[np.float64]
    images: NDArray[np.int64]
    confidence: NDArray[np.float64]
    correct: NDArray[np.float64]


def reliability_bins(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> ReliabilityBins:
    """The 15 bins that the calibration error and a reliability diagram are made from.

    Args:
        probabilities: (n, K), each row adding up to 1.
        labels: (n,) true classes.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, _BINS + 1)
    bins = np.digitize(confidence, edges[1:-1], right=True)
    return ReliabilityBins(
        edges=edges,
        images=np.bincount(bins, minlength=_BINS),
        confidence=np.bincount(bins, weights=confidence, minlength=_BINS).astype(np.float64),
        correct=np.bincount(bins, weights=correct, minlength=_BINS).astype(np.float64),
    )


def _log_loss(p: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    of_truth = p[np.arange(len(labels)), labels]
    # "+ 0.0" turns the negative zero of perfect predictions into zero.
    return float(-np.log(np.clip(of_truth, _LEAST_PROBABILITY, 1)).mean() + 0.0)


def _check_probabilities(probabilities: ArrayLike) -> NDArray[np.float64]:
    """Probabilities as (n, K) float64, or a DataError that says what is wrong with them."""
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] < 1:
        raise DataError(f"Probabilities must have the shape (images, classes); got {p.shape}.")
    if not len(p):
        raise DataError("There are no images to score; expected at least one.")
    broken = ~np.isfinite(p).all(axis=1)
    if broken.any():
        raise DataError(
            f"The probabilities of {broken.sum()} of {len(p)} images hold NaN or infinity, first in row "
            f"{broken.argmax()}.\nThe classifier gave no answer there: its weights or its input are broken."
        )
    wrong = (p.min(axis=1) < 0) | (np.abs(p.sum(axis=1) - 1) > _SUM_TOLERANCE)
    if wrong.any():
        row = p[wrong.argmax()]
        raise DataError(
            f"Row {wrong.argmax()} holds no probabilities: {row.min():.4g} to {row.max():.4g}, "
            f"sum {row.sum():.4g}; expected 0 to 1, sum 1."
        )
    return p
