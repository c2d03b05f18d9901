"""The recipe: everything about a training that is not the photos, the network or the machine."""

import tomllib
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, get_args

from headstart.config import ProbeConfig, TrainConfig, read_toml, require_known
from headstart.errors import ConfigError
from headstart.recipes.schedule import CURVES, Schedule, parse_schedule

Technique = Literal["probe", "finetune", "lp-ft", "scratch"]
Head = Literal["linear", "mlp", "ridge", "knn", "native"]
Augment = Literal["none", "six", "crop", "randaugment", "trivialaugment"]

RECIPES: Final[tuple[str, ...]] = get_args(Technique)
"""The recipes that come along, by name."""

_OTHER_NAMES: Final = {"feature-extraction": "probe"}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a head, or the network with it, is trained. `recipes/NAME.toml` has the values of each by name.

    Attributes:
        technique: probe, finetune, lp-ft or scratch.
        head: what replaces the network's last layer: linear, mlp, ridge, knn or native (the network's own).
        epochs: how many; 0 for a head that is solved for, without any.
        lr: the learning rate at its highest.
        schedule: see `parse_schedule`.
        warmup: epochs over which the learning rate rises to `lr`.
        optimizer: sgd, adam or adamw.
        momentum: of SGD.
        weight_decay: on weights; never on norms and biases.
        layer_decay: factor on the learning rate from each stage to the one before it; 1 for the same everywhere.
        batch_size: images in a step.
        batch_norm: eval keeps the running statistics as they are, bit for bit; train lets them follow the batches.
        label_smoothing: how much of a target is shared out among all classes, 0 to 1.
        clip: the largest norm of a gradient; 0 for no limit.
        patience: end when validation has not gained for so many epochs; 0 for never.
        keep: the weights of the epoch that is best on validation, or of the last.
        interpolate: keep weights between those the training began with and those it ended with: yes or no.
        refit: once validation has judged the network, train a fresh one on validation's images too, and keep that.
        augment: none; six fixed views, stored; or at random crop, randaugment, trivialaugment (both with crops).
        flip: mirror training images at random: yes, no, or auto, which decides it on validation.
    """

    technique: Technique
    head: Head
    epochs: int
    lr: float
    schedule: str
    warmup: float
    optimizer: Literal["sgd", "adam", "adamw"]
    momentum: float
    weight_decay: float
    layer_decay: float
    batch_size: int
    batch_norm: Literal["eval", "train"]
    label_smoothing: float
    clip: float
    patience: int
    keep: Literal["best", "last"]
    interpolate: Literal["yes", "no"]
    refit: Literal["yes", "no"]
    augment: Augment
    flip: Literal["auto", "yes", "no"]

    def rates(self) -> Schedule:
        """The learning rate over the training."""
        return parse_schedule(self.schedule, lr=self.lr, epochs=self.epochs, warmup=self.warmup)

    @property
    def is_solved_for(self) -> bool:
        """Whether it is a head on frozen features that takes no epochs."""
        return (
            self.technique == "probe" and self.head in ("linear", "ridge", "knn") and not self.rates().epochs
        )

    def to_dict(self) -> dict[str, Any]:
        """The values, as TOML and JSON know them."""
        return asdict(self)


@cache
def load_recipe(name: str) -> Recipe:
    """A recipe by name: one of `RECIPES`, or another name of one (`feature-extraction`).

    Raises:
        ConfigError: there is no such recipe.
    """
    known = _OTHER_NAMES.get(name, name)
    if known not in RECIPES:
        raise ConfigError(f"recipe is {name!r}; expected auto, {', '.join(RECIPES)} or a TOML file.")
    text = files("headstart.recipes").joinpath(f"{known}.toml").read_text(encoding="utf-8")
    return Recipe(**tomllib.loads(text))


def read_recipe(config: TrainConfig | ProbeConfig, *, technique: str | None = None) -> Recipe:
    """The recipe that a configuration asks for: the one it names, with those options that it sets itself.

    Args:
        config: a run's configuration, or that of a probe of files, whose recipe is `probe`.
        technique: the recipe's name in place of the configuration's own, as where `auto` tries several.

    Raises:
        ConfigError: the recipe's file cannot be read or has bad values, or a schedule cannot be understood.
    """
    name = technique or (config.recipe if isinstance(config, TrainConfig) else "probe")
    values = _from_file(Path(name)) if name.endswith(".toml") else load_recipe(name).to_dict()
    own = {field.name: getattr(config, field.name, None) for field in fields(Recipe)}
    if own["schedule"] is not None and own["schedule"] not in CURVES:
        values["warmup"] = 0.0  # a list of learning rates says itself how it begins
    recipe = Recipe(**values | {key: value for key, value in own.items() if value is not None})
    recipe.rates()  # complains of a schedule that cannot be read
    return recipe


def expand_recipe(config: TrainConfig) -> TrainConfig:
    """The configuration with the options of a recipe's file written out, so that it no longer needs the file.

    Raises:
        ConfigError: the file cannot be read or has bad values.
    """
    if not config.recipe.endswith(".toml"):
        return config
    values = read_recipe(config).to_dict()
    usual = load_recipe(values["technique"]).to_dict()
    own = {key: value for key, value in values.items() if value != usual[key]}
    return replace(config, recipe=values["technique"], **own)


def _from_file(path: Path) -> dict[str, Any]:
    """The values of a user's own recipe: those of its technique's, unless the file has others."""
    values = read_toml(path, "recipe")
    require_known(values, [field.name for field in fields(Recipe)], f"The recipe {path}")
    if values.get("technique") not in RECIPES:
        raise ConfigError(f"The recipe {path} needs a technique: one of {', '.join(RECIPES)}.")
    # All but these are as in a run's options, where no epochs at all are said by saying nothing.
    options = {
        key: value for key, value in values.items() if key != "technique" and (key, value) != ("epochs", 0)
    }
    try:
        TrainConfig("photos", **options)
    except ConfigError as error:
        raise ConfigError(f"The recipe {path}: {error}") from error
    return load_recipe(values["technique"]).to_dict() | values
