"""Figures of others as panels beside the leaderboard."""

from collections.abc import Sequence
from dataclasses import fields

from headstart.report import ReferencePanel
from headstart.study.comparing import difference_in_words, differences_of_images
from headstart.study.plan import Beside
from headstart.study.rows import Entry
from headstart.study.study import Figures, Study


def reference_panels(study: Study, entries: Sequence[Entry]) -> list[ReferencePanel]:
    """A panel for all figures of others that stand beside a row; where a study has none, how they did it."""
    panels = [_panel(entry, beside) for entry in entries for beside in entry.planned.beside]
    if panels or study.references:
        return panels
    return [
        ReferencePanel(
            title=f"{name}: no figure is stated",
            figures=[],
            protocol=protocol.in_words(),
            differences=[],
            difference=None,
        )
        for name, protocol in study.protocols.items()
    ]


def _panel(entry: Entry, beside: Beside) -> ReferencePanel:
    reference, reasons = beside.reference, list(beside.differences)
    for run in entry.runs:
        result = run.result
        reasons += differences_of_images(
            reference.protocol, trained_on=result["train"]["n"], held_out=result["test"]["n"]
        )
    reasons = list(dict.fromkeys(reasons))
    remarks = [("remark", reference.remark)] if reference.remark else []
    several = len(entry.planned.beside) > 1
    whose = f" beside {reference.backbone} on {reference.data}" if several else ""
    return ReferencePanel(
        title=f"{entry.label}{whose}: {entry.planned.title}",
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
