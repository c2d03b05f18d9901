"""The photos that both sides get: headstart's own division of a data set, and some of the photos for a quick look."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

Rows = list[list[str]]
"""Path and class of photos, as an adapter reads them."""


@dataclass(frozen=True, kw_only=True)
class Division:
    """A data set as headstart divides it with a seed.

    Attributes:
        classes: in headstart's order.
        train, valid, test: path and class of each photo; valid is empty where choices are made by cross-validation.
        names: of the test photos, as headstart's tables have them.
    """

    classes: list[str]
    train: Rows
    valid: Rows
    test: Rows
    names: list[str]


def divide(folder: Path, seed: int) -> Division:
    """What `headstart train FOLDER --seed SEED` trains, validates and tests on."""
    from headstart.datasets import assign_splits, load_dataset

    dataset, _ = assign_splits(load_dataset(str(folder)), split="auto", seed=seed)

    def rows(split: str) -> Rows:
        paths, labels = dataset.paths(split), dataset.labels(split)
        return [
            [os.path.abspath(path), dataset.classes[label]]  # noqa: PTH100 - a text, and no link is followed
            for path, label in zip(paths, labels, strict=True)
        ]

    return Division(
        classes=list(dataset.classes),
        train=rows("train"),
        valid=rows("val"),
        test=rows("test"),
        names=dataset.names("test"),
    )


def some_of(folder: Path, per_class: int | None, place: Path) -> Path:
    """The folder itself, or copies of the first `per_class` photos of each class of each part, made in `place`."""
    if per_class is None:
        return folder
    mine = place / f"{folder.name}-{per_class}"
    for part in ("train", "test"):
        for kind in sorted(each for each in (folder / part).iterdir() if each.is_dir()):
            (mine / part / kind.name).mkdir(parents=True, exist_ok=True)
            for file in sorted(kind.iterdir())[:per_class]:
                if not (mine / part / kind.name / file.name).exists():
                    shutil.copy(file, mine / part / kind.name)
    return mine
