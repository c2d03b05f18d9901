"""Multinomial logistic regression along a path of L2 strengths, each certified to be near its optimum.

L-BFGS with what the path gives for free:

* each strength starts where the last one ended, and its first direction is the last step along the path (a secant
  predictor), with the length found by the line search;
* curvature pairs outlive their strength: the penalty's part of a pair is known exactly, so the loss's part alone is
  kept;
* the first Hessian is diagonal in the eigenbasis: a class's mean p(1 - p) times an axis' variance (Boehning's
  bound, made local), plus the strength;
* logits are linear along a direction, so that a line search costs no product with the features.

The large products are made in float32; losses, sums and steps in float64.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.heads.eigenbasis import Design

_MEMORY = 10  # curvature pairs kept
_MAX_ITERATIONS = 1000  # for one strength; about 3 are usual
_SLOPE_LEFT = 0.2  # a line search ends when this part of the slope is left
_MAX_TRIALS = 40


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The head of one strength: coefficients (K, r + 1) float64 in the design's basis, the intercept last.

    `gap` bounds (objective - optimum) / objective from above.
    """

    coefficients: Tensor
    objective: float
    gap: float
    iterations: int


def fit_path(
    design: Design, labels: Tensor, sample_weights: Tensor, strengths: list[float], tolerance: float
) -> Iterator[Fit]:
    """Fit each strength in turn; they should come strongest first.

    A strength ends when its gap is at most `tolerance`, or when float32 products show no further way down: the
    `gap` of each `Fit` says how far it got.

    Args:
        design: the features, n rows.
        labels: (n,) int64, of which each class 0 .. K - 1 has at least one with a positive weight.
        sample_weights: (n,) float64 with mean 1.
        strengths: lambda, positive.
        tolerance: relative to the objective.
    """
    loss = _Loss(design, labels, sample_weights)
    point, pairs, last = loss.start(), _Pairs(), None
    for strength in strengths:
        penalty = strength * loss.penalised
        begin = point
        predictor = None if last is None else _Direction.between(last, point)
        point, iterations = _minimise(loss, point, penalty, pairs, predictor, tolerance)
        last = begin
        yield Fit(
            coefficients=point.coefficients,
            objective=point.objective(penalty),
            gap=loss.gap(point, penalty),
            iterations=iterations,
        )


@dataclass(frozen=True, kw_only=True)
class _Point:
    """Coefficients (K, r + 1) with their logits and residuals (n, K), and the loss with its gradient; all float64."""

    coefficients: Tensor
    logits: Tensor
    loss: float
    residuals: Tensor
    gradient: Tensor

    def objective(self, penalty: Tensor) -> float:
        return self.loss + 0.5 * float((penalty * self.coefficients.square()).sum())


@dataclass(frozen=True, kw_only=True)
class _Direction:
    """A change of the coefficients (K, r + 1), and of the logits (n, K) with it."""

    coefficients: Tensor
    logits: Tensor

    @classmethod
    def between(cls, start: _Point, end: _Point) -> "_Direction":
        return cls(coefficients=end.coefficients - start.coefficients, logits=end.logits - start.logits)


class _Loss:
    """The weighted mean cross-entropy over the rows of a design."""

    def __init__(self, design: Design, labels: Tensor, sample_weights: Tensor) -> None:
        self.rows, self.variances, self.labels = design.rows, design.variances, labels[:, None]
        self.shares = sample_weights[:, None] / len(labels)
        self.penalised = torch.ones_like(self.variances)
        self.penalised[-1] = 0  # the intercept
        self.classes = int(labels.max()) + 1

    def start(self) -> _Point:
        """All coefficients 0."""
        zeros = self.variances.new_zeros(self.classes, len(self.variances))
        return self._finish(zeros, zeros.new_zeros(len(self.rows), self.classes))

    def along(self, coefficients: Tensor) -> _Direction:
        """The direction with these coefficients."""
        return _Direction(coefficients=coefficients, logits=(self.rows @ coefficients.float().T).double())

    def moved(self, point: _Point, direction: _Direction, length: float) -> _Point:
        """The point that lies `length` along the direction."""
        return self._finish(
            point.coefficients + length * direction.coefficients, point.logits + length * direction.logits
        )

    def residuals(self, logits: Tensor) -> tuple[float, Tensor]:
        """The loss, and its derivative by each logit."""
        log_p = logits.log_softmax(1)
        loss = -float((self.shares * log_p.gather(1, self.labels)).sum())
        residuals = log_p.exp_()
        residuals.scatter_add_(1, self.labels, residuals.new_full((1, 1), -1.0).expand_as(self.labels))
        return loss, residuals.mul_(self.shares)

    def curvature(self, logits: Tensor) -> Tensor:
        """The weighted mean of p (1 - p) of each class, (K,)."""
        p = logits.softmax(1)
        return (self.shares * p * (1 - p)).sum(0)

    def gap(self, point: _Point, penalty: Tensor) -> float:
        """A bound on (objective - optimum) / objective.

        The objective is strongly convex in the weights with the strength as its modulus, so |gradient|^2 /
        (2 strength) bounds what is left there; this is the duality gap for the dual point that the residuals make. The
        intercepts have no penalty, and are counted by their curvature, four times over.
        """
        gradient = point.gradient + penalty * point.coefficients
        left = float(gradient[:, :-1].square().sum()) / (2 * float(penalty[0]) if len(penalty) > 1 else 1)
        curvature = self.curvature(point.logits).clamp_min(torch.finfo(torch.float64).tiny)
        left += float((gradient[:, -1].square() / curvature).sum())
        return left / max(point.objective(penalty), torch.finfo(torch.float64).tiny)

    def _finish(self, coefficients: Tensor, logits: Tensor) -> _Point:
        loss, residuals = self.residuals(logits)
        gradient = (residuals.float().T @ self.rows).double()
        return _Point(
            coefficients=coefficients, logits=logits, loss=loss, residuals=residuals, gradient=gradient
        )
