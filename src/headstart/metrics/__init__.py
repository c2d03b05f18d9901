"""How good predictions are: pure functions from class probabilities and labels to numbers."""

from headstart.metrics.confusion import ClassScores, confusion_matrix, per_class_scores
from headstart.metrics.intervals import GROUPED_INTERVAL, INTERVAL, cluster_interval, wilson_interval
from headstart.metrics.paired import holm, paired_permutation
from headstart.metrics.scores import Scores, calibration_error, score_predictions

__all__ = [
    "GROUPED_INTERVAL",
    "INTERVAL",
    "ClassScores",
    "Scores",
    "calibration_error",
    "cluster_interval",
    "confusion_matrix",
    "holm",
    "paired_permutation",
    "per_class_scores",
    "score_predictions",
    "wilson_interval",
]
