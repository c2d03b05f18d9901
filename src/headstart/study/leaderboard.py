"""The leaderboard: what a comparison has found, as a table, a CSV file, Markdown and HTML."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from headstart.files import atomic_write
from headstart.report import PHASES, Column, ComparisonRecord, render_comparison
from headstart.study.panels import reference_panels
from headstart.study.plan import Plan
from headstart.study.rows import columns_of, make_entries
from headstart.study.running import MadeRun
from headstart.study.verdict import verdict

CSV_FILE = "leaderboard.csv"
MARKDOWN_FILE = "leaderboard.md"
REPORT_FILE = "report.html"

_BRIEF = ("dataset", "backbone", "recipe", "seeds", "accuracy", "log_loss", "seconds", "ms_per_image")


@dataclass(frozen=True, kw_only=True)
class LeaderBoard:
    """What a comparison has found; a notebook shows it as a table.

    Attributes:
        record: all of it, as its page has it.
        folder: of the comparison; the runs lie in its subfolder `runs`.
    """

    record: ComparisonRecord
    folder: Path

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """One mapping a row, by the keys of the columns, the best of each data set first; shares are 0 to 1."""
        return self.record.rows

    @property
    def verdict(self) -> Sequence[str]:
        """What it says in plain words: for each data set the best row, which others it really beats, and the ties."""
        return self.record.verdict

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """All columns as CSV, shares as 0 to 1; what is not known is empty.

        Args:
            path: file to write it to as well.
        """
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        keys = [column.key for column in self.record.columns]
        writer.writerow(keys)
        writer.writerows([[row.get(key) for key in keys] for row in self.rows])
        if path is not None:
            atomic_write(Path(path), text.getvalue().encode())
        return text.getvalue()

    def to_markdown(self) -> str:
        """Verdict, all columns, failures, and the figures of others with why they are not comparable."""
        record = self.record
        lines = [f"# {record.title}", "", *(f"- {sentence}" for sentence in record.verdict), ""]
        lines += _markdown_table(record.columns, record.rows)
        if record.failures:
            lines += ["", "## Failed", "", *(f"- {run}: {_one_line(why)}" for run, why in record.failures)]
        for panel in record.references:
            lines += ["", f"## {panel.title}", "", *(f"- {what}: {value}" for what, value in panel.figures)]
            if panel.difference is not None:
                lines += ["", panel.difference]
            elif panel.differences:
                lines += ["", "Not comparable, because", "", *(f"- {reason}" for reason in panel.differences)]
        return "\n".join([*lines, "", f"Again: `{record.command}`", ""])

    def brief_columns(self) -> list[Column]:
        """Those that tell most, as many as a terminal has room for."""
        wanted = {column.key: column for column in self.record.columns}
        return [wanted[key] for key in _BRIEF if key in wanted]

    def _repr_html_(self) -> str:
        columns = [
            *self.brief_columns(),
            *(column for column in self.record.columns if column.key == "remark"),
        ]
        head = "".join(f"<th>{escape(column.title)}</th>" for column in columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell_text(column, row))}</td>" for column in columns) + "</tr>"
            for row in self.rows
        )
        said = "".join(f"<p>{escape(sentence)}</p>" for sentence in self.verdict)
        return f"<div>{said}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def make_board(plan: Plan, made: Sequence[MadeRun], *, folder: Path, command: str) -> LeaderBoard:
    """The leaderboard of what a plan has come to.

    Args:
        plan: the runs.
        made: what became of each.
        folder: of the comparison.
        command: the command line that repeats it.
    """
    entries = make_entries(plan, made)
    histories = {
        entry.label: [row for row in entry.runs[0].history() if row["phase"] in PHASES]
        for entry in entries
        if entry.runs
    }
    record = ComparisonRecord(
        title=plan.study.title,
        verdict=verdict(entries),
        columns=columns_of(plan, entries),
        rows=[entry.values for entry in entries],
        failures=[(each.planned.name, each.reason) for each in made if each.reason is not None],
        references=reference_panels(plan.study, entries),
        histories={label: rows for label, rows in histories.items() if rows},
        command=command,
    )
    return LeaderBoard(record=record, folder=folder)


def write_board(board: LeaderBoard) -> None:
    """Write `leaderboard.csv`, `leaderboard.md` and `report.html` to the comparison's folder.

    Raises:
        DiskFullError: there is no room.
    """
    board.to_csv(board.folder / CSV_FILE)
    atomic_write(board.folder / MARKDOWN_FILE, board.to_markdown().encode())
    atomic_write(board.folder / REPORT_FILE, render_comparison(board.record).encode())


def cell_text(column: Column, row: Mapping[str, Any]) -> str:
    """A value as people read it, the accuracy with its interval and spread; empty where nothing is known."""
    value = row.get(column.key)
    if value is None:
        return "failed" if column.key == "accuracy" else ""
    if column.key == "accuracy":
        spread = "" if row["accuracy_sd"] is None else f" ± {100 * row['accuracy_sd']:.1f}"
        return f"{100 * value:.1f} %{spread} ({100 * row['accuracy_low']:.1f} to {100 * row['accuracy_high']:.1f})"
    if column.kind == "percent":
        return f"{100 * value:.1f} %"
    if column.kind == "seconds":
        return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
    if column.kind == "integer":
        return f"{value:,}"
    return f"{value:.3g}" if column.kind == "number" else str(value)


def _markdown_table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    shown = [
        column for column in columns if column.key not in ("accuracy_low", "accuracy_high", "accuracy_sd")
    ]
    lines = [_markdown_row([column.title for column in shown]), _markdown_row(["---"] * len(shown))]
    return lines + [_markdown_row([cell_text(column, row) for column in shown]) for row in rows]


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_one_line(cell).replace("|", "\\|") for cell in cells) + " |"


def _one_line(text: str) -> str:
    return " ".join(text.split())
