"""How images are to be divided: as given, by shares, or by the protocol of a reference program."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from headstart.errors import ConfigError

_SHARES: Final = re.compile(r"(\d+)/(\d+)(?:/(\d+))?", re.ASCII)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """A way to divide images.

    Attributes:
        train, val, test: shares of all images, adding up to 100; `val` is 0 where choices are made within train.
        moved: instead of shares, how much of the given test goes to train, 0 to 1; train and val as given join it.
        per_class: at most this many images of each class for training and choosing; None for all.
        seed: the seed that belongs to the protocol; None for the run's own.
    """

    train: int
    val: int
    test: int
    moved: float | None = None
    per_class: int | None = None
    seed: int | None = None


REFERENCE: Final[Mapping[str, Protocol]] = MappingProxyType(
    {
        "r1": Protocol(train=80, val=10, test=10),
        "r3": Protocol(train=80, val=0, test=20, per_class=100),
        "r5": Protocol(train=85, val=0, test=15, moved=0.7, seed=42),
    }
)
"""The protocols of the reference programs: the flowers' 80/10/10; 80/20 with training shrunk to 100 images a class;
and the pets' 85:15, that is trainval and 70 % of test as given, drawn with seed 42."""


def parse_protocol(text: str) -> Protocol | None:
    """Read what `--split` takes; None for `auto`.

    Raises:
        ConfigError: it is neither `auto` nor shares of 100 nor one of `REFERENCE`.
    """
    if text == "auto":
        return None
    if text in REFERENCE:
        return REFERENCE[text]
    match = _SHARES.fullmatch(text)
    shares = [int(share) for share in match.groups() if share is not None] if match else []
    if sum(shares) != 100 or 0 in (shares[0], shares[-1]):
        raise ConfigError(
            f"split is {text!r}; expected auto, shares of 100 such as 80/10/10 (train/validation/test) or 85/15 "
            f"(train/test), or one of {', '.join(REFERENCE)}."
        )
    return Protocol(train=shares[0], val=shares[1] if len(shares) == 3 else 0, test=shares[-1])
