"""The jobs: train and evaluate a run, extract features to files, probe files of features."""

from headstart.jobs.evaluate import Evaluation, evaluate
from headstart.jobs.extract import ExtractedFiles, WrittenFile, extract, extract_bottleneck
from headstart.jobs.probe import PathProbe, Probe, probe
from headstart.jobs.reporting import report
from headstart.jobs.train import train
from headstart.jobs.work import Observers

__all__ = [
    "Evaluation",
    "ExtractedFiles",
    "Observers",
    "PathProbe",
    "Probe",
    "WrittenFile",
    "evaluate",
    "extract",
    "extract_bottleneck",
    "probe",
    "report",
    "train",
]
