"""The files of an audit: a page, a table, and the figures."""

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from headstart.audit import COLUMNS, KINDS, Audit
from headstart.datasets import ImageDataset
from headstart.files import atomic_write
from headstart.jobs.pictures import draw_thumbnails
from headstart.report.audit_page import THUMBNAIL_SIDE, render_audit

PAGE: Final = "audit.html"
TABLE: Final = "findings.csv"
FIGURES: Final = "audit.json"


def write_audit(audit: Audit, folder: Path, dataset: ImageDataset, most: int) -> None:
    """Write `audit.html`, `findings.csv` and `audit.json`, each whole or not at all.

    Args:
        audit: what was found.
        folder: is there.
        dataset: the images, for thumbnails.
        most: findings of each kind that the page shows.
    """
    page = render_audit(audit, lambda names: draw_thumbnails(dataset, names, THUMBNAIL_SIDE), most=most)
    _write(folder / TABLE, _table(audit))
    _write(folder / FIGURES, json.dumps(_figures(audit), indent=2) + "\n")
    _write(folder / PAGE, page)


def _table(audit: Audit) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(finding.row() for finding in audit.findings)
    return text.getvalue()


def _figures(audit: Audit) -> dict[str, Any]:
    """Everything but the findings, of which there is a table."""
    leaks = audit.leaks
    return {
        "name": audit.name,
        "images": audit.counts,
        "rule": audit.rule,
        "found": {kind: len(audit.of_kind(kind)) for kind in KINDS},
        "labels_judged": audit.labels_judged,
        "out_of_fold_accuracy": audit.out_of_fold,
        "wrong_labels_estimated": audit.wrong_labels,
        "leaks": None if leaks is None else {**asdict(leaks), "share": leaks.share, "many": leaks.many},
        "pattern": None if audit.pattern is None else asdict(audit.pattern),
        "unreadable": [list(problem) for problem in audit.problems],
        "notes": list(audit.notes),
        "command": audit.command,
        "seconds": audit.seconds,
    }


def _write(path: Path, text: str) -> None:
    # A path with bytes that are no UTF-8 holds lone surrogates.
    atomic_write(path, text.encode("utf-8", "backslashreplace"))
