"""What a suffix makes again, and what it must not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.backbones.cuts import TracedNetwork
from headstart.errors import BackboneError


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.table = nn.Parameter(torch.full((1, 4, 1, 1), 0.5))


class Sizes(Base):
    """Reads sizes, the device and the dtype before the cut and uses them behind it."""

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        total = x.size(0) * height
        table = torch.arange(height * width, device=x.device, dtype=x.dtype).view(1, 1, height, width)
        x = self.first(x)
        x = self.second(x) + table
        return x.reshape(n, 4, height * width).sum(2) * total


class Token(Base):
    """Expands a token to the batch before the cut."""

    def forward(self, x: Tensor) -> Tensor:
        token = self.table.expand(x.shape[0] // 1, -1, -1, -1)
        x = self.first(x)
        return torch.cat([self.second(x).flatten(2), token.flatten(2)], dim=2)


class DrawnBefore(Base):
    """Draws a mask before `first` that is used behind it."""

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.bernoulli(self.table)
        x = self.first(x)
        return self.second(x) * mask


class DrawnBetween(Base):
    """Draws a mask of no pixels behind `first`."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        mask = torch.bernoulli(self.table)
        x = self.second(x * mask)
        return F.dropout(x, 0.5, self.training) + torch.bernoulli(self.table)


class FilledTable(Base):
    """Writes into a table of no pixels before the cut and reads it behind it."""

    def forward(self, x: Tensor) -> Tensor:
        table = self.table.clone()
        table.add_(2.0)
        x = self.first(x)
        return self.second(x) * table


class DeadBranch(Base):
    """Normalises beside its way to the output: nobody uses the value, but the statistics count."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.second(x)
        self.norm(x)
        return y + 1


class Choosing(Base):
    """Cannot be traced in one of its modules, which is then one operation."""

    def __init__(self) -> None:
        super().__init__()
        self.choice = Choice()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.choice(self.first(x)))


class Choice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        return x if x.shape[0] > 0 and x.shape[2] % 2 == 0 else -x


class Drawing(Base):
    """Draws in one of its modules what has nothing to do with the pixels, not even with their number."""

    def __init__(self) -> None:
        super().__init__()
        self.choice = Noise()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.choice(self.first(x)))


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rand(1, 4, 1, 1)


class Remembering(Base):
    """Keeps a table for the next call, in an attribute and in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: Tensor | None = None
        self.tables: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        if self.kept is None:
            self.kept = torch.ones(1)
            self.tables[1] = torch.ones(1)
        return self.second(self.first(x)) + self.kept + self.tables[1]


CUTS = {
    Sizes: {"first", "second"},
    Token: {"first", "second"},
    DrawnBefore: set(),
    DrawnBetween: {"first", "second"},
    FilledTable: set(),
    DeadBranch: {"first"},
    Choosing: {"first", "choice", "second"},
    Drawing: {"first", "choice", "second"},
    Remembering: {"first", "second"},
}


def run(module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.no_grad():
        return module(x)


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", CUTS)
def test_the_parts_are_the_whole(kind: type[nn.Module], training: bool, n: int) -> None:
    network = kind().train(training)
    found = TracedNetwork(network, size=6)
    assert CUTS[kind] == {name for name in found.cuts if name in {"first", "second", "choice"}}
    x = torch.randn(n, 3, 6, 6)
    torch.manual_seed(3)
    whole = run(network, x)
    statistics = {name: buffer.clone() for name, buffer in network.named_buffers()}
    for name, cut in found.cuts.items():
        if not cut.goes_on:
            continue
        fresh = {key: buffer.clone() for key, buffer in kind().named_buffers()}
        for key, buffer in network.named_buffers():
            buffer.copy_(fresh[key])
        prefix, suffix = found.part(None, cut), found.suffix(cut)
        torch.manual_seed(3)
        assert torch.equal(run(suffix, run(prefix, x)), whole), name
        for key, buffer in network.named_buffers():
            assert torch.equal(buffer, statistics[key]), (name, key)


def test_a_suffix_runs_in_another_precision() -> None:
    network = Sizes().eval()
    found = TracedNetwork(network, size=6)
    prefix, suffix = found.part(None, found.cuts["first"]), found.suffix(found.cuts["first"])
    network.double()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    assert torch.equal(run(suffix, run(prefix, x)), run(network, x))


def test_what_a_forward_remembers_is_not_kept_from_the_search() -> None:
    network = Remembering()
    TracedNetwork(network, size=6)
    assert network.kept is None
    assert network.tables == {}


def test_a_network_that_draws_whatever_the_pixels_is_not_frozen() -> None:
    generator = torch.get_rng_state()
    with pytest.raises(BackboneError, match="draws random numbers"):
        TracedNetwork(Noise(), size=6)
    assert torch.equal(torch.get_rng_state(), generator)


class Shaking(nn.Module):
    """Draws first, and then cannot be traced."""

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rand(1) if self.training else torch.ones(1)
        return torch.stack([row * scale for row in x])


class Shaken(Base):
    def __init__(self) -> None:
        super().__init__()
        self.shaking = Shaking()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.shaking(self.first(x))).flatten(1)


def test_what_a_failed_attempt_has_drawn_does_not_count() -> None:
    network = Shaken().train()
    generator = torch.get_rng_state()

    found = TracedNetwork(network, size=6)

    assert torch.equal(torch.get_rng_state(), generator)
    assert {"first", "shaking", "second"} <= found.cuts.keys()
    x = torch.randn(2, 3, 6, 6)
    prefix, suffix = found.part(None, found.cuts["shaking"]), found.suffix(found.cuts["shaking"])
    torch.manual_seed(3)
    whole = run(network, x)
    torch.manual_seed(3)
    assert torch.equal(run(suffix, run(prefix, x)), whole)
