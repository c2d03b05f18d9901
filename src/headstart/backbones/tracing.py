"""Tracing: a network's forward as a graph in which every operation has a name that people can say."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from timm.models import get_notrace_functions, get_notrace_modules
from torch import fx, nn

from headstart.errors import BackboneError


@dataclass(frozen=True, kw_only=True)
class Traced:
    """A network's forward in one mode.

    Attributes:
        graph: its operations, in the order in which they run.
        names: the canonical name of each operation; what packs several outputs into a tuple has none.
    """

    graph: fx.Graph
    names: Mapping[fx.Node, str]

    @cached_property
    def nodes(self) -> Mapping[str, fx.Node]:
        """The operations by name."""
        return {name: node for node, name in self.names.items()}

    @property
    def pixels(self) -> fx.Node:
        """The network's first argument."""
        found: fx.Node = next(node for node in self.graph.nodes if node.op == "placeholder")
        return found

    @property
    def output(self) -> fx.Node:
        """What the network returns."""
        found: fx.Node = next(node for node in reversed(self.graph.nodes) if node.op == "output")
        return found


def trace(network: nn.Module) -> Traced:
    """Trace in the network's present mode.

    Raises:
        BackboneError: the network's own forward cannot be traced.
    """
    tracer = LayerTracer()
    try:
        with _nothing_drawn():
            graph = tracer.trace(network, concrete_args=_defaults(network))
    except Exception as error:  # whatever a foreign forward() raises while it is traced
        raise BackboneError(
            f"{type(network).__name__} cannot be traced, so it has no cuts: {error}"
        ) from error
    return Traced(graph=graph, names=tracer.names)


@contextmanager
def _nothing_drawn() -> Iterator[None]:
    """Refuse random numbers while a forward is traced: the same would be in the graph forever."""
    before = torch.get_rng_state()
    try:
        yield
    finally:  # also where it failed: what it drew before is no fault of the modules around it
        drawn = not torch.equal(torch.get_rng_state(), before)
        torch.set_rng_state(before)
    if drawn:
        raise RuntimeError("it draws random numbers that do not depend on its input")


def _defaults(network: nn.Module) -> dict[str, Any] | None:
    """The forward's optional arguments, such as `mask` of a transformer, as they are when it is given pixels only."""
    found = {
        name: parameter.default
        for name, parameter in inspect.signature(network.forward).parameters.items()
        if parameter.default is not parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }
    return found or None  # an empty dict is another thing to torch.fx than none


class LayerTracer(fx.Tracer):
    """Traces through all modules but those of torch.nn, those that timm declares, and those that cannot be.

    A module is named by its path, another operation by the path of the module that makes it and its own name;
    a name's second use gets `_1`. (torchvision's NodePathTracer does the same, but takes a number that belongs to
    a module's own name for a count: `ln_2` becomes `ln_1`.)
    """

    def __init__(self) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))  # type: ignore[no-untyped-call]
        self.names: dict[fx.Node, str] = {}
        self._leaves = tuple(get_notrace_modules())  # type: ignore[no-untyped-call]
        self._module = ""
        self._taken: set[str] = set()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether the module is one node, as in the base class, with what timm declares."""
        return isinstance(m, self._leaves) or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Trace through a module, or make one node of it where its forward cannot be traced."""
        caller, self._module = self._module, self.path_of_module(m)
        try:
            if not self.is_leaf_module(m, self._module):
                mark = next(iter(reversed(self.graph.nodes)))
                try:
                    with _nothing_drawn():
                        return forward(*args, **kwargs)
                except Exception:  # noqa: BLE001  # whatever a foreign forward() raises while it is traced
                    self._module = self.path_of_module(m)
                    self._forget_after(mark)
            return self.create_proxy("call_module", self._module, args, kwargs)
        finally:
            self._module = caller

    def create_proxy(
        self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **named: Any
    ) -> fx.Proxy:
        """As in the base class; notes the name."""
        proxy = super().create_proxy(kind, target, args, kwargs, *rest, **named)
        self.names[proxy.node] = self._name(proxy.node)
        return proxy

    def _name(self, node: fx.Node) -> str:
        own = "" if node.op == "call_module" else re.sub(r"_\d+$", "", node.name)
        base = name = ".".join(filter(None, (self._module, own)))
        count = 0
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name

    def _forget_after(self, mark: fx.Node) -> None:
        """Take out what a failed attempt has left in the graph."""
        for node in reversed(self.graph.nodes):
            if node is mark:
                return
            self._taken.discard(self.names.pop(node, ""))
            self.graph.erase_node(node)
