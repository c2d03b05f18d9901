"""How fast a training goes on this machine: a few steps on copies, so that nothing of the training changes."""

import copy
from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from headstart.recipes import Recipe
from headstart.runtimes import has_bf16
from headstart.training.loop import Examples, train_network
from headstart.training.sources import SubsetSource

# One step of a usual batch, or more of smaller ones; the first time it also finds its memory.
_IMAGES, _TIMES = 32, 3
# bfloat16 is taken where it is faster by more than a measurement of a few steps is wrong by.
_WORTH = 1.3


def images_per_second(
    body: nn.Module,
    head: nn.Module,
    train: Examples,
    recipe: Recipe,
    *,
    device: str = "cpu",
    precision: str = "float32",
) -> float:
    """Train copies for a few steps, and tell how many images a second took part, at best."""
    body, head = copy.deepcopy(body), copy.deepcopy(head)
    n = min(len(train), max(_IMAGES, recipe.batch_size))
    some = Examples(source=SubsetSource(train.source, torch.arange(n)), labels=train.labels[:n])
    short = replace(recipe, epochs=_TIMES, schedule="constant", warmup=0.0, patience=0, keep="last")
    trained = train_network(body, head, some, short, device=device, precision=precision)
    return max(epoch.images_per_second for epoch in trained.history)


def choose_precision(
    body: nn.Module, head: nn.Module, train: Examples, recipe: Recipe, *, device: str
) -> tuple[Literal["float32", "bf16"], float]:
    """The faster of float32 and bf16 on this machine, and its images a second."""
    exact = images_per_second(body, head, train, recipe, device=device)
    if not has_bf16(device):
        return "float32", exact
    mixed = images_per_second(body, head, train, recipe, device=device, precision="bf16")
    return ("bf16", mixed) if mixed > _WORTH * exact else ("float32", exact)
