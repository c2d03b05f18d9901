"""Extraction: what shares stored features, and what must not."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

import headstart.features.extract as module
from headstart.backbones import Backbone, build_network
from headstart.backbones.backbone import sha256_of_tensors
from headstart.errors import StoreError
from headstart.features import FeatureStore, StoreKey, extract_features, extract_views, job
from headstart.features.extract import store_key
from headstart.images import Preprocess, decode_for, decode_image, decoder_identity, prepare_image
from headstart.runtimes import RuntimeName, load_runtime
from headstart.views import FLIP, ORIGINAL, SIX, View, draw_view


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
    key = store_key(tiny_backbone, cut, RuntimeName.TORCH_FLOAT32, "cpu")

    assert {field.name for field in fields(StoreKey)} == vars(key).keys()
    assert (key.architecture, key.cut, key.view) == ("test_efficientnet", cut.name, "original")
    assert (key.runtime, key.precision) == ("torch-cpu-packed", "float32")


def test_the_features_of_a_view_are_those_of_its_pixels(photos: list[Path], tiny_backbone: Backbone) -> None:
    got = extract_views(photos, tiny_backbone, [*SIX, FLIP], seed=3)

    runtime = load_runtime(tiny_backbone.prefix(tiny_backbone.cut("pooled")), tiny_backbone.preprocess)
    for view, extraction in zip([*SIX, FLIP], got, strict=True):
        for path, sha, row in zip(
            photos, extraction.features.sha256s, extraction.features.load(), strict=True
        ):
            drawn = draw_view(decode_image(path.read_bytes()), view, seed=3, sha256=sha)
            expected = runtime.run([prepare_image(drawn, tiny_backbone.preprocess)])[0]
            assert np.array_equal(row, expected)
    rows = [extraction.features.load() for extraction in got]
    assert len({row.tobytes() for row in rows}) == 7


def test_views_one_by_one_and_together_are_the_same_rows(
    photos: list[Path], tiny_backbone: Backbone, tmp_path: Path
) -> None:
    store = FeatureStore(tmp_path / "together")
    together = extract_views(photos, tiny_backbone, SIX, store=store, workers=2)
    assert [got.extracted for got in together] == [5] * 6
    for view, got in zip(SIX, together, strict=True):
        alone = extract_features(
            photos[::-1], tiny_backbone, view=view, store=FeatureStore(tmp_path / "alone")
        )
        assert np.array_equal(alone.features.load()[::-1], got.features.load())
        assert extract_features(photos, tiny_backbone, view=view, store=store).extracted == 0


def test_the_first_of_six_is_what_was_stored_before(photos: list[Path], tiny_backbone: Backbone) -> None:
    extract_features(photos, tiny_backbone)

    got = extract_views(photos, tiny_backbone, SIX)

    assert [each.extracted for each in got] == [0, 5, 5, 5, 5, 5]
    assert [each.from_store for each in got] == [5, 0, 0, 0, 0, 0]


def test_another_seed_is_another_draw_of_random_views_only(
    photos: list[Path], tiny_backbone: Backbone
) -> None:
    views = [*SIX, FLIP]
    first = extract_views(photos, tiny_backbone, views)
    other = extract_views(photos, tiny_backbone, views, seed=1)
    assert [each.extracted for each in other] == [0, 0, 5, 5, 5, 5, 0]
    differ = [
        not np.array_equal(a.features.load(), b.features.load()) for a, b in zip(first, other, strict=True)
    ]
    assert differ == [False, False, True, True, True, True, False]


def test_each_image_is_decoded_once_for_all_its_views(
    photos: list[Path], tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []
    monkeypatch.setattr(
        job, "decode_for", lambda data, wanted: decoded.append(data) or decode_for(data, wanted)
    )
    told: list[tuple[int, int]] = []
    extract_views(photos, tiny_backbone, SIX, progress=lambda done, total: told.append((done, total)))
    assert len(decoded) == 5
    assert told == [(done, 5) for done in range(6)]


def test_an_unreadable_image_is_missing_from_every_view(photos: list[Path], tiny_backbone: Backbone) -> None:
    photos[1].write_text("no image")
    twin = photos[0].with_name("twin.jpg")
    twin.write_bytes(photos[0].read_bytes())
    for got in extract_views([*photos, twin], tiny_backbone, [ORIGINAL, *SIX[4:]]):
        assert got.readable.tolist() == [True, False, True, True, True, True]
        assert [problem.path for problem in got.problems] == [str(photos[1])]
        assert (got.extracted, got.from_store, len(got.features)) == (4, 1, 5)


def test_the_room_for_all_views_is_asked_for(photos: list[Path], tiny_backbone: Backbone) -> None:
    row = tiny_backbone.cut("pooled").bytes_per_image
    with pytest.raises(StoreError, match="30 views of images"):
        extract_views(photos, tiny_backbone, SIX, max_store=30 * row - 1)
    extract_views(photos, tiny_backbone, SIX, max_store=30 * row)


@pytest.mark.parametrize("views", [[], [FLIP, FLIP]])
def test_views_are_different_ones(views: list[View], photos: list[Path], tiny_backbone: Backbone) -> None:
    with pytest.raises(ValueError, match="different views"):
        extract_views(photos, tiny_backbone, views)
