"""What several runs share is made once, and nobody changes it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from headstart.backbones import Backbone
from headstart.config import TrainConfig
from headstart.jobs import Shelf, train
from headstart.runs import Run


def test_a_thing_is_made_once_until_another_takes_its_place() -> None:
    shelf, made = Shelf(), []

    def make() -> str:
        made.append(len(made))
        return f"thing {made[-1]}"

    assert [shelf.get("network", key, make) for key in ("a", "a", "b", "a")] == [
        *("thing 0", "thing 0", "thing 1", "thing 2"),
    ]
    assert shelf.get("listing", "a", make) == "thing 3"
    assert shelf.get("network", "a", make) == "thing 2"


def test_what_is_none_is_kept_too() -> None:
    shelf, made = Shelf(), []

    for _ in range(2):
        shelf.get("network", None, lambda: made.append(1))

    assert made == [1]


RECIPES = (
    {"recipe": "probe"},
    {"recipe": "probe", "epochs": 2},
    {"recipe": "lp-ft", "epochs": 1},
    {"recipe": "finetune", "epochs": 1, "batch_norm": "train"},
    {"recipe": "scratch", "epochs": 1},
    {"recipe": "probe", "head": "native", "epochs": 1, "layer": "last", "normalise": "dataset"},
)


@pytest.mark.slow
def test_runs_that_share_a_network_are_those_that_do_not(
    tmp_path: Path, few: Path, tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[TrainConfig] = []

    def load(config: TrainConfig) -> Backbone:
        loads.append(config)
        return tiny.copy()

    monkeypatch.setattr("headstart.jobs.start.load_backbone_of", load)
    shelf = Shelf()

    def run(i: int, name: str, shared: Shelf | None) -> Run:
        config = TrainConfig(str(few), **RECIPES[i], size=32, dtype="float32")  # type: ignore[arg-type]
        return train(config, out=tmp_path / f"{name}-{i}", report=False, shelf=shared)

    shared = [run(i, "shared", shelf) for i in range(len(RECIPES))]
    assert len(loads) == 1
    alone = [run(i, "alone", None) for i in range(len(RECIPES))]

    for ours, theirs in zip(shared, alone, strict=True):
        a, b = (load_file(each.folder / "classifier.safetensors") for each in (ours, theirs))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a), ours.config.recipe
    kept = shelf.get("network", ("tf_efficientnet_lite0", "pretrained", 32, "weights", None), lambda: tiny)
    state, fresh = kept.network.state_dict(), tiny.network.state_dict()
    assert kept is not tiny
    assert all(torch.equal(state[name], fresh[name]) for name in fresh)


def test_the_report_is_left_out_and_the_rest_is_there(tmp_path: Path, few: Path, tiny: Backbone) -> None:
    run = train(TrainConfig(str(few), recipe="probe", seed=3), out=tmp_path / "run", report=False)

    assert not run.report.exists()
    assert not (run.folder / "figures").exists()
    measures = run.result["classifier"]
    prefix, head = run.classifier().backbone.prefix(run.classifier().cut), run.classifier().head
    assert measures["parameters"] == sum(p.numel() for part in (prefix, head) for p in part.parameters())
    assert measures["bytes"] == (run.folder / "classifier.safetensors").stat().st_size
    assert 0 < measures["ms_per_image"] < 1000
    asked = run.result["asked"]
    assert (asked["recipe"], asked["seed"], asked["device"], asked["runtime"]) == ("probe", 3, "auto", "auto")
