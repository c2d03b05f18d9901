"""A network's own classifier, made anew."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from headstart.backbones import Backbone, build_network, find_card, load_backbone
from headstart.errors import BackboneError

# (backbone, input, what its own classifier consists of, behind its `last` layer)
KINDS = {
    "torchvision/alexnet": (64, ["Linear"]),
    "torchvision/squeezenet1_1": (64, ["Dropout", "Conv2d", "ReLU", "AdaptiveAvgPool2d"]),
    "torchvision/resnet18": (64, ["Linear"]),
    "torchvision/googlenet": (64, ["Dropout", "Linear"]),
    "torchvision/mobilenet_v3_small": (64, ["Dropout", "Linear"]),
    "tf_efficientnet_lite0": (64, ["Linear"]),
    "timm/vit_tiny_patch16_224": (64, ["Identity", "Dropout", "Linear"]),
    "timm/vit_small_patch14_dinov2": (
        56,
        ["Identity", "Dropout", "Linear"],
    ),  # of which timm has no classifier
    "caffe/alexnet": (227, ["Dropout", "Linear"]),
}


def leaves(module: nn.Module) -> list[nn.Module]:
    return [each for each in module.modules() if not list(each.children())]


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_every_family_has_its_own_classifier_for_other_classes(name: str) -> None:
    size, kinds = KINDS[name]
    backbone = load_backbone(name, weights="none", size=size)
    last = backbone.cut("last")
    head = backbone.native_head(5, seed=1).part
    assert [type(each).__name__ for each in leaves(head)] == kinds
    with torch.no_grad():
        assert head(torch.randn(2, *last.shape)).shape == (2, 5)
    own = {id(tensor) for tensor in backbone.network.state_dict(keep_vars=True).values()}
    assert own.isdisjoint(map(id, head.state_dict(keep_vars=True).values()))
    if name == "tf_efficientnet_lite0":  # the next test's
        return
    # Its weights are what a network that is built for five classes has.
    fresh = build_network(
        replace(backbone.card, arguments={**backbone.card.arguments, "num_classes": 5}), seed=1
    )
    for key, value in head.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[key])


def test_few_classes_do_not_begin_far_apart() -> None:
    backbone = load_backbone("tf_efficientnet_lite0", weights="none", size=64)
    kept = torch.get_rng_state()
    head = backbone.native_head(5, seed=1)
    assert torch.equal(torch.get_rng_state(), kept)
    (weight,) = [value for key, value in head.state_dict().items() if key.endswith("weight")]
    assert weight.abs().max().item() <= 1280**-0.5
    assert torch.equal(weight, backbone.native_head(5, seed=1).state_dict()["part.classifier.weight"])


def run(head: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = head(x)
    return result


def test_the_same_seed_gives_the_same_weights_and_torchs_generator_is_kept(tiny_backbone: Backbone) -> None:
    before = torch.get_rng_state()
    first, again, other = (tiny_backbone.native_head(3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    x = torch.randn(4, *tiny_backbone.cut("last").shape)
    assert torch.equal(run(first, x), run(again, x))
    assert not torch.equal(run(first, x), run(other, x))
    other.load_state_dict(first.state_dict())
    assert torch.equal(run(first, x), run(other, x))


def test_as_many_classes_as_before_and_the_old_weights_are_the_network(tiny_backbone: Backbone) -> None:
    head = tiny_backbone.native_head(10, seed=1).part
    _, suffix = tiny_backbone.split(tiny_backbone.cut("last"))
    head.load_state_dict(suffix.state_dict())
    x = torch.randn(4, *tiny_backbone.cut("last").shape)
    assert torch.equal(run(head, x), run(suffix, x))


@pytest.fixture(scope="module")
def squeezenet() -> Backbone:
    return load_backbone("torchvision/squeezenet1_1", weights="none", size=64)


def test_squeezenets_drops_out_in_training_only(squeezenet: Backbone) -> None:
    head = squeezenet.native_head(5, seed=0).part
    x = torch.rand(4, *squeezenet.cut("last").shape)
    assert not head.training
    assert torch.equal(run(head, x), run(head, x))
    head.train()
    assert not torch.equal(run(head, x), run(head, x))
    kept = x.clone()
    run(head, x)
    assert torch.equal(x, kept)


def test_squeezenets_is_drawn_as_its_authors_do(squeezenet: Backbone) -> None:
    state = squeezenet.native_head(500, seed=0).part.state_dict()
    assert state["classifier.1.weight"].std().item() == pytest.approx(0.01, rel=0.02)
    assert not state["classifier.1.bias"].any()


def test_several_classifiers_are_refused() -> None:
    backbone = load_backbone("timm/deit_tiny_distilled_patch16_224", weights="none", size=64)
    with pytest.raises(
        BackboneError, match=r"cannot be made for other classes: .*forward_head.*\nChoose the head linear"
    ):
        backbone.native_head(3, seed=0)


def test_a_classifier_that_is_no_classifier_of_these_classes_is_refused(tiny_backbone: Backbone) -> None:
    # `last` in the middle of the network: what is behind it has other weights of many kinds, but no `last` cut.
    other = replace(tiny_backbone.card, architecture="test_resnet")
    backbone = replace(tiny_backbone, card=other)
    with pytest.raises(
        BackboneError, match="cannot be made for other classes: built for 3 classes it has no"
    ):
        backbone.native_head(3, seed=0)


@pytest.mark.shared
def test_squeezenets_own_weights_go_through_a_classifier_made_anew(shared: Path) -> None:
    file = shared / "weights" / "squeezenet1_1.safetensors"
    backbone = load_backbone("torchvision/squeezenet1_1", weights=str(file))
    head = backbone.native_head(1000, seed=0).part
    head.load_state_dict(
        {name: value for name, value in backbone.network.state_dict().items() if "classifier" in name}
    )
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    features = run(backbone.prefix(backbone.cut("last")), x)
    assert torch.equal(run(head, features), run(backbone.network, x))


def test_the_caffe_networks_are_built_for_any_number_of_classes() -> None:
    card = replace(find_card("caffe/alexnet"), arguments={"num_classes": 3})
    assert build_network(card).get_parameter("linear8.weight").shape == (3, 4096)
