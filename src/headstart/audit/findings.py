"""What an audit has found: one row for each finding, and the figures beside them."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal

import numpy as np

from headstart.audit.classes import ConfusedClasses
from headstart.audit.duplicates import Duplicates, join_pairs
from headstart.audit.labels import LabelIssues
from headstart.audit.outliers import Outliers
from headstart.datasets import SPLITS, ImageDataset

Kind = Literal["duplicate-across", "duplicate-within", "label", "classes", "outlier"]
KINDS: Final[tuple[Kind, ...]] = ("duplicate-across", "duplicate-within", "label", "classes", "outlier")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding, a row of `findings.csv`.

    Attributes:
        kind: of `KINDS`.
        rank: from 1, the surest of its kind first.
        path: the image; of two in different splits that of the later one. Empty for two classes.
        other: the image that it is a copy of, or the nearest to an image unlike all others.
        class_name: the label of the image; in a file `class`.
        suggested: for a doubtful label the most probable class; for a copy the label of the other where it differs;
            for two classes the second.
        score: of duplicates 1 for identical files, else the correlation of detail; of labels the probability of the
            label as it stands; of classes the share taken for each other; of images unlike all others, robust
            standard deviations.
        split: of the image.
        other_split: of the other image.
        group: number of the set of copies that a duplicate belongs to, from 1.
        note: in words, such as "identical files" or "mirrored".
    """

    kind: Kind
    rank: int
    path: str = ""
    other: str = ""
    class_name: str = ""
    suggested: str = ""
    score: float = 0.0
    split: str = ""
    other_split: str = ""
    group: int | None = None
    note: str = ""

    def row(self) -> dict[str, Any]:
        """As a row of a file."""
        values = {("class" if key == "class_name" else key): value for key, value in asdict(self).items()}
        return {**values, "score": f"{self.score:.4g}", "group": "" if self.group is None else self.group}


COLUMNS: Final = tuple("class" if field.name == "class_name" else field.name for field in fields(Finding))
"""The columns of `findings.csv`."""


def list_duplicates(dataset: ImageDataset, found: Duplicates) -> Iterator[Finding]:
    """Findings of pairs: those in two splits, then those in one.

    Args:
        dataset: the images, with splits.
        found: the pairs, the surest first.
    """
    splits, names, labels = dataset.split_names(), dataset.names(), dataset.labels()
    groups = _numbered(join_pairs(len(dataset), found.pairs), found)
    across = found.across(splits)
    kinds: tuple[tuple[Kind, bool], ...] = (("duplicate-across", True), ("duplicate-within", False))
    for kind, wanted in kinds:
        for rank, position in enumerate(np.flatnonzero(across == wanted).tolist(), start=1):
            other, row = sorted(found.pairs[position].tolist(), key=lambda row: SPLITS.index(splits[row]))
            differs = labels[other] != labels[row]
            words = ["identical files" if found.identical[position] else "", "other label" if differs else ""]
            words.append("mirrored" if found.mirrored[position] else "")
            yield Finding(
                kind=kind,
                rank=rank,
                path=names[row],
                other=names[other],
                class_name=dataset.classes[labels[row]],
                suggested=dataset.classes[labels[other]] if differs else "",
                score=float(found.scores[position]),
                split=splits[row],
                other_split=splits[other],
                group=groups[position],
                note=", ".join(word for word in words if word),
            )


def list_labels(dataset: ImageDataset, found: LabelIssues) -> Iterator[Finding]:
    """Findings of doubtful labels."""
    splits, names, labels = dataset.split_names(), dataset.names(), dataset.labels()
    issues = zip(found.rows.tolist(), found.suggested.tolist(), found.scores.tolist(), strict=True)
    for rank, (row, suggested, score) in enumerate(issues, start=1):
        yield Finding(
            kind="label",
            rank=rank,
            path=names[row],
            class_name=dataset.classes[labels[row]],
            suggested=dataset.classes[suggested],
            score=score,
            split=splits[row],
        )


def list_classes(dataset: ImageDataset, found: Sequence[ConfusedClasses]) -> Iterator[Finding]:
    """Findings of classes that are taken for each other."""
    for rank, pair in enumerate(found, start=1):
        yield Finding(
            kind="classes",
            rank=rank,
            class_name=dataset.classes[pair.first],
            suggested=dataset.classes[pair.second],
            score=pair.share,
            note=f"{pair.count} images taken for the other class",
        )


def list_outliers(dataset: ImageDataset, found: Outliers) -> Iterator[Finding]:
    """Findings of images unlike all others."""
    splits, names, labels = dataset.split_names(), dataset.names(), dataset.labels()
    far = zip(found.rows.tolist(), found.nearest.tolist(), found.scores.tolist(), strict=True)
    for rank, (row, nearest, score) in enumerate(far, start=1):
        yield Finding(
            kind="outlier",
            rank=rank,
            path=names[row],
            other=names[nearest],
            class_name=dataset.classes[labels[row]],
            score=score,
            split=splits[row],
            other_split=splits[nearest],
        )


def _numbered(joined: np.ndarray[Any, np.dtype[np.int64]], found: Duplicates) -> list[int]:
    """The number of each pair's set of copies, from 1 in the order of the pairs."""
    numbers: dict[int, int] = {}
    return [numbers.setdefault(int(joined[row]), len(numbers) + 1) for row in found.pairs[:, 0]]
