"""Multinomial logistic regression along a path of L2 strengths, each certified to be near its optimum.

L-BFGS with what the path gives for free:

* each strength starts where the last one ended, and its first direction is the last step along the path (a secant
  predictor), with a length found by the line search;
* curvature pairs outlive their strength: the penalty's part of a pair is known exactly, so only the loss's part is
  kept;
* the first Hessian is diagonal in the eigenbasis: a class's mean p(1 - p) times an axis' variance (Böhning's bound
  of 1992, made local), plus the strength;
* logits are linear along a direction, so that a line search costs no product with the features.

The large products are made in float32 while that suffices; losses, sums and steps in float64.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.heads.eigenbasis import Design
from headstart.heads.rows import row_blocks

_MEMORY = 20  # curvature pairs kept
_MAX_ITERATIONS = 1000  # for one strength; about 3 are usual
_PATIENCE = 100  # iterations without a smaller gap, after which rounding leaves no more to gain
_SLOPE_LEFT = 0.2  # a line search ends when at most this part of the slope is left
_MAX_TRIALS = 40
_BLOCK_VALUES = 2_000_000
_TINY = torch.finfo(torch.float64).tiny


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

    A strength ends when its gap is at most `tolerance`. Where float32 products show no way there (very weak
    strengths, features of very different scales), it and all after it go on in float64; where that ends too, the
    `gap` of the `Fit` says how far it got.

    Args:
        design: the features, n rows.
        labels: (n,) int64; of each class 0 .. K - 1 there is a row with a positive weight.
        sample_weights: (n,) float64 with mean 1.
        strengths: lambda, positive.
        tolerance: relative to the objective.
    """
    loss = _Loss(design, labels, sample_weights, torch.float32)
    pairs, start = _Pairs(), _Start(loss.start(), None)
    for strength in strengths:
        begin = start.place
        point, gap, iterations = _minimise(loss, start, strength, pairs, tolerance)
        if gap > tolerance and loss.products == torch.float32:
            loss, pairs = _Loss(design, labels, sample_weights, torch.float64), _Pairs()
            reached = point.coefficients
            del point  # its arrays of images x classes
            start = _Start(loss.at(reached), None)
            point, gap, more = _minimise(loss, start, strength, pairs, tolerance)
            iterations += more
        objective = loss.objective(point, strength)
        yield Fit(coefficients=point.coefficients, objective=objective, gap=gap, iterations=iterations)
        start = _Start(point, _Direction.between(begin, point))
        del point, begin


@dataclass(frozen=True, kw_only=True)
class _Point:
    """Coefficients (K, r + 1) with the logits and probabilities (n, K) that they give; float64."""

    coefficients: Tensor
    logits: Tensor
    probabilities: Tensor


@dataclass(frozen=True, kw_only=True)
class _Direction:
    """A change of the coefficients (K, r + 1), and what it does to the logits (n, K); float64."""

    coefficients: Tensor
    logits: Tensor

    @classmethod
    def between(cls, start: "_Direction", end: _Point) -> "_Direction":
        """From a place, as the direction there from 0, to a point."""
        return cls(coefficients=end.coefficients - start.coefficients, logits=end.logits - start.logits)


class _Start:
    """Where a strength begins, and the direction that it is to try first.

    Both are given away once: of a million rows each array takes hundreds of megabytes, and what nobody needs any more
    must not be held by a caller.
    """

    def __init__(self, point: _Point, predictor: _Direction | None) -> None:
        self._given: list[tuple[_Point, _Direction | None]] = [(point, predictor)]
        self.place = _Direction(coefficients=point.coefficients, logits=point.logits)

    def take(self) -> tuple[_Point, _Direction | None]:
        """The point and the direction."""
        return self._given.pop()


class _Loss:
    """The weighted mean cross-entropy over the rows of a design, and the L2 penalty beside it.

    Products with the rows are made in the dtype `products`.
    """

    def __init__(self, design: Design, labels: Tensor, sample_weights: Tensor, products: torch.dtype) -> None:
        self.products = products
        self.rows, self.variances, self.labels = design.rows, design.variances, labels[:, None]
        self.shares = sample_weights / len(labels)
        self.penalised = torch.ones_like(self.variances)
        self.penalised[-1] = 0  # the intercept
        self.classes = int(labels.max()) + 1
        # Few enough rows for what is made of their logits on the way to take little memory.
        self.blocks = list(row_blocks(len(labels), _BLOCK_VALUES // self.classes))

    def start(self) -> _Point:
        """All coefficients 0."""
        return self.at(self.variances.new_zeros(self.classes, len(self.variances)))

    def at(self, coefficients: Tensor) -> _Point:
        """The point with these coefficients."""
        logits = self.along(coefficients).logits
        return _Point(coefficients=coefficients, logits=logits, probabilities=logits.softmax(1))

    def along(self, coefficients: Tensor) -> _Direction:
        """The direction that changes the coefficients so."""
        return _Direction(coefficients=coefficients, logits=self.rows.logits(coefficients, self.products))

    def moved(self, point: _Point, direction: _Direction, length: float) -> _Point:
        """The point that lies `length` along the direction; no product with the features."""
        logits = torch.add(point.logits, direction.logits, alpha=length)
        coefficients = torch.add(point.coefficients, direction.coefficients, alpha=length)
        return _Point(coefficients=coefficients, logits=logits, probabilities=logits.softmax(1))

    def objective(self, point: _Point, strength: float) -> float:
        """The loss with its penalty."""

        def losses(block: slice) -> Tensor:
            logits = point.logits[block]
            return logits.logsumexp(1) - logits.gather(1, self.labels[block])[:, 0]

        squares = (self.penalised * point.coefficients.square()).sum()
        return float(self._mean(losses) + 0.5 * strength * squares)

    def gradient(self, point: _Point) -> Tensor:
        """The loss's gradient (K, r + 1), without the penalty."""
        residuals = point.probabilities.scatter_add(
            1, self.labels, -torch.ones_like(self.labels, dtype=torch.float64)
        )
        return self.rows.gradient(residuals.mul_(self.shares[:, None]), self.products)

    def slope(self, point: _Point, direction: _Direction, strength: float) -> float:
        """The objective's first derivative along the direction."""

        def slopes(block: slice) -> Tensor:
            logits = direction.logits[block]
            expected: Tensor = torch.linalg.vecdot(point.probabilities[block], logits)
            return expected - logits.gather(1, self.labels[block])[:, 0]

        return float(self._mean(slopes)) + strength * self._penalised_dot(point.coefficients, direction)

    def bend(self, point: _Point, direction: _Direction, strength: float) -> float:
        """The objective's second derivative along the direction."""

        def variances(block: slice) -> Tensor:
            p, logits = point.probabilities[block], direction.logits[block]
            expected = torch.linalg.vecdot(p, logits)[:, None]
            found: Tensor = torch.linalg.vecdot(p, (logits - expected).square_())
            return found

        penalty = strength * self._penalised_dot(direction.coefficients, direction)
        return float(self._mean(variances)) + penalty

    def curvature(self, point: _Point) -> Tensor:
        """The weighted mean of p (1 - p) of each class, (K,)."""

        def variances(block: slice) -> Tensor:
            p = point.probabilities[block]
            return p - p.square()

        return self._mean(variances).clamp_min(_TINY)

    def gap(self, point: _Point, strength: float, gradient: Tensor, curvature: Tensor) -> float:
        """A bound on (objective - optimum) / objective, given the objective's gradient.

        In the weights the objective is strongly convex with the strength as its modulus, so |gradient|^2 / (2 strength)
        bounds what is left; it is also the duality gap of the dual point that the residuals make. The intercepts
        have no penalty: they are counted by their own curvature, at least twice over.
        """
        squares = gradient.square()
        left = squares[:, :-1].sum() / (2 * strength) + (squares[:, -1] / curvature).sum()
        return float(left) / max(self.objective(point, strength), _TINY)

    def _mean(self, of: Callable[[slice], Tensor]) -> Tensor:
        """The weighted mean over the rows of what is made of a block of them, (b,) or (b, K); a scalar or (K,)."""
        parts = [self.shares[block] @ of(block) for block in self.blocks]
        return torch.stack(parts).sum(dim=0)

    def _penalised_dot(self, coefficients: Tensor, direction: _Direction) -> float:
        return float((self.penalised * coefficients * direction.coefficients).sum())


class _Pairs:
    """The last steps and how the loss's gradient changed over them: L-BFGS's memory, good for every strength."""

    def __init__(self) -> None:
        self._pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=_MEMORY)

    def add(self, step: Tensor, change: Tensor) -> None:
        """Remember a step, unless rounding has left nothing of its curvature."""
        step, change = step.float(), change.float()
        if float(_dot(step, change)) > 1e-7 * float(step.norm() * change.norm()):
            self._pairs.append((step, change))

    def forget(self) -> None:
        """Start anew."""
        self._pairs.clear()

    def newton_step(self, gradient: Tensor, diagonal: Tensor, penalty: Tensor) -> Tensor:
        """Minus the estimated inverse Hessian times the gradient, by the two-loop recursion in float32."""
        penalty = penalty.float()
        pairs = [(step, torch.addcmul(change, penalty, step)) for step, change in self._pairs]
        scales = [1 / _dot(step, change) for step, change in pairs]
        result, taken = gradient.float(), []
        for (step, change), scale in zip(reversed(pairs), reversed(scales), strict=True):
            taken.append(scale * _dot(step, result))
            result = torch.sub(result, change, alpha=taken[-1])
        result = (result / diagonal).float()
        for (step, change), scale, share in zip(pairs, scales, reversed(taken), strict=True):
            result.add_(step, alpha=share - scale * _dot(change, result))
        return result.double().neg_()


def _dot(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a.flatten(), b.flatten()))


def _minimise(
    loss: _Loss,
    start: _Start,
    strength: float,
    pairs: _Pairs,
    tolerance: float,
) -> tuple[_Point, float, int]:
    """The best point found, its gap, and the number of iterations."""
    point, predictor = start.take()
    penalty, slopes = strength * loss.penalised, loss.gradient(point)
    # Of the best point the coefficients only: its arrays of images x classes can be made again, and rarely must.
    best, best_gap, best_at = point.coefficients, math.inf, 0
    for iteration in range(_MAX_ITERATIONS):
        gradient, curvature = slopes + penalty * point.coefficients, loss.curvature(point)
        gap = loss.gap(point, strength, gradient, curvature)
        if gap < best_gap:
            best, best_gap, best_at = point.coefficients, gap, iteration
        if gap <= tolerance or iteration - best_at > _PATIENCE:
            break
        direction, predictor = predictor, None
        if direction is None or loss.slope(point, direction, strength) >= 0:
            diagonal = curvature[:, None] * loss.variances + penalty
            direction = loss.along(_descent(gradient, diagonal, penalty, pairs))
        moved = _line_search(loss, point, direction, strength)
        begin, slopes = slopes, loss.gradient(moved)
        pairs.add(moved.coefficients - point.coefficients, slopes - begin)
        point = moved
    if best is point.coefficients:
        return point, best_gap, iteration
    del point
    return loss.at(best), best_gap, iteration


def _descent(gradient: Tensor, diagonal: Tensor, penalty: Tensor, pairs: _Pairs) -> Tensor:
    step = pairs.newton_step(gradient, diagonal, penalty)
    if float((step * gradient).sum()) < 0:
        return step
    pairs.forget()
    return -gradient / diagonal


def _line_search(loss: _Loss, point: _Point, direction: _Direction, strength: float) -> _Point:
    """The point where the slope is nearly 0: Newton's method in one dimension, kept in a bracket.

    The slope rises along a line, as the objective is convex. It is looked at alone, since differences of objectives
    drown in rounding long before it does.
    """
    enough = _SLOPE_LEFT * abs(loss.slope(point, direction, strength))
    low, high, length = 0.0, math.inf, 1.0
    trial = loss.moved(point, direction, length)
    for _ in range(_MAX_TRIALS):
        slope = loss.slope(trial, direction, strength)
        if abs(slope) <= enough:
            break
        low, high = (length, high) if slope < 0 else (low, length)
        newton = length - slope / max(loss.bend(trial, direction, strength), _TINY)
        length = _within(newton, low, high)
        del trial  # two at once are four arrays of images x classes
        trial = loss.moved(point, direction, length)
    return trial


def _within(length: float, low: float, high: float) -> float:
    """A length inside the bracket, at most ten times its lower end where it is open above."""
    if high == math.inf:
        return min(length, 10 * low)
    return length if low < length < high else (low + high) / 2
