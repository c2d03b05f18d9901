"""Reliability diagrams, against scikit-learn's calibration curve."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from headstart.metrics import calibration_error, reliability


def _said(n: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.full(classes, 0.5), n), rng.integers(classes, size=n)


@pytest.mark.parametrize("bins", [5, 15])
def test_bins_are_those_of_scikit_learn(bins: int) -> None:
    p, labels = _said(400, 3)

    found = reliability(p, labels, bins)

    accuracy, confidence = calibration_curve(p.argmax(axis=1) == labels, p.max(axis=1), n_bins=bins)
    np.testing.assert_allclose([each.accuracy for each in found], accuracy)
    np.testing.assert_allclose([each.confidence for each in found], confidence)
    assert sum(each.count for each in found) == 400
    for each in found:
        inside = (p.max(axis=1) > each.low) & (p.max(axis=1) <= each.high)
        assert each.count == inside.sum()


def test_the_calibration_error_is_their_mean_distance() -> None:
    p, labels = _said(300, 4)

    gaps = [each.count / 300 * abs(each.confidence - each.accuracy) for each in reliability(p, labels)]

    assert calibration_error(p, labels) == pytest.approx(sum(gaps))


def test_a_certain_image_stands_in_the_last_bin() -> None:
    (only,) = reliability(np.array([[1.0, 0.0]]), np.array([1]))

    assert (only.high, only.count, only.confidence, only.accuracy) == (1.0, 1, 1.0, 0.0)
