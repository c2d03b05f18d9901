"""The techniques: what each trains, what it leaves as it is, and that the saved classifier is the run's own."""

import importlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from headstart.backbones import Backbone, build_network
from headstart.classifier import Classifier
from headstart.config import TrainConfig
from headstart.errors import ConfigError, HeadstartError, RunError
from headstart.jobs import Observers, train
from headstart.runs import Run, load_run
from headstart.training import Epoch

DrawPhotos = Callable[..., Path]
EPOCHS = importlib.import_module("headstart.jobs.epochs")

pytestmark = pytest.mark.usefixtures("tiny", "unillustrated")


def _config(photos: Path, **options: Any) -> TrainConfig:
    """Two short epochs, nothing decided by measuring."""
    quick = {"precision": "float32", "epochs": 2, "batch_size": 8}
    return TrainConfig(str(photos), **quick | options)


def _tensors(run: Run) -> dict[str, Tensor]:
    return load_file(run.folder / "classifier.safetensors")


def _predicted(run: Run) -> np.ndarray:
    """(n, K) of the run's test images, as its table has them."""
    table = run.predictions()
    return np.stack([table[f"probability.{name}"].to_numpy() for name in run.result["classes"]], axis=1)


def _predicted_by(classifier: Classifier, run: Run) -> np.ndarray:
    """(n, K) of the same images, by a classifier from their files."""
    paths = [Path(run.config.data) / name for name in run.predictions()["path"].to_pylist()]
    found = classifier.predict(paths, top=len(classifier.classes), device="cpu")
    rows = [dict(zip(each.classes, each.probabilities, strict=True)) for each in found]
    return np.array([[row[name] for name in classifier.classes] for row in rows])


def _weights_at_start(backbone: Backbone) -> dict[str, Tensor]:
    return backbone.network.state_dict()


@pytest.mark.parametrize(
    ("recipe", "head", "options"),
    [
        *[("probe", head, {"epochs": None}) for head in ("linear", "ridge", "knn")],
        *[("probe", head, {}) for head in ("linear", "mlp", "native")],
        *[("finetune", head, {}) for head in ("linear", "mlp", "native")],
        *[("finetune", head, {"from_layer": "blocks.4"}) for head in ("linear", "mlp", "native")],
        ("finetune", "native", {"from_layer": "classifier"}),
        ("finetune", "native", {"from_layer": "conv_stem"}),
        ("lp-ft", "linear", {}),
        ("lp-ft", "linear", {"from_layer": "blocks.4"}),
        *[("scratch", head, {}) for head in ("linear", "mlp", "native")],
    ],
)
def test_every_technique_trains_every_head_that_it_can(
    few: Path, tmp_path: Path, recipe: str, head: str, options: dict[str, Any]
) -> None:
    run = train(_config(few, recipe=recipe, head=head, flip="no", **options), out=tmp_path / "run")

    classifier = Classifier.load(run.folder)
    np.testing.assert_allclose(_predicted_by(classifier, run), _predicted(run), atol=1e-5)
    assert json.loads((run.folder / "classifier.json").read_text())["head"]["kind"] == (
        "linear" if head == "ridge" else head
    )
    history = (run.folder / "history.csv").read_text().splitlines()[1:]
    assert len(history) == (options.get("epochs", 2) or 0)
    assert run.result["technique"] == recipe


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recipe": "probe", "head": "ridge"}, "A ridge head is solved for, without epochs"),
        ({"recipe": "probe", "head": "knn", "epochs": None, "schedule": "1e-3:2"}, "without epochs"),
        ({"recipe": "finetune", "head": "knn"}, "A knn head is solved for on frozen features"),
        ({"recipe": "finetune", "head": "ridge", "from_layer": "blocks.4"}, "solved for on frozen features"),
        ({"recipe": "scratch", "head": "ridge"}, "Use --head native, linear or mlp with scratch"),
        *[
            ({"recipe": "lp-ft", "head": head}, f"lp-ft starts from a linear head, not {head}")
            for head in ("mlp", "native", "ridge", "knn")
        ],
        ({"recipe": "auto", "head": "mlp"}, "auto starts from a linear head, not mlp"),
        (
            {"recipe": "finetune", "from_layer": "blocks.4", "augment": "crop"},
            "--augment crop varies the images",
        ),
        ({"recipe": "lp-ft", "from_layer": "blocks.4", "flip": "yes"}, "--flip yes varies the images"),
        ({"recipe": "auto", "from_layer": "blocks.4", "augment": "randaugment"}, "varies the images"),
        ({"recipe": "probe", "augment": "crop"}, "a probe's features are frozen and stored"),
        ({"recipe": "probe", "flip": "yes"}, "--flip yes varies the images"),
        ({"recipe": "probe", "from_layer": "blocks.4"}, "probe trains the head alone"),
        ({"recipe": "scratch", "from_layer": "blocks.4"}, "scratch trains all layers"),
        ({"recipe": "lp-ft", "reinit": True}, "lp-ft has its own start"),
        ({"recipe": "scratch", "init": "run"}, "scratch starts from random weights"),
        ({"recipe": "finetune", "time": "5m"}, "--time bounds the recipe auto"),
        ({"recipe": "finetune", "stop_after": 0}, "expected at least 1 with finetune"),
        ({"recipe": "finetune", "average_views": True}, "--augment six"),
        ({"recipe": "finetune", "head": "linear", "layer": "blocks.1", "from_layer": "blocks.3"}, "blocks.1"),
        ({"recipe": "finetune", "from_layer": "blocks.9"}, "There is no layer 'blocks.9'"),
        ({"recipe": "finetune", "schedule": "fast"}, "schedule is 'fast'"),
        ({"recipe": "fine-tune"}, "recipe is 'fine-tune'"),
    ],
)
def test_what_does_not_go_together_costs_no_finished_run(
    few: Path, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.toml").write_text(TrainConfig("photos").to_toml())
    (folder / "result.json").write_text("{}")
    if "init" in options:
        options = options | {"init": str(tmp_path / "other")}
        _start_run(few, tmp_path / "other")

    with pytest.raises(HeadstartError, match=words) as caught:
        train(_config(few, **options), out=folder, force=True)

    assert len(str(caught.value).splitlines()) <= 2
    assert load_run(folder).config == TrainConfig("photos")


def _start_run(photos: Path, folder: Path, **options: Any) -> Run:
    """A run to start from: the last stage trained."""
    return train(_config(photos, recipe="finetune", from_layer="blocks.4", **options), out=folder)


def test_feature_extraction_is_a_probe(few: Path, tmp_path: Path) -> None:
    run = train(_config(few, recipe="feature-extraction", epochs=None), out=tmp_path / "run")

    assert run.result["technique"] == "probe"


def test_a_recipe_may_be_a_file(few: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text('technique = "finetune"\nhead = "mlp"\nepochs = 1\nflip = "no"\n')

    run = train(_config(few, recipe=str(recipe), epochs=None), out=tmp_path / "run")

    assert run.result["technique"] == "finetune"
    assert run.result["choice"]["of_epochs"] == 1
    assert "head.hidden.weight" in _tensors(run)


# What is trained


def test_all_is_trained_but_the_running_statistics(few: Path, tmp_path: Path, tiny: Backbone) -> None:
    tensors = _tensors(train(_config(few, recipe="finetune", flip="no"), out=tmp_path / "run"))

    for name, value in _weights_at_start(tiny).items():
        if not name.startswith("classifier."):
            kept = torch.equal(tensors[f"prefix.{name}"], value)
            assert kept == ("running_" in name or "num_batches" in name), name


def test_running_statistics_follow_where_they_are_to(few: Path, tmp_path: Path, tiny: Backbone) -> None:
    config = _config(few, recipe="finetune", flip="no", batch_norm="train")

    tensors = _tensors(train(config, out=tmp_path / "run"))

    name = "bn1.running_mean"
    assert not torch.equal(tensors[f"prefix.{name}"], _weights_at_start(tiny)[name])


def test_from_a_layer_on_is_trained_and_nothing_before(few: Path, tmp_path: Path, tiny: Backbone) -> None:
    run = train(_config(few, recipe="finetune", from_layer="blocks.4"), out=tmp_path / "run")

    tensors = _tensors(run)
    for name, value in _weights_at_start(tiny).items():
        if name.startswith(("blocks.4", "conv_head", "bn2")) and name.endswith(("weight", "bias")):
            assert not torch.equal(tensors[f"prefix.{name}"], value), name
        elif not name.startswith("classifier."):
            assert torch.equal(tensors[f"prefix.{name}"], value), name
    assert run.result["choice"]["trained_from"] == "blocks.3.0.bn3"


def test_a_probe_trains_the_head_alone(few: Path, tmp_path: Path, tiny: Backbone) -> None:
    tensors = _tensors(train(_config(few, recipe="probe"), out=tmp_path / "run"))

    for name, value in _weights_at_start(tiny).items():
        if not name.startswith("classifier."):
            assert torch.equal(tensors[f"prefix.{name}"], value)


def test_reinit_starts_the_trained_layers_and_the_head_anew(
    few: Path, tmp_path: Path, tiny: Backbone
) -> None:
    first = _start_run(few, tmp_path / "first")

    run = _start_run(few, tmp_path / "run", init=str(first.folder), reinit=True, lr=0.0, seed=1)

    fresh, tensors = build_network(tiny.card, seed=1).state_dict(), _tensors(run)
    for name, value in _weights_at_start(tiny).items():
        if name.startswith(("blocks.4", "conv_head", "bn2")):
            assert torch.equal(tensors[f"prefix.{name}"], fresh[name]), name
        elif not name.startswith("classifier."):
            assert torch.equal(tensors[f"prefix.{name}"], value), name
    head = [name for name in tensors if name.startswith("head.") and name.endswith("weight")]
    assert not torch.equal(tensors[head[0]], _tensors(first)[head[0]])


def test_scratch_starts_from_random_weights(few: Path, tmp_path: Path, tiny: Backbone) -> None:
    config = _config(few, recipe="scratch", flip="no", lr=0.0, batch_norm="eval", seed=1)

    tensors = _tensors(train(config, out=tmp_path / "run"))

    for name, value in build_network(tiny.card, seed=1).state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(tensors[f"prefix.{name}"], value), name


def test_lp_ft_starts_from_a_fitted_head_that_is_modest(few: Path, tmp_path: Path) -> None:
    run = train(_config(few, recipe="lp-ft", flip="no", lr=0.0), out=tmp_path / "run")
    new = train(_config(few, recipe="finetune", head="linear", flip="no", lr=0.0), out=tmp_path / "new")
    probe = train(_config(few, recipe="probe", epochs=None), out=tmp_path / "probe")

    chance = 1 / 3
    assert run.result["train"]["accuracy"] > new.result["train"]["accuracy"] + chance / 2
    assert run.result["train"]["loss"] > probe.result["train"]["loss"]


def test_lp_fts_head_has_not_seen_validation(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    techniques = importlib.import_module("headstart.jobs.techniques")
    rows: list[set[int]] = []

    def soft_head(work: Any, features: Any, fit: np.ndarray) -> Any:
        rows.append(set(fit.tolist()) & set(work.data.rows("val").tolist()))
        return importlib.import_module("headstart.jobs.probing").soft_head(work, features, fit)

    monkeypatch.setattr(techniques, "soft_head", soft_head)
    config = _config(many, recipe="lp-ft", from_layer="blocks.4", epochs=1, batch_size=32)

    run = train(config, out=tmp_path / "run")

    assert rows == [set()]
    assert run.result["validation"]["n"] == run.result["images"]["val"] > 0
    assert run.result["train"]["n"] == run.result["images"]["train"]


# An earlier run


def test_init_goes_on_with_a_run(few: Path, tmp_path: Path) -> None:
    first = _start_run(few, tmp_path / "first")

    run = train(
        _config(few, recipe="finetune", init=str(first.folder), flip="no", lr=0.0), out=tmp_path / "run"
    )

    before, after = _tensors(first), _tensors(run)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    np.testing.assert_allclose(_predicted(run), _predicted(first), atol=1e-5)


@pytest.mark.parametrize(
    ("earlier", "head", "goes_on"),
    [("linear", None, True), ("linear", "mlp", False), ("mlp", "mlp", True), ("knn", None, False)],
)
def test_init_keeps_a_head_that_can_be_trained_further(
    few: Path, tmp_path: Path, earlier: str, head: str | None, goes_on: bool
) -> None:
    epochs = None if earlier == "knn" else 1
    first = train(_config(few, recipe="probe", head=earlier, epochs=epochs), out=tmp_path / "first")
    said: list[str] = []

    run = train(
        _config(few, recipe="finetune", from_layer="blocks.4", init=str(first.folder), head=head, lr=0.0),
        out=tmp_path / "run",
        observers=Observers(say=said.append),
    )

    heads = [{n: v for n, v in _tensors(r).items() if n.startswith("head.")} for r in (first, run)]
    same = heads[0].keys() == heads[1].keys() and all(torch.equal(heads[0][n], heads[1][n]) for n in heads[0])
    assert same == goes_on
    assert any("The head is new" in sentence for sentence in said) != goes_on


def test_other_classes_get_a_new_head_on_the_earlier_network(
    few: Path, tmp_path: Path, draw_photos: DrawPhotos
) -> None:
    first = _start_run(few, tmp_path / "first")
    photos = draw_photos(tmp_path / "photos", classes=("lava", "wool"), per_class=6)

    run = train(_config(photos, recipe="probe", init=str(first.folder)), out=tmp_path / "run")

    before, after = _tensors(first), _tensors(run)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("prefix."))
    assert run.result["classes"] == ["lava", "wool"]
    assert run.config.init == str(first.folder)


def test_an_earlier_run_of_another_network_is_refused(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Backbone
) -> None:
    first = _start_run(few, tmp_path / "first")
    other = replace(tiny, card=replace(tiny.card, name="other", architecture="test_resnet"))
    monkeypatch.setattr("headstart.jobs.start.load_backbone_of", lambda config: other)

    with pytest.raises(ConfigError, match="has the network tiny, and this one is to have other"):
        train(_config(few, recipe="finetune", init=str(first.folder)), out=tmp_path / "run")
    with pytest.raises(RunError, match="holds no classifier"):
        train(_config(few, recipe="finetune", init=str(tmp_path)), out=tmp_path / "run")


# Options of a training


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
    assert decided == {"flip", "precision", "device"}
    assert (written.flip, written.precision in ("float32", "bf16")) == ("yes", True)
    assert again.config == written
    for name in ("classifier.safetensors", "predictions.parquet"):
        assert (run.folder / name).read_bytes() == (again.folder / name).read_bytes()


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
