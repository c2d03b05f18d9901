"""Untraced: what can be had of a network whose operations cannot be followed."""

from collections.abc import Iterable, Mapping
from typing import NoReturn

from torch import nn

from headstart.backbones.cut import Cut, require_going_on
from headstart.backbones.layers import Layer
from headstart.backbones.pooling import pooled_cut, pooling
from headstart.errors import BackboneError


class UntracedNetwork:
    """A network of timm's whose operations cannot be followed: its pooled features are its one cut.

    Args:
        network: it takes (N, 3, size, size) float32, and has `forward_features` and `forward_head`.
        size: height and width of the input, in pixels.
        reason: why it cannot be traced.

    Raises:
        BackboneError: it does not take images of that size.
    """

    def __init__(self, network: nn.Module, *, size: int, reason: str) -> None:
        self.network = network
        head = pooled_cut(network, size)
        self.cuts = {head.name: head}
        self.aliases = dict.fromkeys(("pooled", "last"), head.name)
        self.note: str | None = f"Its pooled features are its only layer to take. {reason}"

    def resolve(self, layer: str, also: Iterable[str] = ()) -> Cut:
        """The one cut, under its own name.

        Raises:
            BackboneError: another layer was named.
        """
        if layer not in self.cuts:
            raise BackboneError(f"There is no layer {layer!r} to take.\n{self.note}")
        return self.cuts[layer]

    def layers(self, depth: int | None) -> list[Layer]:
        """The one cut; what the modules give is not known."""
        return [
            Layer(name=cut.name, kind="method", depth=0, parameters=cut.parameters, shape=cut.shape, cut=cut)
            for cut in self.cuts.values()
        ]

    def part(self, start: Cut | None, end: Cut) -> nn.Module:
        """From pixels (N, 3, size, size) to pooled features (N, channels), or nothing at all.

        It has all of the network's parameters: what the pooling leaves out is not known.

        Raises:
            BackboneError: start is a cut, other than the end.
        """
        if start == end:
            return nn.Identity()
        if start is not None:
            require_going_on(start)
        return pooling(self.network).train(self.network.training)

    def suffix(self, start: Cut) -> NoReturn:
        """Always refused.

        Raises:
            BackboneError: the network does not go on from its pooled features in a way that is known.
        """
        require_going_on(start)
        raise AssertionError(start)

    def starts(self, aliases: Mapping[str, str]) -> None:
        """Where layers begin is not known."""
        return
