"""Reliability: whether of the answers that are 80 % sure, 80 % are right."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 15


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """The images whose most probable class has a probability in (low, high].

    Attributes:
        low, high: the bin's edges, 0 to 1.
        count: number of images in it, at least 1.
        confidence: mean probability of their most probable class.
        accuracy: share of them for which that class is the true one.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], bins: int = BINS
) -> list[ReliabilityBin]:
    """The data of a reliability diagram (Niculescu-Mizil & Caruana 2005; Guo et al. 2017, arXiv:1706.04599, figure 1).

    Args:
        probabilities: (n, K), each row adding up to 1; n at least 1.
        labels: (n,) true classes.
        bins: into how many bins of equal width 0 to 1 is divided, (low, high] each.

    Returns:
        The bins that hold images, from low to high. Their mean |confidence - accuracy|, weighted by their counts, is
        the `calibration_error`.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    of_image = np.digitize(confidence, edges[1:-1], right=True)
    counts = np.bincount(of_image, minlength=bins)
    summed, right = (np.bincount(of_image, weights=each, minlength=bins) for each in (confidence, correct))
    return [
        ReliabilityBin(
            low=float(edges[i]),
            high=float(edges[i + 1]),
            count=int(counts[i]),
            confidence=float(summed[i] / counts[i]),
            accuracy=float(right[i] / counts[i]),
        )
        for i in np.flatnonzero(counts)
    ]


def calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Expected calibration error (Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599).

    Images are put into 15 equally wide bins (low, high] by the probability of their most probable class; the
    error is the mean distance between a bin's mean probability and its accuracy, weighted by its images.

    Args:
        probabilities: (n, K), each row adding up to 1.
        labels: (n,) true classes.

    Returns:
        The error, 0 (probabilities can be taken at their word) to 1.
    """
    found = reliability(probabilities, labels)
    return sum(each.count * abs(each.confidence - each.accuracy) for each in found) / len(labels)
