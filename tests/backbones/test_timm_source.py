"""timm's networks: cards from its registry, weights by its own loading, folders as it saves them."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import skimage.data
import timm
import timm.data
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from headstart.backbones import BackboneCard, build_network, find_card, load_backbone
from headstart.backbones.backbone import sha256_of_tensors
from headstart.backbones.timm_source import TimmSource, _preprocess
from headstart.errors import BackboneError, ConfigError
from headstart.images import Preprocess, normalise, prepare_image

CARDS = {card.name: card for card in TimmSource().cards()}
TINY = "test_efficientnet.r160_in1k"
TINY_VIT = "test_vit.r160_in1k"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, whose client stays off line."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "hub"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No host can be found, and no proxy is set."""

    def fail(*arguments: object, **options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def random_state(name: str, **arguments: Any) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        state: dict[str, torch.Tensor] = timm.create_model(name, pretrained=False, **arguments).state_dict()
        return state


def put_into_cache(hub: Path, name: str, state: dict[str, torch.Tensor]) -> Path:
    """What the hub's client would have left behind."""
    folder = hub / f"models--timm--{name}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    save_file(state, snapshot / "model.safetensors")
    return snapshot / "model.safetensors"


def images(size: int) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_all_that_has_weights_is_there_or_refused_with_a_reason() -> None:
    names = {f"timm/{name}" for name in timm.list_models(pretrained=True)}
    refused = TimmSource().refused()
    assert names == CARDS.keys() | refused.keys()
    assert not CARDS.keys() & refused.keys()
    assert len(refused) < 0.02 * len(names)
    assert all(reason.endswith(".") for reason in refused.values())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("timm/volo_d4_448.sail_in1k", "padded"),
        ("volo_d4_448", "padded"),
        ("timm/vit_base_patch16_sapiens2.fb", "not square ones"),
    ],
)
def test_what_cannot_be_prepared_is_refused_by_name(name: str, reason: str) -> None:
    with pytest.raises(BackboneError, match=rf"cannot be used: .*{reason}"):
        find_card(name)


def test_a_name_without_a_tag_means_timms_default_weights() -> None:
    for architecture in ("resnet50", "mobilenetv3_large_100", "vit_base_patch16_224", "convnext_tiny"):
        tag = timm.get_pretrained_cfg(architecture).tag
        assert find_card(f"timm/{architecture}").name == f"timm/{architecture}.{tag}"


@pytest.mark.slow
def test_listing_builds_no_network() -> None:
    code = (
        "import torch.nn as nn, headstart.backbones as b\n"
        "def fail(*arguments, **options): raise AssertionError('a module was built')\n"
        "nn.Conv2d.__init__ = nn.Linear.__init__ = fail\n"
        "assert len(b.list_backbones()) > 1000 and b.find_card('timm/resnet50')"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "name",
    ["resnet50.a1_in1k", "vit_base_patch16_clip_224.openai", "vit_base_patch16_224.augreg_in21k", TINY],
)
@pytest.mark.parametrize("shape", [(300, 400), (97, 60)])
def test_photos_are_prepared_as_timm_does(name: str, shape: tuple[int, int]) -> None:
    data = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    assert_prepared_as_timm_does(CARDS[f"timm/{name}"].preprocess, data, shape)


def test_squashed_photos_are_prepared_as_timm_does() -> None:
    squashed = next(card for card in CARDS.values() if card.preprocess.resize_mode == "squash")
    cfg = timm.get_pretrained_cfg(squashed.architecture)
    data = timm.data.resolve_data_config(pretrained_cfg=cfg.to_dict())
    assert data["crop_mode"] == "squash"
    assert_prepared_as_timm_does(squashed.preprocess, data, (150, 330))
    assert_prepared_as_timm_does(
        _preprocess(cfg.to_dict() | {"crop_pct": 0.9}), data | {"crop_pct": 0.9}, (330, 150)
    )


def assert_prepared_as_timm_does(ours: Preprocess, data: dict[str, Any], shape: tuple[int, int]) -> None:
    """Timm's own transform on a Pillow image, against ours on the pixels: a level or two of 255 apart."""
    noise = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize(shape[::-1], Image.Resampling.BICUBIC)
    theirs = timm.data.create_transform(**data, is_training=False)(photo)
    prepared = normalise(prepare_image(np.array(photo), ours)[None], ours)[0]
    assert prepared.shape == theirs.shape
    assert (prepared - theirs).abs().max() <= 3 / 255 / min(ours.std)


@pytest.mark.parametrize(
    "other",
    [
        {"crop_mode": "border"},
        {"crop_pct": 1.1},
        {"input_size": (3, 32, 64)},
        {"input_size": (1, 32, 32)},
        {"interpolation": "lanczos"},
    ],
)
def test_a_config_that_cannot_be_followed_is_refused(other: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        _preprocess(timm.get_pretrained_cfg(TINY).to_dict() | other)


def test_every_card_is_json() -> None:
    for card in CARDS.values():
        fields = json.loads(json.dumps(asdict(card)))
        assert (
            BackboneCard(**fields | {"preprocess": Preprocess.from_dict(card.preprocess.to_dict())}) == card
        )


def test_licences_are_timms() -> None:
    assert CARDS["timm/resnet50.a1_in1k"].licence == "Apache-2.0"
    assert CARDS["timm/convnextv2_tiny.fcmae"].licence == "CC-BY-NC-4.0"
    unstated = [card for card in CARDS.values() if card.licence == "not stated"]
    assert all(timm.get_pretrained_cfg(card.architecture).license in (None, "unknown") for card in unstated)


def test_cached_weights_are_loaded_as_timm_does_and_off_line(hub: Path, no_network: None) -> None:
    put_into_cache(hub, TINY, random_state(TINY))
    card = find_card(f"timm/{TINY}")
    assert card.weights_here
    assert not find_card(f"timm/{TINY_VIT}").weights_here

    backbone = load_backbone(f"timm/{TINY}")

    theirs = timm.create_model(TINY, pretrained=True).eval()
    x = images(160)
    with torch.inference_mode():
        assert torch.equal(backbone.network(x), theirs(x))
    assert backbone.weights == "pretrained"
    assert backbone.weights_sha256 == sha256_of_tensors(theirs.state_dict())


def test_a_vision_transformer_is_built_for_another_size(hub: Path, no_network: None) -> None:
    put_into_cache(hub, TINY_VIT, random_state(TINY_VIT))
    backbone = load_backbone(f"timm/{TINY_VIT}", size=96)
    assert backbone.preprocess.size == 96
    assert backbone.card.arguments == {"img_size": 96}
    theirs = timm.create_model(TINY_VIT, pretrained=True, img_size=96).eval()
    with torch.inference_mode():
        assert torch.equal(backbone.network(images(96)), theirs(images(96)))
    again = build_network(backbone.card)
    assert [value.shape for value in again.state_dict().values()] == [
        value.shape for value in backbone.network.state_dict().values()
    ]


def test_a_file_of_another_size_or_version_is_converted_as_timm_does(hub: Path, tmp_path: Path) -> None:
    state = random_state(TINY_VIT)
    save_file(state, tmp_path / "vit.safetensors")
    backbone = load_backbone("timm/test_vit", weights=str(tmp_path / "vit.safetensors"), size=96)
    put_into_cache(hub, TINY_VIT, state)
    theirs = timm.create_model(TINY_VIT, pretrained=True, img_size=96).eval()
    with torch.inference_mode():
        assert torch.equal(backbone.network(images(96)), theirs(images(96)))
    save_file({**state, "head.weight": torch.zeros(3, 64)}, tmp_path / "vit.safetensors")
    with pytest.raises(BackboneError, match=r"of another shape \(.*head\.weight \(3, 64\) instead of"):
        load_backbone("timm/test_vit", weights=str(tmp_path / "vit.safetensors"))


def test_loading_leaves_torchs_generator_alone(hub: Path, no_network: None) -> None:
    put_into_cache(hub, TINY, random_state(TINY))
    before = torch.get_rng_state()
    load_backbone(f"timm/{TINY}")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_size_that_an_architecture_cannot_take_is_refused() -> None:
    with pytest.raises(BackboneError, match=r"timm/test_vit\S* takes no images of 7 pixels"):
        load_backbone("timm/test_vit", weights="none", size=7)


@pytest.mark.parametrize(
    ("name", "words"), [(TINY, f"huggingface.co/timm/{TINY}"), ("gcvit_tiny.in1k", "gcvit_tiny_224")]
)
def test_no_network_names_the_address_the_folder_and_the_way_out(
    hub: Path, no_network: None, name: str, words: str
) -> None:
    with pytest.raises(BackboneError) as caught:
        TimmSource().load(find_card(f"timm/{name}"), torch.nn.Identity())
    first, second = str(caught.value).splitlines()
    assert words in first
    assert "--weights FILE" in second
    assert str(hub.parent) in second


def test_a_hub_that_does_not_answer_is_an_error_in_words(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *arguments: []
    )  # the host is found, the client off line
    with pytest.raises(
        BackboneError, match=rf"The weights of timm/{TINY} are not here and cannot be fetched"
    ):
        load_backbone(f"timm/{TINY}")


@pytest.mark.parametrize("damage", ["cut short", "another network"])
def test_damaged_weights_in_the_cache_are_said_to_be_so(hub: Path, no_network: None, damage: str) -> None:
    path = put_into_cache(hub, TINY, random_state(TINY if damage == "cut short" else TINY_VIT))
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BackboneError, match=r"model\.safetensors cannot be loaded(.|\n)*Delete that file"):
        load_backbone(f"timm/{TINY}")


MakeFolder = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """`make_folder(architecture, state, **pretrained_cfg)` writes a folder as timm does for its hub."""

    def make(architecture: str, state: dict[str, torch.Tensor], model_args: Any = None, **cfg: Any) -> Path:
        folder = tmp_path / architecture
        folder.mkdir()
        config = {"architecture": architecture, "pretrained_cfg": cfg}
        config |= {"model_args": model_args} if model_args else {}
        (folder / "config.json").write_text(json.dumps(config))
        save_file(state, folder / "model.safetensors")
        return folder

    return make


def test_a_folders_arguments_and_preprocessing_are_taken_over(make_folder: MakeFolder) -> None:
    arguments = {"num_classes": 5, "pad_type": "same"}
    state = random_state("test_efficientnet", **arguments)
    folder = make_folder(
        "test_efficientnet",
        state,
        model_args={"pad_type": "same"},
        num_classes=5,
        input_size=[3, 64, 64],
        mean=[0.1, 0.2, 0.3],
        std=[0.5, 0.5, 0.25],
        interpolation="bilinear",
        crop_pct=0.5,
        license="mit",
    )

    backbone = load_backbone("timm/test_efficientnet", weights=str(folder))

    assert backbone.preprocess == Preprocess(
        size=64, resize=128, interpolation="bilinear", mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.25)
    )
    assert backbone.card.arguments == arguments
    assert (backbone.name, backbone.card.licence) == ("timm/test_efficientnet", "MIT")
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.inference_mode():
        assert torch.equal(backbone.network(images(64)), theirs(images(64)))


def test_a_folder_saved_by_timm_is_loaded(tmp_path: Path) -> None:
    network = timm.create_model(TINY, pretrained=False).eval()
    timm.models.save_for_hf(network, tmp_path / "saved")
    backbone = load_backbone(f"timm/{TINY}", weights=str(tmp_path / "saved"))
    assert backbone.preprocess == find_card(f"timm/{TINY}").preprocess
    with torch.inference_mode():
        assert torch.equal(backbone.network(images(160)), network(images(160)))


def test_a_folder_of_another_architecture_is_refused(make_folder: MakeFolder) -> None:
    folder = make_folder("test_vit", {"a": torch.zeros(1)})
    for name in ("timm/test_efficientnet", "tf_efficientnet_lite0"):
        with pytest.raises(BackboneError, match=r"holds weights of test_vit, not of (.|\n)*timm/test_vit"):
            load_backbone(name, weights=str(folder))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"crop_mode": "border"}, "cannot be prepared"),
        ({"mean": 3}, "cannot be prepared"),
        ({"model_args": {"in_chans": 1}}, "1 channels"),
        ({"model_args": {"wrong": 1}}, "cannot be built with wrong=1"),
    ],
)
def test_a_folder_that_cannot_be_followed_is_refused(
    make_folder: MakeFolder, given: dict[str, Any], words: str
) -> None:
    folder = make_folder("test_efficientnet", random_state(TINY), **given)
    with pytest.raises(BackboneError, match=words):
        load_backbone("timm/test_efficientnet", weights=str(folder))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mobilenetv2_100", "mobilenetv2_100_tf2ptq.safetensors"),
        ("mobilenetv1_100", "mobilenetv1_100_tfqat.safetensors"),
    ],
)
def test_real_weights_in_a_folder_know_a_cat_and_an_espresso(
    shared: Path, make_folder: MakeFolder, name: str, file: str
) -> None:
    state = load_file(shared / "weights" / file)
    half = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 224, 224], "crop_pct": 0.875}
    folder = make_folder(name, state, model_args={"pad_type": "same"}, interpolation="bicubic", **half)
    backbone = load_backbone(f"timm/{name}", weights=str(folder))
    wanted = backbone.preprocess
    assert (wanted.size, wanted.resize) == (224, 256)
    photos = [skimage.data.chelsea(), skimage.data.coffee()]
    x = normalise(torch.stack([prepare_image(np.asarray(photo), wanted) for photo in photos]), wanted)
    with torch.inference_mode():
        best = backbone.network(x).topk(5).indices
    offset = backbone.network.num_classes - 1000
    assert set((best[0] - offset).tolist()) & set(range(281, 286))
    assert set((best[1] - offset).tolist()) & {967, 968}
