"""The probe: a linear head on frozen features, its strength chosen on images it has not been fitted to.

Linear probing as in Alain & Bengio 2016 (arXiv:1610.01644) and Kornblith et al. 2019 (arXiv:1805.08974):
multinomial logistic regression with an L2 penalty, over its whole path of strengths.
"""

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart.datasets import balanced_weights
from headstart.errors import DataError
from headstart.heads import (
    LinearPath,
    cross_validate_linear_path,
    fit_linear_path,
    fit_temperature,
    linear_head,
)
from headstart.threads import one_thread

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

UNVALIDATED_STRENGTH = 1e-2
"""The strength where nothing can be validated, because some class has a single image."""

# Below so many values a fit takes less time than its threads need to meet on a machine that does other work too.
_ONE_THREAD_VALUES = 2_000_000


@dataclass(frozen=True, kw_only=True)
class PathPoint:
    """One strength of the path, with the temperature that goes with it.

    Losses (mean cross-entropy in nats, unweighted) and accuracies (0 to 1) are those of the head as it would be
    used, its logits divided by the temperature. The validation columns are None where nothing was validated.
    """

    strength: float
    temperature: float
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class FittedHead:
    """A head, and how its strength was chosen.

    Attributes:
        head: module from features (N, ...) to logits (N, K), fitted at last on all labelled images, with the
            temperature in its weights.
        strength: the chosen lambda; scikit-learn's C is 1 / (n lambda).
        temperature: what the logits were divided by so that probabilities mean what they say; 1 where nothing was
            validated.
        path: all strengths, strongest first, fitted on the training images alone.
        validation_probabilities: (m, K) at the chosen strength from heads that had not seen the m images: the
            validation images', or out of fold all training images'; None where nothing was validated.
    """

    head: nn.Module
    strength: float
    temperature: float
    path: tuple[PathPoint, ...]
    validation_probabilities: NDArray[np.float64] | None


def fit_head(
    features: Floats,
    labels: Labels,
    *,
    n_classes: int,
    validation: tuple[Floats, Labels] | None = None,
    folds: Labels | None = None,
    class_weights: bool = False,
) -> FittedHead:
    """Fit a linear head on features, choosing its strength on images it has not seen.

    Of each strength's head the loss on the held-out images is taken at the temperature that suits it best, and the
    strength of the lowest such loss is chosen: a strong penalty that finds the right classes but is too modest about
    them is not passed over, and the temperature mends its modesty. With `validation` the path is fitted on the
    training images, and the chosen strength fitted again on both. With `folds` it is judged out of fold. With
    neither, `UNVALIDATED_STRENGTH` is used.

    Args:
        features: (n, ...) float32 training features; more than one dimension is flattened.
        labels: (n,) int64, 0 to n_classes - 1.
        n_classes: number of classes; one without images gets a probability of about 0.
        validation: features (m, ...) float32 and labels (m,) int64 to choose on.
        folds: (n,) int64 fold of each training image, instead of validation.
        class_weights: weigh each image by the rarity of its class in the fit (not in the choice).

    Returns:
        The head, the strength, the whole path and the validation outputs.

    Raises:
        DataError: both validation and folds are given, features are not finite, or shapes do not fit.
    """
    if validation is not None and folds is not None:
        raise DataError("fit_head takes validation images, or folds, or neither; got both.")
    fit = _Fit(
        x=torch.from_numpy(features).flatten(start_dim=1),
        y=torch.from_numpy(labels),
        n_classes=n_classes,
        balanced=class_weights,
    )
    with one_thread() if features.size < _ONE_THREAD_VALUES else nullcontext():
        if validation is not None:
            return _choose_on_validation(fit, *map(torch.from_numpy, validation))
        if folds is not None:
            return _choose_by_folds(fit, torch.from_numpy(folds))
        return _fit_unvalidated(fit)


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """What is fitted: features (n, D), labels (n,)."""

    x: Tensor
    y: Tensor
    n_classes: int
    balanced: bool

    def weights(self) -> Tensor | None:
        """Sample weights, or None for equal ones."""
        if not self.balanced:
            return None
        return torch.from_numpy(balanced_weights(self.y.numpy(), self.n_classes))

    def present(self) -> Tensor:
        """(K,) bool, the classes that have images."""
        return torch.bincount(self.y, minlength=self.n_classes) > 0

    def path(self, strength: float | None = None) -> LinearPath:
        """The whole path, or one strength of it."""
        return fit_linear_path(
            self.x,
            self.y,
            n_classes=self.n_classes,
            strengths=None if strength is None else torch.tensor([strength], dtype=torch.float64),
            sample_weights=self.weights(),
        )

    def with_more(self, x: Tensor, y: Tensor) -> "_Fit":
        """The same with more images."""
        return _Fit(
            x=torch.cat([self.x, x]),
            y=torch.cat([self.y, y]),
            n_classes=self.n_classes,
            balanced=self.balanced,
        )


def _choose_on_validation(fit: _Fit, x_val: Tensor, y_val: Tensor) -> FittedHead:
    """Choose on validation, then refit on both."""
    x_val = x_val.flatten(start_dim=1)
    path = fit.path()
    held_out = path.logits(x_val)
    points, best = _judge_path(path, fit, held_out, y_val)
    refit = fit.with_more(x_val, y_val)
    head = _soften_head(refit, refit.path(points[best].strength), 0, points[best].temperature)
    return _fitted(fit, head, points, best, held_out[best])


def _choose_by_folds(fit: _Fit, folds: Tensor) -> FittedHead:
    """Choose out of fold; the path on all images holds the final head already."""
    held_out = cross_validate_linear_path(
        fit.x, fit.y, folds, n_classes=fit.n_classes, sample_weights=fit.weights()
    )
    path = fit.path()
    points, best = _judge_path(path, fit, held_out, fit.y)
    head = _soften_head(fit, path, best, points[best].temperature)
    return _fitted(fit, head, points, best, held_out[best])


def _fit_unvalidated(fit: _Fit) -> FittedHead:
    """One strength, nothing chosen."""
    path = fit.path(UNVALIDATED_STRENGTH)
    loss, accuracy = _judge(path.logits(fit.x)[0], fit.y)
    point = PathPoint(
        strength=UNVALIDATED_STRENGTH,
        temperature=1.0,
        train_loss=loss,
        train_accuracy=accuracy,
        validation_loss=None,
        validation_accuracy=None,
    )
    return _fitted(fit, path.head(0), (point,), 0, None)


def _judge_path(
    path: LinearPath, fit: _Fit, held_out: Tensor, truth: Tensor
) -> tuple[tuple[PathPoint, ...], int]:
    """Temperature, losses and accuracies of every strength, and the position of the best."""
    points: list[PathPoint] = []
    smoothed: list[float] = []
    present = fit.present()
    # The smoothing gives each class a share of the target: one that cannot come up must not have one.
    judged = present.clone()
    judged[truth] = True
    positions = torch.cumsum(judged, dim=0)[truth] - 1
    for strength, train_logits, logits in zip(path.strengths, path.logits(fit.x), held_out, strict=True):
        temperature, loss = fit_temperature(logits[:, judged], positions)
        smoothed.append(loss)
        train_loss, train_accuracy = _judge(_soften(train_logits, temperature, present), fit.y)
        validation_loss, validation_accuracy = _judge(_soften(logits, temperature, present), truth)
        points.append(
            PathPoint(
                strength=float(strength),
                temperature=temperature,
                train_loss=train_loss,
                train_accuracy=train_accuracy,
                validation_loss=validation_loss,
                validation_accuracy=validation_accuracy,
            )
        )
    return tuple(points), int(np.argmin(smoothed))


def _fitted(
    fit: _Fit, head: nn.Module, points: tuple[PathPoint, ...], best: int, held_out: Tensor | None
) -> FittedHead:
    """The final head, and the held-out probabilities of the chosen strength."""
    temperature = points[best].temperature
    probabilities = None
    if held_out is not None:
        softened = _soften(held_out.double(), temperature, fit.present())
        probabilities = torch.softmax(softened, dim=1).numpy()
    return FittedHead(
        head=head,
        strength=points[best].strength,
        temperature=temperature,
        path=points,
        validation_probabilities=probabilities,
    )


def _soften_head(fit: _Fit, path: LinearPath, index: int, temperature: float) -> nn.Module:
    """The head of one strength, with the temperature in its weights."""
    biases = _soften(path.biases[index], temperature, fit.present())
    return linear_head(path.weights[index] / temperature, biases)


def _soften(logits: Tensor, temperature: float, present: Tensor) -> Tensor:
    """Logits (..., K) over the temperature; a class without images keeps its own, which rules it out."""
    return torch.where(present, logits / temperature, logits)


def _judge(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of (n, K) logits."""
    loss = float(nn.functional.cross_entropy(logits.double(), labels))
    return loss, float((logits.argmax(dim=1) == labels).double().mean())
