import json
from dataclasses import asdict, replace

import pytest
import torch

from headstart.backbones import (
    Backbone,
    BackboneCard,
    build_network,
    find_card,
    imagenet_accuracy,
    list_backbones,
    load_backbone,
)
from headstart.backbones.backbone import sha256_of_tensors
from headstart.backbones.sources import SOURCES
from headstart.errors import BackboneError
from headstart.images import Preprocess

NAME = "tf_efficientnet_lite0"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", True),
        ("lite0", True),
        ("tf_*", True),
        ("lite?", False),
        ("[tx]f_*", True),
        ("resnet", False),
        ("", True),
    ],
)
def test_patterns_choose_names(pattern: str, found: bool) -> None:
    assert (NAME in [card.name for card in list_backbones(pattern)]) is found


def test_an_unknown_backbone_gets_the_nearest_names() -> None:
    with pytest.raises(BackboneError, match=rf"There is no backbone 'efficientnet_lite'\. Nearest: {NAME}"):
        load_backbone("efficientnet_lite")
    with pytest.raises(BackboneError, match="`headstart backbones` lists"):
        find_card("zzz")


def test_random_weights_repeat_by_seed_and_leave_torchs_generator_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again = (load_backbone(NAME, weights="none", seed=1) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    other = load_backbone(NAME, weights="none", seed=2)
    assert first.weights_sha256 == again.weights_sha256 != other.weights_sha256
    for a, b in zip(first.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not first.network.training
    assert first.weights_sha256 != load_backbone(NAME).weights_sha256


def test_the_sha256_of_tensors_sees_names_types_shapes_and_values() -> None:
    base = {"a": torch.zeros(2, 3), "b": torch.ones(1)}
    others = [
        {"c": torch.zeros(2, 3), "b": torch.ones(1)},
        {"a": torch.zeros(3, 2), "b": torch.ones(1)},
        {"a": torch.zeros(2, 3, dtype=torch.int32), "b": torch.ones(1)},
        {"a": torch.zeros(2, 3), "b": torch.full((1,), 1 + 1e-7)},
    ]
    assert len({sha256_of_tensors(state) for state in [base, *others]}) == 5
    # The memory format is no part of what they are.
    image = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert sha256_of_tensors({"a": image}) == sha256_of_tensors(
        {"a": image.contiguous(memory_format=torch.channels_last)}
    )


def test_a_card_survives_json() -> None:
    card = find_card(NAME)
    fields = json.loads(json.dumps(asdict(card)))
    fields["preprocess"] = Preprocess.from_dict(fields["preprocess"])
    assert BackboneCard(**fields) == card


def test_a_card_builds_the_same_architecture_again(tiny_backbone: Backbone) -> None:
    twin = build_network(tiny_backbone.card, seed=0)
    assert sha256_of_tensors(twin.state_dict()) == tiny_backbone.weights_sha256


def test_cuts_run_from_the_pixels_to_the_output(tiny_backbone: Backbone) -> None:
    cuts = list(tiny_backbone.cuts.values())
    assert [cut.parameters for cut in cuts] == sorted(cut.parameters for cut in cuts)
    assert cuts[-1].parameters == tiny_backbone.card.parameters
    assert cuts[-1].shape == (10,)
    assert cuts[-1].bytes_per_image == 40


def test_an_unknown_layer_of_a_backbone_gets_the_nearest_names(tiny_backbone: Backbone) -> None:
    with pytest.raises(
        BackboneError, match=r"There is no layer 'poled'\. Nearest cuts: pooled.*\n.*backbones"
    ):
        tiny_backbone.cut("poled")


def test_an_alias_may_be_averaged_as_the_layer_it_means() -> None:
    squeezenet = load_backbone("torchvision/squeezenet1_1", weights="none", size=64)
    assert squeezenet.cut("last:mean") == squeezenet.cut("pooled")
    assert squeezenet.cut("last:mean").name == "features.12.cat:mean"
    with pytest.raises(BackboneError, match=r"'features.12.cat:mean' is a vector"):
        squeezenet.cut("pooled:mean")


def test_the_same_network_with_another_normalisation(tiny_backbone: Backbone) -> None:
    own = replace(tiny_backbone.preprocess, mean=(0.1, 0.2, 0.3))
    other = tiny_backbone.with_preprocess(own)
    assert (other.preprocess, other.network) == (own, tiny_backbone.network)
    assert tiny_backbone.preprocess != own
    assert list(other.cuts) == list(tiny_backbone.cuts)
    with pytest.raises(BackboneError, match=r"32 pixels, not 48.*\n.*size=48"):
        tiny_backbone.with_preprocess(replace(own, size=48, resize=48))


def test_published_accuracies_on_imagenet() -> None:
    assert imagenet_accuracy(load_backbone("tf_efficientnet_lite0")) == 0.751
    assert imagenet_accuracy(load_backbone("tf_efficientnet_lite0", weights="none")) is None
    source = SOURCES["torchvision"]
    assert source.imagenet_accuracy(find_card("torchvision/resnet50")) == pytest.approx(0.80858)
    assert source.imagenet_accuracy(find_card("torchvision/resnet50.imagenet1k_v1")) == pytest.approx(0.7613)
    assert source.imagenet_accuracy(find_card("torchvision/vgg16.imagenet1k_features")) is None
    assert SOURCES["timm"].imagenet_accuracy(find_card("timm/resnet50.a1_in1k")) is None
    known = [source.imagenet_accuracy(card) for card in source.cards()]
    assert all(accuracy is None or 0.5 < accuracy < 0.9 for accuracy in known)
