"""Temperature scaling, against scipy's own minimisation and temperatures that are known."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from headstart.heads import fit_temperature


def _said(n: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that are drawn as these over the temperature say."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, 4)) * temperature
    labels = np.array([rng.choice(4, p=p) for p in softmax(logits / temperature, axis=1)])
    return logits, labels


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    logits, labels = _said(4000, temperature)

    found, _ = fit_temperature(torch.from_numpy(logits), torch.from_numpy(labels))

    assert found == pytest.approx(temperature, rel=0.08)


@pytest.mark.parametrize("n", [5, 40, 300])
def test_it_is_where_scipy_finds_the_least_smoothed_loss(n: int) -> None:
    logits, labels = _said(n, 2.0, seed=n)
    smoothing = 1 / (n + 2)
    target = np.full((n, 4), smoothing / 4)
    target[np.arange(n), labels] += 1 - smoothing

    def loss(log_temperature: np.ndarray) -> float:
        return float(-(target * log_softmax(logits / np.exp(log_temperature[0]), axis=1)).sum(axis=1).mean())

    best = minimize(loss, x0=[0.0], method="Nelder-Mead")
    found, at = fit_temperature(torch.from_numpy(logits), torch.from_numpy(labels))

    assert np.log(found) == pytest.approx(best.x[0], abs=0.02)
    assert at == pytest.approx(best.fun, abs=1e-4)


def test_images_that_are_all_right_do_not_ask_for_infinite_confidence() -> None:
    logits = torch.eye(3).repeat(4, 1) * 2

    found, _ = fit_temperature(logits, torch.arange(3).repeat(4))

    assert 0.1 < found < 1
