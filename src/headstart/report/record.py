"""What a report is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.metrics import Extrapolation

if TYPE_CHECKING:
    from headstart.audit import Audit

Phase = Literal["probe", "finetune"]

PHASES: Final[tuple[Phase, ...]] = get_args(Phase)
"""What is trained in epochs, in this order: a head on frozen features, then layers together with the head."""


@dataclass(frozen=True, kw_only=True)
class Explained:
    """A test image, and where a classifier looked for the class that it gave.

    Attributes:
        path: the image.
        true: its class.
        predicted: the class that was given.
        probability: of that class.
        photo: what the network saw, as JPEG.
        overlay: the same under its heat map, as JPEG.
    """

    path: str
    true: str
    predicted: str
    probability: float
    photo: bytes
    overlay: bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class Learning:
    """How a probe's accuracy grows with the number of training images.

    Attributes:
        sizes: (S,) numbers of training images, ascending.
        accuracies: (R, S) of each repeat, 0 to 1.
        band: the expected curve with its interval, from the first size on; None where there are too few points.
        targets: numbers of images that it was asked for, the first what there is now.
        words: what it says, in sentences.
    """

    sizes: NDArray[np.float64]
    accuracies: NDArray[np.float64]
    band: Extrapolation | None
    targets: Sequence[float]
    words: Sequence[str]


@dataclass(frozen=True, kw_only=True, eq=False)
class RunRecord:
    """All that the report of one run is made from. Names and paths may hold anything: they are escaped.

    Attributes:
        name: title of the report.
        result: content of the run's `result.json`: "test", "validation" (or None), "train" ("accuracy",
            "loss", and "n" where that is not the training images), "seconds", "images", "environment",
            "choice" (at least "rule", and "strength" or "neighbours"), "backbone", "warnings".
        classes: names of the K classes.
        paths: the n test images.
        labels: (n,) int64, their true classes.
        probabilities: (n, K), what the classifier said of them.
        path: one mapping a point of the path, in order, with "strength" or "neighbours" (above 0), "train_loss",
            "train_accuracy", "validation_loss" and "validation_accuracy" (None where nothing was validated); empty
            where there was no path.
        history: one mapping an epoch, in order, with "phase" (one of `PHASES`), "epoch" (from 1 in each phase),
            "train_loss" and "train_accuracy" (running means over the epoch), "validation_loss" and
            "validation_accuracy" (None where nothing was validated); empty where nothing was trained in epochs.
        best_epoch: phase -> the epoch whose weights were kept; without the phases in which none was chosen.
        problems: path and reason of each file that could not be read.
        config: the run's options.
        command: the command line that repeats the run.
        features: (n, d) or (n, d, ...) float32, of the test images, for the map; None where they are not at hand.
        explained: images with what the classifier looked at; empty where nobody asked.
        audit: of the run's data; None where nobody asked.
        learning: the learning curve; None where nobody asked.

    Raises:
        DataError: there are no test images, shapes do not fit, or phases or epochs are none.
    """

    name: str
    result: Mapping[str, Any]
    classes: Sequence[str]
    paths: Sequence[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    path: Sequence[Mapping[str, float | None]]
    history: Sequence[Mapping[str, Any]]
    best_epoch: Mapping[str, int]
    problems: Sequence[tuple[str, str]]
    config: Mapping[str, Any]
    command: str
    features: NDArray[np.float32] | None = None
    explained: Sequence[Explained] = ()
    audit: "Audit | None" = None
    learning: Learning | None = None

    def __post_init__(self) -> None:
        n, k = len(self.paths), len(self.classes)
        if not n:
            raise DataError("A report needs at least one test image; got none.")
        if self.labels.shape != (n,) or self.probabilities.shape != (n, k):
            raise DataError(
                f"{n} test images of {k} classes need labels ({n},) and probabilities ({n}, {k}); got "
                f"{self.labels.shape} and {self.probabilities.shape}."
            )
        if self.features is not None and len(self.features) != n:
            raise DataError(f"{n} test images need as many features; got {len(self.features)}.")
        epochs = {(row["phase"], row["epoch"]) for row in self.history}
        if unknown := {phase for phase, _ in epochs} - set(PHASES):
            raise DataError(
                f"Epochs are of the phases {', '.join(PHASES)}; got {', '.join(sorted(unknown))}."
            )
        if absent := [
            f"{best} of {phase}" for phase, best in self.best_epoch.items() if (phase, best) not in epochs
        ]:
            raise DataError(f"An epoch that was kept stands in the history; this one does not: {absent[0]}.")

    def epochs(self, phase: Phase) -> list[Mapping[str, Any]]:
        """The history of one phase."""
        return [row for row in self.history if row["phase"] == phase]
