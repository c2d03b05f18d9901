"""A study from nothing but names: data sets x backbones x recipes x seeds."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart.config import DEFAULT_BACKBONE, TrainConfig
from headstart.errors import ConfigError
from headstart.study.rates import recipe_of
from headstart.study.study import Case, Study, StudyData

DEFAULT_RECIPES = ("probe", "lp-ft")

_LONGEST_NAME = 80  # it is a folder's, however many data sets there are


def make_study(
    data: Sequence[str],
    *,
    backbones: Sequence[str] = (),
    recipes: Sequence[str] = (),
    seeds: Sequence[int] = (),
    split: str = "auto",
) -> Study:
    """A study of recipes, each as `headstart train` would have it.

    Args:
        data: what `headstart train` takes as DATA.
        backbones: names, or NAME=WEIGHTS; by default the bundled one.
        recipes: names, or TOML files; by default `DEFAULT_RECIPES`.
        seeds: by default 0.
        split: how the data sets are divided.

    Raises:
        ConfigError: there is no data set, no such recipe, or something is named twice.
    """
    if not data:
        raise ConfigError("Which data?\nGive at least one data set: headstart compare PHOTOS.")
    backbones, seeds = tuple(backbones) or (DEFAULT_BACKBONE,), tuple(seeds) or (0,)
    recipes = tuple(recipes) or DEFAULT_RECIPES
    for name, values in (("data", data), ("backbones", backbones), ("recipes", recipes), ("seeds", seeds)):
        if twice := [value for value in values if list(values).count(value) > 1]:
            raise ConfigError(f"{name} names {twice[0]!r} twice; expected each once.")
    cases = tuple(_case(recipe) for recipe in recipes)
    names = [case.name for case in cases]
    if same := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"Two recipes would be called {same[0]!r}.\nRename one of the files.")
    shown = ", ".join(re.split(r"[/\\]", each.rstrip("/\\"))[-1] or each for each in data)
    return Study(
        name="-".join(_slug(each) for each in shown.split(", "))[:_LONGEST_NAME] or "comparison",
        title=f"Comparison on {shown}",
        data=tuple(StudyData(name=each, split=split) for each in data),
        backbones=tuple(backbones),
        seeds=tuple(seeds),
        notes=(),
        cases=cases,
        protocols={},
        references=(),
        is_written=False,
    )


def _case(recipe: str) -> Case:
    """A recipe's case: no size, so that layers are trained at what suits the photos, as `headstart train` does it."""
    options: dict[str, Any] = {"recipe": recipe, "size": None}
    recipe_of(TrainConfig("data", **options))  # complains of one that is not there
    name = _slug(Path(recipe).stem if recipe.endswith(".toml") else recipe)
    return Case(name=name, title=recipe, options=options)


def _slug(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name).strip("-.")
