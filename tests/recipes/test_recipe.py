"""A recipe of one's own: its values are checked as a run's options are."""

from pathlib import Path

import pytest

from headstart.config import TrainConfig
from headstart.errors import ConfigError
from headstart.recipes import RECIPES, expand_recipe, load_recipe, read_recipe


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('lr = "fast"', "lr is 'fast'; expected float"),
        ("label_smoothing = 2.0", "label_smoothing is 2.0; expected less than 1"),
        ('augment = "seven"', "augment is 'seven'; expected one of none, six"),
        ("epochs = -1", "epochs is -1; expected at least 1"),
        ("epoch = 3", "unknown key 'epoch'; did you mean 'epochs'"),
    ],
)
def test_bad_values_are_named_with_the_file(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'technique = "probe"\n{line}\n')

    with pytest.raises(ConfigError) as caught:
        read_recipe(TrainConfig("photos", recipe=str(path)))

    assert str(caught.value).startswith(f"The recipe {path}")
    assert words in str(caught.value)


def test_the_options_of_a_run_win_over_its_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('technique = "finetune"\naugment = "six"\nlr = 1e-2\n')

    found = read_recipe(TrainConfig("photos", recipe=str(path), lr=1e-3))

    assert (found.augment, found.lr, found.epochs) == ("six", 1e-3, load_recipe("finetune").epochs)


@pytest.mark.parametrize("name", RECIPES)
def test_the_shipped_recipes_can_be_copied(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    path = tmp_path / "mine.toml"
    path.write_text("".join(f"{key} = {value!r}\n" for key, value in recipe.to_dict().items()))

    assert read_recipe(TrainConfig("photos", recipe=str(path))) == recipe


@pytest.mark.parametrize(
    ("options", "solved"),
    [
        ({"recipe": "probe"}, True),
        ({"recipe": "probe", "head": "knn"}, True),
        ({"recipe": "probe", "epochs": 3}, False),
        ({"recipe": "probe", "schedule": "3e-4:7"}, False),
        ({"recipe": "probe", "head": "mlp"}, False),
        ({"recipe": "finetune", "head": "linear"}, False),
    ],
)
def test_which_heads_are_solved_for(options: dict[str, str], solved: bool) -> None:
    assert read_recipe(TrainConfig("photos", **options)).is_solved_for is solved  # type: ignore[arg-type]


def test_a_list_of_learning_rates_begins_with_its_first() -> None:
    steps = read_recipe(TrainConfig("photos", recipe="finetune", schedule="3e-4:7, 3e-5:7"))
    asked = read_recipe(TrainConfig("photos", recipe="finetune", schedule="3e-4:7, 3e-5:7", warmup=2.0))

    assert steps.rates().rate(0) == 3e-4
    assert asked.rates().rate(0) == 0


def test_a_configuration_no_longer_needs_the_file_of_its_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('technique = "finetune"\nlr = 2e-4\nepochs = 3\n')
    config = TrainConfig("photos", recipe=str(path), epochs=4)

    expanded = expand_recipe(config)

    assert read_recipe(expanded) == read_recipe(config)
    assert expanded == TrainConfig("photos", recipe="finetune", lr=2e-4, epochs=4)
    assert expand_recipe(expanded) is expanded
