"""Of every family: the two parts of a network are the network, bit for bit, in both modes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from headstart.backbones.cut import Cut
from headstart.backbones.cuts import CutNetwork, cut_network


@dataclass(frozen=True, kw_only=True)
class Family:
    """One architecture at the smallest input that it runs on."""

    size: int = 64
    arguments: Mapping[str, Any] = field(default_factory=dict)


def tall(size: int, **arguments: Any) -> Family:
    """A timm architecture that is told its input's size."""
    return Family(size=size, arguments={"img_size": size} | arguments)


def small_vit(**arguments: Any) -> nn.Module:
    return models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=3, num_heads=3, hidden_dim=48, mlp_dim=96, **arguments
    )


def small_maxvit(**arguments: Any) -> nn.Module:
    return models.MaxVit(
        input_size=(64, 64),
        stem_channels=8,
        partition_size=2,
        block_channels=[8, 16],
        block_layers=[1, 2],
        head_dim=8,
        stochastic_depth_prob=0.3,
        **arguments,
    )


BUILT_HERE: Mapping[str, Callable[..., nn.Module]] = {"vit": small_vit, "maxvit": small_maxvit}
NO_INIT = {"init_weights": False}  # drawing the weights of a classifier of 120 M takes longer than the test

TORCHVISION: Mapping[str, Family] = {
    "alexnet": Family(),
    "vgg11": Family(arguments=NO_INIT),
    "vgg13_bn": Family(arguments=NO_INIT),
    "vgg16": Family(arguments=NO_INIT),
    "vgg19_bn": Family(size=32, arguments=NO_INIT),
    "resnet18": Family(),
    "resnet50": Family(),
    "resnext50_32x4d": Family(size=32),
    "wide_resnet50_2": Family(size=32),
    "squeezenet1_0": Family(),
    "squeezenet1_1": Family(),
    "densenet121": Family(size=32),
    "inception_v3": Family(size=80, arguments=NO_INIT | {"aux_logits": False}),
    "googlenet": Family(size=32, arguments=NO_INIT | {"aux_logits": False}),
    "mobilenet_v2": Family(size=32),
    "mobilenet_v3_small": Family(),
    "mobilenet_v3_large": Family(size=32),
    "shufflenet_v2_x0_5": Family(),
    "mnasnet0_5": Family(),
    "efficientnet_b0": Family(size=32),
    "efficientnet_v2_s": Family(size=32),
    "regnet_x_400mf": Family(size=32),
    "regnet_y_400mf": Family(size=32),
    "convnext_tiny": Family(size=32),
    "vit": Family(size=32),
    "swin_t": Family(),
    "swin_v2_t": Family(),
    "maxvit": Family(),
}

DROP_PATH = {"drop_path_rate": 0.4}

TIMM: Mapping[str, Family] = {
    "vit_tiny_patch16_224": tall(64, **DROP_PATH),
    "deit_tiny_distilled_patch16_224": tall(64),
    "vit_small_patch14_dinov2": tall(56),
    "vit_pe_core_small_patch16_384": tall(64),
    "eva02_tiny_patch14_224": tall(56, **DROP_PATH),
    "beit_base_patch16_224": tall(32, **DROP_PATH),
    "cait_xxs24_224": tall(64, **DROP_PATH),
    "xcit_nano_12_p16_224": Family(arguments=DROP_PATH),
    "crossvit_tiny_240": Family(size=240),
    "tnt_s_patch16_224": tall(64),
    "volo_d1_224": tall(64),
    "convit_tiny": tall(64),
    "coat_lite_tiny": tall(64),
    "hiera_tiny_224": Family(size=224),
    "mvitv2_tiny": tall(64),
    "swin_tiny_patch4_window7_224": tall(64, window_size=2, **DROP_PATH),
    "swinv2_tiny_window8_256": tall(64, window_size=2, **DROP_PATH),
    "maxvit_pico_rw_256": tall(64, **DROP_PATH),
    "coatnet_pico_rw_224": tall(64),
    "tiny_vit_5m_224": Family(arguments=DROP_PATH),
    "levit_128s": Family(size=224),
    "twins_svt_small": tall(64),
    "pvt_v2_b0": Family(),
    "visformer_tiny": tall(64),
    "pit_ti_224": tall(64),
    "nest_tiny": tall(64),
    "davit_tiny": Family(),
    "focalnet_tiny_srf": Family(),
    "poolformer_s12": Family(arguments=DROP_PATH),
    "caformer_s18": Family(size=32),
    "mixer_s32_224": tall(64, **DROP_PATH),
    "resmlp_12_224": tall(64),
    "gmlp_s16_224": tall(64),
    "sequencer2d_s": tall(64),
    "convnext_atto": Family(arguments=DROP_PATH),
    "convnextv2_atto": Family(),
    "inception_next_atto": Family(),
    "mambaout_femto": Family(),
    "starnet_s1": Family(),
    "fastvit_t8": Family(arguments=DROP_PATH),
    "efficientformerv2_s0": Family(size=224),
    "edgenext_xx_small": Family(),
    "mobilevit_xxs": Family(),
    "efficientvit_b0": Family(),
    "nextvit_small": Family(),
    "mobilenetv4_conv_small": Family(),
    "ghostnet_050": Family(),
    "lcnet_035": Family(),
    "tinynet_e": Family(arguments=DROP_PATH),
    "rexnet_100": Family(),
    "mixnet_s": Family(),
    "repvgg_a0": Family(),
    "repvit_m0_9": Family(),
    "regnety_002": Family(),
    "resnest14d": Family(),
    "res2net50_14w_8s": Family(size=32),
    "seresnet18": Family(),
    "skresnet18": Family(),
    "resnetv2_50x1_bit": Family(size=32),
    "botnet26t_256": tall(64),
    "dpn48b": Family(),
    "dla46_c": Family(),
    "hrnet_w18_small": Family(),
    "nf_regnet_b0": Family(),
    "hgnetv2_b0": Family(),
    "ese_vovnet19b_slim": Family(),
    "cspresnet50": Family(size=32),
    "selecsls42": Family(),
}

# What stands between the number of blocks and the number of cuts: these have a way around their blocks.
FEW_CUTS = {"crossvit_tiny_240": 1}


def build_torchvision(name: str, family: Family) -> nn.Module:
    build = BUILT_HERE.get(name) or getattr(models, name)
    return build(num_classes=7, **family.arguments)


def build_timm(name: str, family: Family) -> nn.Module:
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=7, **family.arguments)
    return network


def run(module: nn.Module, x: Tensor) -> Tensor:
    torch.manual_seed(5)
    with torch.no_grad():
        result: Tensor = module(x)
    return result


def choose(found: CutNetwork) -> list[Cut]:
    """Six evenly spaced cuts and those of the aliases, in order."""
    names = [name for name, cut in found.cuts.items() if cut.goes_on]
    chosen = dict.fromkeys(names[:: max(1, len(names) // 6)])
    chosen |= dict.fromkeys(name.removesuffix(":mean") for name in found.aliases.values())
    return [cut for name, cut in found.cuts.items() if name in chosen and cut.goes_on]


def buffers(network: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


def put_back(network: nn.Module, kept: Mapping[str, Tensor]) -> None:
    for name, buffer in network.named_buffers():
        buffer.copy_(kept[name])


def assert_parts_are_the_whole(network: nn.Module, size: int, *, at_least: int = 8) -> None:
    """In eval mode on one image, in train mode on two: equal outputs, equal statistics, shared parameters."""
    found = cut_network(network, size=size)
    assert sum(cut.goes_on for cut in found.cuts.values()) >= at_least
    own = {id(parameter) for parameter in network.parameters()}
    run(network.eval(), torch.zeros(1, 3, size, size))  # some keep what depends on the size for the next time
    before = buffers(network)
    for training, n in ((False, 1), (True, 2)):
        network.train(training)
        x = torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))
        whole = run(network, x)
        after = buffers(network)
        for cut in choose(found):
            put_back(network, before)
            prefix, suffix = found.part(None, cut), found.suffix(cut)
            assert {id(p) for part in (prefix, suffix) for p in part.parameters()} <= own
            torch.manual_seed(5)
            with torch.no_grad():
                features = prefix(x)
                kept = features.clone()
                assert torch.equal(suffix(features), whole), (cut.name, training)
            assert torch.equal(features, kept), f"the suffix from {cut.name} on overwrote its input"
            assert features.shape[1:] == cut.shape
            for name, buffer in network.named_buffers():
                assert torch.equal(buffer, after[name]), (cut.name, name)
        assert_parts_between(found, x, before)
        put_back(network, before)
    network.eval()
    x = torch.zeros(2, 3, size, size)
    for name in found.aliases.values():
        assert run(found.part(None, found.cuts[name]), x).shape[1:] == found.cuts[name].shape
    assert len(found.resolve(found.aliases["pooled"]).shape) == 1
    assert_starts_part_the_parameters(found)


def assert_parts_between(found: CutNetwork, x: Tensor, before: Mapping[str, Tensor]) -> None:
    """From each chosen cut to one behind it, and to the aliases: what the longer prefix gives, with what it uses."""
    network, starts = found.network, choose(found)
    tensors = network.state_dict(keep_vars=True)
    aliases = [found.cuts[name] for name in found.aliases.values() if found.cuts[name] not in starts]
    pairs = [*pairwise(starts), *((starts[len(starts) // 2], end) for end in aliases if len(starts) > 1)]
    for start, end in pairs:
        put_back(network, before)
        whole = run(prefix := found.part(None, end), x)
        after = buffers(network)
        put_back(network, before)
        first, second = found.part(None, start), found.part(start, end)
        torch.manual_seed(5)
        with torch.no_grad():
            features = first(x)
            kept = features.clone()
            assert torch.equal(second(features), whole), (start.name, end.name)
        assert torch.equal(features, kept), f"the part from {start.name} to {end.name} overwrote its input"
        for name, buffer in network.named_buffers():
            assert torch.equal(buffer, after[name]), (start.name, end.name, name)
        own = second.state_dict(keep_vars=True)
        assert all(value is tensors[name] for name, value in own.items())
        names = [{name for name, _ in part.named_parameters()} for part in (prefix, first, second)]
        assert names[0] == names[1] | names[2], (start.name, end.name)
        if network.training:  # in eval mode, some keep a table that they made of a parameter
            assert_all_are_used(second, features)


def assert_all_are_used(part: nn.Module, features: Tensor) -> None:
    """Each parameter has a gradient, so none is there that the part does not need."""
    if parameters := dict(part.named_parameters()):
        found = torch.autograd.grad(part(features).sum(), list(parameters.values()), allow_unused=True)
        assert [name for name, gradient in zip(parameters, found, strict=True) if gradient is None] == []


def assert_starts_part_the_parameters(found: CutNetwork) -> None:
    """Training from any child on leaves what comes before it as it is."""
    starts = found.starts(found.aliases)
    assert starts is not None
    children = [name for name, _ in found.network.named_children() if name in starts.names]
    for cut in filter(None, dict.fromkeys(map(starts.before, children))):
        frozen = {id(parameter) for parameter in found.part(None, cut).parameters()}
        assert frozen.isdisjoint(map(id, found.suffix(cut).parameters())), cut.name


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str) -> None:
    family = TORCHVISION[name]
    assert_parts_are_the_whole(build_torchvision(name, family), family.size)


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM)
def test_timm(name: str) -> None:
    family = TIMM[name]
    assert_parts_are_the_whole(build_timm(name, family), family.size, at_least=FEW_CUTS.get(name, 8))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "vgg11"])
def test_alexnet_and_vgg_on_images_of_128_pixels(name: str) -> None:
    arguments = {} if name == "alexnet" else NO_INIT
    assert_parts_are_the_whole(build_torchvision(name, Family(arguments=arguments)), 128)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("vit_small_patch14_dinov2", 12),
        ("eva02_tiny_patch14_224", 12),
        ("beit_base_patch16_224", 12),
        ("vit_pe_core_small_patch16_384", 12),
    ],
)
def test_transformers_have_a_cut_after_every_block(name: str, blocks: int) -> None:
    family = TIMM[name]
    found = cut_network(build_timm(name, family), size=family.size)
    assert [found.resolve(f"blocks.{i}").name.startswith(f"blocks.{i}.") for i in range(blocks)] == [
        True
    ] * blocks
