"""The run folder: the one writer and reader of everything in it.

`result.json` is written last and atomically, so a folder without it is an unfinished run.
"""

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from headstart.classifier import Classifier
from headstart.config import TrainConfig, read_config
from headstart.datasets import Problem
from headstart.errors import HeadstartError, RunError
from headstart.files import LOCK_FILE, TEMPORARY_SUFFIX, atomic_write, locked
from headstart.prediction import CARD_FILE, WEIGHTS_FILE
from headstart.report import RenderedReport, render_card

CONFIG_FILE = "config.toml"
RESULT_FILE = "result.json"
PREDICTIONS_FILE = "predictions.parquet"
IMAGES_FILE = "images.parquet"
PATH_FILE = "path.csv"
HISTORY_FILE = "history.csv"
PROBLEMS_FILE = "problems.csv"
REPORT_FILE = "report.html"
FIGURES_FOLDER = "figures"
CHECKPOINT_FILE = "checkpoint.safetensors"
REFIT_CHECKPOINT_FILE = "checkpoint-refit.safetensors"
"""The complete state of a training that has not ended."""
ASKED_FILE = "asked.toml"
"""The options of an unfinished run as they were asked for, before it decided any."""
HISTORY_COLUMNS = (
    *("phase", "epoch", "lr", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    *("images_per_second", "seconds"),
)
"""What is written of each epoch."""

_RUNS_FOLDER = "runs"


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a classifier said of labelled images.

    Attributes:
        paths: the n files.
        labels: (n,) true classes, as positions in the class names.
        probabilities: (n, K).
    """

    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it lies.
        config: what made it.
        result: the content of `result.json`.
    """

    folder: Path
    config: TrainConfig
    result: Mapping[str, Any]

    @property
    def report(self) -> Path:
        """The report, to be opened in a browser."""
        return self.folder / REPORT_FILE

    def classifier(self) -> Classifier:
        """The run's classifier, ready to predict."""
        return Classifier.load(self.folder)

    def predictions(self) -> pa.Table:
        """One row a test image: path, true, predicted, and `probability.CLASS` for each class."""
        return pq.read_table(self.folder / PREDICTIONS_FILE)

    def images(self) -> pa.Table:
        """One row an image of the run: path, class, split, sha256 (hex), and group where there are groups."""
        return pq.read_table(self.folder / IMAGES_FILE)

    def path(self) -> list[dict[str, float | None]]:
        """The path of values tried, one row each; none where there was no path."""
        return [{name: _number(text) for name, text in row.items()} for row in self._rows(PATH_FILE)]

    def history(self) -> list[dict[str, Any]]:
        """One row an epoch, with the `HISTORY_COLUMNS`; none where nothing was trained in epochs."""
        rows = self._rows(HISTORY_FILE)
        return [
            {name: text if name == "phase" else _number(text) for name, text in row.items()}
            | {"epoch": int(row["epoch"])}
            for row in rows
        ]

    def problems(self) -> list[tuple[str, str]]:
        """Path and reason of each file that could not be read."""
        return [(row["path"], row["reason"]) for row in self._rows(PROBLEMS_FILE)]

    def _rows(self, name: str) -> list[dict[str, str]]:
        with (self.folder / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def _repr_html_(self) -> str:
        """A card for a notebook."""
        return render_card(str(self.result["name"]), self.result, self.report)


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Open a finished run.

    Raises:
        RunError: the folder is not there, no run, or an unfinished one.
    """
    place = Path(folder)
    if not (place / CONFIG_FILE).is_file():
        what = "is no run: it holds no config.toml" if place.is_dir() else "does not exist"
        raise RunError(f"{place} {what}.\nExpected a folder that `headstart train` made.")
    try:
        result = json.loads((place / RESULT_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(
            f"{place} is an unfinished run: it holds no {RESULT_FILE}.\n"
            f"Finish it: headstart train --resume {place}"
        ) from error
    except (OSError, ValueError) as error:
        raise RunError(f"{place / RESULT_FILE} cannot be read: {error}.") from error
    return Run(folder=place, config=read_config(place / CONFIG_FILE), result=result)


class RunWriter:
    """Writes the files of one run; `begin` comes first, `finish` last.

    Args:
        folder: where they lie.
        config: what is asked for.

    Attributes:
        folder: where they lie.
        config: what is asked for, with all options that were decided during the run.
    """

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        self.folder = folder
        self.config = self._asked = config

    def begin(self) -> None:
        """Remove what an earlier run left, and write `config.toml`: from here on the run is an unfinished one.

        An unfinished run of the same options is gone on with: it keeps its checkpoint, and what it has decided.
        """
        if (begun := self.begun()) is not None:
            self.config = begun
            _clear(self.folder)
            return
        for name in (CHECKPOINT_FILE, REFIT_CHECKPOINT_FILE, ASKED_FILE):
            (self.folder / name).unlink(missing_ok=True)
        _clear(self.folder)
        self._write_config()
        atomic_write(self.folder / ASKED_FILE, self._asked.to_toml().encode())

    def begun(self) -> TrainConfig | None:
        """The options of the unfinished run that stands here, if it is the one that is asked for."""
        if (self.folder / RESULT_FILE).exists() or not (self.folder / CONFIG_FILE).exists():
            return None
        config = read_config(self.folder / CONFIG_FILE)
        asked = read_config(self.folder / ASKED_FILE) if (self.folder / ASKED_FILE).exists() else config
        return config if self._asked in (asked, config) else None

    def decide(self, option: str, value: Any) -> None:
        """Note an option that was decided during the run, so that repeating or resuming it decides the same."""
        self.config = replace(self.config, **{option: value})
        self._write_config()

    def _write_config(self) -> None:
        atomic_write(self.folder / CONFIG_FILE, self.config.to_toml().encode())

    def classifier(self, classifier: Classifier) -> None:
        """The network, prefix and head, and what it is."""
        classifier.save(self.folder)

    def predictions(self, predictions: Predictions, classes: Sequence[str]) -> None:
        """One row a test image."""
        atomic_write(self.folder / PREDICTIONS_FILE, _parquet(predictions_table(predictions, classes)))

    def images(self, rows: Mapping[str, Sequence[str]]) -> None:
        """One row an image that was used: path, class, split, sha256, and its group where there are groups."""
        atomic_write(
            self.folder / IMAGES_FILE,
            _parquet(pa.table({name: list(column) for name, column in rows.items()})),
        )

    def path(self, rows: Sequence[Mapping[str, float | None]]) -> None:
        """One row a strength of the path."""
        names = list(rows[0]) if rows else ["strength"]
        atomic_write(self.folder / PATH_FILE, _csv(names, [[row[name] for name in names] for row in rows]))

    def history(self, rows: Sequence[Mapping[str, object]]) -> None:
        """One row an epoch, with the `HISTORY_COLUMNS`; all so far, so that it can be called after each.

        Train figures are running means over the epoch, validation figures those at its end, or None.
        """
        cells = [[row[name] for name in HISTORY_COLUMNS] for row in rows]
        atomic_write(self.folder / HISTORY_FILE, _csv(HISTORY_COLUMNS, cells))

    def problems(self, problems: Sequence[Problem]) -> None:
        """One row an unreadable file."""
        rows = [[problem.path, problem.reason] for problem in problems]
        atomic_write(self.folder / PROBLEMS_FILE, _csv(["path", "reason"], rows))

    def report(self, report: RenderedReport) -> None:
        """The report, and its figures as files."""
        (self.folder / FIGURES_FOLDER).mkdir(exist_ok=True)
        for name, image in report.figures.items():
            atomic_write(self.folder / FIGURES_FOLDER / name, image)
        atomic_write(self.folder / REPORT_FILE, report.html.encode())

    def finish(self, result: Mapping[str, Any]) -> Run:
        """Write `result.json`: from here on the run is finished."""
        atomic_write(self.folder / RESULT_FILE, json.dumps(result, indent=2, ensure_ascii=False).encode())
        for name in (CHECKPOINT_FILE, REFIT_CHECKPOINT_FILE, ASKED_FILE):
            (self.folder / name).unlink(missing_ok=True)
        return Run(folder=self.folder, config=self.config, result=result)


@contextmanager
def new_run(
    config: TrainConfig, name: str, out: str | os.PathLike[str] | None, *, force: bool
) -> Iterator[RunWriter]:
    """A folder for a new run, locked against other processes while it is written.

    Args:
        config: what makes the run; `config.toml` is written at once, so that a killed run can be finished.
        name: of the data set, for the folder's name.
        out: the folder; by default the next free `runs/NAME-k`. One that holds an unfinished run is taken up.
        force: replace a run that stands there, finished or an unfinished training of other options, but not before
            `RunWriter.begin`, so that a mistake in the photos or options costs nobody a run.

    A `HeadstartError` before anything was made leaves no folder behind that was made for it.

    Raises:
        RunError: the folder holds a finished run or another one's training (without `force`) or something else, or
            is being written.
    """
    folder = _next_folder(name) if out is None else Path(out)
    made_here = out is None or not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"The run folder {folder} cannot be made: {error.strerror}.") from error
    _must_be_free(folder, force=force)
    try:
        with locked(folder, "is writing to"), _forgotten_if_empty(folder):
            # Again: another process may have finished its run there meanwhile.
            _must_be_free(folder, force=force)
            writer = RunWriter(folder, config)
            _must_not_be_trained(writer, force=force)
            if not any((folder / name).exists() for name in (RESULT_FILE, CHECKPOINT_FILE)):
                writer.begin()
            yield writer
    finally:
        if made_here:
            with suppress(OSError):  # it is not empty: all is well
                folder.rmdir()


def write_predictions_csv(path: Path, predictions: Predictions, classes: Sequence[str]) -> None:
    """Write the table of `predictions_table` as CSV."""
    table = predictions_table(predictions, classes)
    columns = [column.to_pylist() for column in table.columns]
    atomic_write(path, _csv(table.column_names, list(zip(*columns, strict=True))))


def predictions_table(predictions: Predictions, classes: Sequence[str]) -> pa.Table:
    """A table of path, true, predicted, and `probability.CLASS` for each class."""
    predicted = predictions.probabilities.argmax(axis=1)
    columns: dict[str, Any] = {
        "path": list(predictions.paths),
        "true": [classes[i] for i in predictions.labels],
        "predicted": [classes[i] for i in predicted],
    }
    for k, name in enumerate(classes):
        columns[f"probability.{name}"] = predictions.probabilities[:, k]
    return pa.table(columns)


def _must_be_free(folder: Path, *, force: bool) -> None:
    """Refuse a folder whose content is not ours to replace."""
    if (folder / RESULT_FILE).exists() and (folder / CONFIG_FILE).exists():
        if not force:
            raise RunError(
                f"{folder} holds a finished run.\nChoose another --out, or replace it with --force."
            )
    elif not (folder / CONFIG_FILE).exists() and any(
        path.name != LOCK_FILE and path.suffix != TEMPORARY_SUFFIX for path in folder.iterdir()
    ):
        raise RunError(
            f"{folder} is not empty and holds no run.\nChoose another --out; --force does not help here."
        )


def _must_not_be_trained(writer: RunWriter, *, force: bool) -> None:
    """Refuse a folder where a training of other options waits to be gone on with."""
    if (writer.folder / CHECKPOINT_FILE).exists() and writer.begun() is None and not force:
        raise RunError(
            f"{writer.folder} holds an unfinished training with other options.\nFinish it: headstart train --resume "
            f"{writer.folder}; or choose another --out, or replace it with --force."
        )


def _clear(folder: Path) -> None:
    """Remove the files of an earlier run, the result first, and what a killed one left half-written.

    Anything else in the folder stays.
    """
    for name in (RESULT_FILE, REPORT_FILE, PREDICTIONS_FILE, IMAGES_FILE):
        (folder / name).unlink(missing_ok=True)
    for name in (PATH_FILE, HISTORY_FILE, PROBLEMS_FILE, WEIGHTS_FILE, CARD_FILE):
        (folder / name).unlink(missing_ok=True)
    for figure in (folder / FIGURES_FOLDER).glob("*.png"):
        figure.unlink()
    for place in (folder, folder / FIGURES_FOLDER):
        for file in place.glob(f".*{TEMPORARY_SUFFIX}"):
            file.unlink()


@contextmanager
def _forgotten_if_empty(folder: Path) -> Iterator[None]:
    """Where a mistake ends a run before anything was made, nothing of it stays."""
    try:
        yield
    except HeadstartError:
        if {path.name for path in folder.iterdir()} <= {CONFIG_FILE, ASKED_FILE, LOCK_FILE}:
            for name in (CONFIG_FILE, ASKED_FILE):
                (folder / name).unlink(missing_ok=True)
        raise


def _next_folder(data: str) -> Path:
    """The next free `runs/NAME-k`, made here so that two processes cannot take the same."""
    name = re.sub(r"[^\w.-]+", "-", data).strip("-") or "run"
    k = 1
    while True:
        folder = Path(_RUNS_FOLDER) / f"{name}-{k}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            k += 1
        except OSError as error:
            raise RunError(
                f"The run folder {folder} cannot be made: {error.strerror}.\nChoose one with --out."
            ) from error
        else:
            return folder


def _number(text: str) -> float | None:
    return float(text) if text else None


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _csv(names: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue().encode()
