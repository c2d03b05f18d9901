"""Studies from nothing but names."""

from pathlib import Path

import pytest

from headstart.errors import ConfigError
from headstart.study import load_study, make_study, plan_study
from headstart.study.compare import default_folder, is_study, plan_comparison


def test_names_alone_are_enough() -> None:
    study = make_study(["some/photos"])

    assert study.title == "Comparison on photos"
    assert [case.name for case in study.cases] == ["probe", "lp-ft"]
    assert (study.backbones, study.seeds) == (("tf_efficientnet_lite0",), (0,))


def test_a_recipe_is_what_train_makes_of_it() -> None:
    runs = plan_study(make_study(["photos"], recipes=["auto", "finetune"], split="80/20")).runs

    for run, recipe in zip(runs, ("auto", "finetune"), strict=True):
        given = {name: value for name, value in vars(run.config).items() if value is not None}
        assert given["recipe"] == recipe
        assert given["split"] == "80/20"
        assert "size" not in given  # layers are trained at what suits the photos
        assert not {"epochs", "lr", "head"} & set(given)


def test_recipes_may_be_files(tmp_path: Path) -> None:
    (tmp_path / "My Own.toml").write_text('technique = "probe"\nhead = "ridge"\n')

    study = make_study(["photos"], recipes=["probe", str(tmp_path / "My Own.toml")])

    assert [case.name for case in study.cases] == ["probe", "My-Own"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"data": []}, "Which data?"),
        ({"data": ["a", "a"]}, "data names 'a' twice"),
        ({"data": ["a"], "recipes": ["prob"]}, "recipe is 'prob'; expected auto, probe"),
        ({"data": ["a"], "recipes": ["probe", "probe"]}, "recipes names 'probe' twice"),
        ({"data": ["a"], "recipes": ["no.toml"]}, "no.toml cannot be read"),
    ],
)
def test_what_cannot_be_is_told(names, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_study(**names)


def test_a_target_is_a_study_or_data(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r2").mkdir()

    assert is_study("r5")
    assert is_study("my.toml")
    assert not is_study("photos")
    assert not is_study("r2")  # a folder of that name is meant
    assert plan_comparison(["r1"]).study == load_study("r1")
    assert plan_comparison(["a", "b"], recipes=["probe"]).study.name == "a-b"
    assert default_folder(plan_comparison(["x/a", "b"])) == Path("comparisons/a-b")


@pytest.mark.parametrize(
    ("targets", "recipes", "words"),
    [
        (["r1", "photos"], [], r"r1 is a study and stands alone; got 2 names\.\nGive other data with --data"),
        (["r1"], ["probe"], "The study r1 has cases of its own"),
    ],
)
def test_studies_and_data_do_not_mix(targets, recipes, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan_comparison(targets, recipes=recipes)
