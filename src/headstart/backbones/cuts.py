"""Cuts: the layers through which all data flows as one tensor, so that a network splits in two there.

A cut is found, not declared. The network is traced with torch.fx, and every operation whose value is all that the
rest needs is a legal cut. Its canonical name is the module or operation that makes it (`blocks.6.0.bn3`,
`global_pool.flatten`). Where the network has no average over positions of its own, `NAME:mean` adds one.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from math import prod

from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import DualGraphModule

from headstart.backbones.observing import observe
from headstart.backbones.parts import Mode
from headstart.backbones.tracing import trace
from headstart.errors import BackboneError

MEAN = ":mean"


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One legal cut of a network.

    Attributes:
        name: canonical name, the only one that is used as a key.
        shape: shape of one image's features there, without the batch dimension.
        parameters: number of parameters in the prefix that ends here.
        goes_on: whether the network goes on from these features; else there is a prefix but no suffix.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    goes_on: bool = True

    @property
    def bytes_per_image(self) -> int:
        """What storing one image's features costs, in bytes, as float32."""
        return 4 * prod(self.shape)

    @property
    def positions(self) -> tuple[int, ...]:
        """Which of the shape's dimensions are positions (height and width, or tokens); none in a vector.

        Height and width are equal here, so (H, W, C) is told from (C, H, W) by its first two being so.
        """
        if len(self.shape) == 3:
            return (0, 1) if self.shape[0] == self.shape[1] != self.shape[2] else (1, 2)
        return (0,) if len(self.shape) == 2 else ()

    @property
    def channels(self) -> int:
        """Size of the average over positions."""
        return prod(n for i, n in enumerate(self.shape) if i not in self.positions)


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
        with modes_kept(network):
            self._train = _observe(network.train(), size)
            self._eval = _observe(network.eval(), size)
        self.cuts = self._find()

    def _find(self) -> Mapping[str, Cut]:
        """All legal cuts, from the pixels to the output."""
        # A node without a name is none of the network's own: it packs several outputs into a tuple.
        in_train_mode = {
            (self._train.traced.names.get(node), self._train.observed[node].shape)
            for node in self._train.cuts()
        }
        parameters = _prefix_parameters(self.network, self._eval.traced.graph)
        found = {}
        for node in self._eval.cuts():
            name, shape = self._eval.traced.names.get(node), self._eval.observed[node].shape
            if name is not None and shape is not None and (name, shape) in in_train_mode:
                found[name] = Cut(name=name, shape=shape, parameters=parameters[node])
        return found

    def resolve(self, layer: str) -> Cut:
        """The cut that `layer` names: a canonical name, or a module, which means that module's last cut.

        With `:mean` at its end, the average of that cut over its positions.

        Raises:
            BackboneError: the layer is not there, or data flows around it; the nearest names are given.
        """
        if layer.endswith(MEAN):
            return self._averaged(self.resolve(layer.removesuffix(MEAN)))
        if layer in self.cuts:
            return self.cuts[layer]
        inside = [name for name in self._eval.flow if name.startswith(f"{layer}.")]
        if inside and inside[-1] in self.cuts:
            return self.cuts[inside[-1]]
        if inside or layer in self._eval.traced.nodes:
            raise BackboneError(
                f"Layer {layer!r} is no cut: data flows around it, or it is not one tensor. "
                f"Nearest cuts: {_nearest(layer, self.cuts)}."
            )
        raise BackboneError(f"There is no layer {layer!r}. Nearest cuts: {_nearest(layer, self.cuts)}.")

    def _averaged(self, cut: Cut) -> Cut:
        if not cut.positions:
            raise BackboneError(
                f"Layer {cut.name!r} is a vector already: there are no positions to average.\n"
                f"Leave out {MEAN!r}."
            )
        return Cut(name=cut.name + MEAN, shape=(cut.channels,), parameters=cut.parameters, goes_on=False)

    def prefix(self, cut: Cut) -> nn.Module:
        """From pixels (N, 3, size, size) to features (N, *cut.shape)."""
        if cut.name.endswith(MEAN):
            through = self.cuts[cut.name.removesuffix(MEAN)]
            return Averaged(self.prefix(through), through.positions)
        return self._part(self._train.prefix(cut.name), self._eval.prefix(cut.name))

    def split(self, cut: Cut) -> tuple[nn.Module, nn.Module]:
        """Prefix (pixels to features) and suffix (features to output); both share the network's parameters.

        Raises:
            BackboneError: the network does not go on from there.
        """
        if not cut.goes_on:
            raise BackboneError(
                f"The network does not go on from {cut.name!r}: these features are averaged beside it.\n"
                f"To train its own last layers, split it at {cut.name.removesuffix(MEAN)!r}."
            )
        return self.prefix(cut), self._part(self._train.suffix(cut.name), self._eval.suffix(cut.name))

    def _part(self, train: fx.Graph, evaluation: fx.Graph) -> nn.Module:
        part: nn.Module = DualGraphModule(self.network, train, evaluation)
        return part.train(self.network.training)


class Averaged(nn.Module):
    """A prefix with an average over positions behind it.

    Args:
        prefix: gives features (N, ...).
        positions: which of their dimensions, without the batch's, to average over.
    """

    def __init__(self, prefix: nn.Module, positions: tuple[int, ...]) -> None:
        super().__init__()
        self.prefix = prefix
        self._dimensions = [i + 1 for i in positions]
        self.training = prefix.training

    def forward(self, x: Tensor) -> Tensor:
        """From pixels to vectors (N, channels)."""
        features: Tensor = self.prefix(x)
        return features.mean(dim=self._dimensions)


@contextmanager
def modes_kept(network: nn.Module) -> Iterator[None]:
    """Give each module its mode back, one by one: parts of a network may be frozen in another mode."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _observe(network: nn.Module, size: int) -> Mode:
    traced = trace(network)
    return Mode(traced=traced, observed=observe(network, traced, size))


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


def _nearest(layer: str, cuts: Mapping[str, Cut]) -> str:
    close = get_close_matches(layer, cuts, n=5, cutoff=0.3) or list(cuts)[-5:]
    return ", ".join(close)
