"""Figures of others as panels beside the leaderboard."""

from collections.abc import Sequence
from dataclasses import fields

from headstart.report import ReferencePanel
from headstart.study.comparing import difference_in_words, differences_of_images
from headstart.study.rows import Entry
from headstart.study.study import Figures


def reference_panels(entries: Sequence[Entry]) -> list[ReferencePanel]:
    """A panel for each row that has figures of others beside it."""
    return [_panel(entry) for entry in entries if entry.planned.reference is not None]


def _panel(entry: Entry) -> ReferencePanel:
    reference = entry.planned.reference
    assert reference is not None
    reasons = list(entry.planned.differences)
    for run in entry.runs:
        result = run.result
        reasons += differences_of_images(
            reference.protocol, trained_on=result["train"]["n"], held_out=result["test"]["n"]
        )
    reasons = list(dict.fromkeys(reasons))
    remarks = [("remark", reference.remark)] if reference.remark else []
    return ReferencePanel(
        title=f"{entry.label}: {entry.planned.title}",
        figures=[*_stated(reference.figures), *_ours(entry), *remarks],
        protocol=reference.protocol.in_words(),
        differences=reasons,
        difference=difference_in_words(reference, entry.accuracies, reasons),
    )


def _stated(figures: Figures) -> list[tuple[str, str]]:
    """The reference's, as it states them."""
    values = [(field.name, getattr(figures, field.name)) for field in fields(figures)]
    return [
        (
            f"reference, {name.replace('_', ' ')}",
            f"{100 * value:.2f} %" if "accuracy" in name else f"{value:.4f}",
        )
        for name, value in values
        if value is not None
    ]


def _ours(entry: Entry) -> list[tuple[str, str]]:
    names = ("train_accuracy", "validation_accuracy", "accuracy")
    words = ("train accuracy", "validation accuracy", "test accuracy")
    return [
        (f"ours, {said}", f"{100 * entry.values[name]:.1f} %")
        for name, said in zip(names, words, strict=True)
        if entry.values[name] is not None
    ]
