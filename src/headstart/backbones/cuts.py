"""Cuts: the layers through which all data flows as one tensor, so that a network splits in two there.

A cut is found, not declared. The network is traced with torch.fx, and every operation whose value is all that the
rest needs is a legal cut. Its canonical name is the module or operation that makes it (`blocks.6.0.bn3`,
`global_pool.flatten`). Where the network has no average over positions of its own, `NAME:mean` adds one.
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Protocol

import torch
from torch import fx, nn
from torchvision.models.feature_extraction import DualGraphModule

from headstart.backbones.aliases import Aliases
from headstart.backbones.cut import MEAN, Cut
from headstart.backbones.keeping import attributes_kept
from headstart.backbones.layers import Layer, list_layers
from headstart.backbones.observing import observe
from headstart.backbones.parts import Mode
from headstart.backbones.pooling import Averaged, PooledHead
from headstart.backbones.tracing import trace
from headstart.errors import BackboneError
from headstart.threads import one_thread

__all__ = ["Cut", "CutNetwork", "TracedNetwork", "UntracedNetwork", "cut_network"]

POOLED_HEAD = "forward_head"
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

    def prefix(self, cut: Cut) -> nn.Module:
        """From pixels (N, 3, size, size) to features (N, *cut.shape)."""
        ...

    def split(self, cut: Cut) -> tuple[nn.Module, nn.Module]:
        """Prefix and suffix (features to output); raises BackboneError where the network does not go on."""
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
        if not hasattr(network, "forward_head"):
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
        self.train = _observe(network, size, training=True)
        self.eval = _observe(network, size, training=False)
        self.cuts, self.aliases = self._with_aliases(self._find(), size)

    def _find(self) -> dict[str, Cut]:
        """All operations at which the network splits, from the pixels to the output."""
        train, evaluation = self.train, self.eval
        # A node without a name is none of the network's own: it packs several outputs into a tuple.
        in_train_mode = {(train.traced.names.get(node), train.observed[node].shape) for node in train.cuts()}
        parameters = _prefix_parameters(self.network, evaluation.traced.graph)
        found = {}
        for node in evaluation.cuts():
            name, shape = evaluation.traced.names.get(node), evaluation.observed[node].shape
            if name is not None and shape is not None and (name, shape) in in_train_mode:
                found[name] = Cut(name=name, shape=shape, parameters=parameters[node])
        return found

    def _with_aliases(self, cuts: dict[str, Cut], size: int) -> tuple[dict[str, Cut], dict[str, str]]:
        """The cuts with those that the aliases add, and the aliases."""
        found = Aliases(network=self.network, mode=self.eval, cuts=cuts)
        if hasattr(self.network, "forward_head") and (found.last is None or not found.last.is_vector):
            # Several classifiers, each with a token of its own: what they share is the network's own to say.
            head = _pooled_head(self.network, size)
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
                f"Nearest cuts: {_nearest(layer, [*also, *self.cuts])}.\n{_SEE}"
            )
        raise BackboneError(
            f"There is no layer {layer!r}. Nearest cuts: {_nearest(layer, [*also, *self.cuts])}.\n{_SEE}"
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

    def prefix(self, cut: Cut) -> nn.Module:
        """From pixels (N, 3, size, size) to features (N, *cut.shape)."""
        if cut.name == POOLED_HEAD:
            return PooledHead(self.network)
        if cut.name.endswith(MEAN):
            through = self.cuts[cut.name.removesuffix(MEAN)]
            return Averaged(self.prefix(through), through.positions)
        return self._part(self.train.prefix(cut.name), self.eval.prefix(cut.name))

    def split(self, cut: Cut) -> tuple[nn.Module, nn.Module]:
        """Prefix (pixels to features) and suffix (features to output); both share the network's parameters.

        Raises:
            BackboneError: the network does not go on from there.
        """
        _require_going_on(cut)
        return self.prefix(cut), self._part(self.train.suffix(cut.name), self.eval.suffix(cut.name))

    def _part(self, train: fx.Graph, evaluation: fx.Graph) -> nn.Module:
        part: nn.Module = DualGraphModule(self.network, train, evaluation)
        return part.train(self.network.training)


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
        head = _pooled_head(network, size)
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

    def prefix(self, cut: Cut) -> nn.Module:
        """From pixels (N, 3, size, size) to pooled features (N, channels)."""
        return PooledHead(self.network)

    def split(self, cut: Cut) -> tuple[nn.Module, nn.Module]:
        """Always refused.

        Raises:
            BackboneError: the network does not go on from its pooled features in a way that is known.
        """
        _require_going_on(cut)
        raise AssertionError(cut)


def _require_going_on(cut: Cut) -> None:
    if cut.name.endswith(MEAN):
        raise BackboneError(
            f"The network does not go on from {cut.name!r}: this average is taken beside it.\n"
            f"To train the network's own last layers, choose {cut.name.removesuffix(MEAN)!r}."
        )
    if not cut.goes_on:
        raise BackboneError(
            f"The network does not go on from {cut.name!r} as one tensor.\n"
            "Take features there, or choose another layer to train its own last layers from."
        )


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


def _pooled_head(network: nn.Module, size: int) -> Cut:
    """The cut of `PooledHead`, by running it on one image of zeros."""
    module = PooledHead(network)
    device = next(network.parameters()).device
    with attributes_kept(network), one_thread(), torch.inference_mode():
        try:
            features = module.eval()(torch.zeros(1, 3, size, size, device=device))
        except Exception as error:  # whatever a foreign forward() raises
            raise BackboneError(
                f"{type(network).__name__} does not run on images of {size} pixels: {error}"
            ) from error
    parameters = sum(p.numel() for p in network.parameters())
    return Cut(name=POOLED_HEAD, shape=tuple(features.shape[1:]), parameters=parameters, goes_on=False)


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


def _nearest(layer: str, names: Sequence[str]) -> str:
    close = get_close_matches(layer, names, n=5, cutoff=0.3) or names[-5:]
    return ", ".join(close)
