"""Backbones: pretrained networks, their weights, their preprocessing and their cuts."""

from collections.abc import Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Protocol

import torch
from torch import nn

from headstart.backbones.backbone import Backbone, Weights, sha256_of_tensors
from headstart.backbones.bundled import BundledSource
from headstart.backbones.caffe import CaffeSource
from headstart.backbones.card import BackboneCard
from headstart.backbones.cuts import Cut
from headstart.errors import BackboneError

__all__ = [
    "Backbone",
    "BackboneCard",
    "BackboneSource",
    "Cut",
    "Weights",
    "build_network",
    "find_card",
    "list_backbones",
    "load_backbone",
]


class BackboneSource(Protocol):
    """Where networks come from: the one seam for new ones."""

    def cards(self) -> list[BackboneCard]:
        """What there is, whether or not the weights are here."""
        ...

    def build(self, card: BackboneCard) -> nn.Module:
        """The architecture with random weights, drawn from torch's global generator."""
        ...

    def load(self, card: BackboneCard, network: nn.Module) -> None:
        """Put the pretrained weights into the network; raises BackboneError where they cannot be had."""
        ...


SOURCES: Mapping[str, BackboneSource] = {"bundled": BundledSource(), "caffe": CaffeSource()}


def list_backbones(pattern: str = "*") -> list[BackboneCard]:
    """The backbones whose name holds `pattern` (with `*` and `?` as in file names), by source and name."""
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    cards = [card for source in SOURCES.values() for card in source.cards()]
    return [card for card in cards if fnmatchcase(card.name, wanted)]


def find_card(name: str) -> BackboneCard:
    """The card of one backbone.

    Raises:
        BackboneError: there is no such backbone; the nearest names are given.
    """
    cards = {card.name: card for card in list_backbones()}
    if name not in cards:
        close = get_close_matches(name, cards, n=3, cutoff=0.3) or list(cards)[:3]
        raise BackboneError(
            f"There is no backbone {name!r}. Nearest: {', '.join(close)}. "
            "`headstart backbones` lists what can be used."
        )
    return cards[name]


def load_backbone(name: str, *, weights: Weights = "pretrained", seed: int = 0) -> Backbone:
    """Build a backbone, with its weights.

    Args:
        name: one of `list_backbones()`.
        weights: "pretrained", or "none" for random weights (the baseline).
        seed: seed of the random weights; without effect on pretrained ones.

    Returns:
        The backbone, in eval mode, on the CPU, float32.

    Raises:
        BackboneError: there is no such backbone, or its weights cannot be had.
    """
    card = find_card(name)
    network = build_network(card, seed=seed)
    if weights == "none":
        return Backbone(
            card=card,
            network=network,
            weights="none",
            weights_sha256=sha256_of_tensors(network.state_dict()),
        )
    SOURCES[card.source].load(card, network)
    return Backbone(card=card, network=network, weights="pretrained", weights_sha256=card.weights_sha256)


def build_network(card: BackboneCard, *, seed: int = 0) -> nn.Module:
    """The card's architecture with random weights of that seed, in eval mode; torch's own generator is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SOURCES[card.source].build(card).eval()
