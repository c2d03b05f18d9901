"""Options that do not go together are refused in words, with what to do."""

from pathlib import Path
from typing import Any

import pytest

from headstart.backbones import Backbone
from headstart.config import TrainConfig
from headstart.errors import BackboneError, ConfigError
from headstart.jobs.checks import check_options
from headstart.recipes import RECIPES

STEPS = "3e-4:7, 3e-5:3"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recipe": "finetune", "schedule": "fast"}, "schedule is 'fast'"),
        (
            {"recipe": "finetune", "schedule": STEPS, "epochs": 5},
            f"The schedule '{STEPS}' has epochs of its own",
        ),
        ({"recipe": "finetune", "time": "5m"}, "--time bounds the recipe auto, not finetune"),
        ({"recipe": "finetune", "stop_after": 0}, "stop_after is 0; expected at least 1 with finetune"),
        ({"recipe": "probe", "reinit": True}, "--reinit is for the layers that finetune trains"),
        ({"recipe": "lp-ft", "reinit": True}, "--reinit is for the layers that finetune trains"),
        ({"reinit": True}, "--reinit is for the layers that finetune trains; auto"),
        ({"recipe": "scratch", "init": "runs/1"}, "scratch starts from random weights"),
        (
            {"recipe": "scratch", "from_layer": "blocks.2"},
            "--from says which layers are trained, and scratch",
        ),
        ({"recipe": "probe", "from_layer": "blocks.2"}, "--from says which layers are trained, and probe"),
        ({"recipe": "finetune", "head": "ridge"}, "A ridge head is solved for on frozen features"),
        ({"recipe": "lp-ft", "head": "knn"}, "lp-ft starts from a linear head, not knn"),
        ({"head": "native"}, "auto starts from a linear head, not native"),
        ({"recipe": "finetune", "layer": "blocks.2"}, "A native head stands on the network's last layer"),
        ({"recipe": "probe", "head": "ridge", "epochs": 5}, "A ridge head is solved for, without epochs"),
        ({"recipe": "probe", "head": "knn", "schedule": STEPS}, "A knn head is solved for, without epochs"),
        (
            {"recipe": "probe", "lr": 1e-2, "clip": 1.0},
            "Without effect on a linear head, which is solved for",
        ),
        (
            {"recipe": "probe", "head": "knn", "stop_after": 2},
            "Without effect on a knn head, which is solved for",
        ),
        ({"recipe": "probe", "augment": "crop"}, "--augment crop varies the images from epoch to epoch"),
        ({"recipe": "probe", "flip": "yes"}, "--flip yes varies the images from epoch to epoch"),
        (
            {"recipe": "finetune", "from_layer": "blocks.2", "augment": "crop"},
            "--augment crop varies the images from epoch to epoch",
        ),
        (
            {"recipe": "finetune", "from_layer": "blocks.2", "flip": "yes"},
            "--flip yes varies the images from epoch to epoch",
        ),
        (
            {"recipe": "probe", "average_views": True},
            "--average-views averages over the views of --augment six",
        ),
        ({"average_views": True}, "--average-views averages over the views of --augment six"),
    ],
)
def test_what_does_not_go_together(tiny_backbone: Backbone, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_options(TrainConfig("photos", **options), tiny_backbone)

    assert str(caught.value).startswith(words)
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    "options",
    [
        *({"recipe": name} for name in RECIPES),
        {"recipe": "feature-extraction"},
        {},
        {"epochs": 3, "lr": 1e-3, "batch_size": 8, "time": "5m"},
        {"schedule": STEPS, "time": "5m", "from_layer": "blocks.2"},
        {"stop_after": 0},
        {"augment": "six", "average_views": True},
        {"recipe": "probe", "augment": "six", "average_views": True},
        {"recipe": "probe", "head": "ridge", "layer": "blocks.2"},
        {"recipe": "probe", "head": "knn", "augment": "six", "flip": "no"},
        {"recipe": "probe", "epochs": 3, "lr": 1e-2},
        {"recipe": "probe", "schedule": STEPS, "clip": 1.0},
        {"recipe": "probe", "head": "mlp", "lr": 1e-2},  # it has epochs anyway
        {"recipe": "probe", "head": "native", "layer": "last", "epochs": 3},
        {"recipe": "finetune", "schedule": STEPS, "warmup": 1.0, "flip": "yes"},
        {"recipe": "finetune", "from_layer": "blocks.2", "reinit": True, "init": "runs/1"},
        {"recipe": "finetune", "head": "linear", "layer": "blocks.2"},
        {"recipe": "finetune", "from_layer": "conv_stem", "augment": "crop"},  # which leaves nothing frozen
        {"recipe": "lp-ft", "from_layer": "blocks.2", "init": "runs/1"},
    ],
)
def test_what_goes_together(tiny_backbone: Backbone, options: dict[str, Any]) -> None:
    check_options(TrainConfig("photos", **options), tiny_backbone)


def test_options_are_held_against_a_recipe_of_ones_own(tiny_backbone: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'technique = "finetune"\nschedule = "{STEPS}"\naugment = "six"\n')

    check_options(TrainConfig("photos", recipe=str(path), average_views=True), tiny_backbone)
    with pytest.raises(ConfigError, match="has epochs of its own, and --epochs is 3"):
        check_options(TrainConfig("photos", recipe=str(path), epochs=3), tiny_backbone)
    with pytest.raises(ConfigError, match="--average-views"):
        check_options(
            TrainConfig("photos", recipe=str(path), average_views=True, augment="crop"), tiny_backbone
        )


@pytest.mark.parametrize("options", [{"layer": "poled"}, {"from_layer": "blocks.77"}])
def test_a_layer_that_is_not_there(tiny_backbone: Backbone, options: dict[str, Any]) -> None:
    with pytest.raises(BackboneError):
        check_options(TrainConfig("photos", **options), tiny_backbone)
