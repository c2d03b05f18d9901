"""The jobs: train and evaluate a run, extract features to files, probe files of features."""

from headstart.jobs.audit import audit_images
from headstart.jobs.evaluate import Evaluation, evaluate
from headstart.jobs.extract import ExtractedFiles, WrittenFile, extract, extract_bottleneck
from headstart.jobs.probe import PathProbe, Probe, probe
from headstart.jobs.train import train
from headstart.jobs.work import Observers

__all__ = [
    "Evaluation",
    "ExtractedFiles",
    "Observers",
    "PathProbe",
    "Probe",
    "WrittenFile",
    "audit_images",
    "evaluate",
    "extract",
    "extract_bottleneck",
    "probe",
    "train",
]
