"""Ranking backbones: networks whose order is known, those that cannot be had, and honest words on ties."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from headstart.backbones import Backbone, BackboneCard
from headstart.config import ExtractConfig
from headstart.errors import BackboneError, ConfigError, DataError
from headstart.features import FeatureStore
from headstart.images import Preprocess
from headstart.metrics import score_predictions
from headstart.study import RankedBackbone, rank_backbones
from headstart.study.ranking import _compare

MODULE = importlib.import_module("headstart.study.ranking")
PREPROCESS = Preprocess(size=160, resize=160, interpolation="bicubic", mean=(0.5,) * 3, std=(0.25,) * 3)
DrawPhotos = Callable[..., Path]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, draw_photos: DrawPhotos) -> Path:
    """Photos of three classes; for reading only."""
    return draw_photos(tmp_path_factory.mktemp("ranking") / "photos", per_class=20)


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone) -> list[str]:
    """Three names: `tiny`, `blind`, to which all photos are the same, and `gone`, whose weights cannot be had."""
    blind = tiny_backbone.copy()
    with torch.no_grad():
        first = next(each for each in blind.network.modules() if isinstance(each, torch.nn.Conv2d))
        first.weight.zero_()
    blind = replace(blind, weights_sha256="blind")

    def load(config: ExtractConfig) -> Backbone:
        if config.backbone == "gone":
            raise BackboneError("The weights of gone are not here.\nFetch them.")
        return blind if config.backbone == "blind" else tiny_backbone

    monkeypatch.setattr(MODULE, "load_backbone_of", load)
    monkeypatch.setattr(MODULE, "find_card", lambda name: None)
    return ["blind", "gone", "tiny"]


def ranked(right: np.ndarray, name: str = "one") -> RankedBackbone:
    """A backbone that classified these images right."""
    p = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9])
    return RankedBackbone(
        name=name,
        size=32,
        parameters=1,
        width=1,
        extracted=0,
        feature_seconds=0.0,
        estimate_seconds=0.0,
        probe=score_predictions(p, np.zeros(len(right), int)),
        knn=0.5,
        logme=0.0,
        imagenet=None,
        right=right,
    )


def test_the_better_network_is_first_and_the_missing_one_says_why(photos: Path, networks: list[str]) -> None:
    begun: list[str] = []
    ranking = rank_backbones(ExtractConfig(str(photos)), networks, begin=begun.append)

    assert begun == networks
    assert [each.name for each in ranking.backbones] == ["tiny", "blind"]
    assert [(lost.name, lost.reason.split("\n")[0]) for lost in ranking.left_out] == [
        ("gone", "The weights of gone are not here.")
    ]
    first, second = ranking.backbones
    assert first.probe.accuracy > second.probe.accuracy
    assert first.behind == 0
    assert second.behind == pytest.approx(first.probe.accuracy - second.probe.accuracy)
    assert ranking.images <= ranking.of < 60
    assert ranking.folds == 5


@pytest.mark.usefixtures("networks")
def test_numbers_are_those_of_independent_programs(photos: Path, tmp_path: Path) -> None:
    from headstart.datasets import load_dataset
    from headstart.features import extract_features
    from headstart.jobs.sampling import deal_folds, training_sample
    from headstart.metrics import logme

    config, store = ExtractConfig(str(photos)), FeatureStore(tmp_path / "store")
    (found,) = rank_backbones(config, ["tiny"], store=store.root).backbones
    dataset, _ = training_sample(config, 1000, validation=False)(load_dataset(str(photos)), ())
    backbone = MODULE.load_backbone_of(replace(config, backbone="tiny"))
    features = extract_features(dataset, backbone, store=store).features.load()
    labels, (folds, _) = dataset.labels(), deal_folds(dataset, 0)

    assert found.logme == pytest.approx(logme(features, labels), abs=1e-9)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0).clip(1e-6)
    cv = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(5)]
    said = cross_val_predict(LogisticRegression(C=1.0, max_iter=2000), scaled, labels, cv=cv)
    assert found.probe.accuracy == pytest.approx((said == labels).mean(), abs=0.08)
    assert found.extracted == 0 or found.extracted == len(dataset)


def test_the_features_are_stored_for_what_comes_next(
    photos: Path, networks: list[str], tmp_path: Path
) -> None:
    first, again = (
        rank_backbones(ExtractConfig(str(photos)), networks, store=tmp_path / "store") for _ in range(2)
    )
    assert [each.extracted for each in first.backbones] == [first.images] * 2
    assert [each.extracted for each in again.backbones] == [0, 0]
    assert [each.logme for each in first.backbones] == [each.logme for each in again.backbones]


def test_a_sample_is_bounded_and_sorted_as_asked(photos: Path, networks: list[str]) -> None:
    ranking = rank_backbones(ExtractConfig(str(photos)), networks, sample=21, by="logme")
    assert ranking.images == 21
    assert ranking.by == "logme"
    numbers = [each.logme for each in ranking.backbones]
    assert numbers == sorted(numbers, reverse=True)


def test_an_unreadable_photo_is_named_and_left_out(
    tmp_path: Path, draw_photos: DrawPhotos, networks: list[str]
) -> None:
    folder = draw_photos(tmp_path / "photos", per_class=12)
    for broken in (folder / "brick").iterdir():
        if broken.stem < "03":
            broken.write_bytes(b"no image")
    ranking = rank_backbones(ExtractConfig(str(folder)), networks)
    assert {problem.path.split("/")[0] for problem in ranking.problems} == {"brick"}
    assert len({len(each.right) for each in ranking.backbones}) == 1


def test_what_the_sample_can_tell() -> None:
    rng = np.random.default_rng(0)
    good = rng.uniform(size=300) < 0.9
    worse = good & (rng.uniform(size=300) < 0.8)
    close = good.copy()
    close[np.flatnonzero(good)[:2]] = False
    first = ranked(good)

    assert not _compare(ranked(worse), first, None).ties
    assert _compare(ranked(close), first, None).ties
    assert _compare(first, first, None).p == 1
    assert _compare(ranked(worse), first, None).behind == pytest.approx(good.mean() - worse.mean())


def test_frames_of_one_thing_count_as_one() -> None:
    good = np.ones(200, dtype=bool)
    worse = good.copy()
    worse[:40] = False  # two things of twenty frames each
    assert not _compare(ranked(worse), ranked(good), None).ties
    assert _compare(ranked(worse), ranked(good), np.arange(200) // 20).ties


@pytest.mark.usefixtures("networks")
def test_what_cannot_be_done(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tiny is named twice; sample is 1"):
        rank_backbones(ExtractConfig(str(photos)), ["tiny", "tiny"], sample=1)
    with pytest.raises(BackboneError, match=r"None of the backbones can be had.\ngone: The weights"):
        rank_backbones(ExtractConfig(str(photos)), ["gone"])
    with pytest.raises(BackboneError, match="none of the backbones here"):
        rank_backbones(ExtractConfig(str(photos)), ["tiny"], weights=["other=none"])
    with pytest.raises(DataError):
        rank_backbones(ExtractConfig(str(tmp_path / "nowhere")), ["tiny"])


def test_small_photos_are_looked_at_as_fine_tuning_does(
    photos: Path, monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone
) -> None:
    asked: list[int | None] = []
    large = replace(tiny_backbone, card=replace(tiny_backbone.card, preprocess=replace(PREPROCESS, size=160)))

    def load(config: ExtractConfig) -> Backbone:
        asked.append(config.size)
        if config.size is None:
            return large
        if config.backbone == "fixed":
            raise BackboneError("fixed takes images of 160 pixels only.")
        small = replace(PREPROCESS, size=config.size, resize=config.size)
        return replace(large, card=replace(large.card, preprocess=small))

    monkeypatch.setattr(MODULE, "load_backbone_of", load)
    monkeypatch.setattr(MODULE, "find_card", lambda name: None)
    found = rank_backbones(ExtractConfig(str(photos)), ["any", "fixed"], sample=15).backbones

    assert {each.name: each.size for each in found} == {"any": 128, "fixed": 160}
    assert asked == [None, 128, None, 128]
    (own,) = rank_backbones(ExtractConfig(str(photos), size=64), ["any"], sample=15).backbones
    assert own.size == 64


def test_a_mistyped_name_is_told_of_at_once(photos: Path) -> None:
    with pytest.raises(BackboneError, match="There is no backbone 'resnt50'"):
        rank_backbones(ExtractConfig(str(photos)), ["resnt50"])


def test_by_default_those_that_are_here(monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone) -> None:
    def card(name: str, here: bool) -> BackboneCard:
        return replace(tiny_backbone.card, name=name, weights_here=here)

    monkeypatch.setattr(
        MODULE, "list_backbones", lambda: [card("a", True), card("b", False), card("c", True)]
    )
    assert MODULE._choose([], 10) == ["a", "c"]
