"""The linear head's path against scikit-learn in float64, and what it promises beside the optimum."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from headstart.errors import ConfigError, DataError, HeadstartError
from headstart.heads import (
    LinearPath,
    default_strengths,
    eigenbasis,
    fit_linear_path,
    linear_head,
    new_linear_head,
)

GAP = 1e-4


def pooled(n: int, width: int, classes: int, *, seed: int = 0, rank: int = 16) -> tuple[Tensor, Tensor]:
    """Features like a network's pooled ones: correlated, not negative, of uneven scale; every class is there."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    latent = torch.randn(classes, rank, generator=generator)[labels]
    latent = latent + 1.2 * torch.randn(n, rank, generator=generator)
    values = latent @ torch.randn(rank, width, generator=generator) / rank**0.5
    values = values + 0.5 * torch.randn(n, width, generator=generator) - 0.5
    return values.relu() * torch.randn(width, generator=generator).mul(0.5).exp(), labels


def imbalanced() -> tuple[Tensor, Tensor]:
    features, labels = pooled(400, 30, 4)
    kept = (labels == 0) | (torch.arange(400) % 40 < 4)
    return features[kept], labels[kept]


def wide_scales() -> tuple[Tensor, Tensor]:
    features, labels = pooled(300, 40, 5)
    return features * torch.logspace(-3, 3, 40), labels


def duplicated() -> tuple[Tensor, Tensor]:
    features, labels = pooled(40, 60, 4)
    return features.repeat(2, 1), labels.repeat(2)


def collinear() -> tuple[Tensor, Tensor]:
    features, labels = pooled(200, 10, 3)
    return torch.cat([features, features, features @ torch.ones(10, 10)], dim=1), labels


def mislabelled() -> tuple[Tensor, Tensor]:
    features, labels = pooled(500, 20, 6)
    return features, torch.where(torch.arange(500) % 7 < 2, (labels + 1) % 6, labels)


PROBLEMS: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    "fewer images": lambda: pooled(60, 200, 10),
    "more images": lambda: pooled(400, 50, 10),
    "as many": lambda: pooled(64, 64, 4),
    "two classes": lambda: pooled(150, 40, 2),
    "two classes, few": lambda: pooled(20, 100, 2),
    "37 classes": lambda: pooled(37 * 4, 120, 37),
    "one feature": lambda: pooled(100, 1, 3),
    "imbalanced": imbalanced,
    "wide scales": wide_scales,
    "duplicated": duplicated,
    "collinear": collinear,
    "mislabelled": mislabelled,
}


def scaled(features: Tensor) -> tuple[np.ndarray, float]:
    values = features.double().flatten(1).numpy()
    return (values - values.mean()) / values.std(), float(values.std())


def objective(
    logits: np.ndarray, squares: float, labels: Tensor, strength: float, weights: np.ndarray
) -> float:
    log_p = torch.from_numpy(logits).log_softmax(1).gather(1, labels[:, None])[:, 0].numpy()
    return float(-(weights * log_p).mean() + 0.5 * strength * squares)


def ours(path: LinearPath, index: int, features: Tensor, labels: Tensor, weights: np.ndarray) -> float:
    """The objective of the head that came out, in float64, from nothing but its weights."""
    _, scale = scaled(features)
    head, bias = path.weights[index].double().numpy(), path.biases[index].double().numpy()
    logits = features.double().flatten(1).numpy() @ head.T + bias
    squares = float(np.square(head * scale).sum())
    return objective(logits, squares, labels, float(path.strengths[index]), weights)


def oracle(
    features: Tensor, labels: Tensor, strength: float, weights: np.ndarray
) -> tuple[float, np.ndarray]:
    """Scikit-learn's objective and logits, all in float64."""
    values, _ = scaled(features)
    # For two classes it has one row w of weights, and ours, +w/2 and -w/2, have half its square.
    two = int(labels.max()) == 1
    c = (2 if two else 1) / (len(labels) * strength)
    # Newton's method is the most exact, but its time grows with the cube of the coefficients.
    solver = "newton-cholesky" if (int(labels.max()) + 1) * values.shape[1] <= 300 else "lbfgs"
    model = LogisticRegression(C=c, tol=1e-9, max_iter=20_000, solver=solver)
    model.fit(values, labels.numpy(), sample_weight=weights)
    logits = model.decision_function(values)
    squares = float(np.square(model.coef_).sum())
    if two:
        logits, squares = np.stack([-logits / 2, logits / 2], axis=1), squares / 2
    return objective(logits, squares, labels, strength, weights), logits


def assert_optimal(
    features: Tensor, labels: Tensor, strengths: Tensor, weights: Tensor | None = None
) -> None:
    classes = int(labels.max()) + 1
    path = fit_linear_path(features, labels, n_classes=classes, strengths=strengths, sample_weights=weights)
    assert bool((path.gaps <= 1e-5).all())
    shares = np.ones(len(labels)) if weights is None else (weights / weights.mean()).double().numpy()
    logits = path.logits(features)
    for index, strength in enumerate(path.strengths.tolist()):
        best, best_logits = oracle(features, labels, strength, shares)
        got = ours(path, index, features, labels, shares)
        assert got == pytest.approx(best, rel=GAP)
        assert float(path.objectives[index]) == pytest.approx(got, rel=GAP)
        # A tie is a difference of probabilities as small as the gap allows: its square root.
        top = torch.from_numpy(best_logits).softmax(1).sort(1).values
        clear = (top[:, -1] - top[:, -2]).numpy() > 1e-2
        assert np.array_equal(logits[index].argmax(1).numpy()[clear], best_logits.argmax(1)[clear])


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_every_strength_is_within_1e_4_of_scikit_learn(problem: Callable[[], tuple[Tensor, Tensor]]) -> None:
    features, labels = problem()
    assert_optimal(features, labels, torch.logspace(2, -5, 8, dtype=torch.float64))


@pytest.mark.parametrize(("n", "width"), [(60, 200), (300, 40)])
def test_sample_weights_are_the_objectives(n: int, width: int) -> None:
    features, labels = pooled(n, width, 5)
    weights = torch.rand(n, generator=torch.Generator().manual_seed(1)) * 10 + 0.1
    weights[7] = 0
    assert_optimal(features, labels, torch.tensor([1.0, 1e-2, 1e-4]), weights)


def test_a_strength_alone_reaches_the_same_optimum_as_on_the_path() -> None:
    features, labels = pooled(300, 80, 7)
    path = fit_linear_path(features, labels, n_classes=7)
    for index in (5, 15, 29):
        alone = fit_linear_path(features, labels, n_classes=7, strengths=path.strengths[index : index + 1])
        assert float(alone.objectives[0]) == pytest.approx(float(path.objectives[index]), rel=GAP)


def test_a_separable_problem_is_certified_where_the_optimum_is_nearly_0() -> None:
    features, labels = pooled(80, 300, 4)
    path = fit_linear_path(features, labels, n_classes=4)
    assert float(path.objectives[-1]) < 1e-3
    assert bool((path.gaps <= 1e-5).all())


def test_the_weakest_strengths_are_certified_where_classes_overlap() -> None:
    features, labels = mislabelled()
    path = fit_linear_path(features, labels, n_classes=6, strengths=torch.logspace(-4, -12, 5))
    assert float(path.objectives[-1]) > 0.5
    assert bool((path.gaps <= 1e-5).all())


def test_a_tolerance_below_rounding_ends_and_says_how_far_it_got() -> None:
    features, labels = mislabelled()
    path = fit_linear_path(features, labels, n_classes=6, strengths=torch.tensor([1e-2]), tolerance=1e-40)
    assert 1e-40 < float(path.gaps[0]) < 1e-12


@pytest.mark.parametrize("n", [50, 300])
def test_the_features_own_axes_give_the_same_optimum(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = pooled(n, 80, 4)
    fit = partial(fit_linear_path, n_classes=4, strengths=torch.tensor([1.0, 1e-2]), tolerance=1e-9)
    rotated = fit(features, labels)
    monkeypatch.setattr(eigenbasis, "MAX_EIGEN_SIDE", 10)
    plain = fit(features, labels)
    torch.testing.assert_close(plain.objectives, rotated.objectives, rtol=1e-6, atol=0)
    torch.testing.assert_close(plain.logits(features), rotated.logits(features), rtol=0, atol=2e-3)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(4, 40),
    width=st.integers(1, 40),
    classes=st.integers(2, 4),
    seed=st.integers(0, 1000),
    shift=st.sampled_from([0.0, 100.0]),
    stretch=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_shifting_and_stretching_all_features_changes_nothing(
    n: int, width: int, classes: int, seed: int, shift: float, stretch: float
) -> None:
    features, labels = pooled(n, width, classes, seed=seed)
    features = features.double()  # so that the shift rounds nothing away
    strengths = torch.tensor([1.0, 1e-3])
    plain = fit_linear_path(features, labels, n_classes=classes, strengths=strengths)
    moved = fit_linear_path(features * stretch + shift, labels, n_classes=classes, strengths=strengths)
    torch.testing.assert_close(moved.objectives, plain.objectives, rtol=GAP, atol=1e-12)


@pytest.mark.parametrize("n", [60, 300])
def test_a_class_without_images_shifts_nothing(n: int) -> None:
    features, labels = pooled(n, 100, 3)
    without = fit_linear_path(features, labels, n_classes=3)
    renamed = torch.tensor([0, 2, 4])[labels]
    path = fit_linear_path(features, renamed, n_classes=6)
    torch.testing.assert_close(path.weights[:, [0, 2, 4]], without.weights, rtol=0, atol=0)
    torch.testing.assert_close(path.objectives, without.objectives, rtol=0, atol=0)
    anything = 50 * torch.randn(200, 100, generator=torch.Generator().manual_seed(3))
    assert float(path.logits(anything).softmax(2)[..., [1, 3, 5]].max()) < 1e-12


def test_a_class_whose_images_weigh_nothing_counts_as_empty() -> None:
    features, labels = pooled(60, 100, 3)
    path = fit_linear_path(features, labels, n_classes=3, sample_weights=(labels != 1).double())
    assert float(path.weights[:, 1].abs().max()) == 0
    # The scale is that of all values, also of images without weight: the same penalty has another strength.
    left = features[labels != 1]
    strengths = path.strengths * (scaled(features)[1] / scaled(left)[1]) ** 2
    alone = fit_linear_path(left, labels[labels != 1], n_classes=3, strengths=strengths)
    torch.testing.assert_close(path.objectives, alone.objectives, rtol=GAP, atol=0)


def test_a_single_class_with_images_is_certain() -> None:
    features, _ = pooled(20, 5, 2)
    path = fit_linear_path(features, torch.full((20,), 1), n_classes=2)
    assert bool((path.logits(features).argmax(2) == 1).all())
    assert float(path.objectives.abs().max()) == 0


@pytest.mark.parametrize(("n", "width"), [(12, 30), (32, 12)])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_constant_features_give_the_class_shares(n: int, width: int, value: float) -> None:
    labels = torch.arange(n) % 4 // 3  # three to one
    path = fit_linear_path(torch.full((n, width), value), labels, n_classes=2)
    p = path.logits(torch.full((1, width), value)).softmax(2)
    torch.testing.assert_close(p[:, 0], torch.tensor([0.75, 0.25]).expand(30, 2), rtol=0, atol=1e-3)


def test_the_same_input_gives_the_same_bits() -> None:
    features, labels = pooled(300, 60, 5)
    first, second = (fit_linear_path(features, labels, n_classes=5) for _ in range(2))
    assert torch.equal(first.weights, second.weights)
    assert torch.equal(first.biases, second.biases)


def test_the_input_is_left_as_it_was() -> None:
    features, labels = pooled(50, 60, 5)
    weights = torch.rand(50, generator=torch.Generator().manual_seed(0))
    kept = features.clone(), labels.clone(), weights.clone()
    fit_linear_path(features, labels, n_classes=5, sample_weights=weights)
    assert all(torch.equal(a, b) for a, b in zip(kept, (features, labels, weights), strict=True))


@pytest.mark.parametrize("n", [30, 200])
def test_float16_features_are_taken_for_their_values(n: int) -> None:
    features, labels = pooled(n, 60, 3)
    half = features.half()
    path = fit_linear_path(half, labels, n_classes=3)
    torch.testing.assert_close(path.weights, fit_linear_path(half.float(), labels, n_classes=3).weights)
    assert path.logits(half).dtype == torch.float32


def test_strengths_come_strongest_first_whatever_their_order() -> None:
    features, labels = pooled(30, 10, 3)
    path = fit_linear_path(features, labels, n_classes=3, strengths=torch.tensor([1e-2, 10.0, 1.0]))
    torch.testing.assert_close(path.strengths, torch.tensor([10.0, 1.0, 1e-2]), check_dtype=False)
    assert path.strengths.dtype == torch.float64
    assert bool((path.objectives.diff() < 0).all())
    norms = path.weights.square().sum((1, 2))
    assert bool((norms.diff() > 0).all())


def test_default_strengths_are_log_spaced_from_strong_to_weak() -> None:
    strengths = default_strengths()
    assert strengths.shape == (30,)
    ratios = strengths[1:] / strengths[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand(29))
    assert float(ratios[0]) < 1


def test_spatial_features_are_flattened_by_the_fit_and_by_the_head() -> None:
    features, labels = pooled(40, 2 * 3 * 3, 4)
    maps = features.unflatten(1, (2, 3, 3))
    path = fit_linear_path(maps, labels, n_classes=4)
    head = path.head(7)
    torch.testing.assert_close(head(maps), path.logits(maps)[7])
    torch.testing.assert_close(head(features), path.logits(features)[7])


def test_a_temperature_goes_into_the_head_and_leaves_an_empty_class_where_it_is() -> None:
    features, labels = pooled(60, 20, 3)
    path = fit_linear_path(features, labels + (labels > 0), n_classes=4)
    assert path.present.tolist() == [True, False, True, True]
    logits, softened = path.logits(features)[4], path.head(4, temperature=50.0)(features)
    torch.testing.assert_close(softened[:, path.present], logits[:, path.present] / 50)
    assert softened[:, 1].tolist() == [-30.0] * 60


def test_a_head_is_trainable_and_owns_its_weights() -> None:
    weights, bias = torch.ones(3, 5), torch.zeros(3)
    head = linear_head(weights, bias)
    head(torch.ones(2, 5)).sum().backward()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(1)
    assert torch.equal(weights, torch.ones(3, 5))
    assert sorted(head.state_dict()) == ["bias", "weight"]


def test_logits_of_many_rows_are_those_of_the_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = pooled(50, 20, 3)
    path = fit_linear_path(features, labels, n_classes=3, strengths=torch.tensor([1.0, 0.1]))
    monkeypatch.setattr("headstart.heads.linear._ROWS_AT_ONCE", 16)
    expected = torch.stack([features @ w.T + b for w, b in zip(path.weights, path.biases, strict=True)])
    torch.testing.assert_close(path.logits(features), expected)


GOOD = (torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 2)


@pytest.mark.parametrize(
    ("features", "labels", "n_classes", "says"),
    [
        (GOOD[0], GOOD[1] * 0, 1, "at least two classes"),
        (GOOD[0], GOOD[1] + 1, 2, "from 1 to 2 with 2 classes"),
        (GOOD[0], GOOD[1] - 1, 2, "from -1 to 0"),
        (GOOD[0], GOOD[1][:5], 2, "for 6 images"),
        (GOOD[0], GOOD[1].float(), 2, "int64"),
        (GOOD[0].long(), GOOD[1], 2, "floating dtype"),
        (GOOD[0][:0], GOOD[1][:0], 2, "at least one image"),
        (torch.where(torch.arange(6)[:, None] == 3, torch.nan, GOOD[0]), GOOD[1], 2, "first is row 3"),
        (torch.where(torch.arange(6)[:, None] == 2, torch.inf, GOOD[0]), GOOD[1], 2, "1 of 6 rows"),
    ],
)
def test_what_cannot_be_fitted_is_said(features: Tensor, labels: Tensor, n_classes: int, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        fit_linear_path(features, labels, n_classes=n_classes)
    assert str(caught.value).count("\n") <= 1


@pytest.mark.parametrize("strengths", [[], [1.0, 0.0], [-1.0], [float("nan")], [float("inf")]])
def test_strengths_that_are_not_positive_are_refused(strengths: list[float]) -> None:
    with pytest.raises(ConfigError, match="positive"):
        fit_linear_path(*GOOD, n_classes=2, strengths=torch.tensor(strengths))


@pytest.mark.parametrize("weights", [[1.0] * 5, [-1.0] + [1.0] * 5, [0.0] * 6, [float("nan")] + [1.0] * 5])
def test_sample_weights_that_cannot_be_used_are_refused(weights: list[float]) -> None:
    with pytest.raises(HeadstartError, match="Sample weights"):
        fit_linear_path(*GOOD, n_classes=2, sample_weights=torch.tensor(weights))


def test_a_head_for_epochs_begins_within_glorots_bound_by_its_own_generator() -> None:
    before = torch.get_rng_state()
    head = new_linear_head(90, 10, seed=0).requires_grad_(False)

    bound = (6 / 100) ** 0.5
    assert torch.equal(torch.get_rng_state(), before)
    assert head.weight.shape == (10, 90)
    assert float(head.weight.abs().max()) <= bound
    assert float(head.weight.std()) == pytest.approx(bound / 3**0.5, rel=0.05)
    assert not head.bias.any()
    assert torch.equal(head.weight, new_linear_head(90, 10, seed=0).weight)
    assert not torch.equal(head.weight, new_linear_head(90, 10, seed=1).weight)


@pytest.mark.parametrize("n", [200, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.slow
def test_features_that_fill_the_memory_are_not_copied(
    n: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = pooled(n, 24, 4)
    features = features.to(dtype)
    held = fit_linear_path(features, labels, n_classes=4, tolerance=1e-7)

    monkeypatch.setattr("headstart.heads.eigenbasis.MAX_COPY_BYTES", 0)
    monkeypatch.setattr("headstart.heads.rows._BLOCK_VALUES", 24 * 17)  # several blocks, the last one shorter
    monkeypatch.setattr("headstart.heads.softmax_path._BLOCK_VALUES", 4 * 7)
    streamed = fit_linear_path(features, labels, n_classes=4, tolerance=1e-7)

    torch.testing.assert_close(streamed.objectives, held.objectives, rtol=1e-6, atol=1e-12)
    assert float(streamed.gaps.max()) <= 1e-6
