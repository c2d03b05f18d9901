"""Training: fitting what stands on top of a frozen prefix."""

from headstart.training.epochs import Epoch, train_epochs
from headstart.training.kinds import HeadKind
from headstart.training.probe import FittedHead, PathPoint, fit_head

__all__ = ["Epoch", "FittedHead", "HeadKind", "PathPoint", "fit_head", "train_epochs"]
