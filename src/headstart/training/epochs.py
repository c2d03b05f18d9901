"""A softmax layer trained on stored features the usual way: by Adam, in epochs of shuffled mini-batches.

What programs on bottleneck features do in Keras: `Flatten`, `Dense(n_classes, activation="softmax")`,
`compile("adam", "sparse_categorical_crossentropy")`, `fit`. It stands beside the regularisation path
(`training.probe`), which needs neither a learning rate nor a number of epochs.
"""

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.errors import DataError
from headstart.threads import one_thread

LEARNING_RATE = 1e-3
BETAS = (0.9, 0.999)
EPSILON = 1e-7

# Multiply-adds of a step, below which a second thread brings little on an idle machine and costs much on a busy one.
_ONE_THREAD_PRODUCTS = 100_000_000


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The figures of one epoch, as Keras prints them.

    The train figures are running means over the epoch: each image is judged by the weights just before the step
    that it takes part in, so they lag behind what the weights are worth at the epoch's end. The validation figures
    are those of the weights at the end of the epoch.

    Attributes:
        number: from 1.
        train_loss: mean cross-entropy in nats.
        train_accuracy: 0 to 1.
        validation_loss: mean cross-entropy in nats.
        validation_accuracy: 0 to 1.
        seconds: wall time, validation included.
    """

    number: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Features (n, D) float32 and labels (n,) int64, as tensors."""

    x: Tensor
    y: Tensor


def train_epochs(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    validation: tuple[NDArray[np.float32], NDArray[np.int64]],
    n_classes: int,
    epochs: int,
    batch_size: int = 256,
    seed: int = 0,
) -> Iterator[Epoch]:
    """Train a dense softmax layer on features, and tell of each epoch as it ends.

    Adam (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1) with Keras' defaults: step 1e-3, betas 0.9 and 0.999,
    epsilon 1e-7. (Keras adds epsilon before it corrects the second moment's bias, algorithm 1 after it.) Weights
    begin as Glorot's uniform ones (Glorot & Bengio 2010, equation 16), the bias as 0; there is no penalty.

    Args:
        features: (n, ...) float32; more than one dimension is flattened.
        labels: (n,) int64, 0 to n_classes - 1.
        validation: features (m, ...) float32 and labels (m,) int64; looked at, never trained on.
        n_classes: number of classes.
        epochs: how many.
        batch_size: images in a step; an epoch's last batch may be smaller.
        seed: seed of the weights and then of each epoch's shuffle, all from one generator.

    Yields:
        One `Epoch` after the other.

    Raises:
        DataError: shapes or labels do not fit, or epochs or batch_size is below 1.
    """
    train, held_out = _rows(features, labels), _rows(*validation)
    _check(train, held_out, n_classes=n_classes, epochs=epochs, batch_size=batch_size)
    return _epochs(train, held_out, n_classes=n_classes, epochs=epochs, batch_size=batch_size, seed=seed)


def glorot_uniform(n_classes: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw weights (n_classes, width), uniform up to sqrt(6 / (n_classes + width)) either way."""
    bound = math.sqrt(6 / (n_classes + width))
    return torch.empty(n_classes, width).uniform_(-bound, bound, generator=generator)


def _rows(features: NDArray[np.float32], labels: NDArray[np.int64]) -> _Rows:
    if len(features) != len(labels):
        raise DataError(
            f"Expected a label for each image, got {len(features)} images and {len(labels)} labels."
        )
    return _Rows(x=torch.from_numpy(features).flatten(start_dim=1), y=torch.from_numpy(labels))


def _check(train: _Rows, held_out: _Rows, *, n_classes: int, epochs: int, batch_size: int) -> None:
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise DataError(f"{name} is {value}; expected at least 1.")
    for name, rows in (("training", train), ("validation", held_out)):
        if not len(rows.y):
            raise DataError(f"There is no {name} image.")
        if int(rows.y.min()) < 0 or int(rows.y.max()) >= n_classes:
            raise DataError(f"A {name} label is outside of 0 to {n_classes - 1}.")
    if train.x.shape[1] != held_out.x.shape[1]:
        raise DataError(
            f"Training features have {train.x.shape[1]:,} values an image, validation features "
            f"{held_out.x.shape[1]:,}.\nBoth must come from the same network and layer."
        )


def _epochs(
    train: _Rows, held_out: _Rows, *, n_classes: int, epochs: int, batch_size: int, seed: int
) -> Iterator[Epoch]:
    """The loop."""
    generator = torch.Generator().manual_seed(seed)
    layer = _Softmax(glorot_uniform(n_classes, train.x.shape[1], generator))
    is_small = batch_size * train.x.shape[1] * n_classes < _ONE_THREAD_PRODUCTS
    for number in range(1, epochs + 1):
        start = time.perf_counter()
        # Around each epoch, not around them all: between two epochs the caller's code runs.
        with one_thread() if is_small else nullcontext():
            loss, right = _pass_over(train, layer, batch_size, generator)
            validation_loss, validation_right = layer.judge(held_out)
        yield Epoch(
            number=number,
            train_loss=loss / len(train.y),
            train_accuracy=right / len(train.y),
            validation_loss=validation_loss / len(held_out.y),
            validation_accuracy=validation_right / len(held_out.y),
            seconds=time.perf_counter() - start,
        )


def _pass_over(
    train: _Rows, layer: "_Softmax", batch_size: int, generator: torch.Generator
) -> tuple[float, int]:
    """One pass over the shuffled images: the summed loss, and how many were right, on the way."""
    loss, right = 0.0, 0
    shuffled = torch.randperm(len(train.y), generator=generator)
    # One buffer for all batches: fresh memory for each would cost more than the copy.
    buffer = train.x.new_empty(min(batch_size, len(shuffled)), train.x.shape[1])
    for first in range(0, len(shuffled), batch_size):
        rows = shuffled[first : first + batch_size]
        x = torch.index_select(train.x, 0, rows, out=buffer[: len(rows)])
        batch_loss, batch_right = layer.step(_Rows(x=x, y=train.y[rows]))
        loss, right = loss + batch_loss, right + batch_right
    return loss, right


class _Softmax:
    """A dense softmax layer and its optimiser.

    The gradient of the cross-entropy is (p - onehot) x / n in closed form, so no graph is recorded; weights and
    bias lie in one vector, so Adam is one fused pass over it. Probabilities are (K, n), classes first: with few
    classes both products are then a third faster than the other way round.
    """

    def __init__(self, weights: Tensor) -> None:
        n_classes, width = weights.shape
        vector = torch.cat([weights.flatten(), torch.zeros(n_classes)])
        vector.grad = torch.zeros_like(vector)
        self._weights, self._bias = self._parts(vector, n_classes, width)
        self._weights_gradient, self._bias_gradient = self._parts(vector.grad, n_classes, width)
        self._adam = torch.optim.Adam([vector], lr=LEARNING_RATE, betas=BETAS, eps=EPSILON, fused=True)

    @staticmethod
    def _parts(vector: Tensor, n_classes: int, width: int) -> tuple[Tensor, Tensor]:
        """Views of the weights (K, D) and the bias (K,)."""
        return vector[: n_classes * width].view(n_classes, width), vector[n_classes * width :]

    def step(self, batch: _Rows) -> tuple[float, int]:
        """One step on a batch: the summed loss, and how many were right, before it."""
        log_p = self._log_probabilities(batch.x)
        loss, right = _sums(log_p, batch.y)
        error = log_p.exp_()
        error[batch.y, torch.arange(len(batch.y))] -= 1
        error /= len(batch.y)
        torch.mm(error, batch.x, out=self._weights_gradient)
        torch.sum(error, dim=1, out=self._bias_gradient)
        self._adam.step()
        return loss, right

    def judge(self, rows: _Rows) -> tuple[float, int]:
        """The summed loss of images, and how many are right."""
        return _sums(self._log_probabilities(rows.x), rows.y)

    def _log_probabilities(self, x: Tensor) -> Tensor:
        """(K, n) of features (n, D)."""
        return torch.addmm(self._bias[:, None], self._weights, x.T).log_softmax(dim=0)


def _sums(log_p: Tensor, y: Tensor) -> tuple[float, int]:
    """Summed cross-entropy, and the number of right answers, of log-probabilities (K, n)."""
    loss = -log_p.gather(0, y[None]).sum(dtype=torch.float64)
    return float(loss), int((log_p.argmax(dim=0) == y).sum())
