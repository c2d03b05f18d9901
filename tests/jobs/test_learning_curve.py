"""The learning curve of photos: honest, nested, and plain about what it cannot say."""

import importlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from headstart.backbones import Backbone
from headstart.config import ExtractConfig
from headstart.errors import ConfigError, DataError
from headstart.features import CHANNEL_STATISTICS, FeatureStore
from headstart.jobs import learning_curve
from headstart.jobs.learning_curve import SHARES, LearningCurve, _Draw, _worth
from headstart.metrics import Extrapolation

MODULE = importlib.import_module("headstart.jobs.learning_curve")


@pytest.fixture
def tiny_here(monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone) -> Backbone:
    monkeypatch.setattr(MODULE, "load_backbone_of", lambda config: tiny_backbone)
    return tiny_backbone


@pytest.mark.usefixtures("tiny_here")
def test_more_photos_are_better_and_test_is_not_looked_at(many: Path) -> None:
    steps: list[tuple[int, int]] = []
    curve = learning_curve(ExtractConfig(str(many)), repeats=2, steps=lambda *at: steps.append(at))

    assert (np.diff(curve.sizes) > 0).all()
    assert curve.accuracies.shape == (2, len(curve.sizes))
    assert curve.accuracies[:, -1].mean() > curve.accuracies[:, 0].mean()
    # 26 of each class, of which a tenth is for test.
    assert curve.images < 78
    assert curve.extracted == curve.images
    assert curve.sizes[-1] == pytest.approx(curve.images * (curve.folds - 1) / curve.folds, abs=1)
    assert steps[-1] == (2 * len(SHARES), 2 * len(SHARES))
    assert curve.extrapolation is not None
    assert curve.extrapolation.targets.tolist() == list(curve.targets)
    assert curve.band is not None
    assert curve.band.targets[-1] == pytest.approx(curve.targets[-1])
    assert "expect" in curve.words()[0]


def test_photos_are_normalised_as_the_options_say(many: Path, tmp_path: Path, tiny_here: Backbone) -> None:
    config = ExtractConfig(str(many), normalise="dataset")

    learning_curve(config, repeats=2, most=20, store=tmp_path / "store")

    keys = [json.loads(text) for text in FeatureStore(tmp_path / "store").keys().values()]
    (mean,) = [key["preprocess"]["mean"] for key in keys if key["architecture"] != CHANNEL_STATISTICS]
    assert mean != list(tiny_here.preprocess.mean)


@pytest.mark.usefixtures("tiny_here")
def test_the_same_seed_gives_the_same_curve_and_nothing_is_extracted_twice(
    many: Path, tmp_path: Path
) -> None:
    first, again = (
        learning_curve(ExtractConfig(str(many)), repeats=2, most=40, store=tmp_path / "store")
        for _ in range(2)
    )
    assert first.images == 40
    assert (first.accuracies == again.accuracies).all()
    assert again.extracted == 0


@pytest.mark.usefixtures("tiny_here")
def test_too_few_photos_are_not_extrapolated(tmp_path: Path, draw_photos) -> None:
    curve = learning_curve(ExtractConfig(str(draw_photos(tmp_path / "photos", per_class=4))), repeats=2)
    assert curve.extrapolation is None
    assert curve.band is None
    (words,) = curve.words()
    assert "too few to tell what more would bring" in words


def test_parts_are_nested_stratified_and_take_groups_one_by_one() -> None:
    labels = np.repeat([0, 1], [60, 30])
    groups = np.concatenate([np.arange(60) // 10, 6 + np.arange(30) // 5])
    draw = _Draw(
        features=torch.zeros(90, 2), labels=labels, folds=np.zeros(90, np.int64), seed=0, groups=groups
    )
    rows = np.arange(90)
    parts = [set(draw._part(rows, share).tolist()) for share in SHARES]
    assert all(smaller < larger for smaller, larger in pairwise(parts))
    assert np.bincount(labels[list(parts[0])]).tolist() == [6, 3]
    # A quarter of the images of class 0 are 15: one group of ten, and half of the next.
    quarter = np.array(sorted(parts[2]))
    assert len(np.unique(groups[quarter[labels[quarter] == 0]])) == 2
    assert len(parts[-1]) == 90


def test_no_image_is_judged_by_a_probe_that_has_seen_it() -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1], 60))
    features = torch.from_numpy(rng.normal(size=(120, 40)).astype(np.float32))  # says nothing of the labels
    folds = rng.permutation(np.arange(120) % 5)
    draw = _Draw(features=features, labels=labels, folds=folds, seed=0, groups=None)
    accuracy = draw.judge(1.0).right.mean()
    assert 0.3 < accuracy < 0.7


def test_what_twice_as_many_are_worth() -> None:
    def found(now: float, twice: float, width: float) -> Extrapolation:
        expected = np.array([now, twice, twice])
        return Extrapolation(
            targets=np.array([1.0, 2, 10]),
            expected=expected,
            low=expected - width / 2,
            high=expected + width / 2,
        )

    assert "worth about 3.0 points" in _worth(found(0.90, 0.93, 0.04))
    assert "flat" in _worth(found(0.90, 0.905, 0.04))
    assert "too wide" in _worth(found(0.90, 0.93, 0.2))


def test_what_cannot_be_done(many: Path, tmp_path: Path, draw_photos, tiny_here) -> None:
    with pytest.raises(ConfigError, match="1 repeats"):
        learning_curve(ExtractConfig(str(many)), repeats=1)
    with pytest.raises(DataError):
        learning_curve(ExtractConfig(str(tmp_path / "nowhere")))
    single = draw_photos(tmp_path / "single", classes=("brick", "grass"), per_class=1)
    with pytest.raises(DataError, match="more than a single training image"):
        learning_curve(ExtractConfig(str(single)))


@pytest.mark.slow
@pytest.mark.shared
def test_real_photos_need_fewer_for_two_classes(shared: Path, tmp_path: Path) -> None:
    curve = learning_curve(
        ExtractConfig(str(shared / "data/hymenoptera"), per_class=20), repeats=2, store=tmp_path / "store"
    )
    assert isinstance(curve, LearningCurve)
    assert curve.accuracies[:, -1].mean() > 0.85
