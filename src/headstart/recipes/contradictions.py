"""Options that do not go together in a recipe: what would be without effect is said, not passed over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from headstart.config import TrainConfig

if TYPE_CHECKING:
    from headstart.recipes.recipe import Recipe

_OF_EPOCHS: Final = (
    "lr",
    "schedule",
    "warmup",
    "optimizer",
    "momentum",
    "weight_decay",
    "layer_decay",
    "batch_size",
    "batch_norm",
    "label_smoothing",
    "clip",
    "patience",
    "keep",
    "stop_after",
)
"""Options of a training step by step."""

AT_RANDOM: Final = ("crop", "randaugment", "trivialaugment")
"""Augmentations that give another image in each epoch."""


def contradictions(config: TrainConfig, recipe: Recipe) -> list[str]:
    """What does not go together, each in words.

    Args:
        config: a run's options.
        recipe: what they come to; its schedule can be read.
    """
    return [
        *_of_epochs(config, recipe),
        *_of_start(config, recipe),
        *_of_head(config, recipe),
        *_of_images(config, recipe),
    ]


def _of_epochs(config: TrainConfig, recipe: Recipe) -> Iterator[str]:
    """Epochs are said once, and where there are any."""
    if recipe.schedule not in ("cosine", "constant"):
        for name in ("epochs", "time"):
            if (value := getattr(config, name)) is not None:
                yield f"{name} is {value}, and schedule {recipe.schedule!r} has its own epochs: leave out one of them"
    if recipe.is_solved_for and (given := [name for name in _OF_EPOCHS if getattr(config, name) is not None]):
        advice = "set epochs too" if recipe.head == "linear" else "leave out what is set of this"
        yield (
            f"no effect of {', '.join(given)} on a {recipe.head} head, which is solved for without epochs: {advice}"
        )


def _of_start(config: TrainConfig, recipe: Recipe) -> Iterator[str]:
    """What training starts from, and where."""
    technique = recipe.technique
    if config.reinit and technique not in ("finetune", "scratch"):
        yield f"reinit is for finetune and scratch, and the technique is {technique}"
    if config.init is not None and technique == "scratch":
        yield f"init is {config.init!r}, and scratch starts from random weights: choose another recipe"
    if config.from_layer is not None and technique in ("probe", "scratch"):
        trained = "no layer" if technique == "probe" else "all layers"
        yield (
            f"from_layer is {config.from_layer!r}, and {technique} trains {trained}: "
            "choose the recipe finetune or lp-ft"
        )


def _of_head(config: TrainConfig, recipe: Recipe) -> Iterator[str]:
    """Which heads can be trained how, and stand where."""
    if recipe.technique != "probe" and recipe.head in ("ridge", "knn"):
        yield f"head {recipe.head} is solved for on frozen features: choose the recipe probe"
    elif recipe.head in ("ridge", "knn") and not recipe.is_solved_for:
        yield f"head {recipe.head} is solved for, without epochs: leave out epochs and schedule"
    elif recipe.technique == "lp-ft" and recipe.head != "linear":
        yield f"head is {recipe.head!r}, and lp-ft starts from a linear one: choose head linear or the recipe finetune"
    if recipe.head == "native" and config.layer not in ("pooled", "last"):
        yield f"layer is {config.layer!r}, and head native stands on the last one: choose head linear or mlp"


def _of_images(config: TrainConfig, recipe: Recipe) -> Iterator[str]:
    """How images are varied."""
    if config.average_views and recipe.augment != "six":
        yield f"average_views averages over the views of augment six, and augment is {recipe.augment}"
    flips = config.flip == "yes"
    if recipe.technique == "probe" and (flips or recipe.augment in AT_RANDOM):
        what = f"augment {recipe.augment}" if recipe.augment in AT_RANDOM else "flip yes"
        yield f"{what} varies images from epoch to epoch, and the features of a probe are fixed: choose augment six"
    elif flips and recipe.augment not in AT_RANDOM:
        yield f"flip is yes, and augment {recipe.augment} varies no image at random: choose augment crop"
