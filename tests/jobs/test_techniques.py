"""The techniques: what each trains, what it leaves as it is, and that the saved classifier is the run's own."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from headstart.backbones import Backbone, build_network
from headstart.classifier import Classifier
from headstart.config import TrainConfig
from headstart.errors import HeadstartError
from headstart.jobs import train
from headstart.runs import Run, load_run

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
        ({"recipe": "lp-ft", "head": "mlp"}, "lp-ft starts from a linear head, not mlp"),
        ({"recipe": "finetune", "head": "linear", "layer": "blocks.1", "from_layer": "blocks.3"}, "blocks.1"),
        ({"recipe": "finetune", "from_layer": "blocks.9"}, "There is no layer 'blocks.9'"),
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

    with pytest.raises(HeadstartError, match=words):
        train(_config(few, **options), out=folder, force=True)

    assert load_run(folder).config == TrainConfig("photos")


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
