"""The run folder: who may write where, what comes last, and what a reader says of folders that are none."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from headstart.config import TrainConfig
from headstart.datasets import Problem
from headstart.errors import DataError, RunError
from headstart.files import temporary_beside
from headstart.report import RenderedReport
from headstart.runs import (
    CHECKPOINT_FILE,
    Predictions,
    RunWriter,
    load_run,
    new_run,
    predictions_table,
    write_predictions_csv,
)

CONFIG = TrainConfig("photos/flowers")
PREDICTIONS = Predictions(
    paths=("a/1.jpg", "b/2.jpg"),
    labels=np.array([0, 1]),
    probabilities=np.array([[0.75, 0.25], [0.625, 0.375]]),
)

EPOCH = {
    **{"phase": "finetune", "epoch": 1, "lr": 1e-3, "train_loss": 0.8, "train_accuracy": 0.7},
    **{"validation_loss": 0.6, "validation_accuracy": 0.75, "images_per_second": 812.5, "seconds": 8.25},
}


def _write_all(writer: RunWriter) -> None:
    """Everything but the classifier and the result."""
    writer.predictions(PREDICTIONS, ["a", "b"])
    writer.images({"path": ["a/1.jpg"], "class": ["a"], "split": ["test"], "sha256": ["00"]})
    writer.path([{"strength": 1.0, "validation_loss": None}])
    writer.history([EPOCH, {**EPOCH, "epoch": 2, "validation_loss": None, "validation_accuracy": None}])
    writer.problems([Problem(path='odd, "name".jpg', reason="empty file")])
    writer.report(RenderedReport(html="<html>é</html>", figures={"confusion.png": b"png"}))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A finished run's folder."""
    with new_run(CONFIG, "photos", tmp_path / "run", force=False) as writer:
        _write_all(writer)
        writer.finish({"test": {"accuracy": 0.5}, "name": "é"})
    return tmp_path / "run"


def test_what_was_written_can_be_read(finished: Path) -> None:
    run = load_run(finished)

    assert (run.folder, run.config) == (finished, CONFIG)
    assert run.result == {"test": {"accuracy": 0.5}, "name": "é"}
    assert run.report.read_text(encoding="utf-8") == "<html>é</html>"
    assert run.path() == [{"strength": 1.0, "validation_loss": None}]
    assert run.history() == [
        EPOCH,
        {**EPOCH, "epoch": 2, "validation_loss": None, "validation_accuracy": None},
    ]
    assert run.problems() == [('odd, "name".jpg', "empty file")]
    assert run.images().to_pylist() == [{"path": "a/1.jpg", "class": "a", "split": "test", "sha256": "00"}]
    assert run.predictions().to_pylist() == [
        {
            "path": "a/1.jpg",
            "true": "a",
            "predicted": "a",
            "probability.a": 0.75,
            "probability.b": 0.25,
        },
        {
            "path": "b/2.jpg",
            "true": "b",
            "predicted": "a",
            "probability.a": 0.625,
            "probability.b": 0.375,
        },
    ]
    assert (finished / "path.csv").read_text().splitlines() == ["strength,validation_loss", "1.0,"]
    assert (finished / "history.csv").read_text().splitlines() == [
        "phase,epoch,lr,train_loss,train_accuracy,validation_loss,validation_accuracy,images_per_second,seconds",
        "finetune,1,0.001,0.8,0.7,0.6,0.75,812.5,8.25",
        "finetune,2,0.001,0.8,0.7,,,812.5,8.25",
    ]
    with (finished / "problems.csv").open(newline="") as lines:
        assert list(csv.reader(lines)) == [["path", "reason"], ['odd, "name".jpg', "empty file"]]
    assert (finished / "figures/confusion.png").read_bytes() == b"png"


def test_a_history_is_written_again_after_each_epoch(tmp_path: Path) -> None:
    with new_run(CONFIG, "photos", tmp_path, force=False) as writer:
        for n in range(3):
            writer.history([{**EPOCH, "epoch": i + 1} for i in range(n)])
            assert len((tmp_path / "history.csv").read_text().splitlines()) == 1 + n
        with pytest.raises(KeyError, match="seconds"):
            writer.history([{name: EPOCH[name] for name in EPOCH if name != "seconds"}])


def test_no_lock_and_no_temporary_file_is_left(finished: Path) -> None:
    assert sorted(path.name for path in finished.iterdir()) == [
        "config.toml",
        "figures",
        "history.csv",
        "images.parquet",
        "path.csv",
        "predictions.parquet",
        "problems.csv",
        "report.html",
        "result.json",
    ]


def test_a_run_without_its_result_is_unfinished_and_taken_up(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt), new_run(CONFIG, "photos", folder, force=False) as writer:
        _write_all(writer)
        raise KeyboardInterrupt

    with pytest.raises(RunError, match=r"is an unfinished run") as caught:
        load_run(folder)
    assert f"headstart train --resume {folder}" in str(caught.value)

    with new_run(CONFIG, "photos", folder, force=False) as writer:
        assert not (folder / "predictions.parquet").exists()  # what the killed one left is not mixed in
        writer.finish({})
    assert load_run(folder).result == {}


def _begun(folder: Path, config: TrainConfig) -> None:
    """An unfinished run that has decided an option and saved its training."""
    with pytest.raises(KeyboardInterrupt), new_run(config, "photos", folder, force=False) as writer:
        writer.decide("epochs", 3)
        (folder / CHECKPOINT_FILE).write_bytes(b"all that was trained")
        raise KeyboardInterrupt


@pytest.mark.parametrize("asked", [CONFIG, replace(CONFIG, epochs=3)])
def test_an_unfinished_run_is_gone_on_with_as_it_decided(tmp_path: Path, asked: TrainConfig) -> None:
    """By what was asked for first, and by what its config.toml says, as `--resume` does."""
    folder = tmp_path / "run"
    _begun(folder, CONFIG)

    for _ in range(2):  # and it may be interrupted again
        with pytest.raises(KeyboardInterrupt), new_run(asked, "photos", folder, force=False) as writer:
            writer.begin()
            assert writer.config.epochs == 3
            assert (folder / CHECKPOINT_FILE).read_bytes() == b"all that was trained"
            raise KeyboardInterrupt

    with new_run(asked, "photos", folder, force=False) as writer:
        writer.begin()
        run = writer.finish({})
    assert run.config.epochs == 3
    assert sorted(path.name for path in folder.iterdir()) == ["config.toml", "result.json"]


def test_another_runs_training_is_replaced_by_force_alone(tmp_path: Path) -> None:
    folder, other = tmp_path / "run", replace(CONFIG, seed=1)
    _begun(folder, CONFIG)

    with pytest.raises(RunError, match="unfinished training with other options"):
        new_run(other, "photos", folder, force=False).__enter__()
    with pytest.raises(DataError), new_run(other, "photos", folder, force=True):
        raise DataError("a mistake in the photos")
    assert (folder / CHECKPOINT_FILE).exists()

    with new_run(other, "photos", folder, force=True) as writer:
        writer.begin()
        assert not (folder / CHECKPOINT_FILE).exists()
        assert writer.config == other


def test_what_a_killed_run_left_half_written_is_in_nobodys_way(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    temporary_beside(folder / "config.toml").write_text("data = ")

    with new_run(CONFIG, "photos", folder, force=False) as writer:
        writer.report(RenderedReport(html="", figures={"a.png": b""}))
        temporary_beside(folder / "figures/a.png").touch()
        writer.begin()
        writer.finish({})

    assert sorted(path.name for path in folder.rglob("*")) == ["config.toml", "figures", "result.json"]


def test_a_mistake_before_anything_was_made_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for out in (None, "new/run", "mine"):
        with pytest.raises(DataError), new_run(CONFIG, "photos", out, force=False):
            raise DataError("no photos")
    assert not list((tmp_path / "runs").iterdir())
    assert not (tmp_path / "new" / "run").exists()
    assert not list((tmp_path / "mine").iterdir())

    with pytest.raises(DataError), new_run(CONFIG, "photos", "new/run", force=False) as writer:
        writer.problems([])
        raise DataError("too late")
    assert (tmp_path / "new" / "run" / "config.toml").is_file()


def test_a_finished_run_is_replaced_by_force_alone(finished: Path) -> None:
    before = (finished / "result.json").read_bytes()
    with (
        pytest.raises(RunError, match=r"holds a finished run\.\n.*--force"),
        new_run(CONFIG, "photos", finished, force=False),
    ):
        pass
    assert (finished / "result.json").read_bytes() == before

    (finished / "notes.txt").write_text("mine")
    with new_run(TrainConfig("other"), "photos", finished, force=True) as writer:
        assert (
            finished / "result.json"
        ).read_bytes() == before  # still: nothing has been made that replaces it
        writer.begin()
        assert sorted(path.name for path in finished.iterdir()) == [
            ".lock",
            "asked.toml",
            "config.toml",
            "figures",
            "notes.txt",
        ]
        assert not list((finished / "figures").iterdir())
        writer.finish({"second": True})
    assert load_run(finished).config == TrainConfig("other")
    assert (finished / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("force", [False, True])
def test_a_foreign_folder_is_refused_even_by_force(tmp_path: Path, force: bool) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")

    with (
        pytest.raises(RunError, match="is not empty and holds no run"),
        new_run(CONFIG, "photos", tmp_path, force=force),
    ):
        pass

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    with new_run(CONFIG, "photos", tmp_path, force=False) as writer:
        writer.finish({})

    assert load_run(tmp_path).result == {}


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(RunError, match="cannot be made"),
        new_run(CONFIG, "photos", tmp_path / "file", force=True),
    ):
        pass


@pytest.mark.parametrize("force", [False, True])
def test_two_writers_at_once_are_refused(tmp_path: Path, force: bool) -> None:
    with (
        FileLock(tmp_path / ".lock"),
        pytest.raises(RunError, match="Another headstart is writing"),
        new_run(CONFIG, "photos", tmp_path, force=force),
    ):
        pass

    assert not (tmp_path / "config.toml").exists()


def test_a_run_that_another_process_finished_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire = FileLock.acquire

    def acquire_late(self: FileLock, *arguments: object, **named: object) -> object:
        for name in ("config.toml", "result.json"):  # after the first look at the folder
            (tmp_path / "run" / name).write_text("another's")
        return acquire(self, *arguments, **named)

    monkeypatch.setattr(FileLock, "acquire", acquire_late)

    with (
        pytest.raises(RunError, match="holds a finished run"),
        new_run(CONFIG, "photos", tmp_path / "run", force=False),
    ):
        pass
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.toml", "result.json"}
    assert (tmp_path / "run/result.json").read_text() == "another's"


def test_a_writer_inside_another_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    with new_run(CONFIG, "photos", tmp_path, force=False) as writer:
        _write_all(writer)
        with (
            pytest.raises(RunError, match="Another headstart"),
            new_run(CONFIG, "photos", tmp_path, force=True),
        ):
            pass
        assert (tmp_path / "predictions.parquet").exists()
        writer.finish({})


def test_folders_are_numbered_by_the_photos_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = []
    for name in ("my flowers", "my flowers", " my flowers", "pets"):
        with new_run(CONFIG, name, None, force=False) as writer:
            folders.append(writer.folder.as_posix())

    assert folders == ["runs/my-flowers-1", "runs/my-flowers-2", "runs/my-flowers-3", "runs/pets-1"]


@pytest.mark.parametrize("made", [False, True])
def test_what_is_no_run(tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "photos"
    if made:
        folder.mkdir()

    with pytest.raises(RunError, match="is no run: it holds no" if made else "does not exist"):
        load_run(folder)


@pytest.mark.parametrize("content", [b'{"test": ', b"\xff\xfe"])
def test_a_damaged_result_is_an_error_in_words(finished: Path, content: bytes) -> None:
    (finished / "result.json").write_bytes(content)

    with pytest.raises(RunError, match=r"result\.json cannot be read"):
        load_run(finished)


def test_predictions_as_csv(tmp_path: Path) -> None:
    write_predictions_csv(tmp_path / "p.csv", PREDICTIONS, ["a", "b"])

    rows = list(csv.DictReader(io.StringIO((tmp_path / "p.csv").read_text())))
    table = predictions_table(PREDICTIONS, ["a", "b"])
    assert list(rows[0]) == table.column_names
    assert [row["predicted"] for row in rows] == table["predicted"].to_pylist()
    assert [float(row["probability.a"]) for row in rows] == [0.75, 0.625]


def test_the_result_is_plain_json(finished: Path) -> None:
    assert json.loads((finished / "result.json").read_text(encoding="utf-8"))["name"] == "é"
    assert pq.read_metadata(finished / "predictions.parquet").num_rows == 2
