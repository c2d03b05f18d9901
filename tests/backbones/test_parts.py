"""What a suffix makes again, and what it must not."""

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.backbones.cuts import TracedNetwork, cut_network
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


class Counting(Base):
    """Needs the size of a parameter behind a cut, and of a value made of one."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.table.expand(x.shape[0], -1, -1, -1)
        x = torch.cat([tokens.flatten(2), self.first(x).flatten(2)], dim=2)
        return x[:, :, tokens.shape[2] :]


def test_a_parameter_of_which_only_the_size_is_needed_is_no_part() -> None:
    found = TracedNetwork(Counting().eval(), size=4)
    assert not list(found.suffix(found.cuts["cat"]).parameters())


class Chain(Base):
    """Overwrites what comes out of `first`, and goes on from it."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.first(x))
        return self.second(x).mean((2, 3))


@pytest.fixture
def chain() -> TracedNetwork:
    return TracedNetwork(Chain().eval(), size=6)


def test_a_part_lies_between_its_cuts(chain: TracedNetwork) -> None:
    first, second = chain.cuts["first"], chain.cuts["second"]
    part = chain.part(first, second)
    assert list(part.state_dict()) == ["second.weight", "second.bias"]
    assert {id(p) for p in part.parameters()} == {id(p) for p in chain.network.second.parameters()}
    x = torch.randn(2, 3, 6, 6)
    features = run(chain.part(None, first), x)
    kept = features.clone()
    assert torch.equal(run(part, features), run(chain.part(None, second), x))
    assert torch.equal(features, kept)


def test_a_part_may_end_in_an_average(chain: TracedNetwork) -> None:
    second = chain.cuts["second"]
    x = torch.randn(2, 3, 6, 6)
    features = run(chain.part(None, second), x)
    for start, given in ((None, x), (second, features)):
        part = chain.part(start, second.averaged)
        assert torch.equal(run(part, given), features.mean(dim=(2, 3)))
        assert set(part.state_dict()) <= set(chain.network.state_dict())


def test_a_part_of_nothing_changes_nothing(chain: TracedNetwork) -> None:
    for cut in (chain.cuts["first"], chain.cuts["first"].averaged):
        assert isinstance(chain.part(cut, cut), nn.Identity)


def test_a_part_goes_towards_the_output_only(chain: TracedNetwork) -> None:
    first, second = chain.cuts["first"], chain.cuts["second"]
    for end in (first, first.averaged):
        with pytest.raises(BackboneError, match=f"Layer '{end.name}' does not come after 'second'"):
            chain.part(second, end)
    with pytest.raises(BackboneError, match="does not go on from 'first:mean'"):
        chain.part(first.averaged, second)


class OverwritesPixels(Base):
    """Normalises its input in place."""

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2.0)
        return self.first(x)


@pytest.mark.parametrize("training", [False, True])
def test_the_callers_pixels_are_not_overwritten(training: bool) -> None:
    network = OverwritesPixels().train(training)
    found = TracedNetwork(network, size=6)
    x = torch.randn(2, 3, 6, 6)
    kept = x.clone()
    features = run(found.part(None, found.cuts["first"]), x)
    assert torch.equal(x, kept)
    assert torch.equal(features, run(network.first, 2 * x))


def test_a_tensor_that_is_no_state_of_the_network_is_none_of_its_part() -> None:
    network = Remembering()
    network.kept = torch.ones(1)
    network.tables[1] = torch.ones(1)
    found = TracedNetwork(network, size=6)
    part = found.part(None, found.resolve("add_1"))
    assert part.state_dict().keys() == network.state_dict().keys() - {"table"}


def test_the_pooled_head_can_be_trained_from_a_block_on() -> None:
    network = timm.create_model("deit_tiny_distilled_patch16_224", img_size=64, depth=3, num_classes=7)
    found = cut_network(network.eval(), size=64)
    start, end = found.resolve("blocks.1"), found.cuts["forward_head"]
    part = found.part(start, end)
    assert {name.partition(".")[0] for name in part.state_dict()} == {"blocks", "norm"}
    assert not any(name.startswith("blocks.1") for name in part.state_dict())
    x = torch.randn(2, 3, 64, 64)
    tokens = run(network.forward_features, x)
    assert torch.equal(run(part, run(found.part(None, start), x)), (tokens[:, 0] + tokens[:, 1]) / 2)
    with pytest.raises(BackboneError, match="does not go on from 'forward_head'"):
        found.part(end, start)
