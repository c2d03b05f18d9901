"""LogME against the paper's algorithm step by step, against brute force, and what must not change it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize

from headstart.errors import DataError
from headstart.metrics import logme


def blobs(n: int, width: int, classes: int, *, apart: float, seed: int) -> tuple[NDArray, NDArray]:
    """Features (n, width) of classes that lie so far apart, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = apart * rng.normal(size=(classes, width))
    return centres[labels] + rng.normal(size=(n, width)), labels


def log_evidence(F: NDArray, y: NDArray, alpha: float, beta: float) -> float:
    """Equation 2 of the paper, with dense matrices: y ~ N(0, 1 / beta + F F' / alpha)."""
    n = len(y)
    covariance = np.eye(n) / beta + F @ F.T / alpha
    sign, log_determinant = np.linalg.slogdet(covariance)
    assert sign > 0
    return -0.5 * (log_determinant + y @ np.linalg.solve(covariance, y) + n * np.log(2 * np.pi))


def by_search(F: NDArray, labels: NDArray) -> float:
    """The same number by a general optimiser over (log alpha, log beta), class by class."""
    found = []
    for label in np.unique(labels):
        y = (labels == label).astype(float)
        starts = [(a, b) for a in (-2, 2, 6) for b in (0, 3)]
        best = max(
            -minimize(
                lambda p, y=y: -log_evidence(F, y, *np.exp(np.clip(p, -30, 30))), start, method="Nelder-Mead",
                options={"xatol": 1e-8, "fatol": 1e-10, "maxiter": 4000},
            ).fun
            for start in starts
        )  # fmt: skip
        found.append(best / len(y))
    return float(np.mean(found))


def by_the_paper(F: NDArray, labels: NDArray) -> float:
    """Algorithm 1 of the paper as it stands there: A = alpha I + beta F'F, m = beta A^-1 F'y, gamma, alpha, beta."""
    n, width = F.shape
    found = []
    eigenvalues = np.linalg.eigvalsh(F.T @ F)
    for label in np.unique(labels):
        y = (labels == label).astype(float)
        alpha = beta = 1.0
        for _ in range(3000):
            A = alpha * np.eye(width) + beta * F.T @ F
            m = beta * np.linalg.solve(A, F.T @ y)
            gamma = np.sum(beta * eigenvalues / (alpha + beta * eigenvalues))
            alpha, beta = gamma / (m @ m), (n - gamma) / np.sum((F @ m - y) ** 2)
        A = alpha * np.eye(width) + beta * F.T @ F
        m = beta * np.linalg.solve(A, F.T @ y)
        evidence = (
            n / 2 * np.log(beta) + width / 2 * np.log(alpha) - n / 2 * np.log(2 * np.pi)
            - beta / 2 * np.sum((F @ m - y) ** 2) - alpha / 2 * m @ m - np.linalg.slogdet(A)[1] / 2
        )  # fmt: skip
        found.append(evidence / n)
    return float(np.mean(found))


@pytest.mark.parametrize(("n", "width", "classes"), [(40, 6, 2), (30, 12, 3), (20, 35, 4)])
def test_it_is_the_maximum_that_the_paper_defines(n: int, width: int, classes: int) -> None:
    features, labels = blobs(n, width, classes, apart=1.0, seed=n)

    assert logme(features, labels) == pytest.approx(by_search(features, labels), abs=1e-6)


@pytest.mark.parametrize(("n", "width"), [(60, 5), (50, 20)])
def test_it_is_what_the_papers_algorithm_gives(n: int, width: int) -> None:
    features, labels = blobs(n, width, 3, apart=0.7, seed=width)

    assert logme(features, labels) == pytest.approx(by_the_paper(features, labels), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(8, 40),
    width=st.integers(2, 50),
    scale=st.floats(1e-3, 1e3),
)
def test_what_changes_nothing(seed: int, n: int, width: int, scale: float) -> None:
    features, labels = blobs(n, width, 3, apart=0.5, seed=seed)
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(width, width)))
    order = rng.permutation(n)
    expected = logme(features, labels)

    assert logme(scale * features, labels) == pytest.approx(expected, abs=1e-5)
    assert logme(features @ turn, labels) == pytest.approx(expected, abs=1e-5)
    assert logme(np.pad(features, ((0, 0), (0, 7))), labels) == pytest.approx(expected, abs=1e-5)
    assert logme(features[order], labels[order]) == pytest.approx(expected, abs=1e-5)
    assert logme(features, (labels + 4) * 3) == pytest.approx(expected, abs=1e-12)


def test_better_features_score_higher() -> None:
    scores = [logme(*blobs(120, 16, 4, apart=apart, seed=1)) for apart in (0.0, 0.5, 1.0, 2.0)]

    assert scores == sorted(scores)
    assert scores[-1] > scores[0] + 0.1


def test_odd_features() -> None:
    labels = np.array([0, 1] * 5)
    nothing = logme(np.zeros((10, 3)), labels)
    variance = 0.5  # of y, about 0: half of the images are of the class
    assert nothing == pytest.approx(-0.5 * (np.log(2 * np.pi * variance) + 1), abs=1e-9)
    perfect = logme(np.eye(2)[labels], labels)
    assert np.isfinite(perfect)
    assert perfect > nothing + 1
    maps = np.random.default_rng(0).normal(size=(10, 4, 2, 2)).astype(np.float32)
    assert logme(maps, labels) == pytest.approx(logme(maps.reshape(10, 16), labels), abs=1e-12)


@pytest.mark.parametrize(
    ("features", "labels", "words"),
    [
        (np.ones((4, 2)), np.array([0, 1, 0]), "3 labels for the features of 4"),
        (np.ones((4, 2)), np.zeros(4, int), "two classes"),
        (np.array([[1.0], [np.nan]]), np.array([0, 1]), "NaN"),
    ],
)
def test_what_cannot_be_scored(features: NDArray, labels: NDArray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        logme(features, labels)
