"""Training: heads that are solved for, and networks that are trained by epochs."""

from headstart.training.augment import Augmentation
from headstart.training.calibration import soften_head
from headstart.training.checkpoint import Epoch
from headstart.training.interpolation import DEFAULT_SHARE, SHARES, Interpolation
from headstart.training.interruption import noticed_interruptions
from headstart.training.kinds import HeadKind
from headstart.training.logits import network_logits
from headstart.training.loop import Examples, StepProgress, Trained, Watch, train_network
from headstart.training.pixels import Photos
from headstart.training.probe import FittedHead, PathPoint, fit_head
from headstart.training.sources import ComputedSource, PixelSource, Source, StoredSource, SubsetSource
from headstart.training.speed import choose_precision, images_per_second

__all__ = [
    "DEFAULT_SHARE",
    "SHARES",
    "Augmentation",
    "ComputedSource",
    "Epoch",
    "Examples",
    "FittedHead",
    "HeadKind",
    "Interpolation",
    "PathPoint",
    "Photos",
    "PixelSource",
    "Source",
    "StepProgress",
    "StoredSource",
    "SubsetSource",
    "Trained",
    "Watch",
    "choose_precision",
    "fit_head",
    "images_per_second",
    "network_logits",
    "noticed_interruptions",
    "soften_head",
    "train_network",
]
