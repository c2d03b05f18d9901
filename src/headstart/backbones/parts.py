"""Parts: which operations split a network, and the graphs of what lies between two of them.

Every part keeps the order of the whole, so a cut is a moment in it: what has run by then belongs to the prefix, the
rest to the suffix. It is legal when its own value is all that the suffix needs of the prefix, apart from what
can be made again from nothing: parameters, position tables, sizes. Random numbers are never drawn again.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
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
        wanted = needed(self.traced.output, *self.effects)
        return tuple(node for node in self.traced.graph.nodes if node in wanted)

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

    def part(self, start: fx.Node, end: fx.Node) -> fx.Graph:
        """From one operation's value to another's.

        Args:
            start: a cut, or `traced.pixels` for the network's input.
            end: a cut behind it, or `traced.output` for all that the network does.
        """
        return _Part(self, start, end).graph


def with_average(graph: fx.Graph, positions: tuple[int, ...]) -> fx.Graph:
    """The graph with an average over positions at its end.

    Args:
        graph: gives features (N, ...); it is changed.
        positions: which of their dimensions, without the batch's, to average over.
    """
    output = next(reversed(graph.nodes))
    with graph.inserting_before(output):
        mean = graph.call_method("mean", (output.args[0],), {"dim": [i + 1 for i in positions]})
    output.args = (mean,)
    return graph


class _Part:
    """Writes a part's graph: what lies between its ends, and before that what must be made again."""

    def __init__(self, mode: Mode, start: fx.Node, end: fx.Node) -> None:
        self._mode, self._start = mode, start
        self._steps = _between(mode, start, end)
        self.graph = fx.Graph(tracer_cls=LayerTracer)
        self._features = self._placeholder()
        self._copies: dict[fx.Node, Any] = {start: self._own_features()}
        for node in self._steps:
            self._copies[node] = self._step(node)
        self.graph.output(fx.map_arg(end.args[0] if end.op == "output" else end, self._copy))

    def _placeholder(self) -> fx.Node:
        if self._start.op == "placeholder":
            return self.graph.node_copy(self._start)
        return self.graph.placeholder("features")

    def _own_features(self) -> fx.Node:
        """The features, as a copy where the part would write into the caller's own."""
        own = self._mode.observed[self._start].storages
        if any(own & self._mode.observed[node].written for node in self._steps):
            return self.graph.call_function(torch.clone, (self._features,))
        return self._features

    def _copy(self, node: fx.Node) -> Any:
        if node not in self._copies:
            self._copies[node] = self._make_again(node)
        return self._copies[node]

    def _step(self, node: fx.Node) -> Any:
        """An operation behind the start; the size of something before it is known without making that again."""
        plain = self._mode.observed[node].plain
        if _is_size(plain) and not self._copies.keys() >= set(node.all_input_nodes):
            return self._value(plain)
        return self.graph.node_copy(node, self._copy)

    def _make_again(self, node: fx.Node) -> Any:
        """An operation before the start: from its own arguments, or where these are the pixels' from what is known."""
        plain = self._mode.observed[node].plain
        if self._mode.repeatable.issuperset(node.all_input_nodes) and not _is_size(plain):
            return self.graph.node_copy(node, self._copy)
        return self._value(plain)

    def _value(self, plain: Any) -> Any:
        if isinstance(plain, list | tuple):
            return type(plain)(self._value(part) for part in plain)
        if isinstance(plain, PerImage):
            return self._times(plain.factor)
        if isinstance(plain, torch.device):
            return self.graph.call_function(getattr, (self._features, "device"))
        if isinstance(plain, torch.dtype) and plain == self._mode.observed[self._start].dtype:
            return self.graph.call_function(getattr, (self._features, "dtype"))
        return plain

    def _times(self, factor: int) -> fx.Node:
        shape = self.graph.call_function(getattr, (self._features, "shape"))
        images = self.graph.call_function(operator.getitem, (shape, 0))
        return images if factor == 1 else self.graph.call_function(operator.mul, (images, factor))


def _between(mode: Mode, start: fx.Node, end: fx.Node) -> list[fx.Node]:
    """What runs behind the start up to the end and is needed there, with the effects among it."""
    order = mode.live
    between = order[order.index(start) + 1 : order.index(end) + 1]
    wanted = needed(end, *set(between).intersection(mode.effects))
    return [node for node in between if node in wanted and node.op not in {"placeholder", "output"}]


def _is_size(plain: Any) -> bool:
    """Whether it is a number, or numbers."""
    if isinstance(plain, list | tuple):
        return all(map(_is_size, plain))
    return isinstance(plain, int | PerImage)


def needed(*targets: fx.Node) -> set[fx.Node]:
    """The targets and every node they depend on."""
    found: set[fx.Node] = set()
    waiting = list(targets)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.all_input_nodes)
    return found
