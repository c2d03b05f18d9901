from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from headstart.backbones.cuts import CutNetwork, cut_network
from headstart.errors import BackboneError

NO_AUX = {"aux_logits": False, "init_weights": False}
# (network, input, pooled, its size, last, its shape)
EXPECTED: dict[str, tuple[Callable[[], nn.Module], int, str, int, str, tuple[int, ...]]] = {
    "alexnet": (models.alexnet, 224, "features.12:mean", 256, "classifier.5", (4096,)),
    "vgg16": (lambda: models.vgg16(init_weights=False), 224, "features.30:mean", 512, "classifier.4", (4096,)),
    "squeezenet": (models.squeezenet1_1, 64, "features.12.cat:mean", 512, "features.12.cat", (512, 3, 3)),
    "resnet50": (models.resnet50, 64, "flatten", 2048, "flatten", (2048,)),
    "densenet121": (models.densenet121, 64, "flatten", 1024, "flatten", (1024,)),
    "inception_v3": (lambda: models.inception_v3(**NO_AUX), 128, "flatten", 2048, "flatten", (2048,)),
    "googlenet": (lambda: models.googlenet(**NO_AUX), 64, "flatten", 1024, "flatten", (1024,)),
    "mobilenet_v3": (models.mobilenet_v3_small, 64, "flatten", 576, "classifier.1", (1024,)),
    "convnext": (models.convnext_tiny, 64, "classifier.1", 768, "classifier.1", (768,)),
    "swin": (models.swin_t, 64, "flatten", 768, "flatten", (768,)),
    "timm's vgg11": (
        lambda: timm.create_model("vgg11"), 224, "features.20:mean", 512, "head.global_pool.flatten", (4096,)
    ),
    "no classifier": (
        lambda: timm.create_model("vit_small_patch14_dinov2", img_size=56), 56, "getitem_1", 384, "getitem_1", (384,)
    ),
    "one pixel before the pooling": (
        lambda: timm.create_model("test_efficientnet"), 32, "global_pool.flatten", 256, "global_pool.flatten", (256,)
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_every_family_has_its_pooled_and_last_layer(name: str) -> None:
    build, size, pooled, channels, last, shape = EXPECTED[name]
    found = cut_network(build().eval(), size=size)
    assert found.aliases == {"pooled": pooled, "last": last}
    assert found.resolve(pooled).shape == (channels,)
    assert found.resolve(last).shape == shape


def images(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def run(module: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = module(x)
    return result


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_resnet", "test_efficientnet"])
def test_pooled_is_what_timm_gives_without_a_classifier(name: str) -> None:
    arguments = {"img_size": 64} if name == "test_vit" else {}
    network = timm.create_model(name, **arguments).eval()
    found = cut_network(network, size=64)
    x = images(64)
    expected = run(lambda x: network.forward_head(network.forward_features(x), pre_logits=True), x)
    assert torch.equal(run(found.part(None, found.resolve(found.aliases["pooled"])), x), expected)


@pytest.fixture(scope="module")
def squeezenet() -> CutNetwork:
    return cut_network(models.squeezenet1_1(num_classes=7).eval(), size=64)


def test_an_average_is_that_of_its_layer(squeezenet: CutNetwork) -> None:
    x = images(64)
    for name in ("features.12:mean", "features.5:mean"):  # the one of the alias, and any other
        cut = squeezenet.resolve(name)
        of = squeezenet.resolve(name.removesuffix(":mean"))
        expected = run(squeezenet.part(None, of), x).mean(dim=(2, 3))
        assert torch.equal(run(squeezenet.part(None, cut), x), expected)
        assert cut.shape == expected.shape[1:]
        assert cut.parameters == of.parameters


def test_the_average_stands_behind_its_layer(squeezenet: CutNetwork) -> None:
    names = list(squeezenet.cuts)
    assert names.index("features.12.cat:mean") == names.index("features.12.cat") + 1


def test_the_network_does_not_go_on_from_an_average(squeezenet: CutNetwork) -> None:
    with pytest.raises(
        BackboneError, match=r"does not go on from .features.12.cat:mean.(.|\n)*choose .features.12.cat"
    ):
        squeezenet.suffix(squeezenet.resolve("features.12:mean"))


def test_a_vector_has_no_average() -> None:
    found = cut_network(models.resnet18().eval(), size=64)
    with pytest.raises(BackboneError, match="is a vector"):
        found.resolve("flatten:mean")
    with pytest.raises(BackboneError, match="There is no layer 'nothing'"):
        found.resolve("nothing:mean")


def test_tokens_are_averaged_over_tokens_and_maps_with_channels_last_over_positions() -> None:
    vit = cut_network(timm.create_model("test_vit", img_size=64).eval(), size=64)
    x = images(64)
    cut = vit.resolve("blocks.1:mean")
    assert torch.equal(
        run(vit.part(None, cut), x), run(vit.part(None, vit.resolve("blocks.1")), x).mean(dim=1)
    )
    swin = cut_network(models.swin_t().eval(), size=64)
    before = swin.resolve("features.3")
    assert before.shape == (8, 8, 192)
    expected = run(swin.part(None, before), x).mean(dim=(1, 2))
    assert torch.equal(run(swin.part(None, swin.resolve("features.3:mean")), x), expected)


def test_two_classifiers_share_what_the_network_itself_pools() -> None:
    network = timm.create_model("deit_tiny_distilled_patch16_224", img_size=64, depth=2).eval()
    found = cut_network(network, size=64)
    assert found.aliases == {"pooled": "forward_head", "last": "forward_head"}
    x = images(64)
    tokens = run(network.forward_features, x)
    pooled = run(found.part(None, found.resolve("forward_head")), x)
    assert torch.equal(pooled, (tokens[:, 0] + tokens[:, 1]) / 2)
    with pytest.raises(BackboneError, match="does not go on from 'forward_head'"):
        found.suffix(found.resolve("forward_head"))


def test_a_network_that_cannot_be_traced_has_its_pooled_features(untraceable: nn.Module) -> None:
    found = cut_network(untraceable, size=8)
    assert [(cut.name, cut.shape) for cut in found.cuts.values()] == [("forward_head", (4,))]
    assert found.note is not None
    assert "Untraceable cannot be traced" in found.note
    cut = found.resolve(found.aliases["pooled"])
    x = images(8)
    assert torch.equal(run(found.part(None, cut), x), run(untraceable.forward_features, x).mean(dim=(2, 3)))
    with pytest.raises(BackboneError, match=r"There is no layer .stem. to take(.|\n)*cannot be traced"):
        found.resolve("stem")
    with pytest.raises(BackboneError, match="does not go on"):
        found.suffix(cut)
    assert [layer.name for layer in found.layers(None)] == ["forward_head"]


def test_a_size_that_the_network_does_not_take_is_refused() -> None:
    with pytest.raises(BackboneError, match="of 32 pixels"):
        cut_network(timm.create_model("vit_tiny_patch16_224", depth=1), size=32)
