"""Training by epochs: what its options do, and that it goes on, or is repeated, with the same bits."""

import importlib
import os
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from headstart.config import TrainConfig
from headstart.errors import RunError
from headstart.jobs import Observers, train
from headstart.runs import load_run
from headstart.training import Epoch

DrawPhotos = Callable[..., Path]
EPOCHS = importlib.import_module("headstart.jobs.epochs")

pytestmark = pytest.mark.usefixtures("tiny", "unillustrated")


def _config(photos: Path, **options: Any) -> TrainConfig:
    """Two short epochs, nothing decided by measuring."""
    quick = {"dtype": "float32", "epochs": 2, "batch_size": 8}
    return TrainConfig(str(photos), **quick | options)


def test_rare_classes_weigh_more(
    tmp_path: Path, draw_photos: DrawPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = draw_photos(tmp_path / "photos", classes=("few",), per_class=4)
    draw_photos(tmp_path / "photos", classes=("many",), per_class=9, seed=1)
    asked = _watched(monkeypatch, EPOCHS, "train_network")

    run = train(_config(photos, recipe="probe", class_weights="balanced"), out=tmp_path / "run")

    labels = [row["class"] for row in run.images().to_pylist() if row["split"] == "train"]
    expected = compute_class_weight("balanced", classes=np.array(["few", "many"]), y=labels)
    np.testing.assert_allclose(asked[0]["class_weights"].numpy(), expected, rtol=1e-6)


def test_layers_decay_stage_by_stage(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _watched(monkeypatch, EPOCHS, "train_network")

    train(_config(few, recipe="finetune", from_layer="blocks.3", layer_decay=0.5), out=tmp_path / "run")

    stages = asked[0]["stages"]
    assert len(stages) > 1
    assert sorted(name for stage in stages for name in stage) == sorted(
        name for name, _ in asked[0]["arguments"][0].named_parameters()
    )


@pytest.mark.parametrize(
    ("recipe", "options"),
    [("finetune", {"from_layer": "blocks.4"}), ("lp-ft", {"from_layer": "blocks.4"}), ("probe", {})],
)
@pytest.mark.slow
def test_what_validation_has_judged_is_trained_anew_on_its_images_too(
    many: Path, tmp_path: Path, recipe: str, options: dict[str, Any]
) -> None:
    config = _config(many, recipe=recipe, **options)

    judged, run = (
        train(replace(config, refit=refit), out=tmp_path / refit).result for refit in ("no", "yes")
    )

    assert judged["train"]["n"] == judged["images"]["train"]
    assert run["train"]["n"] == run["images"]["train"] + run["images"]["val"]
    assert run["validation"] == judged["validation"]
    assert run["choice"]["temperature"] == judged["choice"]["temperature"] != 1
    assert run["test"] != judged["test"]
    untimed = "phase,epoch,lr,train_loss,train_accuracy,validation_loss,validation_accuracy".count(",") + 1
    once, anew = (
        [row.split(",")[:untimed] for row in (tmp_path / name / "history.csv").read_text().splitlines()]
        for name in ("no", "yes")
    )
    assert anew[: len(once)] == once
    assert [row[0] for row in anew[len(once) :]] == ["refit"] * 2


def test_training_anew_ends_with_the_epoch_that_the_judged_one_ended_with(many: Path, tmp_path: Path) -> None:
    config = _config(many, recipe="probe", epochs=9, lr=0.0, patience=2, refit="yes")

    train(config, out=tmp_path / "run")

    phases = [row.split(",")[0] for row in (tmp_path / "run/history.csv").read_text().splitlines()[1:]]
    assert phases == ["probe"] * 3 + ["refit"] * 3


@pytest.mark.slow
def test_an_interrupted_training_anew_is_gone_on_with(many: Path, tmp_path: Path) -> None:
    config = _config(many, recipe="finetune", from_layer="blocks.4", refit="yes", batch_size=32)
    whole = train(config, out=tmp_path / "whole")
    _interrupted(config, tmp_path / "run", step=2 * 2 + 3)  # after two epochs of two steps
    steps: list[int] = []

    run = train(config, out=tmp_path / "run", observers=Observers(step=lambda *_, **__: steps.append(1)))

    assert len(steps) == 2 * 3 - 3  # with validation's images an epoch has three
    assert not list(run.folder.glob("checkpoint*"))
    for name in ("classifier.safetensors", "predictions.parquet"):
        assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_it_stops_early_on_the_same_schedule(few: Path, tmp_path: Path) -> None:
    told: list[tuple[str, Epoch, int]] = []
    observers = Observers(epoch=lambda *epoch: told.append(epoch))
    config = _config(few, recipe="probe", epochs=3, schedule="cosine")

    train(config, out=tmp_path / "whole", observers=observers)
    short = train(
        _config(few, recipe="probe", epochs=3, schedule="cosine", stop_after=1),
        out=tmp_path / "run",
        observers=observers,
    )

    whole, (phase, only, epochs) = told[:3], told[3]
    assert (phase, only.number, epochs) == ("probe", 1, 1)
    assert only.lr == whole[0][1].lr
    assert only.train_loss == whole[0][1].train_loss
    assert [epoch.lr for _, epoch, _ in whole] == sorted((epoch.lr for _, epoch, _ in whole), reverse=True)
    assert short.result["choice"]["of_epochs"] == 3


def test_what_was_decided_is_written_and_a_run_from_it_is_the_same(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    techniques = importlib.import_module("headstart.jobs.techniques")
    finding = importlib.import_module("headstart.jobs.flips").FlipFinding(told=0.5, n=20, safe=True)
    monkeypatch.setattr(techniques, "judge_flips", lambda data: finding)
    config = TrainConfig(str(many), recipe="finetune", epochs=1, size=32)

    run = train(config, out=tmp_path / "run")
    written = load_run(run.folder).config
    monkeypatch.setattr(techniques, "judge_flips", lambda data: pytest.fail("that is decided"))
    again = train(written, out=tmp_path / "again")

    decided = {key for key, value in asdict(written).items() if value != asdict(config)[key]}
    assert decided == {"flip", "dtype", "device"}
    assert (written.flip, written.dtype in ("float32", "bf16")) == ("yes", True)
    assert again.config == written
    for name in ("classifier.safetensors", "predictions.parquet"):
        assert (run.folder / name).read_bytes() == (again.folder / name).read_bytes()


def test_exact_trains_in_float32_and_measures_nothing(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("choose_precision", "images_per_second"):
        monkeypatch.setattr(EPOCHS, name, lambda *_, **__: pytest.fail("that follows from the precision"))
    config = TrainConfig(
        str(few), recipe="finetune", from_layer="blocks.4", epochs=1, size=32, flip="no", precision="exact"
    )

    run = train(config, out=tmp_path / "run")

    assert run.config.dtype == run.result["choice"]["precision"] == "float32"


def test_a_run_folder_of_other_options_keeps_its_training(few: Path, tmp_path: Path) -> None:
    config = _config(few, recipe="finetune", flip="no")
    _interrupted(config, tmp_path / "run", step=4)
    checkpoint = (tmp_path / "run/checkpoint.safetensors").read_bytes()

    with pytest.raises(RunError, match="unfinished training with other options"):
        train(_config(few, recipe="finetune", flip="no", seed=1), out=tmp_path / "run")
    assert (tmp_path / "run/checkpoint.safetensors").read_bytes() == checkpoint

    other = train(_config(few, recipe="finetune", flip="no", seed=1), out=tmp_path / "run", force=True)
    assert other.config.seed == 1


@pytest.mark.parametrize("flip", ["no", "auto"])
@pytest.mark.slow
def test_the_same_call_takes_a_training_up(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flip: str
) -> None:
    config = TrainConfig(str(few), recipe="finetune", flip=flip, epochs=2, batch_size=8)
    techniques = importlib.import_module("headstart.jobs.techniques")
    finding = importlib.import_module("headstart.jobs.flips").FlipFinding(told=0.5, n=20, safe=True)
    monkeypatch.setattr(techniques, "judge_flips", lambda data: finding)
    monkeypatch.setattr(EPOCHS, "choose_precision", lambda *_, **__: ("float32", 100.0))
    whole = train(config, out=tmp_path / "whole")
    _interrupted(config, tmp_path / "run", step=3)
    monkeypatch.setattr(techniques, "judge_flips", lambda data: pytest.fail("that is decided"))
    monkeypatch.setattr(EPOCHS, "choose_precision", lambda *_, **__: pytest.fail("that is decided"))
    steps: list[int] = []

    run = train(config, out=tmp_path / "run", observers=Observers(step=lambda *_, **__: steps.append(1)))

    assert len(steps) == 1  # of two epochs of two steps
    assert sorted(path.name for path in run.folder.iterdir() if path.suffix in (".toml", ".safetensors")) == [
        "classifier.safetensors",
        "config.toml",
    ]
    name = "classifier.safetensors"
    assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def _interrupted(config: TrainConfig, folder: Path, *, step: int) -> None:
    """A training that SIGTERM ended at a step, in the middle of an epoch."""
    count = 0

    def stop(*_: object, **__: object) -> None:
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        train(config, out=folder, observers=Observers(step=stop))


def _watched(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[dict[str, Any]]:
    """The arguments of all calls of a function of a module."""
    calls: list[dict[str, Any]] = []
    function = getattr(module, name)

    def watched(*arguments: Any, **named: Any) -> Any:
        calls.append({"arguments": arguments, **named})
        return function(*arguments, **named)

    monkeypatch.setattr(module, name, watched)
    return calls
