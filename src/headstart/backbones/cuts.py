"""Cuts: the layers through which all data flows as one tensor, so that a network splits in two there.

A cut is found, not declared. The network is traced with torch.fx, and every node through which each path from
the pixels to the output passes is a legal cut (it dominates the output). Its canonical name is the module or
operation that makes it, as torchvision's tracer names it (`blocks.6.0.bn3`, `global_pool.flatten`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import dropwhile, takewhile
from math import prod
from typing import Any

import torch
from timm.models import get_notrace_functions, get_notrace_modules
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import DualGraphModule, NodePathTracer

from headstart.errors import BackboneError


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One legal cut of a network.

    Attributes:
        name: canonical name, the only one that is used as a key.
        shape: shape of one image's features there, without the batch dimension.
        parameters: number of parameters in the prefix that ends here.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int

    @property
    def bytes_per_image(self) -> int:
        """What storing one image's features costs, in bytes, as float32."""
        return 4 * prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class _Traced:
    """A graph and the canonical name of each of its nodes."""

    graph: fx.Graph
    names: Mapping[fx.Node, str]

    def node(self, name: str) -> fx.Node:
        return next(node for node, own in self.names.items() if own == name)


class CutNetwork:
    """A network and all its cuts. Whatever is split off shares its parameters with the network.

    Tracing would freeze `training` into functional dropout, so both modes are traced and a part switches
    between its two graphs with `train()` and `eval()`.

    Args:
        network: the module to cut; it takes (N, 3, size, size) float32.
        size: height and width of the input, in pixels, at which shapes are found.

    Raises:
        BackboneError: torch.fx cannot trace the network.
    """

    def __init__(self, network: nn.Module, *, size: int) -> None:
        self.network = network
        modes = [(module, module.training) for module in network.modules()]
        try:
            self._train = _trace(network.train())
            self._eval = _trace(network.eval())
            self.cuts = self._find(size)
        finally:
            for module, training in modes:  # one by one: parts of it may be frozen in another mode
                module.training = training

    def _find(self, size: int) -> Mapping[str, Cut]:
        """All legal cuts, from the pixels to the output."""
        nodes = _dominators(self._eval.graph)
        # A node without a name is none of the network's own: it packs several outputs into a tuple.
        in_train_mode = {self._train.names.get(node) for node in _dominators(self._train.graph)} - {None}
        shapes = _shapes(self.network, self._eval.graph, size)
        parameters = _prefix_parameters(self.network, self._eval.graph)
        return {
            name: Cut(name=name, shape=shapes[node], parameters=parameters[node])
            for node in nodes
            if (name := self._eval.names.get(node)) in in_train_mode and name is not None and node in shapes
        }

    def resolve(self, layer: str) -> Cut:
        """The cut that `layer` names: a canonical name, or a module, which means that module's last cut.

        Raises:
            BackboneError: the layer is not there, or data flows around it; the nearest names are given.
        """
        if layer in self.cuts:
            return self.cuts[layer]
        inside = [name for name in self._eval.names.values() if name.startswith(f"{layer}.")]
        if inside and inside[-1] in self.cuts:
            return self.cuts[inside[-1]]
        if layer in self._eval.names.values() or inside:
            raise BackboneError(
                f"Layer {layer!r} is no cut: data flows around it, or it is not one tensor. "
                f"Nearest cuts: {_nearest(layer, self.cuts)}."
            )
        raise BackboneError(f"There is no layer {layer!r}. Nearest cuts: {_nearest(layer, self.cuts)}.")

    def split(self, cut: Cut) -> tuple[nn.Module, nn.Module]:
        """Prefix (pixels to features) and suffix (features to output); both share the network's parameters."""
        prefix = self._part(*(_prefix_graph(traced, cut.name) for traced in (self._train, self._eval)))
        suffix = self._part(*(_suffix_graph(traced, cut.name) for traced in (self._train, self._eval)))
        return prefix, suffix

    def _part(self, train: fx.Graph, evaluation: fx.Graph) -> nn.Module:
        part: nn.Module = DualGraphModule(self.network, train, evaluation)
        return part.train(self.network.training)


def _trace(network: nn.Module) -> _Traced:
    """Trace in the network's present mode, with the leaf modules and functions that timm declares."""
    tracer = NodePathTracer(
        leaf_modules=list(get_notrace_modules()),  # type: ignore[no-untyped-call]
        autowrap_functions=list(get_notrace_functions()),  # type: ignore[no-untyped-call]
    )
    try:
        graph = tracer.trace(network)
    except Exception as error:  # whatever a foreign forward() raises while it is traced
        raise BackboneError(
            f"{type(network).__name__} cannot be traced, so it has no cuts: {error}"
        ) from error
    return _Traced(graph=graph, names=dict(tracer.node_to_qualname))


def _dominators(graph: fx.Graph) -> list[fx.Node]:
    """The nodes through which every path from the input to the output passes, in order.

    In a topological order of the nodes that lie on such a path, a node is a dominator exactly when no edge
    jumps over it; one sweep that remembers how far the edges so far reach finds them all.
    """
    flow = _flow(graph)
    path = _between(graph, flow)
    position = {node: i for i, node in enumerate(path)}
    found, reach = [], 0
    for i, node in enumerate(path):
        if reach <= i and node.op != "placeholder":
            found.append(node)
        reach = max([reach, *(position.get(user, i) for user in flow[node])])
    return found


def _flow(graph: fx.Graph) -> dict[fx.Node, set[fx.Node]]:
    """Where data goes from each node: to its users, and by way of an effect to what reads its arguments later."""
    position = {node: i for i, node in enumerate(graph.nodes)}
    flow = {node: set(node.users) for node in graph.nodes}
    for effect in _effects(graph):
        for source in effect.all_input_nodes:
            flow[effect].update(user for user in source.users if position[user] > position[effect])
    return flow


def _effects(graph: fx.Graph) -> list[fx.Node]:
    """Nodes whose value nobody uses: they are there for what they do, as `mask.div_(keep)` in a drop path."""
    return [node for node in graph.nodes if not node.users and node.op not in {"placeholder", "output"}]


def _between(graph: fx.Graph, flow: Mapping[fx.Node, set[fx.Node]]) -> list[fx.Node]:
    """The nodes on some path from the pixels to the output, without the output itself, in order."""
    from_pixels = {_pixels(graph)}
    for node in graph.nodes:
        if node in from_pixels:
            from_pixels |= flow[node]
    output = _output(graph)
    to_output = {output}
    for node in reversed(graph.nodes):
        if flow[node] & to_output:
            to_output.add(node)
    return [node for node in graph.nodes if node in from_pixels & to_output and node is not output]


class _ShapeRecorder(fx.Interpreter):
    """Runs a graph and notes the shape of every tensor that has one row per image (of one image)."""

    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        super().__init__(network, graph=graph)
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, as the base class does."""
        value = super().run_node(n)
        if isinstance(value, Tensor) and value.ndim > 1 and value.shape[0] == 1:
            self.shapes[n] = tuple(value.shape[1:])
        return value


def _shapes(network: nn.Module, graph: fx.Graph, size: int) -> dict[fx.Node, tuple[int, ...]]:
    """Shape without batch dimension of each node whose value is one tensor with one row per image."""
    recorder = _ShapeRecorder(network, graph)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine the threads of one small image wait for each other, tenfold
    try:
        with torch.inference_mode():
            recorder.run(torch.zeros(1, 3, size, size, device=next(network.parameters()).device))
    finally:
        torch.set_num_threads(threads)
    return recorder.shapes


def _prefix_parameters(network: nn.Module, graph: fx.Graph) -> dict[fx.Node, int]:
    """For each node, how many parameters have been used up to it (each counted once)."""
    seen: set[int] = set()
    counts: dict[fx.Node, int] = {}
    total = 0
    for node in graph.nodes:
        if node.op in {"call_module", "get_attr"}:
            for parameter in _parameters(network, str(node.target)):
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    total += parameter.numel()
        counts[node] = total
    return counts


def _parameters(network: nn.Module, target: str) -> list[nn.Parameter]:
    """The parameters of the module, or the one parameter, that `target` names."""
    value: object = network
    for name in target.split("."):
        value = getattr(value, name)
    if isinstance(value, nn.Module):
        return list(value.parameters())
    return [value] if isinstance(value, nn.Parameter) else []


def _prefix_graph(traced: _Traced, name: str) -> fx.Graph:
    """A copy that ends at the cut."""
    cut = traced.node(name)
    graph = fx.Graph(tracer_cls=NodePathTracer)
    copies: dict[fx.Node, fx.Node] = {}
    before = set(takewhile(lambda node: node is not cut, traced.graph.nodes))
    needed = _needed_for(cut, *(effect for effect in _effects(traced.graph) if effect in before))
    for node in traced.graph.nodes:
        if node in needed:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(copies[cut])
    return graph


def _suffix_graph(traced: _Traced, name: str) -> fx.Graph:
    """A copy that begins at the cut; what does not depend on the pixels is computed again in it."""
    cut, output = traced.node(name), _output(traced.graph)
    graph = fx.Graph(tracer_cls=NodePathTracer)
    features = graph.placeholder("features")
    # Without the clone, an in-place operation first in the suffix would overwrite the caller's features.
    copies = {cut: graph.call_function(torch.clone, (features,))}
    after = set(dropwhile(lambda node: node is not cut, traced.graph.nodes))
    effects = [node for node in _effects(traced.graph) if node in after and _follows(node, cut)]
    needed = _needed_for(output, *effects, given=cut)
    for node in traced.graph.nodes:
        if node in needed and node is not cut and node is not output:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(fx.map_arg(output.args[0], copies.__getitem__))
    return graph


def _pixels(graph: fx.Graph) -> fx.Node:
    """The network's first argument; others, such as `attn_mask` of a transformer, keep their defaults."""
    pixels: fx.Node = next(node for node in graph.nodes if node.op == "placeholder")
    return pixels


def _output(graph: fx.Graph) -> fx.Node:
    output: fx.Node = next(node for node in reversed(graph.nodes) if node.op == "output")
    return output


def _follows(node: fx.Node, cut: fx.Node) -> bool:
    """Whether the node can be computed from the cut on, without the pixels."""
    return _pixels(cut.graph) not in _needed_for(node, given=cut)


def _needed_for(*targets: fx.Node, given: fx.Node | None = None) -> set[fx.Node]:
    """The targets and every node they depend on, looking no further back than `given`."""
    needed: set[fx.Node] = set()
    waiting = list(targets)
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting.extend(() if node is given else node.all_input_nodes)
    return needed


def _nearest(layer: str, cuts: Mapping[str, Cut]) -> str:
    close = get_close_matches(layer, cuts, n=5, cutoff=0.3) or list(cuts)[-5:]
    return ", ".join(close)
