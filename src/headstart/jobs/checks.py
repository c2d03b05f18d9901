"""Which options go together: found out before anything is computed or replaced."""

from collections.abc import Iterator
from dataclasses import fields

from headstart.backbones import Backbone, Cut
from headstart.config import TrainConfig
from headstart.errors import ConfigError
from headstart.recipes import CURVES, Recipe, read_recipe

_SOLVED_FOR = ("ridge", "knn")
_FIXED = ("none", "six")
_OF_EPOCHS = (
    *(
        field.name
        for field in fields(Recipe)
        # A batch size suits a machine more than a training.
        if field.name not in {"technique", "head", "epochs", "batch_size", "augment", "flip"}
    ),
    "stop_after",
)
"""Options of a training step by step."""


def check_options(config: TrainConfig, backbone: Backbone) -> None:
    """Refuse options that do not go together, or that would be without effect; and layers that are not there.

    Raises:
        ConfigError: the first that does not fit.
        BackboneError: there is no such layer, or the head's features lie before what is to be trained.
    """
    recipe = read_recipe(config, technique="lp-ft" if config.recipe == "auto" else None)
    technique = "auto" if config.recipe == "auto" else recipe.technique
    start = None if config.from_layer is None else backbone.cut_before(config.from_layer)
    for fault in (*_faults(config, recipe, technique), *_varying(config, recipe, technique, start)):
        raise ConfigError(fault)
    backbone.part(start, backbone.cut("last" if recipe.head == "native" else config.layer))


def _faults(config: TrainConfig, recipe: Recipe, technique: str) -> Iterator[str]:
    """What does not fit, each with what to do."""
    if technique in ("lp-ft", "auto") and recipe.head != "linear":
        yield f"{technique} starts from a linear head, not {recipe.head}.\nUse --head linear, or --recipe finetune."
    if technique in ("finetune", "scratch") and recipe.head in _SOLVED_FOR:
        yield (
            f"A {recipe.head} head is solved for on frozen features.\n"
            f"Use --head native, linear or mlp with {technique}, or --recipe probe."
        )
    if technique == "probe" and recipe.head in _SOLVED_FOR and recipe.rates().epochs:
        yield f"A {recipe.head} head is solved for, without epochs.\nLeave out --epochs and --schedule."
    if recipe.is_solved_for and (given := [name for name in _OF_EPOCHS if getattr(config, name) is not None]):
        yield (
            f"Without effect on a {recipe.head} head, which is solved for without epochs: {', '.join(given)}.\n"
            + ("Give --epochs too, or leave this out." if recipe.head == "linear" else "Leave this out.")
        )
    if config.epochs is not None and recipe.schedule not in CURVES:
        yield (
            f"The schedule {recipe.schedule!r} has epochs of its own, and --epochs is {config.epochs}.\n"
            "Leave out one of them."
        )
    if recipe.head == "native" and config.layer not in ("pooled", "last"):
        yield (
            f"A native head stands on the network's last layer, and --layer is {config.layer}.\n"
            "Use --head linear or mlp, or leave out --layer."
        )
    if config.from_layer is not None and technique in ("probe", "scratch"):
        what = "the head alone" if technique == "probe" else "all layers"
        yield f"--from says which layers are trained, and {technique} trains {what}.\nUse --recipe finetune or lp-ft."
    if config.reinit and technique != "finetune":
        yield f"--reinit is for the layers that finetune trains; {technique} has its own start."
    if config.init is not None and technique == "scratch":
        yield "scratch starts from random weights, and --init from an earlier run's.\nUse --recipe finetune."
    if config.average_views and recipe.augment != "six":
        yield "--average-views averages over the views of --augment six.\nGive that too, or leave it out."
    if config.time is not None and technique != "auto":
        yield f"--time bounds the recipe auto, not {technique}.\nUse --epochs or --stop-after."
    if config.stop_after == 0 and technique != "auto":
        yield f"stop_after is 0; expected at least 1 with {technique}."


def _varying(config: TrainConfig, recipe: Recipe, technique: str, start: Cut | None) -> Iterator[str]:
    """Images that vary from epoch to epoch have no fixed features to be stored."""
    if technique == "probe":
        varies, frozen = recipe.augment not in _FIXED, "a probe's features"
    else:
        varies = start is not None and (config.augment or "none") not in _FIXED
        frozen = "the features before --from"
    if varies:
        yield (
            f"--augment {recipe.augment} varies the images from epoch to epoch, and {frozen} are frozen and stored.\n"
            "Use --augment six (stored views), or train from the pixels."
        )
    if config.flip == "yes" and (technique == "probe" or start is not None):
        yield (
            f"--flip yes varies the images from epoch to epoch, and {frozen} are frozen and stored.\n"
            "Use --augment six, which has mirrored views, or train from the pixels."
        )
