"""Sources: where networks come from, and building one with random weights."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from headstart.backbones.bundled import BundledSource
from headstart.backbones.caffe import CaffeSource
from headstart.backbones.card import BackboneCard
from headstart.backbones.source import BackboneSource
from headstart.backbones.timm_source import TimmSource
from headstart.backbones.torchvision_source import TorchvisionSource

# The order in which they are listed; the bundled one comes first.
SOURCES: Mapping[str, BackboneSource] = {
    "bundled": BundledSource(),
    "torchvision": TorchvisionSource(),
    "caffe": CaffeSource(),
    "timm": TimmSource(),
}


def build_network(card: BackboneCard, *, seed: int = 0) -> nn.Module:
    """The card's architecture with random weights of that seed, in eval mode; torch's own generator is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SOURCES[card.source].build(card).eval()


def with_classes(card: BackboneCard, n_classes: int) -> BackboneCard:
    """The card of the same architecture for another number of classes; every source builds by that argument."""
    return replace(card, arguments={**card.arguments, "num_classes": n_classes})
