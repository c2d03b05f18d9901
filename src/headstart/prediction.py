"""What a saved classifier is, and what one says of an image: known without torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headstart.errors import RunError

WEIGHTS_FILE: Final = "classifier.safetensors"
CARD_FILE: Final = "classifier.json"
FORMAT: Final = 2
"""Of both files."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a classifier says of one image.

    Attributes:
        path: the file.
        classes: the most probable classes, best first; empty where the file is unreadable.
        probabilities: of each of them, 0 to 1.
        unlike: how unlike all training images it is, 0 for equal, in multiples of a threshold that a stated share of
            images like them exceeds (see `headstart.novelty`); None where the classifier cannot tell.
        problem: why the file could not be read, or None.
    """

    path: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    unlike: float | None = None
    problem: str | None = None

    @property
    def is_unlike(self) -> bool | None:
        """Whether it is unlike anything in training: beyond the threshold; None where the classifier cannot tell."""
        return None if self.unlike is None else self.unlike > 1


def best_classes(
    path: str,
    classes: Sequence[str],
    probabilities: NDArray[np.float64],
    *,
    top: int,
    unlike: float | None,
) -> Prediction:
    """The prediction of an image from the probabilities (K,) of its classes: the `top` most probable, best first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return Prediction(
        path=path,
        classes=tuple(classes[i] for i in order),
        probabilities=tuple(float(probabilities[i]) for i in order),
        unlike=unlike,
    )


def read_description(folder: Path) -> dict[str, Any]:
    """What the classifier of a run folder is, from `classifier.json`.

    Raises:
        RunError: the folder holds none, or one that is damaged or of another version.
    """
    path = folder / CARD_FILE
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(
            f"{folder} is no run: it holds no {CARD_FILE}.\nExpected a folder that `headstart train` made."
        ) from error
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}.\nTrain the run again.") from error
    found = description.get("format") if isinstance(description, dict) else None
    if found != FORMAT:
        raise RunError(f"{path} has format {found!r}; this headstart reads format {FORMAT}.")
    return description
