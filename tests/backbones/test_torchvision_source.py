"""torchvision's networks: cards that tell the truth, and weights by the library's own way of fetching them."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from headstart.backbones import BackboneCard, build_network, find_card, list_backbones, load_backbone
from headstart.backbones.torchvision_source import TorchvisionSource
from headstart.errors import BackboneError
from headstart.images import Preprocess, normalise, prepare_image

CARDS = TorchvisionSource().cards()
ENTRIES = [
    (name, entry) for name in models.list_models(module=models) for entry in models.get_model_weights(name)
]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of checkpoints where torch looks for them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def publish(name: str, network: nn.Module, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Save a checkpoint as torchvision names them, and let its default weights point to it."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = folder / "checkpoint"
    torch.save(network.state_dict(), plain)
    sha256 = hashlib.sha256(plain.read_bytes()).hexdigest()
    path = plain.rename(folder / f"{name}-{sha256[:8]}.pth")
    monkeypatch.setattr(models.get_model_weights(name).DEFAULT.value, "url", path.as_uri())
    return path


def random_network(name: str, **arguments: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return models.get_model(name, weights=None, **arguments).eval()


def images(size: int) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_all_that_torchvision_classifies_with_is_there() -> None:
    names = {card.name for card in CARDS}
    assert len(names) == len(CARDS) == len(ENTRIES)
    for name in models.list_models(module=models):
        assert f"torchvision/{name}" in names
    assert not [name for name in names if any(word in name for word in ("quantized", "rcnn", "fcn_", "r3d"))]


def test_preprocess_is_the_weights_own() -> None:
    cards = {card.name: card for card in CARDS}
    aliases = TorchvisionSource().other_names()
    for name, entry in ENTRIES:
        full = f"torchvision/{name}.{entry.name.lower()}"
        own, ours = entry.transforms(), cards[aliases.get(full, full)].preprocess
        assert ([ours.size], [ours.resize]) == (own.crop_size, own.resize_size)
        assert (list(ours.mean), list(ours.std)) == (own.mean, own.std)
        assert (ours.interpolation, ours.resize_mode) == (own.interpolation.value, "crop")


def test_every_architecture_is_built_from_its_card_with_as_many_parameters() -> None:
    for card in {card.architecture: card for card in CARDS}.values():
        if "regnet" in card.architecture and "400mf" not in card.architecture:
            continue  # RegNets compute their widths with tensors, so each has to be built in full
        with torch.device("cpu" if "regnet" in card.architecture else "meta"):  # shapes without numbers
            network = TorchvisionSource().build(card)
        assert sum(p.numel() for p in network.parameters()) == card.parameters, card.name


def test_preprocessed_photos_are_those_of_torchvisions_transforms() -> None:
    entry = models.ResNet50_Weights.DEFAULT
    pixels = skimage.data.chelsea()
    ours = find_card("resnet").preprocess
    x = normalise(prepare_image(pixels, ours)[None], ours)
    theirs = entry.transforms()(torch.from_numpy(pixels).permute(2, 0, 1))
    assert (x[0] - theirs).abs().max() < 0.05  # some levels of 255: theirs is resized from contiguous memory


def test_every_card_is_json() -> None:
    for card in CARDS:
        fields = json.loads(json.dumps(asdict(card)))
        assert (
            BackboneCard(**fields | {"preprocess": Preprocess.from_dict(card.preprocess.to_dict())}) == card
        )


def test_licences_say_what_is_known() -> None:
    licences = {card.name: card.licence for card in CARDS}
    assert licences["torchvision/vit_h_14"] == licences["torchvision/regnet_y_16gf.imagenet1k_swag_e2e_v1"]
    assert licences["torchvision/vit_h_14"] == "CC-BY-NC-4.0"
    assert licences["torchvision/alexnet"] == "not stated"


@pytest.mark.parametrize("name", ["resnet18", "inception_v3", "googlenet"])
def test_weights_are_fetched_checked_and_loaded_as_torchvision_does(
    name: str, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aux = {} if name == "resnet18" else {"aux_logits": True, "init_weights": True, "transform_input": True}
    path = publish(name, random_network(name, **aux), tmp_path / "server", monkeypatch)
    assert not find_card(name).weights_here

    backbone = load_backbone(name)

    assert capsys.readouterr().out == ""  # stdout is for results
    assert (hub / path.name).is_file()
    assert find_card(name).weights_here
    assert backbone.weights == "pretrained"
    assert backbone.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    theirs = models.get_model(name, weights="DEFAULT").eval()
    x = images(96)
    with torch.inference_mode():
        assert torch.equal(backbone.network(x), theirs(x))
    path.unlink()  # from now on there is no network
    assert load_backbone(name).weights_sha256 == backbone.weights_sha256


def test_no_network_names_the_file_the_folder_and_the_way_out(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = publish("resnet18", random_network("resnet18"), tmp_path / "server", monkeypatch)
    path.unlink()
    with pytest.raises(BackboneError) as caught:
        load_backbone("resnet18")
    first, second = str(caught.value).splitlines()
    assert path.name in first
    assert str(hub) in second
    assert "--weights FILE" in second


def test_wrong_bytes_from_the_network_are_refused(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = publish("resnet18", random_network("resnet18"), tmp_path / "server", monkeypatch)
    path.write_bytes(b"a page that asks for a password")
    with pytest.raises(BackboneError, match="invalid hash value"):
        load_backbone("resnet18")
    assert not list(hub.iterdir())


def test_a_damaged_file_in_the_hubs_folder_is_said_to_be_so(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = publish("resnet18", random_network("resnet18"), hub, monkeypatch)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BackboneError, match=rf"{path.name} is damaged(.|\n)*Delete it"):
        load_backbone("resnet18")


def test_auxiliary_classifiers_are_dropped_from_a_file_and_nothing_else(tmp_path: Path) -> None:
    whole = random_network("googlenet", aux_logits=True, init_weights=True)
    state = dict(whole.state_dict())
    torch.save(state, tmp_path / "whole.pth")
    backbone = load_backbone("googlenet", weights=str(tmp_path / "whole.pth"))
    assert not [name for name in backbone.network.state_dict() if name.startswith("aux")]
    assert backbone.network.transform_input
    torch.save(state | {"aux3.weight": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(BackboneError, match=r"1 unexpected \(aux3.weight\)"):
        load_backbone("googlenet", weights=str(tmp_path / "more.pth"))


@pytest.mark.parametrize(
    ("name", "fc6", "fc7"), [("alexnet", 1, 4), ("vgg11", 0, 3), ("vgg11_bn", 0, 3), ("vgg16", 0, 3)]
)
def test_fc6_and_fc7_are_the_fully_connected_layers_after_their_relu(name: str, fc6: int, fc7: int) -> None:
    card = find_card(name)
    network = models.get_model(name, weights=None)
    for alias, index in (("fc6", fc6), ("fc7", fc7)):
        linear = network.classifier[index]
        after = network.classifier[index + 1]
        assert isinstance(linear, nn.Linear)
        assert isinstance(after, nn.ReLU)
        assert linear.out_features == 4096
        assert network.get_submodule(card.aliases[alias]) is after


def test_weights_without_a_trained_classifier_have_no_fc6() -> None:
    assert find_card("torchvision/vgg16").aliases
    assert not find_card("torchvision/vgg16.imagenet1k_features").aliases


@pytest.mark.parametrize("name", ["alexnet", "vgg11"])
def test_fc6_is_a_cut_of_4096_values_at_any_size(name: str) -> None:
    backbone = load_backbone(name, weights="none", size=128)
    cut = backbone.cut("fc6")
    assert cut.shape == (4096,)
    with torch.inference_mode():
        features = backbone.split(cut)[0](images(128)[:1])
    assert features.shape == (1, 4096)
    assert features.min() >= 0


def test_sizes_that_an_architecture_cannot_take_are_refused() -> None:
    with pytest.raises(BackboneError, match=r"vit_b_16 takes images of 224 pixels only, not 128"):
        load_backbone("torchvision/vit_b_16", weights="none", size=128)
    with pytest.raises(BackboneError, match=r"alexnet takes images of at least 63 pixels, not 32"):
        load_backbone("alexnet", weights="none", size=32)
    assert load_backbone("resnet18", weights="none", size=64).preprocess.resize == 73  # 256 / 224 of it


def test_random_weights_are_torchvisions_own_initialisation() -> None:
    ours = load_backbone("squeezenet1_1", weights="none", seed=7).network.state_dict()
    for name, value in random_network("squeezenet1_1").state_dict().items():
        assert torch.equal(ours[name], value)


def test_no_two_sources_share_the_name_of_an_architecture() -> None:
    # It stands in the store's key, and timm's resnet50 is not torchvision's to the last bit.
    owners: dict[str, set[str]] = {}
    for card in list_backbones():
        owners.setdefault(card.architecture, set()).add(card.source)
    assert not [name for name, sources in owners.items() if len(sources) > 1]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "file", "size"),
    [
        ("squeezenet", "squeezenet1_1.safetensors", 224),
        ("squeezenet1_0", "squeezenet1_0_deepcompression.safetensors", 227),
    ],
)
def test_real_weights_know_a_cat_and_an_espresso(shared: Path, name: str, file: str, size: int) -> None:
    wanted = Preprocess(
        size=size,
        resize=256,
        interpolation="bilinear",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    backbone = load_backbone(name, weights=str(shared / "weights" / file), preprocess=wanted)
    assert backbone.preprocess == wanted
    assert backbone.weights == file
    photos = [skimage.data.chelsea(), skimage.data.coffee()]
    x = normalise(torch.stack([prepare_image(np.asarray(photo), wanted) for photo in photos]), wanted)
    with torch.inference_mode():
        best = backbone.network(x).topk(5).indices
    assert set(best[0].tolist()) & set(range(281, 286))
    assert set(best[1].tolist()) & {967, 968}


def test_a_card_is_enough_to_build_the_network_again() -> None:
    for name in ("googlenet", "squeezenet1_1"):
        card = find_card(name)
        first, second = (build_network(card, seed=3).state_dict() for _ in range(2))
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_float16_files_become_float32(tmp_path: Path) -> None:
    network = random_network("squeezenet1_1").half()
    save_file(network.state_dict(), tmp_path / "half.safetensors")
    loaded = load_backbone("squeezenet1_1", weights=str(tmp_path / "half.safetensors")).network
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, network.state_dict()[name].float())
