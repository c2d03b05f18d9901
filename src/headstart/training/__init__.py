"""Training: fitting what stands on top of a frozen prefix."""

from headstart.training.probe import FittedHead, PathPoint, fit_head

__all__ = ["FittedHead", "PathPoint", "fit_head"]
