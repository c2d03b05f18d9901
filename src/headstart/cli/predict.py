"""`headstart predict`."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.table import Table
from rich.text import Text

from headstart.cli.console import out, prepare_prediction, show_note
from headstart.errors import DataError
from headstart.files import atomic_write, require_place_for

if TYPE_CHECKING:
    from headstart.classifier import Classifier
    from headstart.prediction import Prediction

_BAR = 24
_UNLIKE = "unlike anything in training"


def predict(
    run: Path,
    photos: Annotated[list[Path], Parameter(consume_multiple=True)],
    /,
    *,
    top: Annotated[int, Parameter(validator=Number(gte=1))] = 5,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
    csv_: Annotated[Path | None, Parameter(name="--csv")] = None,
    figure: Path | None = None,
    device: str = "auto",
) -> int:
    """Say what photos show, and which are unlike anything in training.

    Args:
        run: A run folder that `headstart train` made.
        photos: Image files, and folders of them.
        top: How many classes to name for each photo.
        json_: Print JSON: one object a photo, with path, classes, probabilities, unlike, is_unlike and problem.
        csv_: Write one row a photo and class to this file: path, rank, class, probability, problem,
            unlike (how unlike all training images the photo is; above 1 it is unlike anything in training), is_unlike.
        figure: Write a PNG: each photo beside a bar chart of its class probabilities.
        device: Where the network runs: auto, cpu, cuda or mps.
    """
    from headstart.compiled import load_compiled
    from headstart.datasets import list_images

    for file in (csv_, figure):
        if file is not None:
            require_place_for(file)
    compiled = load_compiled(run) if device in ("auto", "cpu") else None
    paths = list_images(photos)
    if not paths:
        raise DataError(
            f"There is no image in {', '.join(map(str, photos))}.\nExpected image files, or folders of them."
        )
    if compiled is not None:
        predictions, loaded = compiled.predict(paths, top=top), None
    else:
        loaded = _load(run)
        predictions = loaded.predict(paths, top=top, device=device)
    if csv_ is not None:
        atomic_write(csv_, _csv(predictions))
    if figure is not None and any(prediction.problem is None for prediction in predictions):
        atomic_write(figure, _figure(predictions, top))
    if json_:
        out.print(json.dumps([_as_json(p) for p in predictions], indent=2, ensure_ascii=False), markup=False)
    else:
        _show(predictions)
    unreadable = [p for p in predictions if p.problem is not None]
    for prediction in unreadable:
        show_note(f"{prediction.path}: {prediction.problem}")
    if loaded is not None:
        prepare_prediction(run, lambda: loaded, device)
    return 2 if len(unreadable) == len(predictions) else 0


def _load(run: Path) -> "Classifier":
    from headstart.classifier import Classifier

    return Classifier.load(run)


def _show(predictions: Sequence["Prediction"]) -> None:
    """A block a photo: bars in the terminal."""
    width = max((len(name) for prediction in predictions for name in prediction.classes), default=0)
    for prediction in predictions:
        if prediction.problem is not None:
            continue
        table = Table(
            box=None,
            show_header=False,
            pad_edge=False,
            title_justify="left",
            title=_title(prediction),
        )
        table.add_column(min_width=min(width, 40), max_width=40)
        table.add_column(justify="right")
        table.add_column()
        for name, probability in zip(prediction.classes, prediction.probabilities, strict=True):
            bar = "█" * round(_BAR * probability)
            table.add_row(Text(name), f"{100 * probability:.1f} %", Text(bar, style="green"))
        out.print(table)


def _title(prediction: "Prediction") -> Text:
    """The photo's name, and how unlike all training images it is."""
    title = Text(prediction.path, "bold")
    if prediction.unlike is None:
        return title
    if prediction.is_unlike:
        return title.append(f"  {_UNLIKE} ({prediction.unlike:.2f})", "bold yellow")
    return title.append(f"  unlike {prediction.unlike:.2f}", "not bold dim")


def _as_json(prediction: "Prediction") -> dict[str, object]:
    return {
        "path": prediction.path,
        "classes": list(prediction.classes),
        "probabilities": list(prediction.probabilities),
        "unlike": prediction.unlike,
        "is_unlike": prediction.is_unlike,
        "problem": prediction.problem,
    }


def _csv(predictions: Sequence["Prediction"]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["path", "rank", "class", "probability", "problem", "unlike", "is_unlike"])
    for prediction in predictions:
        if prediction.problem is not None:
            writer.writerow([prediction.path, "", "", "", prediction.problem, "", ""])
        unlike = ["" if value is None else value for value in (prediction.unlike, prediction.is_unlike)]
        for rank, pair in enumerate(zip(prediction.classes, prediction.probabilities, strict=True), start=1):
            writer.writerow([prediction.path, rank, *pair, "", *unlike])
    return text.getvalue().encode()


def _figure(predictions: Sequence["Prediction"], top: int) -> bytes:
    from headstart.images import decode_image, read_image_file
    from headstart.report import PredictedPhoto, draw_predictions

    return draw_predictions(
        [
            PredictedPhoto(
                title=Path(prediction.path).name,
                pixels=decode_image(read_image_file(prediction.path)),
                classes=prediction.classes,
                probabilities=prediction.probabilities,
                note=_UNLIKE if prediction.is_unlike else "",
            )
            for prediction in predictions
            if prediction.problem is None
        ],
        top=top,
    )
