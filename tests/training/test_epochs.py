"""Epochs against the ordinary way: `nn.Linear`, autograd and `torch.optim.Adam` on the same shuffles."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from headstart.errors import DataError
from headstart.training import Epoch, train_epochs
from headstart.training.epochs import glorot_uniform

Arrays = tuple[np.ndarray, np.ndarray]


def _features(n: int, seed: int, *, classes: int = 5, width: int = 24) -> Arrays:
    """Overlapping clusters, (n, width) float32, with labels (n,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    centres = np.random.default_rng(9).normal(size=(classes, width))
    return (centres[labels] + 1.5 * rng.normal(size=(n, width))).astype(np.float32), labels


def _ordinary(
    train: Arrays, held_out: Arrays, *, classes: int, epochs: int, batch: int, seed: int
) -> list[list[float]]:
    """The figures of each epoch, in the order of `Epoch`, by autograd, in the same precision."""
    x, y = map(torch.from_numpy, train)
    x_val, y_val = map(torch.from_numpy, held_out)
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(x.shape[1], classes)
    with torch.no_grad():
        layer.weight.copy_(glorot_uniform(classes, x.shape[1], generator))
        layer.bias.zero_()
    adam = torch.optim.Adam(
        layer.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-7, foreach=False, fused=False
    )
    figures = []
    for _ in range(epochs):
        losses, right = [], 0
        for rows in torch.randperm(len(y), generator=generator).split(batch):
            logits = layer(x[rows])
            loss = nn.functional.cross_entropy(logits, y[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item() * len(rows))
            right += int((logits.argmax(1) == y[rows]).sum())
        with torch.no_grad():
            logits = layer(x_val)
        figures.append(
            [
                math.fsum(losses) / len(y),
                right / len(y),
                float(nn.functional.cross_entropy(logits, y_val)),
                float((logits.argmax(1) == y_val).float().mean()),
            ]
        )
    return figures


def _figures(epoch: Epoch) -> list[float]:
    return [epoch.train_loss, epoch.train_accuracy, epoch.validation_loss, epoch.validation_accuracy]


@pytest.mark.parametrize("batch", [16, 50, 1000])
def test_the_figures_are_those_of_an_ordinary_loop(batch: int) -> None:
    train, held_out = (
        _features(230, 0),
        _features(90, 1),
    )  # neither batch size divides 230: the last is smaller

    ours = list(train_epochs(*train, validation=held_out, n_classes=5, epochs=20, batch_size=batch, seed=3))

    theirs = _ordinary(train, held_out, classes=5, epochs=20, batch=batch, seed=3)
    assert [epoch.number for epoch in ours] == list(range(1, 21))
    np.testing.assert_allclose([_figures(epoch) for epoch in ours], theirs, rtol=0, atol=1e-5)


def test_more_than_one_dimension_is_flattened() -> None:
    (x, y), held_out = _features(60, 0), _features(30, 1)

    flat = train_epochs(x, y, validation=held_out, n_classes=5, epochs=3)
    deep = train_epochs(
        x.reshape(60, 1, 1, 24),
        y,
        validation=(held_out[0].reshape(30, 2, 3, 4), held_out[1]),
        n_classes=5,
        epochs=3,
    )

    assert [_figures(epoch) for epoch in flat] == [_figures(epoch) for epoch in deep]


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    train, held_out = _features(60, 0), _features(30, 1)
    before = torch.random.get_rng_state()

    def run(seed: int) -> list[list[float]]:
        found = train_epochs(*train, validation=held_out, n_classes=5, epochs=3, batch_size=20, seed=seed)
        return [_figures(epoch) for epoch in found]

    assert run(1) == run(1) != run(2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_features_are_left_as_they_were() -> None:
    (x, y), held_out = _features(60, 0), _features(30, 1)
    copies = x.copy(), y.copy(), held_out[0].copy()

    list(train_epochs(x, y, validation=held_out, n_classes=5, epochs=2, batch_size=7))

    for array, copy in zip((x, y, held_out[0]), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_weights_begin_within_glorots_bound() -> None:
    weights = glorot_uniform(10, 90, torch.Generator().manual_seed(0))

    bound = math.sqrt(6 / 100)
    assert weights.shape == (10, 90)
    assert float(weights.abs().max()) <= bound
    assert float(weights.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert float(weights.mean()) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"n_classes": 3}, "A training label is outside of 0 to 2"),
        (
            {"validation": (np.zeros((3, 7), np.float32), np.zeros(3, np.int64))},
            "have 24 values .* features 7",
        ),
        (
            {"validation": (np.zeros((3, 24), np.float32), np.array([0, 1, 5]))},
            "A validation label is outside",
        ),
        ({"validation": (np.zeros((3, 24), np.float32), np.zeros(2, np.int64))}, "3 images and 2 labels"),
        ({"validation": (np.zeros((0, 24), np.float32), np.zeros(0, np.int64))}, "no validation image"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, object], words: str) -> None:
    arguments = {"validation": _features(30, 1), "n_classes": 5, "epochs": 2, **changes}

    with pytest.raises(DataError, match=words):
        train_epochs(*_features(60, 0), **arguments)
