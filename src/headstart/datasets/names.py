"""Names that folders and tables share: what a split may be called, which classes training must know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from headstart.datasets.dataset import Split
from headstart.errors import DataError, name_some

SPLIT_NAMES: Final[Mapping[str, Split]] = MappingProxyType(
    {
        "train": "train",
        "training": "train",
        "val": "val",
        "valid": "val",
        "validation": "val",
        "test": "test",
        "testing": "test",
    }
)
"""Lower-case names of the splits."""


def check_known_to_train(classes: Mapping[str, Iterable[Split | None]]) -> None:
    """Refuse classes that stand in val or test and not in train.

    Args:
        classes: for each class the splits it has images in; a class without any split passes.

    Raises:
        DataError: some class cannot be learnt.
    """
    held = {name: set(splits) for name, splits in classes.items()}
    unknown = [name for name, splits in held.items() if not splits & {"train", None}]
    if unknown:
        known = [name for name, splits in held.items() if "train" in splits]
        raise DataError(
            f"Classes in val or test without an image in train: {listed(unknown)}. "
            f"Expected only those of train: {listed(known)}."
        )


def listed(names: Iterable[str], most: int = 5) -> str:
    """Write some names for a message, sorted, and how many more there are."""
    return name_some(sorted(names), most)
