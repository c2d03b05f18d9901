"""`headstart learning-curve`."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table

from headstart.cli.console import (
    download_bar,
    extraction_bar,
    out,
    percent,
    print_whole,
    show_note,
    steps_bar,
)
from headstart.config import DEFAULT_MOST, DEFAULT_REPEATS, ExtractConfig
from headstart.files import atomic_write, make_folder

if TYPE_CHECKING:
    from headstart.jobs import LearningCurve

_CSV, _PNG = "learning_curve.csv", "learning_curve.png"


def learning_curve(
    options: Annotated[ExtractConfig, Parameter(name="*")],
    *,
    out_folder: Annotated[Path | None, Parameter(name="--out")] = None,
    repeats: int = DEFAULT_REPEATS,
    most: int = DEFAULT_MOST,
    store: Path | None = None,
) -> int:
    """How many more photos? Probe with 10 to 100 % of them, and foretell what twice and ten times as many would bring.

    Judged on photos that a probe has not seen, by cross-validation; test photos are not looked at.

    Args:
        options: Which photos, and which network looks at them.
        out_folder: Write learning_curve.csv and learning_curve.png to this folder.
        repeats: How often all of it is repeated with other draws.
        most: Of more photos than this a stratified sample takes part.
        store: Folder of the feature store; by default HEADSTART_STORE or the user's cache folder.
    """
    from headstart.jobs import learning_curve as find_curve

    if out_folder is not None:
        make_folder(out_folder)
    with download_bar() as downloads, extraction_bar() as bar, steps_bar("probes") as steps:
        curve = find_curve(
            options, repeats=repeats, most=most, store=store, progress=bar, steps=steps, downloads=downloads
        )
    _show(curve)
    if out_folder is not None:
        _write(curve, out_folder, options.data)
    return 0


def _show(curve: LearningCurve) -> None:
    for note in curve.notes:
        show_note(note)
    for problem in curve.problems:
        show_note(f"{problem.path}: {problem.reason}")
    groups = ", whole groups" if curve.grouped else ""
    out.print(
        f"images    {curve.images:,}, {curve.classes} classes; {curve.backbone}, linear probes, {curve.folds}-fold "
        f"cross-validation{groups}, {len(curve.accuracies)} repeats; test photos not looked at\n",
        markup=False,
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("training images", "of each class", "accuracy", "repeats from", "to"):
        table.add_column(title, justify="right", no_wrap=True)
    for size, accuracies in zip(curve.sizes, curve.accuracies.T, strict=True):
        table.add_row(
            f"{size:,.0f}",
            f"{size / curve.classes:.1f}",
            percent(accuracies.mean()),
            percent(accuracies.min()),
            percent(accuracies.max()),
        )
    print_whole(table)
    out.print()
    for line in curve.words():
        out.print(line, markup=False)


def _write(curve: LearningCurve, folder: Path, data: str) -> None:
    from headstart.report import render_learning_curve

    atomic_write(folder / _CSV, _as_csv(curve).encode())
    name = Path(data).name or data
    png = render_learning_curve(curve.shown(), f"{name}, probes on {curve.backbone}")
    atomic_write(folder / _PNG, png)
    out.print(f"written   {folder / _CSV}, {folder / _PNG}", markup=False)


def _as_csv(curve: LearningCurve) -> str:
    """A row for each measured point of each repeat, then one for each that is foretold."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("kind", "training_images", "repeat", "accuracy", "low", "high"))
    for repeat, accuracies in enumerate(curve.accuracies):
        for size, accuracy in zip(curve.sizes, accuracies, strict=True):
            writer.writerow(("measured", size, repeat, accuracy, "", ""))
    if (found := curve.extrapolation) is not None:
        for row in zip(found.targets, found.expected, found.low, found.high, strict=True):
            writer.writerow(("expected", row[0], "", *row[1:]))
    return text.getvalue()
