"""Cuts: the layers through which all data flows as one tensor, so that a network splits in two there.

A cut is found, not declared. The network is traced with torch.fx, and every operation whose value is all that the
rest needs is a legal cut. Its canonical name is the module or operation that makes it (`blocks.6.0.bn3`,
`global_pool.flatten`). Where the network has no average over positions of its own, `NAME:mean` adds one.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Protocol

from torch import fx, nn
from torchvision.models.feature_extraction import DualGraphModule

from headstart.backbones.aliases import Aliases
from headstart.backbones.cut import MEAN, Cut, require_going_on
from headstart.backbones.keeping import attributes_kept
from headstart.backbones.layers import Layer, list_layers
from headstart.backbones.observing import observe
from headstart.backbones.operations import Operations, nearest
from headstart.backbones.parts import Mode, with_average
from headstart.backbones.pooling import POOLED_HEAD, has_pooling, pooled_cut, pooling
from headstart.backbones.starts import Starts
from headstart.backbones.tracing import trace
from headstart.backbones.untraced import UntracedNetwork
from headstart.errors import BackboneError

__all__ = ["Cut", "CutNetwork", "TracedNetwork", "UntracedNetwork", "cut_network"]

_SEE = "`headstart backbones NAME` shows all that can be taken."


class CutNetwork(Protocol):
    """A network and all its cuts. Whatever is split off shares its parameters with the network."""

    @property
    def network(self) -> nn.Module:
        """The network."""
        ...

    @property
    def cuts(self) -> Mapping[str, Cut]:
        """All cuts by canonical name, from the pixels to the output."""
        ...

    @property
    def aliases(self) -> Mapping[str, str]:
        """`last` and `pooled`, to canonical names."""
        ...

    @property
    def note(self) -> str | None:
        """What there is to say about its cuts, or None."""
        ...

    def resolve(self, layer: str, also: Iterable[str] = ()) -> Cut:
        """The cut that `layer` names; raises BackboneError with the nearest names where there is none."""
        ...

    def layers(self, depth: int | None) -> list[Layer]:
        """The tree of modules; see `list_layers`."""
        ...

    def part(self, start: Cut | None, end: Cut) -> nn.Module:
        """From the features at start, or the pixels, to those at end; raises BackboneError if that is no way."""
        ...

    def suffix(self, start: Cut) -> nn.Module:
        """From the features at start to the output; raises BackboneError where the network does not go on."""
        ...

    def starts(self, aliases: Mapping[str, str]) -> Starts | None:
        """Where layers begin, with the aliases that count; None where that is not known."""
        ...


def cut_network(network: nn.Module, *, size: int) -> CutNetwork:
    """Find the cuts of a network.

    Args:
        network: it takes (N, 3, size, size) float32.
        size: height and width of the input, in pixels, at which shapes are found.

    Raises:
        BackboneError: the network cannot be traced and gives no pooled features by itself, or it does not take
            images of that size.
    """
    try:
        return TracedNetwork(network, size=size)
    except BackboneError as error:
        if not has_pooling(network):
            raise
        return UntracedNetwork(network, size=size, reason=str(error))


class TracedNetwork:
    """A network whose operations are known.

    Tracing would freeze `training` into functional dropout, so both modes are traced and a part switches
    between its two graphs with `train()` and `eval()`.

    Args:
        network: the module to cut; it takes (N, 3, size, size) float32.
        size: height and width of the input, in pixels, at which shapes are found.

    Raises:
        BackboneError: torch.fx cannot trace the network, or it does not take images of that size.
    """

    note: str | None = None

    def __init__(self, network: nn.Module, *, size: int) -> None:
        self.network = network
        self._size = size
        self.train = _observe(network, size, training=True)
        self.eval = _observe(network, size, training=False)
        self.cuts, self.aliases = self._with_aliases(self._find(), size)

    def _find(self) -> dict[str, Cut]:
        """All operations at which the network splits, from the pixels to the output."""
        train, evaluation = self.train, self.eval
        # A node without a name is none of the network's own: it packs several outputs into a tuple.
        in_train_mode = {(train.traced.names.get(node), train.observed[node].shape) for node in train.cuts()}
        found: dict[str, Cut] = {}
        parameters = Operations(network=self.network, mode=evaluation, cuts=found).parameters_until()
        for node in evaluation.cuts():
            name, shape = evaluation.traced.names.get(node), evaluation.observed[node].shape
            if name is not None and shape is not None and (name, shape) in in_train_mode:
                found[name] = Cut(name=name, shape=shape, parameters=parameters[node])
        return found

    def _with_aliases(self, cuts: dict[str, Cut], size: int) -> tuple[dict[str, Cut], dict[str, str]]:
        """The cuts with those that the aliases add, and the aliases."""
        found = Aliases(network=self.network, mode=self.eval, cuts=cuts)
        if has_pooling(self.network) and (found.last is None or not found.last.is_vector):
            # Several classifiers, each with a token of its own: what they share is the network's own to say.
            head = pooled_cut(self.network, size)
            return cuts | {head.name: head}, {"pooled": head.name, "last": head.name}
        if found.last is None or found.pooled is None:
            return cuts, {}
        aliases = {"pooled": found.pooled, "last": found.last.name}
        return _with_average(cuts, found.pooled), aliases

    def resolve(self, layer: str, also: Iterable[str] = ()) -> Cut:
        """The cut that `layer` names: a canonical name, or a module, which means that module's last cut.

        With `:mean` at its end, the average of that cut over its positions.

        Args:
            layer: the name.
            also: other names that somebody may have meant, for the error.

        Raises:
            BackboneError: the layer is not there, or data flows around it; the nearest names are given.
        """
        if layer in self.cuts:
            return self.cuts[layer]
        if layer.endswith(MEAN):
            return self._averaged(self.resolve(layer.removesuffix(MEAN), also))
        inside = [name for name in self.eval.flow if name.startswith(f"{layer}.")]
        if inside and inside[-1] in self.cuts:
            return self.cuts[inside[-1]]
        if inside or layer in self.eval.traced.nodes:
            raise BackboneError(
                f"Layer {layer!r} is no cut: data flows around it, or it is not one tensor. "
                f"Nearest cuts: {nearest(layer, [*also, *self.cuts])}.\n{_SEE}"
            )
        raise BackboneError(
            f"There is no layer {layer!r}. Nearest cuts: {nearest(layer, [*also, *self.cuts])}.\n{_SEE}"
        )

    def _averaged(self, cut: Cut) -> Cut:
        if not cut.positions or not cut.goes_on:
            raise BackboneError(
                f"Layer {cut.name!r} is a vector: there are no positions to average.\nLeave out {MEAN!r}."
            )
        return cut.averaged

    def layers(self, depth: int | None) -> list[Layer]:
        """The tree of modules; see `list_layers`."""
        return list_layers(self.network, self.eval, self.cuts, depth=depth)

    def part(self, start: Cut | None, end: Cut) -> nn.Module:
        """From the features at start, or the pixels, to those at end.

        Raises:
            BackboneError: the network does not go on from start, or end does not come after it.
        """
        if start == end:
            return nn.Identity()
        if start is not None:
            require_going_on(start)
        train, evaluation = self._modes(end)
        return self._module(self._graph(train, start, end), self._graph(evaluation, start, end))

    def suffix(self, start: Cut) -> nn.Module:
        """From the features at start to the output.

        Raises:
            BackboneError: the network does not go on from start.
        """
        require_going_on(start)
        train, evaluation = self.train, self.eval
        return self._module(
            train.part(train.traced.nodes[start.name], train.traced.output),
            evaluation.part(evaluation.traced.nodes[start.name], evaluation.traced.output),
        )

    def starts(self, aliases: Mapping[str, str]) -> Starts:
        """Where layers begin, with the aliases that count."""
        return Starts(network=self.network, mode=self.eval, cuts=self.cuts, aliases=aliases)

    def _modes(self, end: Cut) -> tuple[Mode, Mode]:
        """The network in train and in eval mode, on its way to that end."""
        return self._pooling if end.name == POOLED_HEAD else (self.train, self.eval)

    @cached_property
    def _pooling(self) -> tuple[Mode, Mode]:
        """The network on its way to what timm's own method pools."""
        network = pooling(self.network)
        return _observe(network, self._size, training=True), _observe(network, self._size, training=False)

    def _graph(self, mode: Mode, start: Cut | None, end: Cut) -> fx.Graph:
        """One mode's graph of a part.

        Raises:
            BackboneError: end does not come after start.
        """
        nodes, through = mode.traced.nodes, end.name.removesuffix(MEAN)
        last = mode.traced.output if end.name == POOLED_HEAD else nodes[through]
        if start is None:
            graph = mode.part(mode.traced.pixels, last)
        elif start.name in nodes and mode.live.index(nodes[start.name]) <= mode.live.index(last):
            graph = mode.part(nodes[start.name], last)
        else:
            raise BackboneError(
                f"Layer {end.name!r} does not come after {start.name!r}, so there is nothing between them.\n"
                f"Choose a layer behind {start.name!r}, or start before {end.name!r}."
            )
        return with_average(graph, self.cuts[through].positions) if through != end.name else graph

    def _module(self, train: fx.Graph, evaluation: fx.Graph) -> nn.Module:
        module: nn.Module = DualGraphModule(self.network, train, evaluation)
        own = dict(self.network.named_buffers(remove_duplicate=False))
        for name, constant in list(module.named_buffers(remove_duplicate=False)):
            if name not in own:  # a tensor that the forward uses, but that is no part of the network's state
                above, _, attribute = name.rpartition(".")
                module.get_submodule(above).register_buffer(attribute, constant, persistent=False)
        return module.train(self.network.training)


def _with_average(cuts: dict[str, Cut], name: str) -> dict[str, Cut]:
    """The cuts with the average of that name behind the one that it averages."""
    if name in cuts:
        return cuts
    found = {}
    for cut in cuts.values():
        found[cut.name] = cut
        if cut.name + MEAN == name:
            found[name] = cut.averaged
    return found


def _observe(network: nn.Module, size: int, *, training: bool) -> Mode:
    with attributes_kept(network):
        traced = trace(network.train(training))
    try:
        with attributes_kept(network):
            observed = observe(network.train(training), traced, size)
    except Exception as error:  # whatever a foreign operation raises
        raise BackboneError(
            f"{type(network).__name__} cannot be cut for images of {size} pixels: {error}"
        ) from error
    return Mode(traced=traced, observed=observed)
