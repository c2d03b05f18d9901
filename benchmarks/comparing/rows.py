"""Measurements in a file, one line each: what stands there is not measured again."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement.

    Attributes:
        comparison: which comparison, such as "train".
        case: of what, such as a data set.
        side: who, such as "headstart, first run".
        repeat: the how manieth time, from 0; also the seed where there is one.
        seconds: how long it took.
        processor: seconds of processor time of the whole process and its children, imports counted; None where one
            process gave several rows.
        accuracy: share of 1 on images that were not trained on; None where there is nothing to be right about.
        load: the machine's load before it.
        details: whatever else is known of it.
        right: of each test image, whether it was classified right.
        versions: of what it ran on.
    """

    comparison: str
    case: str
    side: str
    repeat: int
    seconds: float
    processor: float | None = None
    accuracy: float | None = None
    load: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)
    right: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


class Rows:
    """All measurements so far, in `measurements.jsonl` of a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "measurements.jsonl"
        text = self._file.read_text() if self._file.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # a killed process left half a line
            self._file.write_text(whole)
        self._rows = [Row(**json.loads(line)) for line in whole.splitlines()]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def add(self, row: Row) -> None:
        """Keep a measurement; a line is appended whole."""
        self._rows.append(row)
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")

    def of(self, comparison: str, case: str | None = None, side: str | None = None) -> list[Row]:
        """Those of a comparison, and of a case and a side where they are given, by repeats."""
        found = [
            row
            for row in self._rows
            if row.comparison == comparison and case in (None, row.case) and side in (None, row.side)
        ]
        return sorted(found, key=lambda row: row.repeat)

    def has(self, comparison: str, case: str, side: str, repeat: int) -> bool:
        """Whether this was measured."""
        return any(row.repeat == repeat for row in self.of(comparison, case, side))
