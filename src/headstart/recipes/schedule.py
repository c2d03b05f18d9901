"""Learning-rate schedules: the rate of every step as a pure function of its number."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from headstart.errors import ConfigError

_STEP = re.compile(r"\s*([0-9.]+(?:e[+-]?\d+)?)\s*:\s*(\d+)\s*", re.ASCII | re.IGNORECASE)


CURVES = ("cosine", "constant")
"""Schedules that take their learning rate and number of epochs from elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate over a training.

    Attributes:
        rates: (learning rate, epochs) one after the other, as a list of learning rates has it.
        cosine: within them, let the rate fall to 0 over all epochs along half a cosine (Loshchilov & Hutter 2017,
            arXiv:1608.03983, equation 5, without restarts).
        warmup: epochs over which the rate first rises linearly from 0.
    """

    rates: Sequence[tuple[float, int]]
    cosine: bool
    warmup: float

    @property
    def epochs(self) -> int:
        """How many epochs there are."""
        return sum(epochs for _, epochs in self.rates)

    def rate(self, epoch: float) -> float:
        """The learning rate at a moment, in epochs from the start (0.5 is in the middle of the first)."""
        base = self._base(epoch)
        if epoch < self.warmup:
            return base * epoch / self.warmup
        if not self.cosine:
            return base
        share = (epoch - self.warmup) / max(self.epochs - self.warmup, 1e-9)
        return base * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))

    def _base(self, epoch: float) -> float:
        end = 0
        for rate, epochs in self.rates:
            end += epochs
            if epoch < end:
                return rate
        return self.rates[-1][0]


def parse_schedule(text: str, *, lr: float, epochs: int, warmup: float) -> Schedule:
    """Read what `--schedule` takes.

    Args:
        text: "cosine", "constant", or learning rates each with its number of epochs, such as "3e-4:7, 3e-5:7".
        lr: the learning rate of the first two.
        epochs: how long these two last.
        warmup: see `Schedule`.

    Raises:
        ConfigError: it is none of these.
    """
    if text in CURVES:
        return Schedule(rates=((lr, epochs),), cosine=text == "cosine", warmup=warmup)
    matches = [_STEP.fullmatch(step) for step in text.split(",")]
    rates = tuple((float(match[1]), int(match[2])) for match in matches if match is not None)
    if len(rates) != len(matches) or any(rate <= 0 or n < 1 for rate, n in rates):
        raise ConfigError(
            f"schedule is {text!r}; expected cosine, constant, or learning rates with their epochs such as "
            "'3e-4:7, 3e-5:7, 3e-6:4'."
        )
    return Schedule(rates=rates, cosine=False, warmup=warmup)
