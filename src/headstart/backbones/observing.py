"""Observing: what each operation of a traced network gives and does, found without computing it.

The graph runs on torch's fake tensors, which have shapes and storages but no values, once with two images and
once with three: what differs between the two grows with the batch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from headstart.backbones.tracing import Traced

BATCHES = (2, 3)


@dataclass(frozen=True, kw_only=True)
class PerImage:
    """A number that is `factor` times the number of images."""

    factor: int


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What is known of one operation's value.

    Attributes:
        shape: of one image, where the value is one tensor with one row per image; else None.
        dtype: of that tensor, or None.
        has_tensors: whether there is a tensor in the value.
        known: whether `plain` is known.
        plain: the value where it has no tensors and is the same for any pixels, with `PerImage` for what
            grows with the batch.
        random: whether torch's generator is drawn from.
        writes: whether it writes into a tensor that was there before.
        storages: of the tensors in its value.
        written: storages that it writes to.
    """

    shape: tuple[int, ...] | None
    dtype: torch.dtype | None
    has_tensors: bool
    known: bool
    plain: Any
    random: bool
    writes: bool
    storages: frozenset[int]
    written: frozenset[int]


def observe(network: nn.Module, traced: Traced, size: int) -> dict[fx.Node, Observation]:
    """Run the graph on fake images of `size` pixels; the network must be in the graph's mode."""
    first, second = _Observer(network, traced.graph), _Observer(network, traced.graph)
    first.observe(size, BATCHES[0])
    second.observe(size, BATCHES[1])
    return {node: _compare(first, second, node) for node in traced.graph.nodes}


class _Observer(fx.Interpreter):
    """One run with one batch size; keeps every value, so that no two storages share an identity."""

    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        super().__init__(network, garbage_collect_values=False, graph=graph)
        self.values: dict[fx.Node, Any] = {}
        self.random: set[fx.Node] = set()
        self.written: dict[fx.Node, frozenset[int]] = {}
        self.overwrites: set[fx.Node] = set()
        self._watch = _Watch()
        self._storages: set[int] = set()

    def observe(self, size: int, n: int) -> None:
        """Run the graph on n images, with fake parameters and buffers in place of the real ones."""
        network = self.module
        device = next(network.parameters()).device
        with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad(), self._watch:
            real = dict(network.named_parameters()) | dict(network.named_buffers())
            fake: dict[str, Tensor] = {}
            fake |= {f"network.{name}": mode.from_tensor(tensor) for name, tensor in real.items()}
            self._storages |= storages(fake)
            images = torch.empty(n, 3, size, size, device=device)
            # Each tensor has one name here, also in a module with two: tying would put the fakes back as its own.
            functional_call(_Run(self, network), fake, images, tie_weights=False)

    def run_node(self, n: fx.Node) -> Any:
        """Run one node and note what it did."""
        self._watch.start()
        value = super().run_node(n)
        self.values[n] = value
        if self._watch.random:
            self.random.add(n)
        self.written[n] = frozenset(self._watch.written)
        if self._storages & self._watch.written:
            self.overwrites.add(n)
        self._storages |= storages(value)
        return value


class _Run(nn.Module):
    """What `functional_call` calls: the interpreter, with the network whose tensors it replaces."""

    def __init__(self, observer: _Observer, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._observer = observer

    def forward(self, x: Tensor) -> Any:
        return self._observer.run(x)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees each operator: whether it draws random numbers, and what it writes to."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.start()

    def start(self) -> None:
        """Forget what has been seen."""
        self.random = False
        self.written: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.random |= torch.Tag.nondeterministic_seeded in func.tags
        if func._schema.is_mutable:
            for argument, value in zip(func._schema.arguments, args, strict=False):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    self.written |= storages(value)
        return func(*args, **(kwargs or {}))


def tensors(value: Any) -> list[Tensor]:
    """Every tensor in a nested value."""
    return [leaf for leaf in _leaves(value) if isinstance(leaf, Tensor)]


def storages(value: Any) -> set[int]:
    """The identity of every storage in a nested value."""
    return {_storage(tensor) for tensor in tensors(value)}


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _leaves(value: Any) -> Iterable[Any]:
    if isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _leaves(part)
    else:
        yield value


def _compare(first: _Observer, second: _Observer, node: fx.Node) -> Observation:
    one, other = first.values[node], second.values[node]
    has_tensors = bool(tensors(one))
    known, plain = (False, None) if has_tensors else _merge(one, other)
    rows = _is_rows(one, BATCHES[0]) and _is_rows(other, BATCHES[1]) and one.shape[1:] == other.shape[1:]
    return Observation(
        shape=tuple(one.shape[1:]) if rows else None,
        dtype=one.dtype if rows else None,
        has_tensors=has_tensors,
        known=known,
        plain=plain,
        random=node in first.random,
        writes=node in first.overwrites,
        storages=frozenset(storages(one)),
        written=first.written[node],
    )


def _is_rows(value: Any, n: int) -> bool:
    return isinstance(value, Tensor) and value.ndim > 1 and value.shape[0] == n


def _merge(one: Any, other: Any) -> tuple[bool, Any]:
    """Whether the two values are the same up to what grows with the batch, and the value."""
    if isinstance(one, list | tuple) and type(one) is type(other) and len(one) == len(other):
        parts = [_merge(a, b) for a, b in zip(one, other, strict=True)]
        merged = [plain for _, plain in parts]
        # torch.Size holds ints only, so a shape is kept as a tuple here.
        return all(known for known, _ in parts), merged if isinstance(one, list) else tuple(merged)
    if type(one) is type(other) and one == other:
        return True, one
    if type(one) is type(other) is int and one * BATCHES[1] == other * BATCHES[0]:
        return True, PerImage(factor=one // BATCHES[0])
    return False, None
