"""Parts: which operations split a network in two, and the graphs of both halves.

Both halves keep the order of the whole, so a cut is a moment in it: what has run by then belongs to the prefix, the
rest to the suffix. It is legal when its own value is all that the suffix needs of the prefix, apart from what
can be made again from nothing: parameters, position tables, sizes. Random numbers are never drawn again.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

import torch
from torch import fx

from headstart.backbones.observing import Observation, PerImage
from headstart.backbones.tracing import LayerTracer, Traced


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A network in one mode: its graph, and what each operation gives and does."""

    traced: Traced
    observed: Mapping[fx.Node, Observation]

    @cached_property
    def effects(self) -> tuple[fx.Node, ...]:
        """The operations that do more than give a value, as `mask.div_(keep)` in a drop path."""
        seen = self.observed
        return tuple(node for node in self.traced.graph.nodes if seen[node].random or seen[node].writes)

    @cached_property
    def live(self) -> tuple[fx.Node, ...]:
        """The operations that the output depends on, and the effects with what these depend on."""
        needed = _needed(self.traced.output, *self.effects)
        return tuple(node for node in self.traced.graph.nodes if node in needed)

    @cached_property
    def repeatable(self) -> frozenset[fx.Node]:
        """The operations whose value a suffix can make again without the pixels."""
        written = frozenset[int]().union(*(seen.written for seen in self.observed.values()))
        found: set[fx.Node] = set()
        for node in self.live:
            if self._is_repeatable(node, found, written):
                found.add(node)
        return frozenset(found)

    def _is_repeatable(self, node: fx.Node, found: set[fx.Node], written: frozenset[int]) -> bool:
        seen = self.observed[node]
        if node.op == "placeholder":
            return node is not self.traced.pixels
        if seen.random or seen.writes or seen.storages & written:
            return False
        return found.issuperset(node.all_input_nodes) or (not seen.has_tensors and seen.known)

    def cuts(self) -> list[fx.Node]:
        """The operations at which the network splits, in order.

        One sweep finds them: an operation is a cut when nothing made before it is used after it.
        """
        position = {node: i for i, node in enumerate(self.live)}
        found, reach = [], 0
        for node, i in position.items():
            if reach <= i and self.observed[node].shape is not None and self._is_made_of_pixels(node):
                found.append(node)
            if node not in self.repeatable:
                reach = max([reach, *(position.get(user, i) for user in node.users)])
        return found

    def _is_made_of_pixels(self, node: fx.Node) -> bool:
        return node.op not in {"placeholder", "output"} and node not in self.repeatable

    @cached_property
    def flow(self) -> list[str]:
        """Names of the operations that images flow through, in order: none that only reads a size."""
        return [
            name
            for node in self.live
            if (name := self.traced.names.get(node)) is not None
            and self._is_made_of_pixels(node)
            and self.observed[node].has_tensors
        ]

    def prefix(self, name: str) -> fx.Graph:
        """From the pixels to the cut of that name."""
        cut = self.traced.nodes[name]
        before = set(takewhile(lambda node: node is not cut, self.live))
        needed = _needed(cut, *before.intersection(self.effects))
        graph = fx.Graph(tracer_cls=LayerTracer)
        copies: dict[fx.Node, fx.Node] = {}
        for node in self.live:
            if node in needed:
                copies[node] = graph.node_copy(node, copies.__getitem__)
        graph.output(copies[cut])
        return graph

    def suffix(self, name: str) -> fx.Graph:
        """From the cut of that name to the output."""
        return _Suffix(self, self.traced.nodes[name]).graph


class _Suffix:
    """Writes the graph of a suffix: what comes after the cut, and before it what must be made again."""

    def __init__(self, mode: Mode, cut: fx.Node) -> None:
        self._mode, self._cut = mode, cut
        self.graph = fx.Graph(tracer_cls=LayerTracer)
        self._features = self.graph.placeholder("features")
        self._later = mode.live[mode.live.index(cut) + 1 :]
        self._copies: dict[fx.Node, Any] = {cut: self._start()}
        for node in self._later:
            if node.op not in {"placeholder", "output"}:
                self._copies[node] = self.graph.node_copy(node, self._copy)
        self.graph.output(fx.map_arg(mode.traced.output.args[0], self._copy))

    def _start(self) -> fx.Node:
        """The features, as a copy where the suffix would write into the caller's own."""
        own = self._mode.observed[self._cut].storages
        if any(own & self._mode.observed[node].written for node in self._later):
            return self.graph.call_function(torch.clone, (self._features,))
        return self._features

    def _copy(self, node: fx.Node) -> Any:
        if node not in self._copies:
            self._copies[node] = self._make_again(node)
        return self._copies[node]

    def _make_again(self, node: fx.Node) -> Any:
        """An operation before the cut: from its own arguments, or where these are the pixels' from what is known."""
        if self._mode.repeatable.issuperset(node.all_input_nodes):
            return self.graph.node_copy(node, self._copy)
        return self._value(self._mode.observed[node].plain)

    def _value(self, plain: Any) -> Any:
        if isinstance(plain, list | tuple):
            return type(plain)(self._value(part) for part in plain)
        if isinstance(plain, PerImage):
            return self._times(plain.factor)
        if isinstance(plain, torch.device):
            return self.graph.call_function(getattr, (self._features, "device"))
        if isinstance(plain, torch.dtype) and plain == self._mode.observed[self._cut].dtype:
            return self.graph.call_function(getattr, (self._features, "dtype"))
        return plain

    def _times(self, factor: int) -> fx.Node:
        shape = self.graph.call_function(getattr, (self._features, "shape"))
        images = self.graph.call_function(operator.getitem, (shape, 0))
        return images if factor == 1 else self.graph.call_function(operator.mul, (images, factor))


def _needed(*targets: fx.Node) -> set[fx.Node]:
    """The targets and every node they depend on."""
    needed: set[fx.Node] = set()
    waiting = list(targets)
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting.extend(node.all_input_nodes)
    return needed
