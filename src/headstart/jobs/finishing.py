"""What becomes of a network when its training is over: how much of the training is kept, and how sure it may be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headstart.heads import fit_temperature
from headstart.jobs.trainee import Rows, Trainee
from headstart.jobs.work import HeldOut
from headstart.recipes import Recipe
from headstart.training import DEFAULT_SHARE, SHARES, Interpolation, soften_head


@dataclass(frozen=True, kw_only=True)
class Finish:
    """What is done to a network once it is trained.

    Attributes:
        share: how far its weights go from those it began with to those it ended with; 1 for all the way.
        temperature: what its head's logits are divided by.
    """

    share: float = 1.0
    temperature: float = 1.0

    def apply(self, trainee: Trainee, interpolation: Interpolation | None) -> None:
        """Do it, in place."""
        if interpolation is not None:
            interpolation.go(self.share)
        soften_head(trainee.head, self.temperature)

    def to_dict(self, recipe: Recipe) -> dict[str, Any]:
        """As a run's result has it; the share where there was a choice."""
        share = {"share_of_training": self.share} if recipe.interpolate == "yes" else {}
        return {**share, "temperature": self.temperature}


def possible_shares(interpolation: Interpolation | None) -> tuple[float, ...]:
    """How far weights may go, where held-out images can tell."""
    return (1.0,) if interpolation is None else SHARES


def unjudged_finish(interpolation: Interpolation | None) -> Finish:
    """What is done where no held-out image can tell."""
    return Finish() if interpolation is None else Finish(share=DEFAULT_SHARE)


def best_finish(logits: Mapping[float, Tensor], labels: Tensor) -> Finish:
    """The share at which held-out images are least surprising, each at the temperature that suits it best.

    Args:
        logits: share -> (m, K), of images that no network was trained on which said them.
        labels: (m,) int64, their classes.
    """
    fitted = {share: fit_temperature(found, labels) for share, found in logits.items()}
    share = min(fitted, key=lambda share: fitted[share][1])
    return Finish(share=share, temperature=fitted[share][0])


def said_of(rows: Rows, logits: Tensor, finish: Finish) -> HeldOut:
    """What was said of held-out images, with the finish's temperature and without: from logits, view after view."""
    logits = logits.double()
    return HeldOut(
        rows=rows,
        probabilities=averaged(logits / finish.temperature, len(rows)),
        uncalibrated=averaged(logits, len(rows)),
    )


def averaged(logits: Tensor, images: int) -> NDArray[np.float64]:
    """Probabilities (n, K) from the logits of n images, view after view."""
    views = logits.double().softmax(dim=1).reshape(-1, images, logits.shape[1])
    return np.asarray(views.mean(dim=0).numpy(), dtype=np.float64)
