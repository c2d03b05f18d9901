"""The ridge head's path against scikit-learn's Ridge in float64."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from headstart.errors import ConfigError, DataError
from headstart.heads import default_ridge_strengths, fit_ridge_path, fit_temperature


def pooled(n: int, width: int, classes: int) -> tuple[Tensor, Tensor]:
    """Features like a network's pooled ones: correlated and not negative; every class is there."""
    generator = torch.Generator().manual_seed(n)
    labels = torch.arange(n) % classes
    latent = torch.randn(classes, 16, generator=generator)[labels] + torch.randn(n, 16, generator=generator)
    values = latent @ torch.randn(16, width, generator=generator) / 4
    return (values + torch.randn(n, width, generator=generator)).relu() + 0.3, labels


def duplicated() -> tuple[Tensor, Tensor]:
    features, labels = pooled(40, 60, 4)
    return features.repeat(2, 1), labels.repeat(2)


PROBLEMS: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    "fewer images": lambda: pooled(60, 200, 10),
    "more images": lambda: pooled(400, 50, 10),
    "as many": lambda: pooled(64, 64, 4),
    "two classes": lambda: pooled(150, 40, 2),
    "one image a class": lambda: pooled(5, 30, 5),
    "one feature": lambda: pooled(100, 1, 3),
    "duplicated": duplicated,
}


def scores(features: Tensor, labels: Tensor, strength: float, weights: Tensor | None = None) -> np.ndarray:
    """What scikit-learn says: features scaled by one mean and one standard deviation, alpha = n lambda."""
    values = features.double().numpy()
    scaled = (values - values.mean()) / values.std()
    # Its sample weights count as they are, ours as ratios of mean 1.
    shares = None if weights is None else (weights / weights.mean()).double().numpy()
    model = Ridge(alpha=len(labels) * strength, solver="svd", tol=1e-12)
    return model.fit(scaled, np.eye(int(labels.max()) + 1)[labels], sample_weight=shares).predict(scaled)


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS.keys())
@pytest.mark.parametrize("weighted", [False, True])
def test_every_strength_is_scikit_learns(
    problem: Callable[[], tuple[Tensor, Tensor]], weighted: bool
) -> None:
    features, labels = problem()
    weights = torch.rand(len(labels), generator=torch.Generator().manual_seed(1)) + 0.2 if weighted else None

    path = fit_ridge_path(features, labels, n_classes=int(labels.max()) + 1, sample_weights=weights)

    for strength, ours in zip(path.strengths.tolist(), path.logits(features), strict=True):
        np.testing.assert_allclose(ours.numpy(), scores(features, labels, strength, weights), atol=2e-4)


def test_the_scores_add_up_to_1() -> None:
    features, labels = pooled(80, 30, 4)
    path = fit_ridge_path(features, labels, n_classes=4)
    torch.testing.assert_close(
        path.logits(torch.randn(7, 30) * 5).sum(2), torch.ones(31, 7), atol=1e-4, rtol=0
    )


def test_many_images_are_summed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = pooled(100, 20, 4)
    whole = fit_ridge_path(features, labels, n_classes=4)
    monkeypatch.setattr("headstart.heads.rows._BLOCK_VALUES", 21 * 9)
    torch.testing.assert_close(fit_ridge_path(features, labels, n_classes=4).weights, whole.weights)


@pytest.mark.parametrize("empty", [0, 2, 4])
@pytest.mark.parametrize("temperature", [1.0, 0.01])
def test_a_class_without_images_is_ruled_out_and_changes_nothing(empty: int, temperature: float) -> None:
    features, labels = pooled(60, 30, 4)
    alone = fit_ridge_path(features, labels, n_classes=4).head(9, temperature=temperature)

    path = fit_ridge_path(features, labels + (labels >= empty), n_classes=5)
    probabilities = path.head(9, temperature=temperature)(features).detach().softmax(1)

    assert float(probabilities[:, empty].max()) < 1e-12
    others = [i for i in range(5) if i != empty]
    torch.testing.assert_close(probabilities[:, others], alone(features).detach().softmax(1))
    assert [bool(each) for each in path.present] == [i != empty for i in range(5)]


def test_a_single_class_is_certain() -> None:
    features, labels = pooled(10, 5, 2)
    path = fit_ridge_path(features, labels * 0 + 1, n_classes=2)
    assert bool((path.logits(features).argmax(2) == 1).all())


def test_a_fitted_temperature_makes_probabilities_of_the_scores() -> None:
    features, labels = pooled(300, 40, 3)
    path = fit_ridge_path(features[:200], labels[:200], n_classes=3)
    held_out = path.logits(features[200:])[15]
    temperature, _ = fit_temperature(held_out, labels[200:])
    assert temperature < 0.5  # as scores they are much too modest

    softened = path.head(15, temperature=temperature)(features[200:]).detach()

    torch.testing.assert_close(softened, held_out / temperature, rtol=1e-4, atol=1e-4)
    plain, tempered = (
        float(torch.nn.functional.cross_entropy(each, labels[200:])) for each in (held_out, softened)
    )
    assert tempered < plain - 0.1


def test_spatial_features_are_flattened() -> None:
    features, labels = pooled(40, 2 * 3 * 3, 4)
    maps = features.unflatten(1, (2, 3, 3))
    path = fit_ridge_path(maps, labels, n_classes=4)
    torch.testing.assert_close(path.head(7)(maps), path.logits(features)[7])


def test_strengths_come_strongest_first() -> None:
    features, labels = pooled(30, 10, 3)
    path = fit_ridge_path(features, labels, n_classes=3, strengths=torch.tensor([1e-2, 10.0, 1.0]))
    assert path.values == pytest.approx((10.0, 1.0, 1e-2))
    assert default_ridge_strengths().tolist() == sorted(default_ridge_strengths().tolist(), reverse=True)


def test_the_same_input_gives_the_same_bits() -> None:
    features, labels = pooled(80, 30, 4)
    first, second = (fit_ridge_path(features, labels, n_classes=4) for _ in range(2))
    assert torch.equal(first.weights, second.weights)
    assert torch.equal(first.biases, second.biases)


def test_what_cannot_be_decomposed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.heads.ridge.MAX_EIGEN_SIDE", 8)
    with pytest.raises(DataError, match="at most 8 images or features; 20 images of 10 features") as caught:
        fit_ridge_path(*pooled(20, 10, 2), n_classes=2)
    assert str(caught.value).count("\n") == 1


def test_what_cannot_be_fitted_is_said() -> None:
    features, labels = pooled(20, 10, 2)
    with pytest.raises(DataError, match="at least two classes"):
        fit_ridge_path(features, labels, n_classes=1)
    with pytest.raises(ConfigError, match="positive"):
        fit_ridge_path(features, labels, n_classes=2, strengths=torch.tensor([0.0]))
    with pytest.raises(DataError, match="first is row 3"):
        fit_ridge_path(torch.where(torch.arange(20)[:, None] == 3, torch.nan, features), labels, n_classes=2)
