"""Extraction: what shares stored features, and what must not."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

import headstart.features.extract as module
from headstart.backbones import Backbone, build_network
from headstart.backbones.backbone import sha256_of_tensors
from headstart.features import FeatureStore, StoreKey, extract_features
from headstart.features.extract import store_key
from headstart.images import Preprocess, decoder_identity
from headstart.runtimes import load_runtime


def _other_weights(backbone: Backbone) -> Backbone:
    network = build_network(backbone.card, seed=1)
    return Backbone(
        card=backbone.card,
        network=network,
        weights="none",
        weights_sha256=sha256_of_tensors(network.state_dict()),
    )


def _other_arguments(backbone: Backbone) -> Backbone:
    """The same weights in a network that pads otherwise: nothing but the arguments tells the two apart."""
    card = replace(backbone.card, arguments={**backbone.card.arguments, "pad_type": "same"})
    network = build_network(card, seed=0)
    network.load_state_dict(backbone.network.state_dict())
    return replace(backbone, card=card, network=network)


def _prepared(backbone: Backbone, **changes: object) -> Backbone:
    preprocess: Preprocess = replace(backbone.preprocess, **changes)
    return replace(backbone, card=replace(backbone.card, preprocess=preprocess))


CHANGES: dict[str, Callable[[Backbone], Backbone]] = {
    "weights": _other_weights,
    "arguments": _other_arguments,
    "size": lambda backbone: _prepared(backbone, size=36),
    "resize": lambda backbone: _prepared(backbone, resize=40),
    "resize_mode": lambda backbone: _prepared(backbone, resize_mode="squash"),
    "interpolation": lambda backbone: _prepared(backbone, interpolation="bilinear"),
    "mean": lambda backbone: _prepared(backbone, mean=(0.4, 0.5, 0.5)),
}


@pytest.fixture
def photos(photo_folder: Path) -> list[Path]:
    return sorted(photo_folder.glob("*/*.jpg"))[:5]


@pytest.mark.parametrize("what", CHANGES)
def test_what_changes_a_value_has_features_of_its_own(
    what: str, photos: list[Path], tiny_backbone: Backbone, tmp_path: Path
) -> None:
    store = FeatureStore(tmp_path / "shared")
    before = extract_features(photos, tiny_backbone, store=store).features.load()
    other = CHANGES[what](tiny_backbone)

    got = extract_features(photos, other, store=store)

    alone = extract_features(photos, other, store=FeatureStore(tmp_path / "alone"))
    assert got.extracted == 5
    assert np.array_equal(got.features.load(), alone.features.load())
    assert not np.allclose(got.features.load(), before, atol=1e-6)
    assert extract_features(photos, tiny_backbone, store=store).extracted == 0  # what was there has stayed


def test_each_layer_has_features_of_its_own(photos: list[Path], tiny_backbone: Backbone) -> None:
    last_map = list(tiny_backbone.cuts)[-5]
    for layer in ("pooled", "blocks.1", "blocks.1:mean", last_map):
        got = extract_features(photos, tiny_backbone, layer=layer)
        assert (got.extracted, got.features.shape) == (5, tiny_backbone.cut(layer).shape)


def test_another_decoder_reads_other_pixels(
    photos: list[Path], tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract_features(photos, tiny_backbone)
    newer = {**decoder_identity(), "jpeg": "simplejpeg 99"}
    monkeypatch.setattr(module, "decoder_identity", lambda: newer)

    assert extract_features(photos, tiny_backbone).extracted == 5


def test_names_and_words_change_no_value(photos: list[Path], tiny_backbone: Backbone) -> None:
    first = extract_features(photos, tiny_backbone)
    card = replace(
        tiny_backbone.card, name="another", summary="", licence="MIT", aliases={"neck": "global_pool.flatten"}
    )
    renamed = replace(tiny_backbone, card=card, weights="FILE")

    again = [
        extract_features(photos, renamed, layer="neck"),
        extract_features(photos[::-1], tiny_backbone, layer="global_pool", workers=1),
    ]

    assert (first.extracted, [got.extracted for got in again]) == (5, [0, 0])


def test_the_key_says_what_it_is_of(tiny_backbone: Backbone) -> None:
    cut = tiny_backbone.cut("blocks.1")
    key = store_key(tiny_backbone, cut, load_runtime(tiny_backbone.prefix(cut), tiny_backbone.preprocess))

    assert {field.name for field in fields(StoreKey)} == vars(key).keys()
    assert (key.architecture, key.cut, key.view) == ("test_efficientnet", cut.name, "original")
    assert (key.runtime, key.precision) == ("torch-cpu-channels_last", "float32")
