"""How good predictions are: pure functions from class probabilities and labels to numbers."""

from headstart.metrics.confusion import ClassScores, confusion_matrix, per_class_scores
from headstart.metrics.intervals import GROUPED_INTERVAL, INTERVAL, cluster_interval, wilson_interval
from headstart.metrics.learning import Extrapolation, extrapolate_curve
from headstart.metrics.logme import logme
from headstart.metrics.paired import holm, paired_permutation
from headstart.metrics.reliability import ReliabilityBin, calibration_error, reliability
from headstart.metrics.scores import Scores, score_predictions

__all__ = [
    "GROUPED_INTERVAL",
    "INTERVAL",
    "ClassScores",
    "Extrapolation",
    "ReliabilityBin",
    "Scores",
    "calibration_error",
    "cluster_interval",
    "confusion_matrix",
    "extrapolate_curve",
    "holm",
    "logme",
    "paired_permutation",
    "per_class_scores",
    "reliability",
    "score_predictions",
    "wilson_interval",
]
