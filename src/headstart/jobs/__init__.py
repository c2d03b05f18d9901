"""The jobs: train and evaluate a run, extract features to files, probe files of features."""

from headstart.jobs.audit import audit_images
from headstart.jobs.evaluate import Evaluation, evaluate
from headstart.jobs.extract import ExtractedFiles, WrittenFile, extract, extract_bottleneck
from headstart.jobs.learning_curve import LearningCurve, learning_curve
from headstart.jobs.probe import PathProbe, Probe, probe
from headstart.jobs.reporting import report
from headstart.jobs.shelf import Shelf
from headstart.jobs.train import train, written_out
from headstart.jobs.work import Observers

__all__ = [
    "Evaluation",
    "ExtractedFiles",
    "LearningCurve",
    "Observers",
    "PathProbe",
    "Probe",
    "Shelf",
    "WrittenFile",
    "audit_images",
    "evaluate",
    "extract",
    "extract_bottleneck",
    "learning_curve",
    "probe",
    "report",
    "train",
    "written_out",
]
