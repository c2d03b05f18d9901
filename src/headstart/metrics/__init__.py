"""How good predictions are: pure functions from class probabilities and labels to numbers."""

from headstart.metrics.confusion import ClassScores, confusion_matrix, per_class_scores
from headstart.metrics.intervals import INTERVAL, wilson_interval
from headstart.metrics.scores import Scores, calibration_error, score_predictions

__all__ = [
    "INTERVAL",
    "ClassScores",
    "Scores",
    "calibration_error",
    "confusion_matrix",
    "per_class_scores",
    "score_predictions",
    "wilson_interval",
]
