"""What the page of a comparison is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a leaderboard.

    Attributes:
        key: under which the rows have it.
        title: what stands above it.
        kind: how its values are written.
        better: which end of it is good; None where neither is.
    """

    key: str
    title: str
    kind: Literal["text", "percent", "number", "seconds", "integer"]
    better: Literal["higher", "lower"] | None


@dataclass(frozen=True, kw_only=True)
class ReferencePanel:
    """Figures of others that stand beside ours.

    Attributes:
        title: which.
        figures: what and how much, in words.
        protocol: how they came about, what and how, in words.
        differences: why they cannot be compared with ours; none where they can.
        difference: ours minus the reference's in words, only where `differences` is empty.
    """

    title: str
    figures: Sequence[tuple[str, str]]
    protocol: Sequence[tuple[str, str]]
    differences: Sequence[str]
    difference: str | None


@dataclass(frozen=True, kw_only=True)
class ComparisonRecord:
    """All that the page of a comparison is made from. Names may hold anything: they are escaped.

    Attributes:
        title: of the page.
        verdict: sentences in plain words, the most important first.
        columns: of the leaderboard.
        rows: of the leaderboard, by column key; also "accuracy_low" and "accuracy_high" (0 to 1), "dataset",
            "backbone", "recipe", "seconds" (of the training) and "run" (name of its first seed's folder). None where
            something is not known.
        failures: run and reason.
        references: figures of others.
        histories: label of a row -> its epochs, as `RunRecord.history` has them.
        command: the command line that repeats the comparison.
    """

    title: str
    verdict: Sequence[str]
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    failures: Sequence[tuple[str, str]]
    references: Sequence[ReferencePanel]
    histories: Mapping[str, Sequence[Mapping[str, Any]]]
    command: str
