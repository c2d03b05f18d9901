"""The record of an audit."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headstart.audit.findings import Finding, Kind
from headstart.metrics import Scores

MANY: Final = 0.05
"""From this share of leaking test images on, a test is said to be no test."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A probe's scores on some of the test images.

    Attributes:
        words: which images.
        n: how many.
        scores: None where there are none of them.
    """

    words: str
    n: int
    scores: Scores | None


@dataclass(frozen=True, kw_only=True)
class Leaks:
    """Test images that show what training has shown.

    Attributes:
        test: how many test images there are.
        copies: how many of them are copies of an image of train or validation.
        grouped: how many share a group with one, given or suggested; None where nothing is known of groups.
        leaking: how many are the one or the other.
        judged: the probe's scores with and without these.
    """

    test: int
    copies: int
    grouped: int | None
    leaking: int
    judged: tuple[Judged, ...] = ()

    @property
    def share(self) -> float:
        """Share of the test images that leak, as copies or by their group."""
        return self.leaking / self.test if self.test else 0.0

    @property
    def many(self) -> bool:
        """Whether so many leak that the test is no test of what is new."""
        return self.share >= MANY


@dataclass(frozen=True, kw_only=True)
class PatternAdvice:
    """A group pattern to copy.

    Attributes:
        pattern: for `--group-pattern`.
        groups: how many groups it makes.
        images: of how many images.
        observed: share of images whose nearest of the class is of the same group.
        expected: the same by chance.
        example: two names of one group.
    """

    pattern: str
    groups: int
    images: int
    observed: float
    expected: float
    example: tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What an audit has found.

    Attributes:
        name: of the data set.
        classes: names.
        counts: split -> images.
        rule: how the images were divided.
        findings: all, kind by kind, each with the surest first.
        leaks: None without test images.
        labels_judged: images whose label was judged; None where that was left out.
        out_of_fold: share of all judged images that were classified right out of fold; None where none were judged.
        wrong_labels: cleanlab's estimate of how many are wrong.
        pattern: a suggestion, or None.
        confused: class pair's rank -> paths of images taken for the other class.
        problems: (path, reason) of images that could not be read.
        notes: whole sentences.
        command: how to repeat it.
        seconds: phase -> seconds.
    """

    name: str
    classes: tuple[str, ...]
    counts: dict[str, int]
    rule: str
    findings: tuple[Finding, ...]
    leaks: Leaks | None
    labels_judged: int | None
    out_of_fold: float | None
    wrong_labels: int | None
    pattern: PatternAdvice | None
    confused: dict[int, tuple[str, ...]] = field(default_factory=dict)
    problems: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    command: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    def of_kind(self, kind: Kind) -> list[Finding]:
        """The findings of one kind, the surest first."""
        return [finding for finding in self.findings if finding.kind == kind]


def leaking_copies(pairs: NDArray[np.int64], splits: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Which test images are copies of an image of another split: themselves, not by way of a third image.

    Args:
        pairs: (D, 2) rows of images that are copies of each other.
        splits: (n,) "train", "val" or "test".

    Returns:
        (n,) bool, False for all that are no test images.
    """
    is_test = splits == "test"
    leaks = np.zeros(len(splits), np.bool_)
    for one, other in ((0, 1), (1, 0)):
        leaks[pairs[~is_test[pairs[:, other]], one]] = True
    return np.asarray(is_test & leaks, dtype=np.bool_)


def leaking_groups(groups: NDArray[np.int64], splits: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Which test images stand in one group with an image of another split.

    Args:
        groups: (n,) what belongs together.
        splits: (n,) "train", "val" or "test".

    Returns:
        (n,) bool, False for all that are no test images.
    """
    is_test = splits == "test"
    return np.asarray(is_test & np.isin(groups, groups[~is_test]), dtype=np.bool_)
