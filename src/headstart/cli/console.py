"""What commands print: results to standard output, progress and warnings to standard error."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    from headstart.classifier import Classifier

_LEAST_WIDTH = 120

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class _ImagesPerSecond(ProgressColumn):
    """Speed, over the time of this extraction."""

    def render(self, task: Task) -> Text:
        """The column's text."""
        return Text(f"{task.speed:.0f} images/s" if task.speed else "", style="progress.data.speed")


class ExtractionBar:
    """Shows how far an extraction is; images that come from the store do not count towards the speed."""

    def __init__(self, progress: Progress, what: str = "features") -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=None)
        self._started = False

    def name(self, what: str) -> None:
        """Say whose features come next."""
        self._progress.update(self._task, description=what)

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` images are behind us."""
        if not self._started or done < self._progress.tasks[0].completed:
            self._progress.start()  # only now: two bars cannot be shown at once, and a download may come before
            self._progress.reset(self._task, total=total, completed=done)
            self._started = True
        self._progress.update(self._task, completed=done, total=total)
        if done == total:  # what comes next may have a bar of its own
            self._progress.stop()
            self._started = False


class TrainingBar:
    """Shows how far a training in epochs is, with running loss and accuracy; the time left is that of all epochs.

    Two phases one after the other have their turns; epochs that were done before do not count towards the speed.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)
        self._known = False

    def __call__(
        self, done_images: int, total_images: int, epoch: int, epochs: int, loss: float, accuracy: float
    ) -> None:
        """`done_images` of the `total_images` of one epoch are behind us, in epoch `epoch` (from 1) of `epochs`.

        Args:
            done_images: of this epoch.
            total_images: of each epoch.
            epoch: which, from 1.
            epochs: how many there will be.
            loss: mean over this epoch's images so far.
            accuracy: likewise, 0 to 1.
        """
        done, total = (epoch - 1) * total_images + done_images, epochs * total_images
        if not self._known or done < self._progress.tasks[0].completed:
            self._progress.reset(self._task, total=total, completed=done)
            self._known = True
        words = f"epoch {epoch}/{epochs}  loss {loss:.3f}  acc {percent(accuracy)}"
        self._progress.update(self._task, completed=done, total=total, description=words)
        self._progress.start()  # again and again: `say` may have taken the bar away
        if done == total:  # what comes next may have a bar of its own
            self._progress.stop()

    def say(self, line: str) -> None:
        """Print a line to standard output; the bar, which it would run into, comes back with the next step."""
        self._progress.stop()
        out.print(line, markup=False)


class DownloadBar:
    """Shows how far a download is; each file that a data set consists of has its turn, then the bar is gone."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def __call__(self, done: int, total: int | None) -> None:
        """`done` of `total` bytes are there; the total is None where nobody knows."""
        if self._progress is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
            # What an earlier try has left does not count towards the speed.
            self._task = self._progress.add_task("download", total=total, completed=done)
            self._progress.start()
        self._progress.update(self._task, completed=done, total=total)
        if done == total:
            self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class ComparisonBar:
    """Shows how far a comparison is as a whole, with the time left; lines about runs that have ended stand above it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)

    def __call__(self, done: float, total: float, words: str) -> None:
        """`done` of `total` units of work are behind us.

        Args:
            done: of all runs.
            total: likewise.
            words: which run is at work, and on what.
        """
        known = self._progress.tasks[0].completed
        self._progress.update(self._task, completed=max(done, known), total=total, description=escape(words))
        self._progress.start()

    def say(self, line: str) -> None:
        """A line about a run, which stays."""
        err.print(line, markup=False)


@contextmanager
def comparison_bar() -> Iterator[ComparisonBar]:
    """A progress bar over all runs with the time left; it appears with the first run, and vanishes."""
    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
    )
    progress = Progress(
        *columns, console=err, transient=True, disable=not err.is_terminal, speed_estimate_period=3600
    )
    try:
        yield ComparisonBar(progress)
    finally:
        progress.stop()


@contextmanager
def download_bar() -> Iterator[DownloadBar]:
    """A progress bar with bytes/s that appears with the first byte; no other bar may be shown at that time."""
    bar = DownloadBar()
    try:
        yield bar
    finally:
        bar.close()


@contextmanager
def extraction_bar(what: str = "features") -> Iterator[ExtractionBar]:
    """A progress bar with images/s and time left; it vanishes when it is done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _ImagesPerSecond(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
    try:
        yield ExtractionBar(progress, what)
    finally:
        progress.stop()


@contextmanager
def steps_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for so many steps of one kind; it appears with the first, and vanishes when it is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
    task = progress.add_task(what, total=None)

    def report(done: int, total: int) -> None:
        progress.update(task, completed=done, total=total)
        progress.start()

    try:
        yield report
    finally:
        progress.stop()


@contextmanager
def training_bar() -> Iterator[TrainingBar]:
    """A progress bar with loss, accuracy, images/s and time left; it appears with the first step, and vanishes."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        _ImagesPerSecond(Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
    )
    progress = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
    try:
        yield TrainingBar(progress)
    finally:
        progress.stop()


def epoch_line(row: Mapping[str, Any], epochs: int) -> str:
    """One line for one epoch: `epoch  3/10  loss 0.812  acc 71.2 %  val_loss 0.655  val_acc 80.1 %  lr 4.1e-04  8.3 s`.

    Args:
        row: the epoch, with the columns of `history.csv`; without validation its part of the line is left out.
        epochs: how many there will be.
    """
    parts = [
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}",
        f"loss {row['train_loss']:.3f}",
        f"acc {percent(row['train_accuracy'])}",
    ]
    if row["validation_loss"] is not None:
        parts += [f"val_loss {row['validation_loss']:.3f}", f"val_acc {percent(row['validation_accuracy'])}"]
    return "  ".join([*parts, f"lr {row['lr']:.1e}", f"{row['seconds']:.1f} s"])


def show_warnings() -> None:
    """Warnings of the library appear on standard error, one line each."""
    handler = RichHandler(console=err, show_time=False, show_path=False, show_level=True)
    logger = logging.getLogger("headstart")
    logger.handlers = [handler]
    logger.propagate = False


def show_error(message: str) -> None:
    """An error, in the words of the exception."""
    err.print(Text.assemble(("error: ", "bold red"), message))


def show_note(message: str) -> None:
    """Something to know, that stops nothing."""
    err.print(Text.assemble(("note: ", "yellow"), message))


def print_whole(table: Table) -> None:
    """A table whose names are there to be copied: they are not cut short where the terminal is narrow."""
    wide = Console(highlight=False, width=max(out.width, _LEAST_WIDTH))
    with wide.capture() as captured:
        wide.print(table)
    for line in captured.get().splitlines():
        text = Text.from_ansi(line)
        text.rstrip()  # the last column's padding, which would wrap into lines of nothing
        out.print(text)


def percent(share: float) -> str:
    """0.8599 as `86.0 %`."""
    return f"{100 * share:.1f} %"


def prepare_prediction(run: Path, load: Callable[[], "Classifier"], device: str) -> None:
    """After the answer is there: what spares the next `headstart predict` of a run the import of torch.

    Args:
        run: the run's folder.
        load: gives its classifier, if it is needed.
        device: where it runs; only on the CPU there is something to prepare.
    """
    from headstart.compiled import keep_compiled
    from headstart.runtimes import choose_device

    if choose_device(device) == "cpu":
        sys.stdout.flush()
        keep_compiled(run, load)
