"""How good predictions are: pure functions from class probabilities and labels to numbers."""

from headstart.metrics.confusion import ClassScores, confusion_matrix, per_class_scores
from headstart.metrics.intervals import GROUPED_INTERVAL, INTERVAL, cluster_interval, wilson_interval
from headstart.metrics.scores import (
    ReliabilityBins,
    Scores,
    calibration_error,
    reliability_bins,
    score_predictions,
)

__all__ = [
    "GROUPED_INTERVAL",
    "INTERVAL",
    "ClassScores",
    "ReliabilityBins",
    "Scores",
    "calibration_error",
    "cluster_interval",
    "confusion_matrix",
    "per_class_scores",
    "reliability_bins",
    "score_predictions",
    "wilson_interval",
]
