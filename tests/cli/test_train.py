"""`headstart train`: its epochs as they are told, and a training that is interrupted and gone on with."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.backbones import Backbone
from headstart.cli import main
from headstart.cli.console import TrainingBar
from headstart.runs import load_run

DrawPhotos = Callable[..., Path]
OPTIONS = [
    "--recipe",
    "finetune",
    "--from",
    "blocks.4",
    "--epochs",
    "3",
    "--batch-size",
    "32",
    "--dtype",
    "float32",
]


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone) -> None:
    """Runs start from the tiny backbone."""
    monkeypatch.setattr("headstart.jobs.start.load_backbone_of", lambda config: tiny_backbone)


def _interrupted(
    photos: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *, at: int, number: int
) -> None:
    """A training that gets a signal at a step."""
    steps = 0
    show = TrainingBar.__call__

    def step(self: TrainingBar, *arguments: int, **figures: float) -> None:
        nonlocal steps
        steps += 1
        if steps == at:
            os.kill(os.getpid(), number)
        show(self, *arguments, **figures)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(TrainingBar, "__call__", step)
        assert main(["train", str(photos), *OPTIONS, "--out", str(folder)]) == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_an_interrupted_training_is_gone_on_with(
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert main(["train", str(photo_folder), *OPTIONS, "--out", str(whole)]) == 0
    told = capsys.readouterr()
    assert "epoch 1/3" in told.out + told.err
    assert "trained   finetune" in told.out
    _interrupted(photo_folder, folder, monkeypatch, at=2, number=number)
    told = capsys.readouterr()
    assert f"Go on with: headstart train --resume {folder}" in told.out + told.err

    assert main(["predict", str(folder), str(photo_folder)]) == 2
    assert main(["train", "--resume", str(folder)]) == 0

    told = capsys.readouterr()
    assert "epoch 1/3" not in told.out + told.err
    assert "epoch 3/3" in told.out + told.err
    name = "classifier.safetensors"
    assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert load_run(folder).config == load_run(whole).config


def test_resume_takes_nothing_else_and_needs_something_to_do(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "run")
    assert main(["train", str(photo_folder), "--recipe", "probe", "--out", folder]) == 0
    capsys.readouterr()

    for arguments, words in [
        (["--resume", folder], f"{folder} is finished: there is nothing to resume."),
        (["--resume", folder, "--seed", "1"], "requires an argument"),
        (["--resume", folder, "--out", "elsewhere"], "it takes no other options"),
        ([str(photo_folder), "--resume", folder], "it takes no other options"),
        (["--resume", str(tmp_path)], "config.toml cannot be read"),
    ]:
        assert main(["train", *arguments]) == 2
        assert words in capsys.readouterr().err


def test_a_folder_with_an_unfinished_training_is_not_taken_by_another(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    _interrupted(photo_folder, folder, monkeypatch, at=2, number=signal.SIGTERM)
    capsys.readouterr()

    assert main(["train", str(photo_folder), *OPTIONS, "--seed", "1", "--out", str(folder)]) == 2

    assert "holds an unfinished training with other options" in capsys.readouterr().err
    assert main(["train", str(photo_folder), *OPTIONS, "--out", str(folder)]) == 0  # the same call goes on
