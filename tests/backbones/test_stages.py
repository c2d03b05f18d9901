from collections.abc import Callable
from itertools import chain

import pytest
import timm
from torch import nn
from torchvision import models

from headstart.backbones import Backbone
from headstart.backbones.stages import list_stages

# (network, the first parameter of each stage)
EXPECTED: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "resnet18": (
        models.resnet18,
        [
            "conv1.weight",
            *(f"layer{i}.{j}.conv1.weight" for i in (1, 2, 3, 4) for j in (0, 1)),
            "fc.weight",
        ],
    ),
    "squeezenet": (
        models.squeezenet1_1,
        [
            "features.0.weight",
            *(f"features.{i}.squeeze.weight" for i in (3, 4, 6, 7, 9, 10, 11, 12)),
            "classifier.1.weight",
        ],
    ),
    "alexnet": (
        models.alexnet,
        [
            *(f"features.{i}.weight" for i in (0, 3, 6, 8, 10)),
            *(f"classifier.{i}.weight" for i in (1, 4, 6)),
        ],
    ),
    "torchvision's vit": (
        lambda: models.VisionTransformer(
            image_size=32, patch_size=8, num_layers=2, num_heads=3, hidden_dim=48, mlp_dim=96
        ),
        [
            "class_token",
            *(f"encoder.layers.encoder_layer_{i}.ln_1.weight" for i in (0, 1)),
            "heads.head.weight",
        ],
    ),
    "timm's vit": (
        lambda: timm.create_model("vit_tiny_patch16_224"),
        ["cls_token", *(f"blocks.{i}.norm1.weight" for i in range(12)), "head.weight"],
    ),
    "lite0": (
        lambda: timm.create_model("tf_efficientnet_lite0"),
        [
            "conv_stem.weight",
            "blocks.0.0.conv_dw.weight",
            *(f"blocks.{i}.0.conv_pw.weight" for i in range(1, 7)),
            "classifier.weight",
        ],
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_stages_go_from_the_input_to_the_output(name: str) -> None:
    build, firsts = EXPECTED[name]
    network = build()
    stages = list_stages(network)
    assert [stage[0] for stage in stages] == firsts
    assert sorted(chain(*stages)) == sorted(name for name, _ in network.named_parameters())


def test_a_norm_belongs_to_the_stage_before_it() -> None:
    stages = list_stages(models.densenet121())
    assert stages[0] == ["features.conv0.weight", "features.norm0.weight", "features.norm0.bias"]
    assert stages[-2][-1] == "features.norm5.bias"


def test_a_part_has_the_stages_that_stand_in_it(tiny_backbone: Backbone) -> None:
    start, end = tiny_backbone.cut("blocks.1"), tiny_backbone.cut("pooled")
    stages = tiny_backbone.stages(start, end)
    names = [name for name, _ in tiny_backbone.part(start, end).named_parameters()]
    assert sorted(chain(*stages)) == sorted(names)
    firsts = ["blocks.2.0.conv_exp.weight", "blocks.3.0.conv_pw.weight", "blocks.4.0.conv_pw.weight"]
    assert [stage[0] for stage in stages] == firsts
    assert tiny_backbone.stages(end, end) == []


def test_the_stages_of_all_that_is_trained_begin_with_the_stem(tiny_backbone: Backbone) -> None:
    stages = tiny_backbone.stages(None, tiny_backbone.cut("last"))
    assert stages[0][0] == "conv_stem.weight"
    assert not any(name.startswith("classifier") for stage in stages for name in stage)
