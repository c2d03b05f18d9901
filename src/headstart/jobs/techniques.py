"""The techniques: probe, finetune, lp-ft and scratch, each from a recipe to an outcome."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from types import MappingProxyType
from typing import Literal, cast

import torch
from torch import nn

from headstart.backbones import Cut
from headstart.heads import MlpHead, new_linear_head
from headstart.jobs.defaults import suit_few_images, suit_photos
from headstart.jobs.epochs import train_by_epochs
from headstart.jobs.flips import judge_flips
from headstart.jobs.inputs import open_inputs, views_of
from headstart.jobs.probing import load_views, probe_photos, soft_head
from headstart.jobs.trainee import Rows, Trainee, make_trainee
from headstart.jobs.work import Outcome, Work
from headstart.recipes import Recipe
from headstart.training import HeadKind
from headstart.views import ORIGINAL

# Of a head that cannot be solved for, where the recipe has no epochs.
_EPOCHS_OF_A_HEAD = 30


def probe(work: Work, recipe: Recipe) -> Outcome:
    """Feature extraction: a head on frozen, stored features."""
    end = end_of(work, recipe)
    if recipe.is_solved_for:
        return probe_photos(work, end, views_of(recipe), cast(HeadKind, recipe.head))
    if not recipe.rates().epochs:
        recipe = replace(recipe, epochs=_EPOCHS_OF_A_HEAD)

    def trainee_of(_: Rows) -> Trainee:
        return make_trainee(work.backbone, start=end, end=end, head=new_head(work, recipe, end))

    return train_by_epochs(work, recipe, trainee_of, open_inputs(work, recipe, start=end))


def finetune(work: Work, recipe: Recipe) -> Outcome:
    """Train all layers, or those from a layer on, with a new head or an earlier run's."""
    return _train_layers(work, recipe, _new_head, anew=work.config.reinit)


def scratch(work: Work, recipe: Recipe) -> Outcome:
    """Train the same network from random weights."""
    return _train_layers(work, recipe, _new_head, anew=True)


def lp_ft(work: Work, recipe: Recipe) -> Outcome:
    """Probe first, then fine-tune from the head that has not seen validation (Kumar et al. 2022, arXiv:2202.10054)."""
    return _train_layers(work, recipe, _fitted_head, anew=False)


HeadOf = Callable[[Work, Recipe, Rows], nn.Module]
"""Makes the head that a training on these images starts from."""


def _new_head(work: Work, recipe: Recipe, _: Rows) -> nn.Module:
    return new_head(work, recipe, end_of(work, recipe))


def _fitted_head(work: Work, recipe: Recipe, rows: Rows) -> nn.Module:
    return soft_head(work, load_views(work, end_of(work, recipe), (ORIGINAL,)), rows)


def _train_layers(work: Work, recipe: Recipe, head_of: HeadOf, *, anew: bool) -> Outcome:
    """Train from the pixels, or from `--from` on, behind a head on the recipe's cut; layers begin anew if asked for."""
    work, recipe = suit(work, recipe)

    def trainee_of(rows: Rows) -> Trainee:
        trainee = fresh_trainee(work, recipe, head_of(work, recipe, rows))
        if anew:
            trainee.backbone.reinitialise(trainee.body, seed=work.config.seed)
        return trainee

    return train_by_epochs(work, recipe, trainee_of, open_inputs(work, recipe, start=start_of(work)))


TECHNIQUES: Mapping[str, Callable[[Work, Recipe], Outcome]] = MappingProxyType(
    {"probe": probe, "finetune": finetune, "lp-ft": lp_ft, "scratch": scratch}
)


def suit(work: Work, recipe: Recipe) -> tuple[Work, Recipe]:
    """The work and its recipe with all settled that follows from the photos: size, resize, batch, flips.

    From random weights nothing can be told of them: scratch keeps the network's own size.
    """
    if recipe.technique != "scratch":
        work, recipe = suit_photos(work), suit_few_images(work, recipe)
    return work, decide_flips(work, for_prefix(work, recipe, start_of(work)))


def fresh_trainee(work: Work, recipe: Recipe, head: nn.Module) -> Trainee:
    """A copy of the work's network to be trained from `--from` on, or from the pixels, behind a head."""
    own = replace(work, backbone=work.backbone.copy())
    return make_trainee(own.backbone, start=start_of(own), end=end_of(own, recipe), head=head)


def start_of(work: Work) -> Cut | None:
    """Where the frozen prefix ends: before `--from`, else at the pixels."""
    layer = work.config.from_layer
    return None if layer is None else work.backbone.cut_before(layer)


def end_of(work: Work, recipe: Recipe) -> Cut:
    """The cut that the head stands on."""
    return work.backbone.cut("last" if recipe.head == "native" else work.config.layer)


def new_head(work: Work, recipe: Recipe, end: Cut) -> nn.Module:
    """The head that the training starts from: an earlier run's where there is one that fits, else a new one."""
    if not work.config.reinit and work.start.head is not None:
        earlier = work.start.head_for(work.data.dataset.classes, end.name, work.config.head)
        if earlier is not None:
            return deepcopy(earlier)
        work.observers.tell(
            "The head is new: the earlier run's is of another kind, or for other classes or features."
        )
    classes, seed = len(work.data.dataset.classes), work.config.seed
    if recipe.head == "native":
        return work.backbone.native_head(classes, seed=seed)
    width = int(torch.Size(end.shape).numel())
    if recipe.head == "mlp":
        return MlpHead(width, classes, seed=seed)
    return new_linear_head(width, classes, seed=seed)


def decide_flips(work: Work, recipe: Recipe) -> Recipe:
    """The recipe with the question answered whether training images are mirrored."""
    if recipe.flip != "auto":
        return recipe
    if recipe.augment in ("none", "six"):
        return replace(recipe, flip="no")
    found = judge_flips(work.data)
    work.observers.tell(str(found))
    flip: Literal["yes", "no"] = "yes" if found.safe else "no"
    work.decide("flip", flip)
    return replace(recipe, flip=flip)


def for_prefix(work: Work, recipe: Recipe, start: Cut | None) -> Recipe:
    """Behind a frozen prefix images are not varied, unless in stored views: its features are stored."""
    if start is None or work.config.augment is not None or recipe.augment == "six":
        return recipe
    return replace(recipe, augment="none", flip="no")
