"""Progress bars on a terminal."""

import io
import re

import pytest
from rich.console import Console
from rich.progress import Progress

from headstart.cli import console


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    shown = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=shown, force_terminal=True, width=100))
    return shown


def test_downloads_come_before_the_extraction_in_bars_of_their_own(terminal: io.StringIO) -> None:
    with console.extraction_bar() as bar, console.download_bar() as downloads:
        for total in (229_000_000, 80_000_000):  # two files
            downloads(0, total)
            downloads(total // 2, total)
            downloads(total, total)
        bar(10, 1234)
        bar(1234, 1234)
    text = terminal.getvalue()
    assert "229.0/229.0 MB" in text
    assert "80.0/80.0 MB" in text
    assert "1234/1234" in text
    assert text.index("download") < text.index("features")


def test_a_download_that_breaks_off_leaves_no_bar(terminal: io.StringIO) -> None:
    with pytest.raises(OSError, match="cut"), console.download_bar() as downloads:
        downloads(5, None)
        raise OSError("cut")
    with console.download_bar() as downloads:
        downloads(5, 10)
        downloads(10, 10)
    assert "download" in terminal.getvalue()


def test_nothing_is_shown_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=shown))
    with (
        console.extraction_bar() as bar,
        console.download_bar() as downloads,
        console.training_bar() as training,
    ):
        downloads(10, 10)
        bar(1, 1)
        training(1, 2, 1, 1, loss=1.0, accuracy=0.5)
    assert shown.getvalue() == ""


ROW = {
    **{"phase": "finetune", "epoch": 3, "lr": 4.1e-4, "train_loss": 0.8123, "train_accuracy": 0.712},
    **{"validation_loss": 0.6549, "validation_accuracy": 0.801, "images_per_second": 900.0, "seconds": 8.31},
}


def on_screen(written: str) -> list[str]:
    """The lines that a terminal shows in the end: a carriage return or an erased line is taken at its word."""
    lines, column = [""], 0
    for control, text in re.findall(r"(\x1b\[[?0-9;]*[A-Za-z]|\r|\n)|([^\x1b\r\n]+)", written):
        if text:
            lines[-1] = lines[-1][:column].ljust(column) + text + lines[-1][column + len(text) :]
            column += len(text)
        elif control == "\n":
            lines.append("")
            column = 0
        elif control == "\r":
            column = 0
        elif control == "\x1b[2K":
            lines[-1] = ""
        elif control == "\x1b[1A":
            lines.pop()
            lines = lines or [""]
        else:
            assert control[-1] in "mhl", control  # colours, and the cursor shown or hidden
    return lines


def test_training_shows_loss_accuracy_speed_and_time_left(terminal: io.StringIO) -> None:
    with console.training_bar() as bar:
        for epoch in (1, 2, 3):
            for done in (32, 64, 96):
                bar(done, 96, epoch, 3, loss=2.0 / epoch, accuracy=epoch / 4)
    text = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", terminal.getvalue())
    assert "epoch 1/3  loss 2.000  acc 25.0 %" in text
    assert "epoch 3/3  loss 0.667  acc 75.0 %" in text
    assert "images/s" in text
    assert on_screen(terminal.getvalue()) == [""]  # it has gone


@pytest.mark.parametrize("width", [40, 80, 100])
def test_epochs_are_printed_above_the_bar(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    shown = io.StringIO()  # both streams of one terminal
    monkeypatch.setattr(console, "err", Console(file=shown, force_terminal=True, width=width))
    monkeypatch.setattr(console, "out", Console(file=shown, force_terminal=True, width=width, soft_wrap=True))
    with console.training_bar() as bar:
        for epoch in (1, 2, 3):
            bar(48, 96, epoch, 3, loss=1.0, accuracy=0.5)
            bar(96, 96, epoch, 3, loss=1.0, accuracy=0.5)
            bar.say(f"epoch {epoch} [done]")
    assert on_screen(shown.getvalue()) == ["epoch 1 [done]", "epoch 2 [done]", "epoch 3 [done]", ""]


def test_time_left_is_that_of_all_epochs_and_what_was_done_before_is_no_speed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    progress = Progress(console=Console(file=io.StringIO()), get_time=lambda: now[0], auto_refresh=False)
    bar = console.TrainingBar(progress)
    (task,) = progress.tasks
    bar(10, 100, 6, 10, 1.0, 0.5)  # taken up after five epochs
    for done in (20, 30, 40):
        now[0] += 1
        bar(done, 100, 6, 10, 1.0, 0.5)
    assert (task.completed, task.total) == (540, 1000)
    assert task.speed == pytest.approx(10)
    assert task.time_remaining == 46
    bar(5, 50, 1, 2, 1.0, 0.5)  # another phase
    assert (task.completed, task.total) == (5, 100)
    progress.stop()


def test_a_training_comes_after_an_extraction_that_is_still_open(terminal: io.StringIO) -> None:
    with console.extraction_bar() as extraction, console.training_bar() as bar:
        extraction(10, 10)
        bar(5, 10, 1, 1, loss=1.0, accuracy=0.5)
        bar(10, 10, 1, 1, loss=1.0, accuracy=0.5)
        extraction(4, 4)
    text = terminal.getvalue()
    assert text.index("10/10") < text.index("epoch 1/1") < text.index("4/4")
    assert on_screen(text) == [""]


def test_a_line_for_an_epoch() -> None:
    assert console.epoch_line(ROW, 10) == (
        "epoch  3/10  loss 0.812  acc 71.2 %  val_loss 0.655  val_acc 80.1 %  lr 4.1e-04  8.3 s"
    )
    alone = {**ROW, "validation_loss": None, "validation_accuracy": None}
    assert console.epoch_line(alone, 3) == "epoch 3/3  loss 0.812  acc 71.2 %  lr 4.1e-04  8.3 s"
