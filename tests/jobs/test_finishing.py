"""How much of a training is kept, and how sure the network may be."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from headstart.config import TrainConfig
from headstart.jobs import train
from headstart.jobs.finishing import best_finish
from headstart.training import SHARES, Interpolation

DrawPhotos = Callable[..., Path]
EPOCHS = importlib.import_module("headstart.jobs.epochs")


def test_it_is_chosen_by_the_log_loss_at_the_best_temperature() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (400,), generator=generator)
    noise = torch.randn(400, 4, generator=generator)
    right = torch.nn.functional.one_hot(labels, 4).float()
    # The second knows most; the third says the same as the first ten times as loudly.
    logits = {0.2: right + noise, 0.6: 3 * right + noise, 1.0: 10 * (right + noise)}

    finish = best_finish(logits, labels)

    assert finish.share == 0.6
    at = {
        temperature: float(torch.nn.functional.cross_entropy(logits[0.6] / temperature, labels))
        for temperature in np.geomspace(0.1, 10, 401)
    }
    assert finish.temperature == pytest.approx(min(at, key=lambda value: at[value]), rel=0.1)


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_a_run_keeps_the_share_of_the_training_that_validation_likes_best(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: list[dict[str, Tensor]] = []
    said: dict[float, float] = {}

    class Watched(Interpolation):
        def __init__(self, body: torch.nn.Module, head: torch.nn.Module) -> None:
            first.append({name: value.clone() for name, value in body.state_dict().items()})
            super().__init__(body, head)

    def judged(logits: Any, labels: Tensor) -> Any:
        said.update((share, float(value.abs().sum())) for share, value in logits.items())
        return best_finish(logits, labels)

    monkeypatch.setattr(EPOCHS, "Interpolation", Watched)
    monkeypatch.setattr(EPOCHS, "best_finish", judged)
    config = TrainConfig(
        str(many), recipe="lp-ft", dtype="float32", epochs=2, from_layer="blocks.4", keep="last"
    )
    runs = {
        interpolate: train(
            TrainConfig(**{**vars(config), "interpolate": interpolate}), out=tmp_path / interpolate
        )
        for interpolate in ("no", "yes")
    }

    share = runs["yes"].result["choice"]["share_of_training"]
    assert "share_of_training" not in runs["no"].result["choice"]
    assert share in SHARES
    assert set(said) == set(SHARES)
    assert len(set(said.values())) == len(SHARES)
    assert len(first) == 1
    last, kept = (load_file(runs[name].folder / "classifier.safetensors") for name in ("no", "yes"))
    changed = 0
    for name, value in first[0].items():
        if value.is_floating_point():
            begun, trained = value, last[f"prefix.{name}"]
            torch.testing.assert_close(kept[f"prefix.{name}"], begun + share * (trained - begun))
            changed += not torch.equal(begun, trained)
    assert changed > 0


@pytest.mark.usefixtures("tiny", "unillustrated")
def test_where_nothing_is_held_out_half_of_the_way_is_kept(few: Path, tmp_path: Path) -> None:
    config = TrainConfig(str(few), recipe="lp-ft", dtype="float32", epochs=1, from_layer="blocks.4")

    choice = train(config, out=tmp_path / "run").result["choice"]

    assert (choice["share_of_training"], choice["temperature"]) == (0.5, 1.0)
