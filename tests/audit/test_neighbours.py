"""Nearest neighbours by blocks, against all distances at once."""

import numpy as np
import pytest

from headstart.audit import find_neighbours, neighbours


@pytest.mark.parametrize(("n", "k"), [(1, 3), (2, 3), (7, 3), (100, 10), (101, 10)])
def test_as_brute_force(monkeypatch: pytest.MonkeyPatch, n: int, k: int) -> None:
    monkeypatch.setattr(neighbours, "_ROWS", 16)
    features = np.random.default_rng(n).normal(3, 1, (n, 20)).astype(np.float32)
    centred = features - features.mean(axis=0)
    units = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    cosines = units @ units.T
    np.fill_diagonal(cosines, -9)

    found = find_neighbours(features, k)

    expected = np.argsort(-cosines, axis=1)[:, : min(k, n - 1)]
    assert found.rows.shape == (n, min(k, n - 1))
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_allclose(found.cosines, np.take_along_axis(cosines, expected, axis=1), atol=1e-5)


def test_nobody_is_his_own_neighbour_even_among_twins() -> None:
    features = np.repeat(np.eye(3, dtype=np.float32), 2, axis=0)

    found = find_neighbours(features, 1)

    np.testing.assert_array_equal(found.rows[:, 0], [1, 0, 3, 2, 5, 4])
