"""Where a run starts from: an earlier run's network and head, or layers made anew."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from headstart.backbones import Backbone, build_network
from headstart.config import TrainConfig
from headstart.errors import ConfigError, RunError
from headstart.jobs import Observers, train
from headstart.runs import Run

DrawPhotos = Callable[..., Path]
EPOCHS = importlib.import_module("headstart.jobs.epochs")

pytestmark = pytest.mark.usefixtures("tiny", "unillustrated")


def _config(photos: Path, **options: Any) -> TrainConfig:
    """Two short epochs, nothing decided by measuring."""
    quick = {"dtype": "float32", "epochs": 2, "batch_size": 8}
    return TrainConfig(str(photos), **quick | options)


def _tensors(run: Run) -> dict[str, Tensor]:
    return load_file(run.folder / "classifier.safetensors")


def _predicted(run: Run) -> np.ndarray:
    """(n, K) of the run's test images, as its table has them."""
    table = run.predictions()
    return np.stack([table[f"probability.{name}"].to_numpy() for name in run.result["classes"]], axis=1)


def _weights_at_start(backbone: Backbone) -> dict[str, Tensor]:
    return backbone.network.state_dict()


def _start_run(photos: Path, folder: Path, **options: Any) -> Run:
    """A run to start from: the last stage trained."""
    return train(_config(photos, recipe="finetune", from_layer="blocks.4", **options), out=folder)


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
@pytest.mark.slow
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


@pytest.mark.slow
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
