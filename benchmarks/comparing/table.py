"""All measurements as a table: Markdown for reading, CSV for everything else."""

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path

from figures import median_and_range

from comparing.rows import Row, Rows
from comparing.verdict import cases, ratios

ORDER = ("extract", "keras", "heads", "finetune", "predict", "train", "settings")
TITLES = {
    "extract": "Features, from the list of files to the array",
    "keras": "Features of MobileNetV2 with random weights",
    "heads": "A linear head's path of strengths with validation",
    "finetune": "Training all layers at equal settings, an epoch",
    "predict": "One photo, cold, from the start of the process to the answer",
    "train": "A classifier, from the photos to its test figures",
    "settings": "The settings of fastai, accuracy on validation photos",
}
# What the others are compared with: the first of these that was measured.
_REFERENCES = {
    "extract": ["headstart, empty store", "headstart, again"],
    "keras": ["headstart, empty store", "headstart, again"],
    "heads": ["headstart"],
    "finetune": ["headstart", "headstart, first epoch"],
    "predict": ["headstart predict"],
    "train": ["headstart, first run", "headstart, further run"],
    "settings": ["fastai, default"],
}


def write_tables(rows: Rows, out: Path, machine: str, verdicts: Sequence[str]) -> None:
    """`table.md` and `table.csv` in a folder."""
    parts = ["# headstart beside its peers", *machine.splitlines(), _versions(rows)]
    if verdicts:
        parts.append("Bars:\n\n" + "\n".join(f"- {words}" for words in verdicts))
    parts += [_section(rows, name) for name in ORDER if rows.of(name)]
    (out / "table.md").write_text("\n\n".join(parts) + "\n")
    with (out / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        names = ["comparison", "case", "side", "repeat", "seconds", "processor", "accuracy", "load"]
        writer.writerow(names)
        writer.writerows([getattr(row, name) for name in names] for row in rows)


def _versions(rows: Rows) -> str:
    """The versions that each side ran on, where they are not the same for all."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for name, version in row.versions.items():
            found.setdefault(name, set()).add(version)
    told = ", ".join(f"{name} {' and '.join(sorted(each))}" for name, each in sorted(found.items()))
    loads = [row.load for row in rows]
    load = f"; load before a measurement {median_and_range(loads, '.1f')}" if loads else ""
    return f"Sides ran on: {told}{load}."


def _section(rows: Rows, name: str) -> str:
    references = _REFERENCES[name]
    beside = " | ".join(f"times {each}" for each in references)
    lines = [f"## {name}: {TITLES[name]}", "", f"| case | side | seconds | accuracy | {beside} | n |"]
    lines += [f"|---|---|---|---|{'---|' * (len(references) + 1)}"]
    for case in cases(rows, name):
        sides = list(dict.fromkeys(row.side for row in rows.of(name, case)))
        for side in sorted(sides, key=lambda each: not each.startswith("headstart")):
            lines.append(_line(rows, name, case, side, references))
    if name == "settings":
        lines += ["", _best_settings(rows)]
    return "\n".join(lines)


def _best_settings(rows: Rows) -> str:
    """Mean accuracy on validation of each of fastai's settings, over the sets that hold some photos out."""
    known: dict[str, list[float]] = {}
    for row in rows.of("settings"):
        if row.accuracy is not None:
            known.setdefault(row.side, []).append(row.accuracy)
    if not known:
        return "None of these sets has enough photos for some to be held out."
    means = {side: statistics.mean(each) for side, each in known.items()}
    told = ", ".join(
        f"{side} {100 * means[side]:.1f} % ({len(known[side])})"
        for side in sorted(means, key=lambda side: -means[side])
    )
    return f"Means on validation, best first, with the number of trainings: {told}."


def _line(rows: Rows, name: str, case: str, side: str, references: Sequence[str]) -> str:
    own = rows.of(name, case, side)
    cells = [case, side, median_and_range([row.seconds for row in own]), _accuracy(own)]
    for reference in references:
        found = ratios(rows.of(name, case, reference), own)
        cells.append(median_and_range(found, ".2f") if found else "")
    return f"| {' | '.join([*cells, str(len(own))])} |"


def _accuracy(rows: Sequence[Row]) -> str:
    known = [row.accuracy for row in rows if row.accuracy is not None]
    words = f"{100 * statistics.mean(known):.1f} %" if known else ""
    gaps = [row.details["worst_gap"] for row in rows if "worst_gap" in row.details]
    return f"{words}, gap {max(gaps):.1e}" if gaps else words
