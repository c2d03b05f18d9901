"""`auto`: the better of the two is kept, whoever or whatever ends it, and repeating it gives the same."""

import importlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from headstart.backbones import Backbone
from headstart.classifier import Classifier
from headstart.config import ExtractConfig, TrainConfig, read_config
from headstart.jobs import Observers, train
from headstart.jobs.work import HeldOut
from headstart.runs import Run, load_run

DrawPhotos = Callable[..., Path]
AUTO = importlib.import_module("headstart.jobs.auto")

pytestmark = pytest.mark.usefixtures("tiny", "unillustrated")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A feature store that the tests of this module share."""
    return tmp_path_factory.mktemp("store")


def _config(photos: Path, **options: Any) -> TrainConfig:
    """Few short epochs of the last stage, nothing decided by measuring, trained once."""
    quick = {"dtype": "float32", "epochs": 3, "from_layer": "blocks.4", "refit": "no", "batch_size": 32}
    return TrainConfig(str(photos), **quick | options)


def _same(first: Run, second: Run) -> bool:
    names = ("classifier.safetensors", "predictions.parquet", "path.csv")
    return all((first.folder / name).read_bytes() == (second.folder / name).read_bytes() for name in names)


def _repeated(run: Run, folder: Path, store: Path) -> Run:
    """The run from its own config.toml."""
    return train(load_run(run.folder).config, out=folder, store=store)


def _phases(run: Run) -> list[str]:
    rows = (run.folder / "history.csv").read_text().splitlines()[1:]
    return [row.split(",")[0] for row in rows]


class _Signals:
    """Sends this process a signal at a step of fine-tuning, and remembers what was said."""

    def __init__(self, at: int, number: int = signal.SIGINT) -> None:
        self.at, self.number, self.steps = at, number, 0
        self.said: list[str] = []

    def step(self, *_: object, **__: object) -> None:
        self.steps += 1
        if self.steps == self.at:
            os.kill(os.getpid(), self.number)

    @property
    def observers(self) -> Observers:
        return Observers(step=self.step, say=self.said.append)


NEVER = 10**9


@pytest.fixture
def winning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fine-tuning is taken for the better one: with so few images that is a matter of luck."""
    monkeypatch.setattr(AUTO, "_wins", lambda *_: True)


# Which of the two is kept


def _held_out(right: list[int], *, sure: float) -> HeldOut:
    """What is said of ten images of class 0: each is right or not, and as sure as that where it is."""
    probabilities = np.full((10, 2), 0.5)
    for row in range(10):
        probabilities[row, 0] = sure if row in right else 0.45
    probabilities[:, 1] = 1 - probabilities[:, 0]
    return HeldOut(rows=np.arange(10), probabilities=probabilities, uncalibrated=probabilities)


@pytest.mark.parametrize(
    ("choice", "kept"), [("validation", True), ("cross-validation", False)], ids=["validation", "folds"]
)
def test_what_is_less_surprised_is_kept_but_of_few_images_it_must_be_right_more_often(
    choice: str, kept: bool
) -> None:
    data: Any = SimpleNamespace(labels=np.zeros(10, dtype=np.int64), record=SimpleNamespace(choice=choice))
    often, rarer = _held_out(list(range(9)), sure=0.55), _held_out(list(range(8)), sure=0.99)
    rarest = _held_out([0, 1], sure=0.55)

    def wins(probe: HeldOut, tuned: HeldOut) -> bool:
        outcome: Any = SimpleNamespace(held_out=probe)
        return bool(AUTO._wins(data, outcome, tuned))

    assert wins(often, rarer) == kept
    assert wins(often, often) == kept
    assert wins(rarer, _held_out(list(range(9)), sure=0.99))
    assert not wins(often, rarest)


@pytest.mark.usefixtures("winning")
def test_fine_tuning_that_wins_is_kept(many: Path, tmp_path: Path, store: Path) -> None:
    watched = _Signals(NEVER)

    run = train(_config(many), out=tmp_path / "run", store=store, observers=watched.observers)

    result = run.result
    assert result["technique"] == result["choice"]["technique"] == "lp-ft"
    assert result["validation"]["n"] == result["images"]["val"] > 0
    assert result["train"]["n"] == result["images"]["train"]  # validation has chosen, and was not trained on
    assert f"log loss on {result['images']['val']} held-out images" in result["choice"]["because"]
    assert any("It can be used from now on" in sentence for sentence in watched.said)
    assert any(sentence.startswith("Fine-tuning 3 epochs at 32 pixels") for sentence in watched.said)
    assert _phases(run)[-3:] == ["finetune"] * 3
    assert set(_phases(run)[:-3]) == {"probe"}
    assert run.config.recipe == "auto"


def test_fine_tuning_that_is_worse_is_not(many: Path, tmp_path: Path, store: Path) -> None:
    probe = train(
        TrainConfig(str(many), recipe="probe", dtype="float32"), out=tmp_path / "probe", store=store
    )

    run = train(_config(many, lr=5.0, clip=0.0, keep="last"), out=tmp_path / "run", store=store)

    assert run.result["technique"] == "probe"
    assert _same(run, probe)
    assert run.result["validation"] == probe.result["validation"]
    assert _phases(run)[-1] == "finetune"  # what was tried is shown


@pytest.mark.parametrize("kept", ["lp-ft", "probe"])
@pytest.mark.slow
def test_few_images_are_judged_by_folds(
    few: Path, tmp_path: Path, store: Path, request: pytest.FixtureRequest, kept: str
) -> None:
    if kept == "lp-ft":
        request.getfixturevalue("winning")
    watched = _Signals(NEVER)
    config = _config(few, lr=1e-4 if kept == "lp-ft" else 5.0, clip=0.0)

    run = train(config, out=tmp_path / "run", store=store, observers=watched.observers)

    result = run.result
    assert result["technique"] == kept
    assert result["images"]["val"] == 0
    assert result["validation"]["n"] == result["images"]["train"]
    assert [sentence for sentence in watched.said if sentence.startswith("Fold")] == [
        f"Fold {fold} of 3, to judge fine-tuning." for fold in (1, 2, 3)
    ]
    assert any("Ctrl-C ends it and keeps the probe" in sentence for sentence in watched.said)
    per_training = 3  # an epoch of so few images is a step
    assert watched.steps == per_training * (4 if kept == "lp-ft" else 3)


def test_folds_leave_no_group_divided(
    few: Path, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on: list[tuple[set[int], set[int]]] = []
    fit_ = AUTO.fit_by_epochs

    def watched(work: Any, *arguments: Any, fit: Any, check: Any, **options: Any) -> Any:
        groups = work.data.groups(np.arange(len(work.data.labels)))
        out = set(work.data.rows("train").tolist()) - set(fit.tolist())
        trained_on.append(({int(groups[row]) for row in fit}, {int(groups[row]) for row in out}))
        return fit_(work, *arguments, fit=fit, check=check, **options)

    monkeypatch.setattr(AUTO, "fit_by_epochs", watched)

    train(_config(few, group_pattern="0([0-9])"), out=tmp_path / "run", store=store)

    assert len(trained_on) >= 3
    for used, left_out in trained_on:
        assert used.isdisjoint(left_out)


def test_where_nothing_can_be_held_out_the_probe_is_kept(few: Path, tmp_path: Path, store: Path) -> None:
    run = train(_config(few, per_class=1), out=tmp_path / "run", store=store)

    assert run.result["technique"] == "probe"
    assert run.result["validation"] is None
    assert "nothing could be held out" in run.result["choice"]["because"]


@pytest.mark.slow
@pytest.mark.usefixtures("winning")
def test_small_photos_are_not_blown_up(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone
) -> None:
    def load(config: ExtractConfig) -> Backbone:
        """The tiny backbone as one whose weights are for images of 224 pixels."""
        size, mode = config.size or 224, "crop" if config.resize == "weights" else config.resize
        preprocess = replace(tiny_backbone.preprocess, size=size, resize=size, resize_mode=mode)
        copy = tiny_backbone.copy()
        return replace(copy, card=replace(copy.card, preprocess=preprocess))

    monkeypatch.setattr("headstart.jobs.start.load_backbone_of", load)
    config = _config(few, epochs=1, lr=0.0)

    tuned = train(config, out=tmp_path / "tuned").result
    given = train(replace(config, size=160), out=tmp_path / "given").result

    assert tuned["technique"] == given["technique"] == "lp-ft"
    assert tuned["backbone"]["size"] == 128  # photos of 56 x 44
    assert (given["backbone"]["size"], given["backbone"]["resize"]) == (160, "crop")


@pytest.mark.slow
def test_random_variants_from_the_pixels_on(many: Path, tmp_path: Path, store: Path) -> None:
    config = _config(many, from_layer=None, epochs=1, flip="yes", dtype="auto")

    run = train(config, out=tmp_path / "run", store=store)

    assert run.config.dtype in ("float32", "bf16")
    assert _same(run, _repeated(run, tmp_path / "again", store))


# Training anew on validation's images too


@pytest.mark.usefixtures("winning")
@pytest.mark.slow
def test_the_better_is_trained_anew_on_validation_too(many: Path, tmp_path: Path, store: Path) -> None:
    watched = _Signals(NEVER)
    judged = train(_config(many), out=tmp_path / "judged", store=store)

    run = train(_config(many, refit=None), out=tmp_path / "run", store=store, observers=watched.observers)

    images, result = run.result["images"], run.result
    assert run.config.refit == "yes"
    assert result["train"]["n"] == images["train"] + images["val"]
    assert result["validation"] == judged.result["validation"]
    assert result["choice"]["temperature"] == judged.result["choice"]["temperature"]
    assert "log loss on" in result["choice"]["because"]
    assert result["choice"]["refit"].startswith(f"on all {result['train']['n']} images")
    assert _phases(run) == [*_phases(judged), *["refit"] * 3]
    assert (run.folder / "classifier.safetensors").read_bytes() != (
        judged.folder / "classifier.safetensors"
    ).read_bytes()
    assert any(
        sentence.startswith(f"Training anew on all {result['train']['n']}") for sentence in watched.said
    )
    assert _same(run, _repeated(run, tmp_path / "again", store))


def test_a_probe_that_is_kept_is_not(many: Path, tmp_path: Path, store: Path) -> None:
    config = _config(many, lr=5.0, clip=0.0, keep="last", refit="yes")

    run = train(config, out=tmp_path / "run", store=store)

    assert run.result["technique"] == "probe"
    assert "refit" not in _phases(run)


@pytest.mark.usefixtures("winning")
def test_without_time_for_it_what_was_judged_is_kept(
    many: Path, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AUTO, "_REFIT_WITHIN", 0.0)

    run = train(_config(many, refit=None), out=tmp_path / "run", store=store)

    assert run.config.refit == "no"
    assert run.result["train"]["n"] == run.result["images"]["train"]
    monkeypatch.setattr(AUTO, "_REFIT_WITHIN", 1e9)
    assert _same(run, _repeated(run, tmp_path / "again", store))


@pytest.mark.usefixtures("winning")
def test_ctrl_c_while_training_anew_keeps_what_was_judged(many: Path, tmp_path: Path, store: Path) -> None:
    judged = train(_config(many), out=tmp_path / "judged", store=store)
    watched = _Signals(at=3 * 2 + 4)  # 3 epochs of 2 steps came before

    config = _config(many, refit="yes")
    run = train(config, out=tmp_path / "run", store=store, observers=watched.observers)

    assert watched.steps == watched.at
    assert run.config.refit == "no"
    assert _same(run, judged)


# Time


def _at_speed(monkeypatch: pytest.MonkeyPatch, images_per_second: float) -> None:
    monkeypatch.setattr(AUTO, "with_precision", lambda work, *_: (work, images_per_second))


@pytest.mark.parametrize("photos", ["few", "many"])
def test_too_short_a_time_keeps_the_probe(
    photos: str, tmp_path: Path, store: Path, request: pytest.FixtureRequest
) -> None:
    watched = _Signals(NEVER)
    config = _config(request.getfixturevalue(photos), time="0.001s")

    run = train(config, out=tmp_path / "run", store=store, observers=watched.observers)

    assert (run.result["technique"], watched.steps) == ("probe", 0)
    assert any(sentence.endswith("are left: the probe is kept.") for sentence in watched.said)
    assert (run.config.time, run.config.stop_after) == (None, 0)
    assert _same(run, _repeated(run, tmp_path / "again", store))


@pytest.mark.parametrize(
    ("options", "decided"),
    [
        ({"epochs": 5}, {"epochs": 2}),
        ({"epochs": None, "schedule": "1e-4:1, 1e-5:3"}, {"stop_after": 2}),
        pytest.param({"epochs": 2}, {"epochs": 2}, marks=pytest.mark.slow),
    ],
)
def test_as_many_epochs_as_there_is_time_for(
    many: Path,
    tmp_path: Path,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    decided: dict[str, int],
) -> None:
    # 60 to 64 training images and a third of 7 to 9 others, 1.15 times: 72 to 77 s an epoch.
    _at_speed(monkeypatch, 1.0)
    config = _config(many, time="200s", **options)

    run = train(config, out=tmp_path / "run", store=store)

    given = replace(config, data=run.config.data, device="cpu", time=None, runtime="torch-float32")
    assert run.config == replace(given, **decided)
    assert _phases(run).count("finetune") == 2
    _at_speed(monkeypatch, 0.001)
    assert _same(run, _repeated(run, tmp_path / "again", store))


def test_the_time_left_includes_what_has_passed(
    many: Path, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _at_speed(monkeypatch, 1e9)  # a misjudged one
    watched = _Signals(NEVER)
    epochs: list[int] = []
    late = SimpleNamespace(monotonic=lambda: 1e12, perf_counter=time.perf_counter)

    def epoch(*_: object) -> None:
        epochs.append(1)
        monkeypatch.setattr("headstart.training.loop.time", late)

    observers = replace(watched.observers, epoch=epoch)
    run = train(_config(many, epochs=9, time="1h"), out=tmp_path / "run", store=store, observers=observers)

    assert len(epochs) == 1
    assert (run.config.epochs, run.config.stop_after) == (9, 1)


# Ctrl-C and SIGTERM


def test_ctrl_c_keeps_the_best_so_far(many: Path, tmp_path: Path, store: Path) -> None:
    per_epoch = 2  # steps of 32 images
    watched = _Signals(at=2 * per_epoch + 1)

    run = train(_config(many), out=tmp_path / "run", store=store, observers=watched.observers)

    assert watched.steps == 2 * per_epoch + 1
    assert run.config.stop_after == 2
    assert _phases(run).count("finetune") == 2
    assert not run.result["choice"].get("completed", False)
    assert not (run.folder / "checkpoint.safetensors").exists()
    assert _same(run, _repeated(run, tmp_path / "again", store))


def test_ctrl_c_before_the_first_epoch_is_over_keeps_the_probe(
    many: Path, tmp_path: Path, store: Path
) -> None:
    run = train(_config(many), out=tmp_path / "run", store=store, observers=_Signals(at=1).observers)

    assert run.result["technique"] == "probe"
    assert run.config.stop_after == 0
    assert _same(run, _repeated(run, tmp_path / "again", store))


@pytest.mark.usefixtures("winning")
@pytest.mark.parametrize(
    "at", [1, pytest.param(5, marks=pytest.mark.slow), 11]
)  # in the first fold, the second, the last training
@pytest.mark.slow
def test_ctrl_c_among_folds_keeps_the_probe(few: Path, tmp_path: Path, store: Path, at: int) -> None:
    watched = _Signals(at=at)

    run = train(_config(few, lr=1e-4), out=tmp_path / "run", store=store, observers=watched.observers)

    assert watched.steps == at
    assert run.result["technique"] == "probe"
    assert run.config.stop_after == 0
    assert _same(run, _repeated(run, tmp_path / "again", store))


@pytest.mark.usefixtures("winning")
@pytest.mark.parametrize(
    ("photos", "at"), [("many", 3), ("many", 9), pytest.param("few", 2, marks=pytest.mark.slow), ("few", 10)]
)
@pytest.mark.slow
def test_sigterm_leaves_a_classifier_and_the_run_goes_on(
    photos: str, at: int, tmp_path: Path, store: Path, request: pytest.FixtureRequest
) -> None:
    config = _config(request.getfixturevalue(photos), lr=1e-4, refit="yes")
    whole = train(config, out=tmp_path / "whole", store=store)
    stopped = _Signals(at=at, number=signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        train(config, out=tmp_path / "run", store=store, observers=stopped.observers)

    classifier = Classifier.load(tmp_path / "run")
    (best,) = classifier.predict([next(Path(config.data).rglob("*.jpg"))], top=1)
    assert best.classes[0] in whole.result["classes"]
    told = [
        sentence for sentence in stopped.said if sentence.startswith("Go on with: headstart train --resume")
    ]
    assert len(told) == (tmp_path / "run/checkpoint.safetensors").exists()
    resumed = train(read_config(tmp_path / "run/config.toml"), out=tmp_path / "run", store=store)
    assert _same(resumed, whole)
    assert resumed.config == whole.config


@pytest.mark.usefixtures("winning")
@pytest.mark.slow
def test_among_several_runs_ctrl_c_shortens_none(many: Path, tmp_path: Path, store: Path) -> None:
    config, folder = _config(many, lr=1e-4, refit="no"), tmp_path / "run"
    whole = train(config, out=tmp_path / "whole", store=store)

    with pytest.raises(KeyboardInterrupt):
        train(config, out=folder, store=store, observers=_Signals(at=4).observers, may_end_early=False)

    assert _same(train(config, out=folder, store=store, may_end_early=False), whole)
