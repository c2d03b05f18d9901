import pytest

from headstart.backbones import SHORT_NAMES, find_card
from headstart.backbones.names import candidates, nearest_names
from headstart.config import DEFAULT_BACKBONE
from headstart.errors import BackboneError


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("alexnet", "torchvision/alexnet"),
        ("vgg", "torchvision/vgg16"),
        ("resnet", "torchvision/resnet50"),
        ("squeezenet", "torchvision/squeezenet1_1"),
        ("densenet", "torchvision/densenet121"),
        ("inception", "torchvision/inception_v3"),
        ("googlenet", "torchvision/googlenet"),
        (DEFAULT_BACKBONE, DEFAULT_BACKBONE),  # before timm's network of that name
        ("resnet18", "torchvision/resnet18"),  # before timm's
        ("torchvision/resnet50.imagenet1k_v1", "torchvision/resnet50.imagenet1k_v1"),
        ("torchvision/resnet50.imagenet1k_v2", "torchvision/resnet50"),  # the default under its full name
        ("resnet50.imagenet1k_v1", "torchvision/resnet50.imagenet1k_v1"),
        ("resnet50.a1_in1k", "timm/resnet50.a1_in1k"),
        ("timm/resnet50.a1_in1k", "timm/resnet50.a1_in1k"),
        ("timm/tf_efficientnet_lite0", "timm/tf_efficientnet_lite0.in1k"),
    ],
)
def test_a_name_means_one_network(name: str, meant: str) -> None:
    assert find_card(name).name == meant


def test_every_short_name_leads_somewhere() -> None:
    for name, meant in SHORT_NAMES.items():
        assert candidates(name) == [meant]
        assert find_card(name).name == meant


@pytest.mark.parametrize(
    ("name", "near"),
    [("resnet51", "torchvision/resnet50"), ("squeezenet1_2", "torchvision/squeezenet1_1"), ("vgg17", "vgg1")],
)
def test_an_unknown_name_gets_the_nearest(name: str, near: str) -> None:
    with pytest.raises(BackboneError, match=rf"There is no backbone {name!r}\. Nearest: .*{near}"):
        find_card(name)


def test_nearest_names_look_behind_the_library() -> None:
    assert nearest_names("resnet81", ["torchvision/resnet18", "timm/levit"])[0] == "torchvision/resnet18"
    assert nearest_names("timm/levi", ["torchvision/resnet18", "timm/levit"])[0] == "timm/levit"
    assert nearest_names("resnett", ["timm/resnet26t", "torchvision/resnet50"])[0] == "torchvision/resnet50"
    assert nearest_names("x", ["abc"]) == []
