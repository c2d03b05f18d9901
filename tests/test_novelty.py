"""How unlike all training images an image is: against scikit-learn, and what the threshold promises."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from headstart.errors import DataError
from headstart.novelty import (
    FALSE_ALARMS,
    Novelty,
    conformal_threshold,
    distances,
    distances_to_others,
    kept_rows,
    make_bank,
)


def _features(n: int, seed: int = 0, width: int = 12) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(n, width)) * 3 + 1).astype(np.float32)


def _nearest(bank: np.ndarray, x: np.ndarray, k: int) -> np.ndarray:
    found, _ = NearestNeighbors(n_neighbors=k).fit(normalize(bank)).kneighbors(normalize(x))
    return found[:, -1]


@pytest.mark.parametrize("n", [3, 60])
def test_the_distance_is_that_of_scikit_learns_neighbours(n: int) -> None:
    train, new = _features(n), _features(40, seed=1)

    found = distances(make_bank(train), new)

    # What float16 rounds off is a thousandth of a coordinate.
    np.testing.assert_allclose(found, _nearest(train, new, 1), atol=1e-3)


def test_the_length_of_features_does_not_matter() -> None:
    bank, new = make_bank(_features(30)), _features(7, seed=1)

    np.testing.assert_allclose(distances(bank, new * 50), distances(bank, new), atol=1e-6)
    assert np.isfinite(distances(bank, np.zeros((1, 12), np.float32))).all()


def test_an_image_is_not_its_own_neighbour() -> None:
    train = _features(50)

    found = distances_to_others(make_bank(train))

    np.testing.assert_allclose(found, _nearest(train, train, 2), atol=1e-3)


def test_nor_is_any_of_its_group() -> None:
    train, groups = _features(60), np.repeat(np.arange(12), 5)

    found = distances_to_others(make_bank(train), groups)

    for i in range(60):
        others = train[groups != groups[i]]
        assert found[i] == pytest.approx(_nearest(others, train[[i]], 1)[0], abs=1e-3)
    assert np.isinf(distances_to_others(make_bank(train[:10]), np.zeros(10, np.int64))).all()


@pytest.mark.parametrize("m", [19, 20, 99, 250])
def test_the_threshold_is_the_conformal_one(m: int) -> None:
    held_out = np.random.default_rng(0).exponential(size=m)

    threshold = conformal_threshold(held_out)

    assert threshold is not None
    p_value = lambda d: (1 + (held_out >= d).sum()) / (m + 1)  # noqa: E731
    assert p_value(np.nextafter(threshold, np.inf)) <= FALSE_ALARMS
    assert p_value(threshold) > FALSE_ALARMS


@pytest.mark.parametrize("held_out", [np.arange(1.0, 19.0), np.zeros(40), np.full(40, np.inf)])
def test_where_nothing_can_be_promised_there_is_no_threshold(held_out: np.ndarray) -> None:
    assert conformal_threshold(held_out) is None


@pytest.mark.parametrize("way", ["held out", "left out"])
def test_the_stated_share_of_new_images_exceeds_the_threshold(way: str) -> None:
    rates = []
    for seed in range(60):
        x = _features(280, seed)
        train, check, new = x[:100], x[100:160], x[160:]
        bank = make_bank(train)
        held_out = distances(bank, check) if way == "held out" else distances_to_others(bank)
        threshold = conformal_threshold(held_out)
        assert threshold is not None
        rates.append((distances(bank, new) > threshold).mean())

    # 60 runs of 120 images: the standard error of the mean is about 0.4 %.
    assert np.mean(rates) == pytest.approx(FALSE_ALARMS, abs=0.015)


def test_saved_and_loaded_it_says_the_same() -> None:
    novelty = Novelty(bank=make_bank(_features(30)), threshold=0.7)
    new = _features(9, seed=1)

    tensors = novelty.tensors()
    loaded = Novelty.load(novelty.describe(), tensors)

    assert tensors["bank"].dtype == torch.float16
    np.testing.assert_array_equal(loaded.unlike(new), novelty.unlike(new))
    np.testing.assert_allclose(novelty.unlike(new) * 0.7, distances(novelty.bank, new))
    with pytest.raises(DataError, match="'trees'"):
        Novelty.load({**novelty.describe(), "kind": "trees"}, tensors)


def test_the_same_image_is_at_no_distance() -> None:
    train = _features(40)

    found = distances(make_bank(train), train)

    assert found.max() < 2e-3  # float16


@pytest.mark.parametrize("n", [1, 30, 2000, 2001, 100_000])
def test_no_more_than_two_thousand_are_kept_from_all_over(n: int) -> None:
    rows = kept_rows(n)

    assert len(rows) == min(n, 2000)
    assert (np.diff(rows) > 0).all()
    assert (rows[0], rows[-1]) == (0, n - 1)
