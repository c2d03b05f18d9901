"""Options that do not go together in a recipe are refused in words."""

from pathlib import Path
from typing import Any

import pytest

from headstart.config import TrainConfig
from headstart.errors import ConfigError
from headstart.recipes import RECIPES, read_recipe

STEPS = "3e-4:7, 3e-5:3"


def _read(**options: Any) -> Any:
    config = TrainConfig("photos", **options)
    return read_recipe(config, technique="lp-ft" if config.recipe == "auto" else None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recipe": "finetune", "schedule": "fast"}, "schedule is 'fast'"),
        (
            {"recipe": "finetune", "schedule": STEPS, "epochs": 5},
            "epochs is 5, and schedule '3e-4:7, 3e-5:3'",
        ),
        ({"schedule": STEPS, "time": "5m"}, "time is 5m, and schedule '3e-4:7, 3e-5:3'"),
        ({"recipe": "probe", "reinit": True}, "reinit is for finetune and scratch"),
        ({"recipe": "lp-ft", "reinit": True}, "reinit is for finetune and scratch"),
        ({"recipe": "scratch", "init": "runs/1"}, "init is 'runs/1', and scratch starts from random weights"),
        (
            {"recipe": "scratch", "from_layer": "layer4"},
            "from_layer is 'layer4', and scratch trains all layers",
        ),
        ({"recipe": "probe", "from_layer": "layer4"}, "from_layer is 'layer4', and probe trains no layer"),
        ({"recipe": "finetune", "head": "ridge"}, "head ridge is solved for on frozen features"),
        ({"recipe": "lp-ft", "head": "knn"}, "head knn is solved for on frozen features"),
        ({"recipe": "lp-ft", "head": "native"}, "head is 'native', and lp-ft starts from a linear one"),
        ({"recipe": "finetune", "layer": "fc6"}, "layer is 'fc6', and head native stands on the last one"),
        ({"recipe": "probe", "head": "ridge", "epochs": 5}, "head ridge is solved for, without epochs"),
        ({"recipe": "probe", "head": "knn", "schedule": STEPS}, "head knn is solved for, without epochs"),
        ({"recipe": "probe", "lr": 1e-2, "clip": 1.0}, "no effect of lr, clip on a linear head"),
        ({"recipe": "probe", "augment": "crop"}, "augment crop varies images from epoch to epoch"),
        ({"recipe": "probe", "flip": "yes"}, "flip yes varies images from epoch to epoch"),
        (
            {"recipe": "finetune", "augment": "six", "flip": "yes"},
            "flip is yes, and augment six varies no image",
        ),
        ({"recipe": "probe", "average_views": True}, "average_views averages over the views of augment six"),
        ({"average_views": True}, "average_views averages over the views of augment six"),
    ],
)
def test_what_does_not_go_together(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _read(**options)

    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_all_of_it_stands_in_one_error() -> None:
    with pytest.raises(ConfigError, match=r"^epochs is 5.*; reinit is for.*; average_views .*\.$"):
        _read(recipe="probe", schedule=STEPS, epochs=5, reinit=True, average_views=True)


@pytest.mark.parametrize(
    "options",
    [
        *({"recipe": name} for name in RECIPES),
        {},
        {"epochs": 3, "lr": 1e-3, "batch_size": 8, "time": "5m"},
        {"schedule": STEPS},
        {"augment": "six", "average_views": True},
        {"recipe": "probe", "augment": "six", "average_views": True},
        {"recipe": "probe", "head": "ridge", "layer": "fc6"},
        {"recipe": "probe", "head": "knn", "augment": "six", "flip": "no"},
        {"recipe": "probe", "epochs": 3, "lr": 1e-2},
        {"recipe": "probe", "schedule": STEPS, "clip": 1.0},
        {"recipe": "probe", "head": "mlp", "lr": 1e-2},  # it has epochs of its own
        {"recipe": "probe", "head": "native", "layer": "last", "epochs": 3},
        {"recipe": "finetune", "schedule": STEPS, "warmup": 1.0, "flip": "yes"},
        {"recipe": "finetune", "from_layer": "layer4", "reinit": True, "init": "runs/1"},
        {"recipe": "finetune", "head": "linear", "layer": "fc6"},
        {"recipe": "lp-ft", "from_layer": "layer4", "init": "runs/1"},
        {"recipe": "scratch", "reinit": True},
    ],
)
def test_what_goes_together(options: dict[str, Any]) -> None:
    _read(**options)


def test_options_are_held_against_a_recipe_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'technique = "finetune"\nschedule = "{STEPS}"\naugment = "six"\n')

    assert _read(recipe=str(path), average_views=True).augment == "six"
    with pytest.raises(ConfigError, match="epochs is 3, and schedule"):
        _read(recipe=str(path), epochs=3)
    with pytest.raises(ConfigError, match=r"average_views averages over .*, and augment is crop"):
        _read(recipe=str(path), average_views=True, augment="crop")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('lr = "fast"', "lr is 'fast'; expected float"),
        ("label_smoothing = 2.0", "label_smoothing is 2.0; expected less than 1"),
        ('augment = "seven"', "augment is 'seven'; expected one of none, six"),
        ("epoch = 3", "unknown key 'epoch'; did you mean 'epochs'"),
    ],
)
def test_a_recipe_of_ones_own_has_its_values_checked(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'technique = "probe"\n{line}\n')

    with pytest.raises(ConfigError) as caught:
        _read(recipe=str(path))

    assert str(caught.value).startswith(f"The recipe {path}")
    assert words in str(caught.value)
