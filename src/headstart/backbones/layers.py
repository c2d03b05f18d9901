"""Layers: a network's tree of modules, with what each gives and which of them are cuts, for people to read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from torch import nn

from headstart.backbones.cut import Cut
from headstart.backbones.parts import Mode


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One line of the tree.

    Attributes:
        name: a module's path, or the canonical name of a cut that is no module.
        kind: class of the module, or "" for an operation.
        depth: 0 for the network's own children.
        parameters: how many it has.
        shape: of one image's features behind it, without the batch dimension; None where it is not one tensor.
        cut: the cut that `--layer NAME` means, or None.
    """

    name: str
    kind: str
    depth: int
    parameters: int
    shape: tuple[int, ...] | None
    cut: Cut | None


def list_layers(
    network: nn.Module, mode: Mode, cuts: Mapping[str, Cut], *, depth: int | None = None
) -> list[Layer]:
    """The tree in the order in which images run through it.

    Args:
        network: the network.
        mode: it, traced and observed.
        cuts: its cuts by name.
        depth: how many levels to show; by default two, no level without a cut, and no module that does nothing.
    """
    lines = _Tree(network, mode, cuts).lines(depth)
    return [line for line in lines if depth is not None or line.kind != nn.Identity.__name__]


class _Tree:
    def __init__(self, network: nn.Module, mode: Mode, cuts: Mapping[str, Cut]) -> None:
        self._network, self._cuts = network, cuts
        names = mode.traced.names
        flow = set(mode.flow)
        self._nodes = {name: node for node, name in names.items() if name in flow}
        self._shapes = {name: mode.observed[node].shape for name, node in self._nodes.items()}
        self._last: dict[str, str] = {}  # of each module: its last operation
        self._inner: dict[str, int] = {}  # and how many cuts it has
        for name in self._nodes:
            for module in self._modules(name):
                self._last[module] = name
                self._inner[module] = self._inner.get(module, 0) + (name in cuts)

    def _modules(self, name: str) -> list[str]:
        """The modules an operation stands in, from the outermost; a module that is one operation among them."""
        node = self._nodes[name]
        path = str(node.target) if node.op == "call_module" else name.rpartition(".")[0]
        return list(accumulate(path.split("."), "{}.{}".format)) if path else []

    def lines(self, depth: int | None) -> Iterator[Layer]:
        shown: set[str] = set()
        for name in self._nodes:
            modules = self._modules(name)
            visible = [m for i, m in enumerate(modules) if self._is_shown(modules[:i], depth)]
            for module in visible:
                if module not in shown:
                    shown.add(module)
                    yield self._module(module)
            if self._is_shown(modules, depth) and name in self._cuts and not self._is_named(name, visible):
                yield self._operation(name, len(modules))
            if name in self._cuts and (average := self._cuts[name].averaged.name) in self._cuts:
                yield self._average(average)
        yield from (self._beside(name) for name in self._cuts if name not in self._nodes and ":" not in name)

    def _is_shown(self, above: list[str], depth: int | None) -> bool:
        """Whether what stands in the modules `above` is shown."""
        if depth is not None:
            return len(above) < depth
        return len(above) < 2 and all(self._inner[m] - (self._last[m] in self._cuts) > 0 for m in above)

    def _is_named(self, name: str, visible: list[str]) -> bool:
        """Whether a module's line stands for the operation already."""
        return any(self._last[module] == name for module in visible)

    def _module(self, path: str) -> Layer:
        module = self._network.get_submodule(path)
        return Layer(
            name=path,
            kind=type(module).__name__,
            depth=path.count("."),
            parameters=sum(p.numel() for p in module.parameters()),
            shape=self._shapes[self._last[path]],
            cut=self._cuts.get(self._last[path]),
        )

    def _operation(self, name: str, depth: int) -> Layer:
        return Layer(
            name=name, kind="", depth=depth, parameters=0, shape=self._shapes[name], cut=self._cuts[name]
        )

    def _average(self, name: str) -> Layer:
        cut = self._cuts[name]
        return Layer(name=name, kind="average", depth=name.count("."), parameters=0, shape=cut.shape, cut=cut)

    def _beside(self, name: str) -> Layer:
        cut = self._cuts[name]
        return Layer(name=name, kind="method", depth=0, parameters=0, shape=cut.shape, cut=cut)
