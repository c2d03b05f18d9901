"""What a report is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError


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
        history: one mapping a point of the path, in order, with "strength" or "neighbours" (above 0), "train_loss",
            "train_accuracy", "validation_loss" and "validation_accuracy" (None where nothing was validated).
        problems: path and reason of each file that could not be read.
        config: the run's options.
        command: the command line that repeats the run.

    Raises:
        DataError: there are no test images, or shapes do not fit.
    """

    name: str
    result: Mapping[str, Any]
    classes: Sequence[str]
    paths: Sequence[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    history: Sequence[Mapping[str, float | None]]
    problems: Sequence[tuple[str, str]]
    config: Mapping[str, Any]
    command: str

    def __post_init__(self) -> None:
        n, k = len(self.paths), len(self.classes)
        if not n:
            raise DataError("A report needs at least one test image; got none.")
        if self.labels.shape != (n,) or self.probabilities.shape != (n, k):
            raise DataError(
                f"{n} test images of {k} classes need labels ({n},) and probabilities ({n}, {k}); got "
                f"{self.labels.shape} and {self.probabilities.shape}."
            )
