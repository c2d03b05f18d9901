"""Starts: where a frozen prefix ends when everything from a layer on is trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Final

import torch
from torch import fx, nn
from torch.nn import functional as F

from headstart.backbones.cut import MEAN, Cut
from headstart.backbones.operations import Operations, nearest
from headstart.backbones.parts import needed
from headstart.backbones.pooling import POOLED_HEAD
from headstart.errors import BackboneError

CLASSIFIER: Final = "classifier"

_RESHAPES: Final = frozenset((torch.flatten, "flatten", "view", "reshape"))


@dataclass(frozen=True, kw_only=True)
class Starts(Operations):
    """Where the layers of one network begin.

    Attributes:
        aliases: names of layers, to canonical names of cuts.
    """

    aliases: Mapping[str, str]

    @cached_property
    def names(self) -> list[str]:
        """All modules and operations that images run through."""
        return list(dict.fromkeys(path for name in self.mode.flow for path in _paths(name)))

    def before(self, layer: str) -> Cut | None:
        """The last cut before a layer, and before the dropout in front of it, which is trained with it.

        A name of a module means its first operation. An alias, or a name of what has no parameters, means the
        layer that makes it: to train from `fc7` on, a ReLU, is to train the matrix before it. Where blocks share
        parameters, the cut lies before all that use them.

        Args:
            layer: a module, an operation, an alias, or `classifier`.

        Returns:
            The cut, or None where nothing with parameters comes before it, so that training starts at the pixels.

        Raises:
            BackboneError: there is no such layer; the nearest names are given.
        """
        if layer in self.aliases:
            return self._before(self._maker(self._made(self.aliases[layer])))
        name = layer.removesuffix(MEAN)
        nodes = self._nodes(name)
        if not nodes and name == CLASSIFIER and self.classifier_layer is not None:
            nodes = self._nodes(self.classifier_layer)
        if not nodes:
            raise BackboneError(
                f"There is no layer {layer!r}. Nearest: {nearest(layer, [*self.aliases, CLASSIFIER, *self.names])}.\n"
                "`headstart backbones NAME` shows them all."
            )
        own = name == layer and any(self.parameters(node) for node in nodes)
        return self._before(nodes[0] if own else self._maker(nodes[-1]))

    @cached_property
    def classifier_layer(self) -> str | None:
        """The layer that is the network's classifier: what to train from for all of its `weight_layers`.

        The outermost module that begins with them; None where the network has no classifier, or several.
        """
        if not self.weight_layers:
            return None
        first = self.weight_layers[0]
        return next(name for name in _paths(first) if self.before(name) == self.before(first))

    @cached_property
    def weight_layers(self) -> list[str]:
        """The layers with matrices that make the output of the last features with positions, in order.

        Three of AlexNet and VGG (fc6, fc7, fc8), one of most others: fully connected layers, and before
        them the convolution over the whole map that is one too; the last may be any (SqueezeNet's).
        """
        if self._name(self.classifier) not in self.cuts:
            return []
        found = [self.classifier]
        before = self.mode.live[: self.mode.live.index(self.classifier)]
        for node in filter(self.mixes, reversed(before)):
            cut = self.cuts.get(self._name(node))
            if cut is None or not cut.is_vector:
                break
            found.insert(0, node)
        while len(found) > 1 and not self._is_dense(found[0]):  # at one pixel, any convolution gives a vector
            del found[0]
        return [str(node.target) if node.op == "call_module" else self._name(node) for node in found]

    def _before(self, node: fx.Node | None) -> Cut | None:
        cut = self.last_cut_before(node) if node is not None else None
        cut = self._before_dropout(cut) if cut is not None else None
        if cut is None or not cut.parameters:
            return None
        made = self.mode.traced.nodes[cut.name]
        return cut if self._parts_parameters(made) else self._before(made)

    def _parts_parameters(self, node: fx.Node) -> bool:
        """Whether no parameter is used on both sides of a cut: to train it would change what is frozen."""
        traced = self.mode.traced
        frozen = self._used(self.mode.part(traced.pixels, node))
        return frozen.isdisjoint(self._used(self.mode.part(node, traced.output)))

    def _used(self, graph: fx.Graph) -> set[int]:
        return {id(parameter) for node in graph.nodes for parameter in self.parameters(node)}

    def _before_dropout(self, cut: Cut) -> Cut | None:
        """The cut before a dropout that only a reshape parts from this one, or this one."""
        at: Cut | None = cut
        while at is not None and self._reshapes(at):
            at = self.source(at)
        if at is None or not self.drops_out(at):
            return cut
        return self.last_cut_before(self.mode.traced.nodes[at.name])

    def _maker(self, made: fx.Node) -> fx.Node | None:
        """The last operation that mixes channels on the way to what it made; None where there is none."""
        before = needed(made)
        return next((node for node in reversed(self.mode.live) if node in before and self.mixes(node)), None)

    def _made(self, name: str) -> fx.Node:
        """The operation of a canonical name; of what timm's own method pools, the last before the classifiers."""
        if name == POOLED_HEAD:
            last = self.last_cut_before(self.classifier)
            return self.mode.traced.pixels if last is None else self.mode.traced.nodes[last.name]
        return self.mode.traced.nodes[name.removesuffix(MEAN)]

    def _nodes(self, layer: str) -> list[fx.Node]:
        """The operations of a layer, in order."""
        return [node for node in self.mode.live if layer in _paths(self._name(node))]

    def _name(self, node: fx.Node) -> str:
        return self.mode.traced.names.get(node, "")

    def _reshapes(self, cut: Cut) -> bool:
        node = self.mode.traced.nodes[cut.name]
        return node.target in _RESHAPES or isinstance(self.module(node), nn.Flatten)

    def _is_dense(self, node: fx.Node) -> bool:
        """Whether it is fully connected: a linear layer, or a convolution over a whole map of several positions."""
        module = self.module(node)
        if not isinstance(module, nn.Conv2d):
            return isinstance(module, nn.Linear) or node.target is F.linear
        shape = self.mode.observed[node.all_input_nodes[0]].shape
        return shape is not None and shape[1:] == module.kernel_size != (1, 1)


def _paths(name: str) -> list[str]:
    """A name and those of the modules it stands in, from the outermost."""
    return list(accumulate(name.split("."), "{}.{}".format))
