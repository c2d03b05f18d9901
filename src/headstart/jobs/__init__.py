"""The two jobs: train a run from a folder of photos, and evaluate a run on photos."""

from headstart.jobs.evaluate import Evaluation, evaluate
from headstart.jobs.train import train

__all__ = ["Evaluation", "evaluate", "train"]
