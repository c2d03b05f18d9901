"""How unlike all training images an image is: the distance to the one most like it, in a network's features.

Deep nearest neighbours, between features scaled to length 1 (Sun et al. 2022, "Out-of-Distribution Detection with Deep
Nearest Neighbors", arXiv:2204.06507, section 4), with k = 1. In `benchmarks/unknown.py` larger k are as good at
telling other kinds of images, and worse at telling other classes of the same kind where a class has few photos.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.errors import DataError

METHOD: Final = "nearest training image"
FALSE_ALARMS: Final = 0.05
"""The share of images like those in training that may be taken for unlike them."""
_MOST_KEPT: Final = 2000
_BATCH: Final = 4096
_TINY: Final = 1e-12


@dataclass(frozen=True, kw_only=True)
class Novelty:
    """Tells how unlike all training images an image is.

    Attributes:
        bank: (b, C) float32, features of training images, as `make_bank` makes it.
        threshold: the distance that a share `false_alarms` of images like these exceeds.
        false_alarms: that share.
    """

    bank: Tensor
    threshold: float
    false_alarms: float = FALSE_ALARMS

    def unlike(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """How unlike all training images each image is.

        Args:
            features: (n, C) float32.

        Returns:
            (n,) float64, distances in multiples of the threshold: 0 for the same features, above 1 for what is unlike
            anything in training.
        """
        return distances(self.bank, features) / self.threshold

    def of(self, features: Tensor) -> Tensor:
        """The same as `unlike`, as a step of a network: features (n, C) float32 -> (n,) float32."""
        return _distance((_unit(features) @ self.bank.T).amax(dim=1)) / self.threshold

    def tensors(self) -> dict[str, Tensor]:
        """What has to be saved beside `describe`; float16 loses the length alone."""
        return {"bank": self.bank.half()}

    def describe(self) -> dict[str, Any]:
        """What has to be saved beside `tensors`, as JSON has it."""
        return {"kind": METHOD, "threshold": self.threshold, "false_alarms": self.false_alarms}

    @classmethod
    def load(cls, description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Novelty":
        """The same from both again.

        Raises:
            DataError: it is of another kind, or its threshold is no distance.
            KeyError: something is missing.
        """
        if description["kind"] != METHOD:
            raise DataError(
                f"What is unlike is told by {description['kind']!r}; this headstart knows {METHOD}."
            )
        if not isinstance(description["threshold"], float) or not description["threshold"] > 0:
            raise DataError(
                f"The threshold of what is unlike is {description['threshold']!r}; expected a distance."
            )
        return cls(
            bank=_unit(tensors["bank"].float()),
            threshold=description["threshold"],
            false_alarms=description["false_alarms"],
        )


def kept_rows(n: int) -> NDArray[np.int64]:
    """Which of n training images are kept in a bank: all, or 2,000 spread evenly over them."""
    return np.linspace(0, n - 1, min(n, _MOST_KEPT)).round().astype(np.int64)


def make_bank(features: NDArray[np.float32]) -> Tensor:
    """Features (b, C) float32 as a bank keeps them: rounded to float16, for the file, and of length 1."""
    return _unit(_unit(torch.from_numpy(features)).half().float())


def distances(bank: Tensor, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Euclidean distance of each image's features, scaled to length 1, to the nearest in a bank.

    Args:
        bank: (b, C) float32, as `make_bank` makes it.
        features: (n, C) float32.

    Returns:
        (n,) float64, 0 to 2.
    """
    nearest = [(rows @ bank.T).amax(dim=1) for rows in torch.split(_unit(torch.from_numpy(features)), _BATCH)]
    return np.asarray(_distance(torch.cat(nearest).double()).numpy(), dtype=np.float64)


def distances_to_others(bank: Tensor, groups: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Distance (b,) of each image in a bank to the nearest other, or where there are groups, of another group.

    An image without any stands at infinity.

    Args:
        bank: (b, C) float32, as `make_bank` makes it.
        groups: (b,) what belongs together, such as the frames of one sign.
    """
    own = torch.arange(len(bank)) if groups is None else torch.from_numpy(groups)
    alike = (bank @ bank.T).masked_fill(own[:, None] == own[None, :], -torch.inf)
    return np.asarray(_distance(alike.amax(dim=1).double()).numpy(), dtype=np.float64)


def conformal_threshold(held_out: NDArray[np.float64], rate: float = FALSE_ALARMS) -> float | None:
    """The distance that a new image like the held-out ones exceeds with a probability of at most `rate`.

    It is the ceil((1 - rate) (m + 1))-th smallest of m distances: a conformal p-value of the next one above it would be
    at most `rate` (Bates et al. 2023, "Testing for outliers with conformal p-values", arXiv:2104.08279, section 1.2).

    Args:
        held_out: (m,) distances of images that had no part in what they are measured from.
        rate: the share of false alarms, 0 to 1.

    Returns:
        The threshold; None where there are too few images to promise that rate, or it is infinite or 0.
    """
    may_exceed = floor(rate * (len(held_out) + 1))
    if may_exceed < 1:
        return None
    threshold = float(np.sort(held_out)[-may_exceed])
    return threshold if np.isfinite(threshold) and threshold > 0 else None


def _unit(rows: Tensor) -> Tensor:
    """Rows of length 1."""
    scaled: Tensor = rows / rows.norm(dim=1, keepdim=True).clamp_min(_TINY)
    return scaled


def _distance(cosines: Tensor) -> Tensor:
    """Between vectors of length 1, from the cosine of their angle, in its dtype."""
    distance: Tensor = (2 - 2 * cosines).clamp_min(0).sqrt()
    return distance
