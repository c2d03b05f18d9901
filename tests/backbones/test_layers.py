import pytest
from torchvision import models

from headstart.backbones.cuts import CutNetwork, cut_network


@pytest.fixture(scope="module")
def resnet() -> CutNetwork:
    return cut_network(models.resnet18(num_classes=7).eval(), size=64)


def test_the_tree_goes_down_to_blocks(resnet: CutNetwork) -> None:
    layers = resnet.layers(None)
    assert [layer.name for layer in layers if layer.depth == 0] == [
        "conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "flatten", "fc",
    ]  # fmt: skip
    assert {layer.depth for layer in layers} == {0, 1}
    stage = next(layer for layer in layers if layer.name == "layer4")
    assert (stage.kind, stage.parameters, stage.shape) == ("Sequential", 8_393_728, (512, 2, 2))
    assert stage.cut == resnet.resolve("layer4")
    assert next(layer for layer in layers if layer.name == "flatten").kind == ""


def test_deeper_down_every_cut_and_every_module_is_shown(resnet: CutNetwork) -> None:
    layers = resnet.layers(9)
    assert {layer.cut for layer in layers if layer.cut} == set(resnet.cuts.values())
    names = [layer.name for layer in layers]
    assert len(names) == len(set(names))
    modules = {name for name, _ in resnet.network.named_modules() if name}
    assert modules <= set(names)
    inside = next(layer for layer in layers if layer.name == "layer1.0.conv1")
    assert inside.cut is None
    assert inside.shape == (64, 16, 16)


def test_one_level_shows_the_networks_children(resnet: CutNetwork) -> None:
    assert {layer.depth for layer in resnet.layers(1)} == {0}


def test_what_has_no_cut_inside_is_not_opened() -> None:
    found = cut_network(models.squeezenet1_1(num_classes=7).eval(), size=64)
    names = [layer.name for layer in found.layers(None)]
    assert "features.3" in names
    assert not [name for name in names if name.startswith("features.3.")]
    assert names.index("features.12.cat:mean") == names.index("features.12") + 1
