"""The probe: how the strength is chosen, and what the final head is, against scikit-learn."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from headstart.datasets import stratified_folds
from headstart.errors import DataError
from headstart.heads import (
    HeadPath,
    LinearPath,
    cross_validate,
    fit_knn_path,
    fit_linear_path,
    fit_ridge_path,
    fit_temperature,
)
from headstart.training import FittedHead, HeadKind, fit_head
from headstart.training.probe import Floats, Labels

N, D, K = 90, 20, 3


def _sample(n: int = N, seed: int = 0, spread: float = 1.0) -> tuple[Floats, Labels]:
    """(n, D) features of K overlapping clouds, and their labels (n,)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % K
    centres = np.random.default_rng(99).normal(0, 1, (K, D))
    return (centres[labels] * spread + rng.normal(0, 1.5, (n, D))).astype(np.float32), labels


def _logits(fitted: FittedHead, features: Floats) -> torch.Tensor:
    with torch.inference_mode():
        return fitted.head(torch.from_numpy(features)).double()


def _sklearn(features: Floats, labels: Labels, strength: float) -> LogisticRegression:
    """The same model: features scaled by one mean and one standard deviation, C = 1 / (n lambda)."""
    model = LogisticRegression(C=1 / (len(labels) * strength), tol=1e-10, max_iter=10_000)
    return model.fit((features - features.mean()) / features.std(), labels)


def _lowest_smoothed(held_out: torch.Tensor, truth: Labels) -> int:
    """The position of the strength whose held-out logits (S, m, K) have the lowest smoothed loss."""
    losses = [fit_temperature(logits, torch.from_numpy(truth))[1] for logits in held_out]
    return int(np.argmin(losses))


def _path(features: Floats, labels: Labels) -> LinearPath:
    return fit_linear_path(torch.from_numpy(features), torch.from_numpy(labels), n_classes=K)


def test_validation_chooses_the_lowest_smoothed_loss() -> None:
    (x, y), (x_val, y_val) = _sample(), _sample(36, seed=1)

    fitted = fit_head(x, y, n_classes=K, validation=(x_val, y_val))

    path = _path(x, y)
    best = _lowest_smoothed(path.logits(torch.from_numpy(x_val)), y_val)
    assert 0 < best < len(path.strengths) - 1  # so that the choice could have gone wrong either way
    assert fitted.value == pytest.approx(float(path.strengths[best]))
    assert len(fitted.path) == len(path.strengths) >= 30
    assert fitted.temperature == fitted.path[best].temperature


def test_folds_choose_the_lowest_smoothed_loss_out_of_fold() -> None:
    x, y = _sample()
    folds = stratified_folds(y, 5, 0)

    fitted = fit_head(x, y, n_classes=K, folds=folds)

    fit = partial(fit_linear_path, n_classes=K)
    held_out = cross_validate(fit, *map(torch.from_numpy, (x, y, folds)))
    best = _lowest_smoothed(held_out, y)
    assert fitted.value == pytest.approx(fitted.path[best].value)
    assert fitted.validation_probabilities is not None
    assert fitted.validation_probabilities.shape == (N, K)


def test_neither_takes_the_stated_strength() -> None:
    x, y = _sample(K)

    fitted = fit_head(x, y, n_classes=K)

    assert (fitted.value, fitted.temperature) == (1e-2, 1.0)
    assert fitted.validation_probabilities is None
    assert [point.validation_loss for point in fitted.path] == [None]


def test_both_are_refused() -> None:
    x, y = _sample()

    with pytest.raises(DataError, match="got both"):
        fit_head(x, y, n_classes=K, validation=(x, y), folds=np.zeros(N, np.int64))


@pytest.mark.parametrize("way", ["validation", "folds", "neither"])
def test_the_final_head_is_scikit_learns_on_all_labelled_images(way: str) -> None:
    (x, y), (x_val, y_val), (x_new, _) = _sample(), _sample(36, seed=1), _sample(500, seed=2)
    fitted = fit_head(
        x,
        y,
        n_classes=K,
        validation=(x_val, y_val) if way == "validation" else None,
        folds=stratified_folds(y, 5, 0) if way == "folds" else None,
    )
    if way == "validation":
        x, y = np.concatenate([x, x_val]), np.concatenate([y, y_val])

    theirs = _sklearn(x, y, fitted.value).decision_function((x_new - x.mean()) / x.std())
    ours = _logits(fitted, x_new).numpy() * fitted.temperature
    centred = [logits - logits.mean(axis=1, keepdims=True) for logits in (ours, theirs)]
    np.testing.assert_allclose(*centred, atol=2e-2 * np.abs(theirs).max())
    top = np.sort(theirs, axis=1)
    clear = top[:, -1] - top[:, -2] > 1e-2 * np.abs(theirs).max()
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(ours.argmax(axis=1)[clear], theirs.argmax(axis=1)[clear])


def test_validation_probabilities_come_from_before_the_refit() -> None:
    (x, y), (x_val, y_val) = _sample(), _sample(36, seed=1)

    fitted = fit_head(x, y, n_classes=K, validation=(x_val, y_val))

    path = _path(x, y)
    best = int(np.argmin([abs(float(s) - fitted.value) for s in path.strengths]))
    expected = torch.softmax(path.logits(torch.from_numpy(x_val))[best].double() / fitted.temperature, dim=1)
    np.testing.assert_allclose(fitted.validation_probabilities, expected.numpy(), atol=1e-6)
    refitted = torch.softmax(_logits(fitted, x_val), dim=1).numpy()
    assert np.abs(refitted - expected.numpy()).max() > 1e-3


def test_the_paths_losses_are_those_of_the_tempered_heads() -> None:
    (x, y), (x_val, y_val) = _sample(), _sample(36, seed=1)

    fitted = fit_head(x, y, n_classes=K, validation=(x_val, y_val))

    probabilities = fitted.validation_probabilities
    assert probabilities is not None
    point = next(point for point in fitted.path if point.value == fitted.value)
    expected_loss = -np.log(probabilities[np.arange(36), y_val]).mean()
    assert point.validation_loss == pytest.approx(expected_loss, rel=1e-6)
    assert point.validation_accuracy == pytest.approx((probabilities.argmax(axis=1) == y_val).mean())
    strengths = [point.value for point in fitted.path]
    assert strengths == sorted(strengths, reverse=True)
    assert fitted.path[0].train_accuracy <= fitted.path[-1].train_accuracy


@pytest.mark.parametrize("empty", [0, 1, 3])
def test_an_empty_class_gets_next_to_nothing(empty: int) -> None:
    x, y = _sample()
    shifted = np.where(y >= empty, y + 1, y)  # class `empty` has no image, wherever it stands

    with_gap = fit_head(x, shifted, n_classes=K + 1, folds=stratified_folds(shifted, 5, 0))
    without = fit_head(x, y, n_classes=K, folds=stratified_folds(y, 5, 0))

    probabilities = torch.softmax(_logits(with_gap, x), dim=1).numpy()
    assert probabilities[:, empty].max() < 1e-6
    assert with_gap.value == pytest.approx(without.value)
    expected = torch.softmax(_logits(without, x), dim=1).numpy()
    np.testing.assert_allclose(np.delete(probabilities, empty, axis=1), expected, atol=1e-2)


def test_class_weights_help_the_rare_class() -> None:
    x, y = _sample(300, spread=0.6)
    keep = (y != 0) | (np.arange(300) < 24)  # 8 of class 0 beside 100 of the others
    x, y = x[keep], y[keep]

    equal = fit_head(x, y, n_classes=K)
    balanced = fit_head(x, y, n_classes=K, class_weights=True)

    x_new, y_new = _sample(600, seed=5, spread=0.6)
    rare = x_new[y_new == 0]
    recall = [float((_logits(head, rare).argmax(dim=1) == 0).double().mean()) for head in (equal, balanced)]
    assert recall[1] > recall[0] + 0.1


def test_features_of_more_dimensions_are_flattened() -> None:
    x, y = _sample()

    flat = fit_head(x, y, n_classes=K)
    deep = fit_head(x.reshape(N, 5, 2, 2), y, n_classes=K)

    torch.testing.assert_close(_logits(flat, x), _logits(deep, x.reshape(N, 5, 2, 2)), rtol=0, atol=0)


def test_features_that_are_not_finite_are_refused() -> None:
    x, y = _sample()
    x[3, 4] = math.nan

    with pytest.raises(DataError):
        fit_head(x, y, n_classes=K)


def test_the_same_input_gives_the_same_bits() -> None:
    x, y = _sample()
    folds = stratified_folds(y, 5, 0)

    first, second = (fit_head(x, y, n_classes=K, folds=folds) for _ in range(2))

    assert first.path == second.path
    for ours, again in zip(first.head.parameters(), second.head.parameters(), strict=True):
        assert torch.equal(ours, again)


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_the_number_of_threads_is_given_back(ends: str) -> None:
    x, y = _sample()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        if ends == "well":
            fit_head(x, y, n_classes=K)
        else:
            with pytest.raises(DataError):
                fit_head(np.full_like(x, np.nan), y, n_classes=K)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


KINDS: tuple[HeadKind, ...] = ("linear", "ridge", "knn")


def _fit_path(kind: HeadKind, x: Floats, y: Labels, values: Sequence[float]) -> HeadPath:
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    if kind == "knn":
        return fit_knn_path(*tensors, n_classes=K, neighbours=[int(value) for value in values])
    fit = fit_linear_path if kind == "linear" else fit_ridge_path
    return fit(*tensors, n_classes=K, strengths=torch.tensor(values, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_chosen_on_validation_and_fitted_again_on_both(kind: HeadKind) -> None:
    (x, y), (x_val, y_val), (x_new, _) = _sample(), _sample(36, seed=1), _sample(50, seed=2)

    fitted = fit_head(x, y, n_classes=K, kind=kind, validation=(x_val, y_val))

    path = _fit_path(kind, x, y, [point.value for point in fitted.path])
    held_out = path.logits(torch.from_numpy(x_val))
    best = _lowest_smoothed(held_out, y_val)
    assert fitted.value == fitted.path[best].value == fitted.chosen.value
    assert fitted.temperature == fit_temperature(held_out[best], torch.from_numpy(y_val))[0]
    expected = torch.softmax(held_out[best].double() / fitted.temperature, dim=1).numpy()
    np.testing.assert_allclose(fitted.validation_probabilities, expected, atol=1e-6)
    both = _fit_path(kind, np.concatenate([x, x_val]), np.concatenate([y, y_val]), [fitted.value])
    theirs = both.logits(torch.from_numpy(x_new))[0].double() / fitted.temperature
    torch.testing.assert_close(_logits(fitted, x_new), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_chosen_out_of_fold(kind: HeadKind) -> None:
    (x, y), (x_new, _) = _sample(), _sample(50, seed=2)
    folds = stratified_folds(y, 5, 0)

    fitted = fit_head(x, y, n_classes=K, kind=kind, folds=folds)

    values = [point.value for point in fitted.path]
    probabilities = np.empty((N, K))
    for fold in range(5):
        seen, index = folds != fold, values.index(fitted.value)
        logits = _fit_path(kind, x[seen], y[seen], values).logits(torch.from_numpy(x[~seen]))[index]
        probabilities[~seen] = torch.softmax(logits.double() / fitted.temperature, dim=1).numpy()
    np.testing.assert_allclose(fitted.validation_probabilities, probabilities, atol=1e-6)
    theirs = _fit_path(kind, x, y, [fitted.value]).logits(torch.from_numpy(x_new))[0].double()
    # A head on a path of strengths begins where the last one ended.
    torch.testing.assert_close(_logits(fitted, x_new), theirs / fitted.temperature, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize(
    ("kind", "value", "temperature"), [("linear", 1e-2, 1.0), ("ridge", 100.0, 0.07), ("knn", 1, 1.0)]
)
def test_each_kind_has_a_stated_value_where_nothing_can_be_validated(
    kind: HeadKind, value: float, temperature: float
) -> None:
    x, y = _sample(K)

    fitted = fit_head(x, y, n_classes=K, kind=kind)

    assert (fitted.value, fitted.temperature) == (value, temperature)
    theirs = _fit_path(kind, x, y, [value]).logits(torch.from_numpy(x))[0].double()
    torch.testing.assert_close(_logits(fitted, x), theirs / temperature, rtol=1e-4, atol=1e-4)
    loss = torch.nn.functional.cross_entropy(theirs / temperature, torch.from_numpy(y))
    assert fitted.path[0].train_loss == pytest.approx(float(loss), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_class_is_ruled_out_by_each_kind(kind: HeadKind) -> None:
    x, y = _sample()
    fitted = fit_head(x, y + (y > 0), n_classes=K + 1, kind=kind, folds=stratified_folds(y, 5, 0))
    without = fit_head(x, y, n_classes=K, kind=kind, folds=stratified_folds(y, 5, 0))
    probabilities = torch.softmax(_logits(fitted, x), dim=1).numpy()
    assert probabilities[:, 1].max() < 1e-12
    assert fitted.value == without.value
    expected = torch.softmax(_logits(without, x), dim=1).numpy()
    np.testing.assert_allclose(np.delete(probabilities, 1, axis=1), expected, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_class_weights_reach_each_kind(kind: HeadKind) -> None:
    x, y = _sample(300, spread=0.6)
    keep = (y != 0) | (np.arange(300) < 24)
    x, y = x[keep], y[keep]
    folds = stratified_folds(y, 4, 0)

    heads = [
        fit_head(x, y, n_classes=K, kind=kind, folds=folds, class_weights=weighted).head
        for weighted in (False, True)
    ]

    rare = torch.from_numpy(_sample(600, seed=5, spread=0.6)[0])[0::K]
    with torch.inference_mode():
        shares = [float(torch.softmax(head(rare), dim=1)[:, 0].mean()) for head in heads]
    assert shares[1] > shares[0] + 0.03


def test_only_numbers_of_neighbours_that_every_fold_has_are_tried() -> None:
    x, y = _sample(24)
    fitted = fit_head(x, y, n_classes=K, kind="knn", folds=np.repeat([0, 1, 1], 8))
    assert [point.value for point in fitted.path] == [
        5,
        2,
        1,
    ]  # 8 images are left where the larger fold is out


@pytest.mark.parametrize(
    ("kind", "swept"), [("linear", "strength"), ("ridge", "strength"), ("knn", "neighbours")]
)
def test_history_and_choice_name_what_was_swept(kind: HeadKind, swept: str) -> None:
    x, y = _sample()

    fitted = fit_head(x, y, n_classes=K, kind=kind, folds=stratified_folds(y, 5, 0))

    assert fitted.choice() == {swept: fitted.value, "temperature": fitted.temperature}
    assert list(fitted.history()[0]) == [
        *(swept, "temperature", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    ]
    assert [row[swept] for row in fitted.history()] == [point.value for point in fitted.path]
    assert isinstance(fitted.value, int if kind == "knn" else float)
