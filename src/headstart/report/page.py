"""The page: all of a run's findings in one file that asks nothing of any host."""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from headstart.metrics import confusion_matrix
from headstart.report import figures, words
from headstart.report.curves import (
    PHASE_NAMES,
    describe_curves,
    draw_training_curves,
    is_validated,
    name_plot,
    shorten,
)
from headstart.report.findings import (
    ClassFinding,
    Confusion,
    Mistake,
    find_classes,
    find_confusions,
    find_mistakes,
)
from headstart.report.photos import draw_mistakes
from headstart.report.record import PHASES, Phase, RunRecord
from headstart.report.style import drawing, to_png, to_svg

MOST_MISTAKES: Final = 24
MOST_CONFUSIONS: Final = 10
MOST_PROBLEMS: Final = 20
_FEW_CLASSES: Final = 12
_LABELS: Final[tuple[tuple[str, str], ...]] = (
    ("train", "training"),
    ("val", "validation"),
    ("test", "test"),
    ("unreadable", "unreadable, left out"),
    ("passed_over", "other files, passed over"),
    ("extracted", "passed through the backbone in this run"),
    ("from_store", "features taken from the store"),
)


@dataclass(frozen=True, kw_only=True)
class RenderedReport:
    """A report, ready to be written.

    Attributes:
        html: the page, self-contained; encodes as UTF-8.
        figures: PNG files by name.
    """

    html: str
    figures: Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True)
class _Findings:
    matrix: NDArray[np.int64]
    classes: list[ClassFinding]
    confusions: list[Confusion]
    mistakes: list[Mistake]


def render_report(
    record: RunRecord, thumbnails_of: Callable[[Sequence[str]], Mapping[str, bytes]]
) -> RenderedReport:
    """Draw the figures of a run and the page that tells what it has found.

    Args:
        record: the run.
        thumbnails_of: gives small JPEGs or PNGs (see `draw_thumbnail`) of some of the record's paths, by path, without
            those that are no longer there; called once, for all photos that are shown.

    Returns:
        The page and the figures.
    """
    found = _find(record)
    thumbnails = thumbnails_of([mistake.path for mistake in found.mistakes])
    with drawing():
        charts = _charts(record, found)
        files = {f"{name}.png": to_png(figure) for name, (figure, _) in charts.items()}
        if found.mistakes:
            files["mistakes.png"] = to_png(draw_mistakes(found.mistakes, thumbnails))
        drawings = {name: to_svg(figure, name=name, alt=alt) for name, (figure, alt) in charts.items()}
    html = _template().render(_context(record, found, drawings, thumbnails))
    # A path with bytes that are no UTF-8 holds lone surrogates, which no file could hold.
    return RenderedReport(html=re.sub(r"[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", html), figures=files)


def _find(record: RunRecord) -> _Findings:
    classes = record.classes
    matrix = confusion_matrix(record.labels, record.probabilities.argmax(axis=1), len(classes))
    return _Findings(
        matrix=matrix,
        classes=find_classes(matrix, classes),
        confusions=find_confusions(matrix, classes, limit=MOST_CONFUSIONS),
        mistakes=find_mistakes(
            record.paths, record.labels, record.probabilities, classes, limit=MOST_MISTAKES
        ),
    )


def _charts(record: RunRecord, found: _Findings) -> dict[str, tuple[Figure, str]]:
    """Each chart with its alternative text."""
    worst = found.classes[0]
    on_diagonal = f"{np.trace(found.matrix)} of {len(record.paths)} test images lie on its diagonal"
    from_worst = f"from {worst.name} ({worst.correct} of {worst.n}) upwards"
    charts = {
        "confusion_matrix": (
            figures.draw_confusion_matrix(found.matrix, record.classes),
            f"Confusion matrix: {on_diagonal}. The table of confusions names the most frequent mistakes.",
        ),
        "per_class_accuracy": (
            figures.draw_per_class_accuracy(found.classes, record.result["test"]["accuracy"]),
            f"Share of right answers in each class, {from_worst}. The table of classes has the numbers.",
        ),
    }
    choice = record.result["choice"]
    swept = next((name for name in figures.SWEPT if name in choice), None)
    if record.path and swept is not None:  # none was chosen where fine-tuning was kept instead
        charts["regularisation_path"] = (
            figures.draw_regularisation_path(record.path, swept, choice[swept]),
            f"Loss and accuracy at {len(record.path)} {figures.SWEPT[swept]}; {choice[swept]:.2g} was chosen.",
        )
    for phase, name in _plots(record).items():
        curves = (record.epochs(phase), record.best_epoch.get(phase), _phase_title(record, phase))
        charts[name] = (draw_training_curves(*curves), describe_curves(*curves))
    return charts


def _plots(record: RunRecord) -> dict[Phase, str]:
    """The phases that were trained in epochs, each with the name of its chart."""
    return {phase: name_plot(phase, record.config["backbone"]) for phase in PHASES if record.epochs(phase)}


def _phase_title(record: RunRecord, phase: Phase) -> str:
    return f"{PHASE_NAMES[phase]} of {shorten(record.config['backbone'])}"


def _context(
    record: RunRecord, found: _Findings, charts: Mapping[str, Markup], thumbnails: Mapping[str, bytes]
) -> dict[str, Any]:
    result = record.result
    return {
        "record": record,
        "result": result,
        "verdict": words.verdict(result["test"], found.classes, found.confusions),
        "measures": _measures(result),
        "chance_loss": float(np.log(len(record.classes))),
        "found": found,
        "charts": charts,
        "curves": [(PHASE_NAMES[phase], charts[name]) for phase, name in _plots(record).items()],
        "validated_epochs": is_validated(record.history),
        "few_classes": len(record.classes) <= _FEW_CLASSES,
        "left_out_bars": sum(each.n > 0 for each in found.classes) > figures.MOST_BARS,
        "most_bars": figures.MOST_BARS,
        "pictures": {path: _data_uri(image) for path, image in thumbnails.items()},
        "problems": record.problems[:MOST_PROBLEMS],
        "image_counts": _relabelled(result["images"]),
    }


def _measures(result: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Rows of the table of key numbers: measure, test, validation, train."""
    test, validation, train = result["test"], result["validation"], result["train"]

    def row(
        name: str, key: str, text: Callable[[Any], str], of_train: str = "–"
    ) -> tuple[str, str, str, str]:
        return name, text(test[key]), text(validation[key]) if validation else "–", of_train

    def decimals(value: float) -> str:
        return f"{value:.3f}"

    def bounds(pair: tuple[float, float]) -> str:
        return f"{100 * pair[0]:.1f}–{words.percent(pair[1])}"

    return [
        row("Accuracy", "accuracy", words.percent, words.percent(train["accuracy"])),
        row("95\N{NO-BREAK SPACE}% interval", "accuracy_ci95", bounds),
        row("Balanced accuracy", "balanced_accuracy", words.percent),
        row("Macro F1", "macro_f1", decimals),
        row("Log loss", "log_loss", decimals, decimals(train["loss"])),
        row("Calibration error", "ece", words.percent),
        row("Images", "n", "{:,}".format, f"{train.get('n', result['images']['train']):,}"),
    ]


def _relabelled(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    names = dict(_LABELS)
    return [(names.get(key, key), f"{count:,}") for key, count in counts.items()]


def _data_uri(image: bytes) -> str:
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("headstart.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        breakable=words.breakable, percent=words.percent, duration=words.duration, facts=words.facts
    )
    return environment.get_template("report.html.j2")
