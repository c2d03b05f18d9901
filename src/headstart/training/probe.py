"""The probe: a linear head on frozen features, its strength chosen on images it has not been fitted to.

Linear probing as in Alain & Bengio 2016 (arXiv:1610.01644) and Kornblith et al. 2019 (arXiv:1805.08974):
multinomial logistic regression with an L2 penalty, over its whole path of strengths.
"""

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
    linear_head,
)

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

UNVALIDATED_STRENGTH = 1e-2
"""The strength where nothing can be validated, because some class has a single image."""


@dataclass(frozen=True, kw_only=True)
class PathPoint:
    """One strength of the path: mean losses (natural log, unweighted) and accuracies, 0 to 1.

    The validation columns are None where nothing was validated.
    """

    strength: float
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class FittedHead:
    """A head, and how its strength was chosen.

    Attributes:
        head: module from features (N, ...) to logits (N, K), fitted at last on all labelled images.
        strength: the chosen lambda; scikit-learn's C is 1 / (n lambda).
        path: all strengths, strongest first, fitted on the training images alone.
        validation_probabilities: (m, K) at the chosen strength from heads that had not seen the m images: the
            validation images', or out of fold all training images'; None where nothing was validated.
    """

    head: nn.Module
    strength: float
    path: tuple[PathPoint, ...]
    validation_probabilities: NDArray[np.float64] | None


def fit_head(
    features: Floats,
    labels: Labels,
    *,
    n_classes: int,
    validation_features: Floats | None = None,
    validation_labels: Labels | None = None,
    folds: Labels | None = None,
    class_weights: bool = False,
) -> FittedHead:
    """Fit a linear head on features, choosing its strength by the lowest loss on images it has not seen.

    With validation features the path is fitted on the training images, judged on validation, and the chosen
    strength fitted again on both. With folds it is judged out of fold. With neither, a stated default is used.

    Args:
        features: (n, ...) float32 training features; more than one dimension is flattened.
        labels: (n,) int64, 0 to n_classes - 1.
        n_classes: number of classes; one without images gets a probability of about 0.
        validation_features: (m, ...) float32, with `validation_labels`.
        validation_labels: (m,) int64.
        folds: (n,) int64 fold of each training image, instead of validation.
        class_weights: weigh each image by the rarity of its class in the fit (not in the choice).

    Returns:
        The head, the strength, the whole path and the validation outputs.

    Raises:
        DataError: features are not finite, or shapes do not fit.
    """
    if (validation_features is None) != (validation_labels is None) or (
        validation_features is not None and folds is not None
    ):
        raise DataError(
            "fit_head takes validation features with their labels, or folds, or neither; not a mixture."
        )
    x, y = _flat(features), torch.from_numpy(labels)
    if validation_features is not None and validation_labels is not None:
        return _fit_on_validation(
            x, y, _flat(validation_features), torch.from_numpy(validation_labels), n_classes, class_weights
        )
    if folds is not None:
        return _fit_by_folds(x, y, torch.from_numpy(folds), n_classes, class_weights)
    return _fit_unvalidated(x, y, n_classes, class_weights)


def _fit_on_validation(
    x: Tensor, y: Tensor, x_val: Tensor, y_val: Tensor, n_classes: int, balanced: bool
) -> FittedHead:
    """Choose on validation, then refit on both."""
    path = fit_linear_path(x, y, n_classes=n_classes, sample_weights=_weights(y, n_classes, balanced))
    val_logits = path.logits(x_val)
    points = _points(path, x, y, val_logits, y_val)
    best = _best(points)
    both, both_labels = torch.cat([x, x_val]), torch.cat([y, y_val])
    final = fit_linear_path(
        both,
        both_labels,
        n_classes=n_classes,
        strengths=torch.tensor([points[best].strength], dtype=torch.float64),
        sample_weights=_weights(both_labels, n_classes, balanced),
    )
    return FittedHead(
        head=linear_head(final.weights[0], final.biases[0]),
        strength=points[best].strength,
        path=points,
        validation_probabilities=_softmax(val_logits[best]),
    )


def _fit_by_folds(x: Tensor, y: Tensor, folds: Tensor, n_classes: int, balanced: bool) -> FittedHead:
    """Choose out of fold; the path on all images holds the final head already."""
    weights = _weights(y, n_classes, balanced)
    out_of_fold = cross_validate_linear_path(x, y, folds, n_classes=n_classes, sample_weights=weights)
    path = fit_linear_path(x, y, n_classes=n_classes, sample_weights=weights)
    points = _points(path, x, y, out_of_fold, y)
    best = _best(points)
    return FittedHead(
        head=linear_head(path.weights[best], path.biases[best]),
        strength=points[best].strength,
        path=points,
        validation_probabilities=_softmax(out_of_fold[best]),
    )


def _best(points: tuple[PathPoint, ...]) -> int:
    """The strength of the lowest validation loss: on small validation sets steadier than the accuracy."""
    losses = [point.validation_loss for point in points]
    return int(np.argmin(np.array(losses, dtype=float)))


def _fit_unvalidated(x: Tensor, y: Tensor, n_classes: int, balanced: bool) -> FittedHead:
    """One strength, nothing chosen."""
    strengths = torch.tensor([UNVALIDATED_STRENGTH], dtype=torch.float64)
    path = fit_linear_path(
        x, y, n_classes=n_classes, strengths=strengths, sample_weights=_weights(y, n_classes, balanced)
    )
    return FittedHead(
        head=linear_head(path.weights[0], path.biases[0]),
        strength=UNVALIDATED_STRENGTH,
        path=_points(path, x, y, None, None),
        validation_probabilities=None,
    )


def _points(
    path: LinearPath, x: Tensor, y: Tensor, val_logits: Tensor | None, y_val: Tensor | None
) -> tuple[PathPoint, ...]:
    """Losses and accuracies of every strength."""
    train = [_judge(logits, y) for logits in path.logits(x)]
    val: list[tuple[float, float] | tuple[None, None]] = [(None, None)] * len(train)
    if val_logits is not None and y_val is not None:
        val = [_judge(logits, y_val) for logits in val_logits]
    return tuple(
        PathPoint(
            strength=float(strength),
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            validation_loss=val_loss,
            validation_accuracy=val_accuracy,
        )
        for strength, (train_loss, train_accuracy), (val_loss, val_accuracy) in zip(
            path.strengths, train, val, strict=True
        )
    )


def _judge(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of (n, K) logits."""
    loss = float(nn.functional.cross_entropy(logits.double(), labels))
    return loss, float((logits.argmax(dim=1) == labels).double().mean())


def _softmax(logits: Tensor) -> NDArray[np.float64]:
    return np.asarray(torch.softmax(logits.double(), dim=1).numpy(), dtype=np.float64)


def _flat(features: Floats) -> Tensor:
    return torch.from_numpy(features).flatten(start_dim=1)


def _weights(labels: Tensor, n_classes: int, balanced: bool) -> Tensor | None:
    return torch.from_numpy(balanced_weights(labels.numpy(), n_classes)) if balanced else None
