"""Where a frozen prefix ends when everything from a layer on is trained."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from headstart.backbones import Backbone, load_backbone
from headstart.backbones.cuts import cut_network
from headstart.backbones.starts import Starts
from headstart.errors import BackboneError

Build = Callable[[], nn.Module]

NO_AUX = {"aux_logits": False, "init_weights": False, "transform_input": True}
NETWORKS: Mapping[str, tuple[Build, int]] = {
    "alexnet": (models.alexnet, 224),
    "alexnet, small images": (models.alexnet, 64),
    "vgg11": (lambda: models.vgg11(init_weights=False), 224),
    "squeezenet": (models.squeezenet1_1, 64),
    "resnet18": (models.resnet18, 64),
    "densenet121": (models.densenet121, 64),
    "inception_v3": (lambda: models.inception_v3(**NO_AUX), 128),
    "googlenet": (lambda: models.googlenet(**NO_AUX), 64),
    "mobilenet_v3": (models.mobilenet_v3_small, 64),
    "convnext": (lambda: timm.create_model("convnext_atto"), 64),
    "lite0": (lambda: timm.create_model("tf_efficientnet_lite0"), 64),
    "lite0 with dropout": (lambda: timm.create_model("tf_efficientnet_lite0", drop_rate=0.2), 64),
    "vit": (lambda: timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2), 64),
    "timm's vgg11": (lambda: timm.create_model("vgg11"), 224),
    "two classifiers": (
        lambda: timm.create_model("deit_tiny_distilled_patch16_224", img_size=64, depth=2), 64
    ),
    "no classifier": (lambda: timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1, num_classes=0), 64),
}  # fmt: skip
ALIASES = {
    "alexnet": {"fc6": "classifier.2", "fc7": "classifier.5"},
    "vgg11": {"fc6": "classifier.1", "fc7": "classifier.4"},
}


def starts(name: str) -> Starts:
    build, size = NETWORKS[name]
    found = cut_network(build().eval(), size=size)
    result = found.starts({**found.aliases, **ALIASES.get(name, {})})
    assert result is not None
    return result


# (network, layer, the cut before it)
BEFORE = [
    ("alexnet", "classifier", "flatten"),  # dropout is its first operation
    ("alexnet", "classifier.1", "flatten"),
    ("alexnet", "fc6", "flatten"),
    ("alexnet", "fc7", "classifier.2"),
    ("alexnet", "classifier.4", "classifier.2"),
    ("alexnet", "last", "classifier.2"),
    ("alexnet", "classifier.6", "classifier.5"),
    ("alexnet", "pooled", "features.9"),
    ("alexnet", "features.12:mean", "features.9"),
    ("alexnet", "features", None),
    ("vgg11", "classifier", "flatten"),
    ("vgg11", "fc6", "flatten"),
    ("vgg11", "fc7", "classifier.1"),
    ("vgg11", "classifier.6", "classifier.4"),
    ("squeezenet", "classifier", "features.12.cat"),
    ("squeezenet", "classifier.1", "features.12.cat"),
    ("squeezenet", "features.9", "features.8"),
    ("squeezenet", "features.12.expand3x3", "features.12.squeeze_activation"),
    ("resnet18", "layer4", "layer3.1.relu_1"),
    ("resnet18", "layer4.1.relu_1", "layer4.0.relu_1"),
    ("resnet18", "layer4.1.bn2", "layer4.0.relu_1"),  # data flows around it
    ("resnet18", "fc", "flatten"),
    ("resnet18", "classifier", "flatten"),
    ("resnet18", "pooled", "layer4.0.relu_1"),
    ("resnet18", "avgpool", "layer4.0.relu_1"),
    ("resnet18", "bn1", "conv1"),
    ("resnet18", "conv1", None),
    ("resnet18", "relu", None),
    ("densenet121", "features.denseblock4", "features.transition3.pool"),
    ("inception_v3", "fc", "avgpool"),  # between them, a dropout and a flatten
    ("inception_v3", "Conv2d_1a_3x3", None),  # behind operations on the pixels that have no parameters
    ("googlenet", "fc", "flatten"),
    ("convnext", "classifier", "head.flatten"),
    ("convnext", "head", "stages.3.blocks.1.add"),
    ("lite0", "blocks.6", "blocks.5.3.add"),
    ("lite0", "classifier", "global_pool.flatten"),
    ("lite0 with dropout", "classifier", "global_pool.flatten"),
    ("lite0", "last", "blocks.6.0.bn3"),
    ("lite0", "bn2", "conv_head"),
    ("vit", "blocks.1", "blocks.0.add_1"),
    ("vit", "head", "getitem_1"),
    ("vit", "patch_embed", None),
    ("two classifiers", "head", "norm.layer_norm"),
    ("two classifiers", "last", "blocks.1.add"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", dict.fromkeys(name for name, _, _ in BEFORE))
def test_training_starts_at_the_last_cut_before_the_layer(name: str) -> None:
    found = starts(name)
    for network, layer, expected in BEFORE:
        if network == name:
            cut = found.before(layer)
            assert (cut and cut.name) == expected, layer


CLASSIFIERS = {
    "alexnet": ("classifier", 3),
    "alexnet, small images": ("classifier", 3),
    "vgg11": ("classifier", 3),
    "squeezenet": ("classifier", 1),
    "resnet18": ("fc", 1),
    "densenet121": ("classifier", 1),
    "inception_v3": ("fc", 1),
    "googlenet": ("fc", 1),
    "mobilenet_v3": ("classifier", 2),
    "convnext": ("head.fc", 1),
    "lite0": ("classifier", 1),
    "vit": ("head", 1),
    "two classifiers": (None, 0),
    "no classifier": (None, 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_family_has_its_classifier(name: str) -> None:
    found = starts(name)
    assert (found.classifier_layer, len(found.weight_layers)) == CLASSIFIERS[name]


def test_a_convolution_over_the_whole_map_is_a_layer_of_the_classifier() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 4), nn.ReLU(), nn.Conv2d(16, 7, 1), nn.Flatten()
    )
    found = cut_network(network.eval(), size=4).starts({})
    assert found is not None
    assert found.weight_layers == ["1", "3"]
    assert found.classifier_layer == "1"


class Sharing(nn.Module):
    """Applies one convolution twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.twice, self.between = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.fc = nn.Linear(3, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.stem(x))
        x = self.twice(self.between(x))
        return self.fc(x.mean((2, 3)))


def test_what_is_frozen_shares_no_parameters_with_what_is_trained() -> None:
    found = cut_network(Sharing().eval(), size=4)
    begin = found.starts({})
    assert begin is not None
    for layer, expected in (("between", "stem"), ("twice", "stem"), ("fc", "mean"), ("stem", None)):
        cut = begin.before(layer)
        assert (cut and cut.name) == expected, layer


def test_training_from_a_cut_on_reaches_all_of_the_layer(tiny_backbone: Backbone) -> None:
    for layer in ("blocks.0", "blocks.2", "conv_head", "classifier", "blocks.3.0.bn2"):
        cut = tiny_backbone.cut_before(layer)
        assert cut is not None
        own = {id(parameter) for parameter in tiny_backbone.network.get_submodule(layer).parameters()}
        prefix, suffix = tiny_backbone.split(cut)
        assert own <= {id(parameter) for parameter in suffix.parameters()}
        assert own.isdisjoint(id(parameter) for parameter in prefix.parameters())
    assert tiny_backbone.cut_before("conv_stem") is None


def test_the_bundled_network_starts_where_the_layer_before_ends() -> None:
    backbone = load_backbone("tf_efficientnet_lite0", weights="none")
    assert backbone.cut_before("blocks.6") == backbone.cut("blocks.5")
    assert backbone.cut_before("classifier") == backbone.cut("pooled")
    assert (backbone.classifier_layer, backbone.classifier_layers) == ("classifier", 1)


def test_an_unknown_layer_gets_the_nearest_names(tiny_backbone: Backbone) -> None:
    with pytest.raises(
        BackboneError, match=r"There is no layer 'block.2'\. Nearest: .*blocks\.2.*\n.*headstart backbones"
    ):
        tiny_backbone.cut_before("block.2")
    with pytest.raises(BackboneError, match=r"'clasifier'\. Nearest: classifier"):
        tiny_backbone.cut_before("clasifier")


def test_several_classifiers_have_no_one_name() -> None:
    found = starts("two classifiers")
    with pytest.raises(BackboneError, match="There is no layer 'classifier'"):
        found.before("classifier")


@pytest.fixture
def untraced(tiny_backbone: Backbone, untraceable: nn.Module) -> Backbone:
    card = replace(tiny_backbone.card, aliases={})
    return Backbone(card=card, network=untraceable, weights="none", weights_sha256="")


def test_a_network_that_cannot_be_traced_is_trained_as_a_whole(untraced: Backbone) -> None:
    with pytest.raises(
        BackboneError, match=r"tiny cannot be trained from 'head' on, only as a whole\.\n.*traced"
    ):
        untraced.cut_before("head")
    assert (untraced.classifier_layer, untraced.classifier_layers) == (None, 0)
    body = untraced.part(None, untraced.cut("pooled"))
    assert body.state_dict().keys() == untraced.network.state_dict().keys()
    assert {id(p) for p in body.parameters()} == {id(p) for p in untraced.network.parameters()}
    body.train()
    assert body(torch.randn(2, 3, 32, 32)).requires_grad
    assert isinstance(untraced.part(untraced.cut("last"), untraced.cut("pooled")), nn.Identity)
    with pytest.raises(BackboneError, match=r"cannot be made for other classes.*\n.*linear"):
        untraced.native_head(3, seed=0)
