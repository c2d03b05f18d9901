"""Which inputs a training gets: stored features wherever a fixed prefix allows it, else pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.backbones import Cut
from headstart.features import runtime_for
from headstart.jobs.probing import load_views
from headstart.jobs.work import Work
from headstart.recipes import Recipe
from headstart.training import (
    Augmentation,
    ComputedSource,
    Examples,
    Photos,
    PixelSource,
    Source,
    StoredSource,
    SubsetSource,
)
from headstart.views import ORIGINAL, SIX, View, draw_view


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs of all of a run's images, each in one or several views.

    Attributes:
        source: row v * n + i is view v of image i.
        labels: (n,) int64.
        views: the first is the original.
    """

    source: Source
    labels: Tensor
    views: tuple[View, ...]

    def examples(self, images: NDArray[np.int64], *, all_views: bool) -> Examples:
        """Some of the images, in all views or as they are."""
        views = len(self.views) if all_views else 1
        rows = np.concatenate([view * len(self.labels) + images for view in range(views)])
        return Examples(
            source=SubsetSource(self.source, torch.from_numpy(rows)),
            labels=self.labels[torch.from_numpy(np.tile(images, views))],
        )


def views_of(recipe: Recipe) -> tuple[View, ...]:
    """The fixed views that a recipe trains on."""
    return SIX if recipe.augment == "six" else (ORIGINAL,)


def open_inputs(work: Work, recipe: Recipe, *, start: Cut | None) -> Inputs:
    """The inputs of a training that begins behind a cut, or at the pixels."""
    views = views_of(recipe)
    if start is None:
        source: Source = _pixels(work, recipe, views)
    elif work.stored:
        source = StoredSource(np.concatenate(load_views(work, start, views).arrays))
    else:
        source = _computed(work, start, views)
    return Inputs(source=source, labels=torch.from_numpy(work.data.labels), views=views)


def _computed(work: Work, cut: Cut, views: Sequence[View]) -> Source:
    """The same features, computed anew for every batch."""
    name, runtime = runtime_for(
        work.data.dataset,
        work.backbone,
        cut,
        views,
        seed=work.config.seed,
        store=work.store,
        device=work.device,
        runtime=work.runtime,
        precision=work.config.precision,
    )
    work.decide("runtime", name.value)
    return ComputedSource(_photos(work, views), runtime, work.backbone.preprocess)


def _pixels(work: Work, recipe: Recipe, views: Sequence[View]) -> Source:
    """Images, varied at random where the recipe says so."""
    random = recipe.augment if recipe.augment != "six" else "none"
    augmentation = Augmentation(kind=random, flip=recipe.flip == "yes", seed=work.config.seed)
    return PixelSource(_photos(work, views), work.backbone.preprocess, augmentation)


def _photos(work: Work, views: Sequence[View]) -> Photos:
    """The photo behind each row."""
    names, seed = work.data.dataset.names(), work.config.seed
    draws = [
        partial(draw_view, view=view, seed=seed, sha256=sha256)
        for view in views
        for sha256 in work.data.sha256s
    ]
    return Photos(files=work.data.dataset.files, names=names * len(views), views=draws)
