"""What the page of a comparison is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the leaderboard.

    Attributes:
        key: of its values in the rows.
        title: what stands above it.
        kind: how values are written; a "percent" is a share, 0 to 1.
        better: which end is the good one; None where there is none.
    """

    key: str
    title: str
    kind: Literal["text", "percent", "number", "seconds", "integer"]
    better: Literal["higher", "lower"] | None


@dataclass(frozen=True, kw_only=True)
class ReferencePanel:
    """Figures that others have published, with how they came about.

    Attributes:
        title: whose they are.
        figures: what was measured, and its value.
        protocol: the conditions: split, n, backbone, what the held-out set was used for.
        differences: why ours cannot be compared with them, a sentence each; empty where the protocol is the same.
        difference: "ours - reference" in words, only where `differences` is empty.
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
        verdict: sentences in plain words, first the most important.
        columns: of the leaderboard, in order.
        rows: of the leaderboard, best first, by column key; also "accuracy", "accuracy_low" and "accuracy_high" (0 to
            1), "dataset", "backbone", "recipe", "seconds" (of training) and "run" (folder of the first seed's run,
            relative to the page), each None where unknown.
        failures: run and reason.
        references: what others have published.
        histories: label of a row -> its epochs, as `RunRecord.history`.
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
