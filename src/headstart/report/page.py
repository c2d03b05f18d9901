"""The page: all of a run's findings in one file that asks nothing of any host."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from headstart.metrics import ReliabilityBin, confusion_matrix, reliability
from headstart.report import charts, figures, words
from headstart.report.assets import Section, data_uri, render_page
from headstart.report.audit_page import Suspects, find_suspects, verdict
from headstart.report.charts import Chart
from headstart.report.curves import (
    PHASE_NAMES,
    describe_curves,
    draw_training_curves,
    is_validated,
    name_plot,
    shorten,
)
from headstart.report.embedding import MOST_TSNE, ImageMap, lay_out
from headstart.report.findings import (
    ClassFinding,
    Confusion,
    Mistake,
    find_classes,
    find_confusions,
    find_mistakes,
)
from headstart.report.gallery import SIDE, Gallery, ThumbnailsOf, collect_images
from headstart.report.map_chart import map_chart
from headstart.report.photos import THUMBNAIL_SIDE, draw_mistakes
from headstart.report.record import PHASES, Learning, Phase, RunRecord
from headstart.report.style import drawing, to_png

MOST_MISTAKES: Final = 24
MOST_CONFUSIONS: Final = 100
MOST_SUSPECTS: Final = 12
"""Of each kind; an audit's own page has more."""
MOST_PROBLEMS: Final = 20
MOST_CELLS_ASIDE: Final = 60
"""A confusion matrix of up to so many classes is a table; of more, a chart."""
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
    bins: list[ReliabilityBin]
    image_map: ImageMap | None
    suspects: Suspects | None


def render_report(
    record: RunRecord, thumbnails_of: ThumbnailsOf, *, most_tsne: int = MOST_TSNE
) -> RenderedReport:
    """Draw the figures of a run and the page that tells what it has found.

    Args:
        record: the run.
        thumbnails_of: gives small images of some of the record's paths (see `draw_thumbnail`); called twice, for the
            mistakes and suspects that are shown large, and for the thumbnails of all that have room. Suspects may be
            of any split.
        most_tsne: of more test images the map is laid out by PCA alone.

    Returns:
        The page and the figures.
    """
    found = _find(record, most_tsne)
    shown = [mistake.path for mistake in found.mistakes]
    if found.suspects is not None:
        shown += found.suspects.paths
    large = thumbnails_of(shown, THUMBNAIL_SIDE)
    gallery = collect_images(record, thumbnails_of)
    with drawing():
        files = {f"{name}.png": to_png(figure) for name, figure in _figures(record, found).items()}
        if found.mistakes:
            files["mistakes.png"] = to_png(draw_mistakes(found.mistakes, large))
    drawn = _charts(record, found)
    context = _context(record, found, drawn, large, gallery)
    data = {
        "charts": {name: chart.figure() for name, chart in drawn.items()},
        "classes": list(record.classes),
        "images": gallery.rows,
    }
    return RenderedReport(html=render_page("run.html.j2", context, data), figures=files)


def _find(record: RunRecord, most_tsne: int) -> _Findings:
    classes = record.classes
    matrix = confusion_matrix(record.labels, record.probabilities.argmax(axis=1), len(classes))
    return _Findings(
        matrix=matrix,
        classes=find_classes(matrix, classes),
        confusions=find_confusions(matrix, classes, limit=MOST_CONFUSIONS),
        mistakes=find_mistakes(
            record.paths, record.labels, record.probabilities, classes, limit=MOST_MISTAKES
        ),
        bins=reliability(record.probabilities, record.labels),
        image_map=None if record.features is None else lay_out(record.features, most_tsne=most_tsne),
        suspects=None if record.audit is None else find_suspects(record.audit, MOST_SUSPECTS),
    )


def _figures(record: RunRecord, found: _Findings) -> dict[str, Figure]:
    """The figures for a paper."""
    accuracy = record.result["test"]["accuracy"]
    drawn = {
        "confusion_matrix": figures.draw_confusion_matrix(found.matrix, record.classes),
        "per_class_accuracy": figures.draw_per_class_accuracy(found.classes, accuracy),
    }
    if (swept := _swept(record)) is not None:
        chosen = record.result["choice"][swept]
        drawn["regularisation_path"] = figures.draw_regularisation_path(record.path, swept, chosen)
    for phase, name in _plots(record).items():
        drawn[name] = draw_training_curves(
            record.epochs(phase), record.best_epoch.get(phase), _phase_title(record, phase)
        )
    return drawn


def _charts(record: RunRecord, found: _Findings) -> dict[str, Chart]:
    """The charts of the page, by the names of their places."""
    test = record.result["test"]
    drawn = {
        "classes": charts.class_chart(found.classes, test["accuracy"]),
        "reliability": charts.reliability_chart(found.bins, test["ece"]),
    }
    if (swept := _swept(record)) is not None:
        drawn["path"] = _path_chart(record, swept)
    for phase in _plots(record):
        rows, best = record.epochs(phase), record.best_epoch.get(phase)
        alt = describe_curves(rows, best, _phase_title(record, phase))
        drawn[f"curves-{phase}"] = charts.curves_chart(rows, best, alt)
    if len(record.classes) > MOST_CELLS_ASIDE:
        shares = found.matrix / np.maximum(found.matrix.sum(axis=1, keepdims=True), 1)
        filled = [(int(i), int(j)) for i, j in np.argwhere(found.matrix)]
        cells = [(i, j, int(found.matrix[i, j]), float(shares[i, j])) for i, j in filled]
        drawn["matrix"] = charts.matrix_chart(cells, record.classes, _matrix_alt(found))
    if found.image_map is not None:
        drawn["map"] = map_chart(
            found.image_map, record.labels, record.probabilities.argmax(axis=1), record.classes
        )
    if record.learning is not None:
        drawn["learning"] = charts.learning_chart(record.learning)
    return drawn


def _path_chart(record: RunRecord, swept: str) -> Chart:
    chosen = record.result["choice"][swept]
    title = "strength (weak to strong)" if swept == "strength" else "number of neighbours"
    alt = f"Loss and accuracy at {len(record.path)} {figures.SWEPT[swept]}; {chosen:.2g} was chosen."
    return charts.path_chart(record.path, swept, title, chosen, alt)


def _swept(record: RunRecord) -> str | None:
    """What the path runs over; None where there is no path, or none of its values was chosen in the end."""
    return next((name for name in figures.SWEPT if record.path and name in record.result["choice"]), None)


def _matrix_alt(found: _Findings) -> str:
    on_diagonal = f"{np.trace(found.matrix)} of {found.matrix.sum()} test images lie on its diagonal"
    return f"Confusion matrix: {on_diagonal}. The table of confusions names the most frequent mistakes."


def _plots(record: RunRecord) -> dict[Phase, str]:
    """The phases that were trained in epochs, each with the name of its chart."""
    return {phase: name_plot(phase, record.config["backbone"]) for phase in PHASES if record.epochs(phase)}


def _phase_title(record: RunRecord, phase: Phase) -> str:
    return f"{PHASE_NAMES[phase]} of {shorten(record.config['backbone'])}"


def _sections(record: RunRecord, found: _Findings, drawn: Mapping[str, Chart]) -> list[Section]:
    """The parts of the page behind the verdict, in order; to add one, name it here and write its template."""
    listed = [
        ("numbers", "Key numbers", "Key numbers", True),
        ("classes", "Class by class", "Classes", True),
        ("confusions", "What is taken for what", "Confusions", True),
        ("mistakes", "Most confident mistakes", "Mistakes", True),
        ("explained", "Where the classifier looks", "Where it looks", bool(record.explained)),
        ("map", "Map of the test images", "Map", "map" in drawn),
        ("reliability", "How far its probabilities can be trusted", "Reliability", True),
        ("training", "Training", "Training", bool(_plots(record))),
        ("learning", "What more photos would bring", "More photos", record.learning is not None),
        ("suspects", "What is suspect in the data", "Suspects", found.suspects is not None),
        ("choice", "How the choice was made", "Choice", True),
        ("images", "Images and time", "Images", True),
        ("repeat", "How to repeat it", "Repeat", True),
    ]
    return [Section(key=key, title=title, short=short) for key, title, short, there in listed if there]


def _context(
    record: RunRecord,
    found: _Findings,
    drawn: Mapping[str, Chart],
    large: Mapping[str, bytes],
    gallery: Gallery,
) -> dict[str, Any]:
    result = record.result
    return {
        "record": record,
        "result": result,
        "sections": _sections(record, found, drawn),
        "verdict": words.verdict(result["test"], found.classes, found.confusions),
        "measures": _measures(result),
        "chance_loss": float(np.log(len(record.classes))),
        "found": found,
        "charts": drawn,
        "positions": {name: i for i, name in enumerate(record.classes)},
        "matrix_alt": _matrix_alt(found),
        "reliability": words.reliability(found.bins, result["test"]["ece"]),
        "bins": _bin_rows(found.bins),
        "phases": {phase: (PHASE_NAMES[phase], record.epochs(phase)) for phase in _plots(record)},
        "validated_epochs": is_validated(record.history),
        "few_classes": len(record.classes) <= _FEW_CLASSES,
        "left_out_bars": sum(each.n > 0 for each in found.classes) > charts.MOST_BARS,
        "most_bars": charts.MOST_BARS,
        "pictures": {path: data_uri(image) for path, image in large.items()},
        "explained": [(each, data_uri(each.photo), data_uri(each.overlay)) for each in record.explained],
        "gallery": gallery,
        "suspects": found.suspects,
        "audit_verdict": [] if record.audit is None else verdict(record.audit),
        "learning_rows": [] if record.learning is None else _learning_rows(record.learning),
        "thumbnail_side": SIDE,
        "problems": record.problems[:MOST_PROBLEMS],
        "image_counts": _relabelled(result["images"]),
    }


def _learning_rows(learning: Learning) -> list[tuple[float, float, float, float]]:
    """Of each size: images, mean accuracy, and the lowest and the highest of the repeats."""
    columns = learning.sizes, *(summary(learning.accuracies, axis=0) for summary in (np.mean, np.min, np.max))
    return [(float(a), float(b), float(c), float(d)) for a, b, c, d in zip(*columns, strict=True)]


def _bin_rows(bins: Sequence[ReliabilityBin]) -> list[tuple[str, int, str, str]]:
    """Of each bin: range, images, mean probability, share of right answers."""
    return [
        (
            f"{100 * each.low:.0f} to {words.percent(each.high, 0)}",
            each.count,
            words.percent(each.confidence),
            words.percent(each.accuracy),
        )
        for each in bins
    ]


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
