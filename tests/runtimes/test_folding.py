"""Folding batch norms into convolutions."""

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.fx import GraphModule, symbolic_trace

from headstart.backbones import Backbone
from headstart.runtimes.folding import fold_batch_norms


def _norms(module: nn.Module) -> int:
    return sum(isinstance(each, nn.BatchNorm2d) for each in module.modules())


def _stirred(network: nn.Module) -> nn.Module:
    """With running statistics, scales and shifts that matter."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2, generator=generator)  # type: ignore[union-attr]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return network.eval()


@pytest.mark.parametrize(
    "network",
    [
        lambda: timm.create_model("test_resnet"),
        torchvision.models.shufflenet_v2_x0_5,
        torchvision.models.mobilenet_v3_small,
    ],
    ids=["resnet", "shufflenet", "mobilenet"],
)
def test_the_same_function_without_batch_norms(network: object) -> None:
    torch.manual_seed(0)
    traced = symbolic_trace(_stirred(network()))  # type: ignore[operator]
    images = torch.randn(2, 3, 64, 64)

    folded = fold_batch_norms(traced)

    with torch.inference_mode():
        expected, got = traced(images), folded(images)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert _norms(folded) == 0 < _norms(traced)


def test_activations_that_are_part_of_a_norm_stay(tiny_backbone: Backbone) -> None:
    _stirred(tiny_backbone.network)
    prefix = tiny_backbone.prefix(tiny_backbone.cut("blocks.3")).eval()
    images = torch.randn(2, 3, 32, 32)

    folded = fold_batch_norms(prefix)

    with torch.inference_mode():
        torch.testing.assert_close(folded(images), prefix(images), rtol=1e-4, atol=1e-4)
    assert _norms(folded) == 0 < _norms(prefix)


class _Awkward(nn.Module):
    """A norm that something else sees past, one convolution for two norms, one norm for two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.seen_norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.twice, self.first, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.one, self.other, self.shared = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.of_batch = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.seen(x)
        x = self.seen_norm(seen) + seen
        x = self.first(self.twice(x)) + self.second(self.twice(x))
        x = self.shared(self.one(x)) + self.shared(self.other(x))
        result: torch.Tensor = self.of_batch(x)
        return result


def test_what_cannot_be_folded_is_left() -> None:
    torch.manual_seed(0)
    plain = _Awkward().train()
    plain(torch.randn(8, 3, 4, 4))  # gives the running statistics a value
    traced = symbolic_trace(plain.eval())
    images = torch.randn(2, 3, 4, 4)

    folded = fold_batch_norms(traced)

    assert torch.equal(folded(images), traced(images))
    assert _norms(folded) == 5


def test_the_network_itself_is_left_as_it_is(tiny_backbone: Backbone) -> None:
    prefix = tiny_backbone.prefix(tiny_backbone.cut("pooled")).eval()
    before = {name: value.clone() for name, value in prefix.state_dict().items()}

    assert isinstance(prefix, GraphModule)
    fold_batch_norms(prefix)

    assert all(torch.equal(value, before[name]) for name, value in prefix.state_dict().items())


def test_what_has_not_been_traced_is_given_back() -> None:
    network = _stirred(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))

    assert fold_batch_norms(network) is network


def test_the_network_itself_stays_as_it_was(tiny_backbone: Backbone) -> None:
    prefix = tiny_backbone.prefix(tiny_backbone.cut("pooled")).eval()
    before = {name: (value.clone(), value.stride()) for name, value in prefix.state_dict().items()}

    folded = fold_batch_norms(prefix)

    assert isinstance(folded, GraphModule)
    assert len(list(folded.graph.nodes)) < len(list(prefix.graph.nodes))  # type: ignore[union-attr]
    after = prefix.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, (value, _) in before.items())
    assert all(after[name].stride() == stride for name, (_, stride) in before.items())
