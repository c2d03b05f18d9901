"""Native: a network's own classifier, made anew for other classes."""

import torch
from torch import Tensor, nn

from headstart.backbones.card import BackboneCard
from headstart.backbones.cut import Cut
from headstart.backbones.cuts import cut_network
from headstart.backbones.sources import build_network, with_classes
from headstart.errors import BackboneError


class NativeHead(nn.Module):
    """What a network does behind its `last` cut: features (N, *last.shape) to logits (N, K).

    Args:
        part: that part of the network.
    """

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, features: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.part(features)
        return logits


def build_native_head(card: BackboneCard, last: Cut, n_classes: int, *, seed: int) -> NativeHead:
    """All that an architecture does behind its `last` cut, with random weights for so many classes.

    It is taken from a network that was freshly built for these classes, so the weights are drawn as the
    architecture's authors would; nothing is shared with any other network. Only where they draw the last layer's the
    wider the fewer classes there are, as for EfficientNets, it is drawn as torch draws any: a few classes would begin
    with logits far apart, and a short training would not get over it.

    Args:
        card: the architecture.
        last: the cut.
        n_classes: number of classes.
        seed: of the weights; torch's own generator is kept.

    Returns:
        A module in eval mode, from features (N, *last.shape) to logits (N, n_classes).

    Raises:
        BackboneError: the architecture has no one classifier that could be made for other classes.
    """
    if not last.goes_on:
        raise _impossible(card, f"it does not go on from {last.name!r} as one tensor")
    found = cut_network(build_network(with_classes(card, n_classes), seed=seed), size=card.preprocess.size)
    if found.cuts.get(last.name) != last:
        raise _impossible(card, f"built for {n_classes} classes it has no layer {last.name!r}")
    head = found.suffix(last)
    if (shape := _output_shape(head, last)) != (n_classes,):
        raise _impossible(card, f"built for {n_classes} classes it gives {shape} for an image")
    _narrow(head, seed)
    return NativeHead(head)


def _narrow(head: nn.Module, seed: int) -> None:
    """Draw the last layer anew where a feature of size 1 in all its inputs would give logits of more than size 1."""
    layers = [module for module in head.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    if layers and layers[-1].weight.std().item() > layers[-1].weight[0].numel() ** -0.5:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers[-1].reset_parameters()


def _output_shape(head: nn.Module, last: Cut) -> tuple[int, ...]:
    """The shape of one image's output."""
    with torch.inference_mode():
        return tuple(head(torch.zeros(1, *last.shape)).shape[1:])


def _impossible(card: BackboneCard, reason: str) -> BackboneError:
    return BackboneError(
        f"The classifier of {card.name} cannot be made for other classes: {reason}.\nChoose the head linear."
    )
