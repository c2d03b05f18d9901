"""Packed convolutions against plain ones."""

import pytest
import torch
from torch import Tensor, nn
from torch.fx import symbolic_trace

from headstart.backbones import Backbone, load_backbone
from headstart.runtimes.folding import fold_batch_norms
from headstart.runtimes.packing import _PackedConvolution, pack_convolutions, packs_convolutions

pytestmark = pytest.mark.skipif(not packs_convolutions("cpu"), reason="this torch has no oneDNN to pack for")


def _packed(module: nn.Module) -> int:
    return sum(isinstance(each, _PackedConvolution) for each in module.modules())


@pytest.mark.parametrize(
    "name",
    [
        "tf_efficientnet_lite0",  # TensorFlow's padding, ReLU6
        "resnet18",  # one ReLU module called twice
        "squeezenet1_1",
        pytest.param("mobilenet_v3_small", marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", marks=pytest.mark.slow),
        pytest.param("densenet121", marks=pytest.mark.slow),
        pytest.param("googlenet", marks=pytest.mark.slow),
        pytest.param("convnext_tiny", marks=pytest.mark.slow),
    ],
)
def test_features_stay_the_networks(name: str) -> None:
    backbone = load_backbone(name, weights="none")
    size = backbone.preprocess.size
    prefix = backbone.prefix(backbone.cut("pooled")).eval()
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))

    packed = pack_convolutions(fold_batch_norms(prefix), batch_size=2, size=size, bf16=False)

    with torch.inference_mode():
        expected = prefix(images)
        got = packed(images.contiguous(memory_format=torch.channels_last))
    assert _packed(packed) > 0 == _packed(prefix)
    assert float((got - expected).norm()) <= 1e-5 * float(expected.norm())


class _Awkward(nn.Module):
    """Strides, dilations, groups and paddings; activations that belong to no convolution alone; other kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.strided = nn.Conv2d(3, 8, (3, 5), stride=(2, 1), padding=(0, 2), dilation=(2, 1))
        self.grouped, self.silu = nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False), nn.SiLU()
        self.seen, self.relu = nn.Conv2d(8, 8, 1), nn.ReLU()
        self.twice, self.tanh = nn.Conv2d(8, 8, 1), nn.Tanh()
        self.reflecting = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
        self.same = nn.Conv2d(8, 8, 3, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        x = self.silu(self.grouped(self.strided(x)))
        seen = self.seen(x)
        x = self.relu(seen) + seen
        x = self.relu(self.twice(x)) + self.tanh(self.twice(x))
        result: Tensor = self.same(self.reflecting(x))
        return result


def test_only_what_is_understood_is_packed() -> None:
    torch.manual_seed(0)
    traced = symbolic_trace(_Awkward().eval())
    images = torch.randn(2, 3, 12, 15)

    packed = pack_convolutions(traced, batch_size=2, size=13, bf16=False)

    with torch.inference_mode():
        square = torch.randn(2, 3, 13, 13)
        torch.testing.assert_close(packed(square), traced(square), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(packed(images), traced(images), rtol=1e-5, atol=1e-5)
    assert _packed(packed) == 3


def test_bf16_gives_what_autocast_gives(tiny_backbone: Backbone) -> None:
    prefix = tiny_backbone.prefix(tiny_backbone.cut("pooled")).eval()
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    packed = pack_convolutions(prefix, batch_size=8, size=32, bf16=True)

    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected, got = prefix(images).float(), packed(images).float()
    with torch.inference_mode():
        exact = prefix(images)
    assert not torch.equal(got, exact)
    assert float((got - expected).norm()) <= 0.02 * float(expected.norm())


def test_what_has_not_been_traced_is_given_back() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3))

    assert pack_convolutions(network, batch_size=1, size=8, bf16=False) is network
