"""Operations: what a traced network's operations are to training: which have weights, which do nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from torch import fx, nn
from torch.nn import functional as F

from headstart.backbones.cut import Cut
from headstart.backbones.parts import Mode


@dataclass(frozen=True, kw_only=True)
class Operations:
    """The operations of one network.

    Attributes:
        network: the network.
        mode: it, traced and observed in eval mode.
        cuts: its cuts by name, in order.
    """

    network: nn.Module
    mode: Mode
    cuts: Mapping[str, Cut]

    @cached_property
    def classifier(self) -> fx.Node:
        """The last operation that mixes channels; of a network without a classifier, the output."""
        mixing = [node for node in self.mode.live if self.mixes(node)]
        if not mixing or getattr(self.network, "num_classes", None) == 0:
            return self.mode.traced.output
        return mixing[-1]

    def until(self, end: fx.Node) -> list[Cut]:
        """The cuts before an operation."""
        nodes = self.mode.live[: self.mode.live.index(end)]
        names = (self.mode.traced.names.get(node, "") for node in nodes)
        return [self.cuts[name] for name in names if name in self.cuts]

    def last_cut_before(self, node: fx.Node) -> Cut | None:
        """The last cut before an operation, and before the dropout in front of it; None where there is none."""
        before = self.until(node)
        if not before:
            return None
        cut = before[-1]
        while self._does_nothing(cut) and (source := self.source(cut)) is not None:
            cut = source
        return cut

    def mixes(self, node: fx.Node) -> bool:
        """Whether it applies a matrix of parameters, as a convolution does and a norm does not."""
        if node.target in {F.linear, F.conv2d}:  # of a module that was traced through
            return True
        module = self.module(node)
        return module is not None and any(p.ndim > 1 for p in module.parameters())

    def parameters_until(self) -> dict[fx.Node, int]:
        """For each operation, how many parameters have been used up to it (each counted once)."""
        seen: set[int] = set()
        counts: dict[fx.Node, int] = {}
        total = 0
        for node in self.mode.traced.graph.nodes:
            for parameter in self.parameters(node):
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    total += parameter.numel()
            counts[node] = total
        return counts

    def parameters(self, node: fx.Node) -> list[nn.Parameter]:
        """The parameters of the module, or the one parameter, that an operation is."""
        if node.op not in {"call_module", "get_attr"}:
            return []
        value: object = self.network
        for name in str(node.target).split("."):
            value = getattr(value, name)
        if isinstance(value, nn.Module):
            return list(value.parameters())
        return [value] if isinstance(value, nn.Parameter) else []

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module that an operation is, or None."""
        return self.network.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _does_nothing(self, cut: Cut) -> bool:
        """Whether it only hands its input on when the network is not in training."""
        node = self.mode.traced.nodes[cut.name]
        return isinstance(self.module(node), nn.Identity) or self.drops_out(cut)

    def drops_out(self, cut: Cut) -> bool:
        """Whether it is a dropout."""
        node = self.mode.traced.nodes[cut.name]
        return isinstance(self.module(node), nn.Dropout | nn.Dropout2d) or node.target is F.dropout

    def source(self, cut: Cut) -> Cut | None:
        """The cut that an operation with one input takes it from."""
        sources = self.mode.traced.nodes[cut.name].all_input_nodes
        return self.cuts.get(self.mode.traced.names.get(sources[0], "")) if len(sources) == 1 else None


def nearest(layer: str, names: Sequence[str]) -> str:
    """The names most like the one that was given, for people to read."""
    return ", ".join(get_close_matches(layer, names, n=5, cutoff=0.3) or names[-5:])
