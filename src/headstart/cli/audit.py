"""`headstart audit`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from headstart.cli.console import download_bar, extraction_bar, out, percent, show_note
from headstart.config import AuditConfig

if TYPE_CHECKING:
    from headstart.audit import Audit, Judged, Leaks


def audit(
    options: Annotated[AuditConfig, Parameter(name="*")],
    *,
    out_folder: Annotated[Path | None, Parameter(name="--out")] = None,
    store: Path | None = None,
) -> int:
    """Look for what is wrong with photos: copies, leaks into test, wrong labels, classes alike, images unlike others.

    Args:
        options: Which photos.
        out_folder: Folder for audit.html and findings.csv; by default audits/NAME, where an earlier audit is replaced.
        store: Folder of the feature store; by default HEADSTART_STORE or the user's cache folder.
    """
    from headstart.jobs import audit_images
    from headstart.jobs.audit import default_folder

    folder = out_folder or default_folder(options)
    with extraction_bar() as bar, extraction_bar("pixels") as pictures, download_bar() as downloads:
        found = audit_images(
            options, out=folder, store=store, progress=bar, pictures=pictures, downloads=downloads
        )
    _show(found, folder)
    return 0


def _show(found: "Audit", folder: Path) -> None:
    """What was found, a line for each kind."""
    for note in (*found.notes, *(f"{path}: {reason}" for path, reason in found.problems)):
        show_note(note)
    counts = found.counts
    out.print(
        f"images    {counts['train']} train, {counts['val']} validation, {counts['test']} test, "
        f"{len(found.classes)} classes ({found.rule})",
        markup=False,
    )
    across, within = (len(found.of_kind(kind)) for kind in ("duplicate-across", "duplicate-within"))
    out.print(f"copies    across splits: {_count(across, 'pair')}; within one: {_count(within, 'pair')}")
    if found.leaks is not None:
        _show_leaks(found.leaks)
    if found.labels_judged is not None:
        doubtful = len(found.of_kind("label"))
        out.print(
            f"labels    doubtful: {_count(doubtful, 'label')}; {found.labels_judged} judged by probes that get "
            f"{percent(found.out_of_fold or 0)} right out of fold (cleanlab's estimate: {found.wrong_labels} wrong)"
        )
    out.print(f"classes   taken for each other: {_count(len(found.of_kind('classes')), 'pair')}")
    out.print(f"unlike    unlike all others: {_count(len(found.of_kind('outlier')), 'image')}")
    if (pattern := found.pattern) is not None:
        out.print(
            f"groups    file names show {pattern.groups} groups, and looks bear them out "
            f"({percent(pattern.observed)} next to their own group, {percent(pattern.expected)} by chance): "
            f"--group-pattern {shlex.quote(pattern.pattern)}",
            markup=False,
        )
    out.print(f"page      {folder / 'audit.html'}", markup=False)
    out.print(f"table     {folder / 'findings.csv'}", markup=False)


def _show_leaks(leaks: "Leaks") -> None:
    shared = "" if leaks.grouped is None else f", {leaks.grouped} share a group with others"
    words = (
        f"leaks     {leaks.copies} of {leaks.test} test images are copies of images of other splits{shared}"
    )
    if leaks.many:
        out.print(f"[bold]{words}: this test asks for what training has shown[/bold]")
    else:
        out.print(words)
    for judged in leaks.judged:
        out.print(f"probe     {_accuracy(judged)} on {judged.n} images: {judged.words}", markup=False)


def _accuracy(judged: "Judged") -> str:
    if judged.scores is None:
        return "nothing to judge"
    low, high = judged.scores.accuracy_ci95
    return f"{percent(judged.scores.accuracy)} ({100 * low:.1f} to {100 * high:.1f})"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}" if n else "none found at this threshold"
