"""The probe: a head on frozen features, its one free number chosen on images it has not been fitted to.

Linear probing as in Alain & Bengio 2016 (arXiv:1610.01644) and Kornblith et al. 2019 (arXiv:1805.08974):
multinomial logistic regression with an L2 penalty, over its whole path of strengths. Beside it ridge regression, over
strengths too, and a vote of nearest neighbours, over their number.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart.datasets import balanced_weights
from headstart.errors import DataError
from headstart.heads import HeadPath, cross_validate, fit_temperature
from headstart.threads import one_thread
from headstart.training.kinds import KINDS, HeadKind, Kind, Swept

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

# Below so many values a fit takes less time than its threads need to meet on a machine that does other work too.
_ONE_THREAD_VALUES = 2_000_000


@dataclass(frozen=True, kw_only=True)
class PathPoint:
    """One point of the path, with the temperature that goes with it.

    Losses (mean cross-entropy in nats, unweighted) and accuracies (0 to 1) are those of the head as it would be
    used, its logits divided by the temperature. The validation columns are None where nothing was validated. Of
    neighbours each training image is its own nearest one, which flatters the train columns.

    Attributes:
        value: a strength, or a number of neighbours.
    """

    value: float
    temperature: float
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class FittedHead:
    """A head, and how its strength, or its number of neighbours, was chosen.

    Attributes:
        head: module from features (N, ...) to logits (N, K), fitted at last on all labelled images, with the
            temperature in it.
        swept: what the path is swept over and was chosen: "strength" or "neighbours".
        value: the chosen one: the strength lambda (of a linear head, scikit-learn's C is 1 / (n lambda); of a ridge
            head, its alpha is n lambda), or the number of neighbours.
        temperature: what the logits were divided by so that probabilities mean what they say; the kind's stated one
            where nothing was validated.
        path: all points, strongest or most neighbours first, fitted on the training images alone.
        validation_probabilities: (m, K) at the chosen value from heads that had not seen the m images: the
            validation images', or out of fold all training images'; None where nothing was validated.
        uncalibrated_probabilities: the same at a temperature of 1.
    """

    head: nn.Module
    swept: Swept
    value: float
    temperature: float
    path: tuple[PathPoint, ...]
    validation_probabilities: NDArray[np.float64] | None
    uncalibrated_probabilities: NDArray[np.float64] | None

    @property
    def chosen(self) -> PathPoint:
        """The chosen point of the path."""
        return next(point for point in self.path if point.value == self.value)

    def choice(self) -> dict[str, float]:
        """What was chosen, by name: {"strength" or "neighbours": ..., "temperature": ...}."""
        return {self.swept: self.value, "temperature": self.temperature}

    def history(self) -> list[dict[str, float | None]]:
        """The path as rows of a table, the swept value under its own name."""
        rows = [asdict(point) for point in self.path]
        return [{self.swept: row.pop("value"), **row} for row in rows]


def fit_head(
    features: Floats,
    labels: Labels,
    *,
    n_classes: int,
    kind: HeadKind = "linear",
    validation: tuple[Floats, Labels] | None = None,
    folds: Labels | None = None,
    class_weights: bool = False,
) -> FittedHead:
    """Fit a head on features, choosing its strength or number of neighbours on images it has not seen.

    Of each candidate's head the loss on the held-out images is taken at the temperature that suits it best, and the
    candidate of the lowest such loss is chosen: a strong penalty that finds the right classes but is too modest about
    them is not passed over, and the temperature mends its modesty. With `validation` the path is fitted on the
    training images, and the chosen candidate fitted again on both. With `folds` it is judged out of fold. With
    neither, nothing is chosen: the kind's stated value and temperature (`training.kinds`) are used.

    Args:
        features: (n, ...) float32 training features; more than one dimension is flattened.
        labels: (n,) int64, 0 to n_classes - 1.
        n_classes: number of classes; one without images gets a probability of about 0.
        kind: "linear", logistic regression over its strengths (`fit_linear_path`); "ridge", least squares over its
            strengths (`fit_ridge_path`); or "knn", a vote of nearest neighbours over their number (`fit_knn_path`).
        validation: features (m, ...) float32 and labels (m,) int64 to choose on.
        folds: (n,) int64 fold of each training image, instead of validation.
        class_weights: weigh each image by the rarity of its class in the fit (not in the choice); of neighbours, their
            votes.

    Returns:
        The head, the chosen value, the whole path and the validation outputs.

    Raises:
        DataError: both validation and folds are given, features are not finite, shapes do not fit, or a ridge head has
            too many features and images.
    """
    if validation is not None and folds is not None:
        raise DataError("fit_head takes validation images, or folds, or neither; got both.")
    fit = _Fit(
        x=torch.from_numpy(features).flatten(start_dim=1),
        y=torch.from_numpy(labels),
        n_classes=n_classes,
        kind=KINDS[kind],
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
    kind: Kind
    balanced: bool

    def weights(self) -> Tensor | None:
        """Sample weights, or None for equal ones."""
        if not self.balanced:
            return None
        return torch.from_numpy(balanced_weights(self.y.numpy(), self.n_classes))

    def path(self, values: Sequence[float]) -> HeadPath:
        """The path of these values, fitted on all images."""
        fit = self.kind.fitting(self.n_classes, values)
        return fit(self.x, self.y, sample_weights=self.weights())

    def out_of_fold(self, values: Sequence[float], folds: Tensor) -> Tensor:
        """Logits (S, n, K) of these values, each image's from a path without its fold."""
        fit = self.kind.fitting(self.n_classes, values)
        return cross_validate(fit, self.x, self.y, folds, sample_weights=self.weights())

    def with_more(self, x: Tensor, y: Tensor) -> "_Fit":
        """The same with more images."""
        return replace(self, x=torch.cat([self.x, x]), y=torch.cat([self.y, y]))


def _choose_on_validation(fit: _Fit, x_val: Tensor, y_val: Tensor) -> FittedHead:
    """Choose on validation, then refit on both."""
    x_val = x_val.flatten(start_dim=1)
    path = fit.path(fit.kind.candidates(len(fit.x)))
    held_out = path.logits(x_val)
    points, best = _judge_path(path, fit, held_out, y_val)
    refit = fit.with_more(x_val, y_val).path([points[best].value])
    head = refit.head(0, temperature=points[best].temperature)
    return _fitted(fit, path, head, points, best, held_out[best])


def _choose_by_folds(fit: _Fit, folds: Tensor) -> FittedHead:
    """Choose out of fold; the path on all images holds the final head already."""
    values = fit.kind.candidates(len(folds) - int(torch.unique(folds, return_counts=True)[1].max()))
    held_out = fit.out_of_fold(values, folds)
    path = fit.path(values)
    points, best = _judge_path(path, fit, held_out, fit.y)
    head = path.head(best, temperature=points[best].temperature)
    return _fitted(fit, path, head, points, best, held_out[best])


def _fit_unvalidated(fit: _Fit) -> FittedHead:
    """One value, nothing chosen."""
    path, temperature = fit.path([fit.kind.unvalidated]), fit.kind.unvalidated_temperature
    loss, accuracy = _judge(_soften(path.logits(fit.x)[0], temperature, path.present), fit.y)
    point = PathPoint(
        value=fit.kind.unvalidated,
        temperature=temperature,
        train_loss=loss,
        train_accuracy=accuracy,
        validation_loss=None,
        validation_accuracy=None,
    )
    return _fitted(fit, path, path.head(0, temperature=temperature), (point,), 0, None)


def _judge_path(
    path: HeadPath, fit: _Fit, held_out: Tensor, truth: Tensor
) -> tuple[tuple[PathPoint, ...], int]:
    """Temperature, losses and accuracies of every value, and the position of the best."""
    points: list[PathPoint] = []
    smoothed: list[float] = []
    # The smoothing gives each class a share of the target: one that cannot come up must not have one.
    judged = path.present.clone()
    judged[truth] = True
    positions = torch.cumsum(judged, dim=0)[truth] - 1
    for value, train_logits, logits in zip(path.values, path.logits(fit.x), held_out, strict=True):
        temperature, loss = fit_temperature(logits[:, judged], positions)
        smoothed.append(loss)
        train_loss, train_accuracy = _judge(_soften(train_logits, temperature, path.present), fit.y)
        validation_loss, validation_accuracy = _judge(_soften(logits, temperature, path.present), truth)
        points.append(
            PathPoint(
                value=value,
                temperature=temperature,
                train_loss=train_loss,
                train_accuracy=train_accuracy,
                validation_loss=validation_loss,
                validation_accuracy=validation_accuracy,
            )
        )
    return tuple(points), int(np.argmin(smoothed))


def _fitted(
    fit: _Fit,
    path: HeadPath,
    head: nn.Module,
    points: tuple[PathPoint, ...],
    best: int,
    held_out: Tensor | None,
) -> FittedHead:
    """The final head, and the held-out probabilities of the chosen value."""
    temperature = points[best].temperature

    def probabilities(temperature: float) -> NDArray[np.float64] | None:
        if held_out is None:
            return None
        softened = _soften(held_out.double(), temperature, path.present)
        return np.asarray(torch.softmax(softened, dim=1).numpy(), dtype=np.float64)

    return FittedHead(
        head=head,
        swept=fit.kind.swept,
        value=points[best].value,
        temperature=temperature,
        path=points,
        validation_probabilities=probabilities(temperature),
        uncalibrated_probabilities=probabilities(1.0),
    )


def _soften(logits: Tensor, temperature: float, present: Tensor) -> Tensor:
    """Logits (..., K) over the temperature; a class without images keeps its own, which rules it out."""
    return torch.where(present, logits / temperature, logits)


def _judge(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of (n, K) logits."""
    loss = float(nn.functional.cross_entropy(logits.double(), labels))
    return loss, float((logits.argmax(dim=1) == labels).double().mean())
