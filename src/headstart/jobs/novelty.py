"""From when on an image is unlike anything in training: measured on images that the network has not been trained on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headstart.jobs.work import Outcome, RunData, Seen
from headstart.novelty import (
    FALSE_ALARMS,
    METHOD,
    Novelty,
    conformal_threshold,
    distances,
    distances_to_others,
    kept_rows,
    make_bank,
)

_LEAST_IMAGES = round(1 / FALSE_ALARMS) - 1


@dataclass(frozen=True, kw_only=True)
class Found:
    """What tells whether an image is unlike anything in training.

    Attributes:
        novelty: it; None where nothing can.
        facts: how its threshold was set, or why there is none.
    """

    novelty: Novelty | None
    facts: dict[str, Any]

    def account(self, tested: Seen) -> dict[str, Any]:
        """As a run's result has it, with the share of test images that it takes for unlike anything in training."""
        if self.novelty is None:
            return self.facts
        return {**self.facts, "test_false_alarms": float((self.novelty.unlike(tested.features) > 1).mean())}


def find_novelty(data: RunData, outcome: Outcome, fitted: Seen) -> Found:
    """Keep what training images look like to a network, and set the threshold beyond which an image is unlike them.

    It is set on distances of images that the network has not been trained on, each to images other than itself. Behind
    a frozen prefix these are the training images themselves. A fine-tuned network needs a validation part; one that
    was trained anew on that too takes the threshold of the network that was judged, as it takes its temperature.

    Args:
        data: the run's images.
        outcome: the trained classifier.
        fitted: what it makes of the images that it was fitted on.
    """
    kept = kept_rows(len(outcome.fitted_on))
    bank, rows = make_bank(fitted.features[kept]), outcome.fitted_on[kept]
    if outcome.frozen:
        held_out = distances_to_others(bank, data.groups(rows))
        return _found(bank, held_out, "each training image against the others")
    check = data.rows("val")
    if not len(check):
        return _none("fine-tuning had no validation images to set the threshold on")
    if outcome.judged is None:
        return _found(bank, distances(bank, outcome.see(check).features), "validation")
    train = data.rows("train")
    judged = make_bank(outcome.judged.see(train[kept_rows(len(train))]).features)
    held_out = distances(judged, outcome.judged.see(check).features)
    return _found(bank, held_out, "validation, before the training on it too")


def _found(bank: Tensor, held_out: NDArray[np.float64], how: str) -> Found:
    threshold = conformal_threshold(held_out)
    if threshold is None:
        return _none(
            f"{len(held_out)} images are too few to set the threshold on, or all look the same; "
            f"it takes {_LEAST_IMAGES}"
        )
    return Found(
        novelty=Novelty(bank=bank, threshold=threshold),
        facts={
            "method": METHOD,
            "false_alarms": FALSE_ALARMS,
            "threshold": threshold,
            "calibrated_on": how,
            "n": len(held_out),
        },
    )


def _none(because: str) -> Found:
    return Found(novelty=None, facts={"method": None, "because": because})
