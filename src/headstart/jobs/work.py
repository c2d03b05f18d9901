"""What a technique works with, and what it gives back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones import Backbone
from headstart.classifier import Classifier
from headstart.config import TrainConfig
from headstart.datasets import ImageDataset, Problem, Split, SplitRecord
from headstart.features import FeatureStore, Progress
from headstart.jobs.start import Start
from headstart.runtimes import RuntimeName
from headstart.training import Epoch, FittedHead, StepProgress


@dataclass(frozen=True, kw_only=True)
class RunData:
    """The readable images of a run with their splits.

    Attributes:
        dataset: n readable images, each with a split.
        record: how they were split.
        sha256s: of the n files.
        problems: what could not be read.
        extracted, from_store: forward passes made, and not needed.
        seconds: of reading them, and extracting their features.
        runtime: what computed these, if any were extracted.
    """

    dataset: ImageDataset
    record: SplitRecord
    sha256s: tuple[bytes, ...]
    problems: tuple[Problem, ...]
    extracted: int
    from_store: int
    seconds: float
    runtime: RuntimeName | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) int64."""
        return self.dataset.labels().astype(np.int64)

    def rows(self, split: Split) -> NDArray[np.int64]:
        """The rows of one split."""
        return self.dataset.rows(split)

    def groups(self, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """The groups of images; None where the data set has none."""
        groups = self.dataset.groups()
        return None if groups is None else groups[rows]


@dataclass(frozen=True, kw_only=True)
class Observers:
    """Who is told of a job's progress.

    Attributes:
        extraction: of images.
        step: of a training's steps.
        epoch: of each epoch as it ends: its phase ("probe" or "finetune"), its figures, how many there will be.
        say: of what is about to be done, in a sentence.
    """

    extraction: Progress | None = None
    step: StepProgress | None = None
    epoch: Callable[[str, Epoch, int], object] | None = None
    say: Callable[[str], object] | None = None

    def tell(self, sentence: str) -> None:
        """Say a sentence, if anybody listens."""
        if self.say is not None:
            self.say(sentence)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a technique works with.

    Attributes:
        config: the run's options.
        backbone: the network, the run's own to change, with the preprocessing of this training.
        data: the images.
        store: where features are stored.
        stored: whether trainings take their inputs from the store where they can, instead of computing them anew.
        device: where networks run.
        checkpoint: file of a training's complete state.
        refit_checkpoint: the same of the training on train and validation that follows it.
        decide: notes an option that was decided during the run, so that repeating it decides the same.
        decided: gives the options with all that has been decided.
        note_history: writes (phase, epoch) of the epochs so far.
        interim: writes a classifier that can be used while the run goes on.
        observers: who is told.
        began: value of `time.monotonic` when the run began.
        start: the network as it was when the run began, with an earlier run's head.
        may_end_early: whether Ctrl-C may end the fine-tuning of `auto` and keep what there is.
    """

    config: TrainConfig
    backbone: Backbone
    data: RunData
    store: FeatureStore
    stored: bool
    device: str
    checkpoint: Path
    refit_checkpoint: Path
    decide: Callable[[str, Any], None]
    decided: Callable[[], TrainConfig]
    note_history: Callable[[Sequence[tuple[str, Epoch]]], None]
    interim: Callable[[Classifier], None]
    began: float
    start: Start
    observers: Observers = field(default_factory=Observers)
    may_end_early: bool = True

    @property
    def runtime(self) -> str | None:
        """What computes features, once that has been decided."""
        runtime = self.decided().runtime
        return None if runtime == "auto" else runtime


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a classifier makes of images.

    Attributes:
        probabilities: (n, K) float64, averaged over its views.
        features: (n, C) float32, of the images as they are, as `Classifier.vectors` gives them.
    """

    probabilities: NDArray[np.float64]
    features: NDArray[np.float32]


See = Callable[[NDArray[np.int64]], Seen]
"""Shows a classifier images by their rows in the data set."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What classifiers said of images that they had not been fitted to.

    Attributes:
        rows: (m,) the images.
        probabilities: (m, K).
        uncalibrated: (m, K), the same at a temperature of 1.
    """

    rows: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    uncalibrated: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a technique gave.

    Attributes:
        technique: its name.
        classifier: the trained network.
        see: what it makes of the run's images.
        frozen: whether its features come from a prefix that no image of the run has changed.
        fitted_on: (n,) rows of the images it was fitted to.
        held_out: validation, or out-of-fold, outputs; None where nothing was validated.
        path: the head that was solved for, with the path of values tried; None where none was.
        history: (phase, epoch) of each epoch.
        kept: phase -> number of the epoch whose weights were kept.
        judged: of a network that was trained anew on validation's images too, the one that validation has judged.
        choice: what was chosen, for the result.
        seconds: phase -> seconds.
    """

    technique: str
    classifier: Classifier
    see: See
    frozen: bool
    fitted_on: NDArray[np.int64]
    held_out: HeldOut | None
    path: FittedHead | None = None
    history: Sequence[tuple[str, Epoch]] = ()
    kept: Mapping[str, int] = field(default_factory=dict)
    judged: "Outcome | None" = None
    choice: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
