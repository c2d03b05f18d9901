"""The linear head, with its whole L2 path: multinomial logistic regression on frozen features."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headstart.errors import ConfigError, DataError
from headstart.heads.eigenbasis import build_design
from headstart.heads.softmax_path import Fit, fit_path

STRONGEST, WEAKEST = 1e2, 1e-6
# A class without images has probability 0 at the optimum, its bias minus infinity. Weights and biases of the other
# classes have mean 0, so the largest logit is never below 0, and this bias means at most e^-30 = 1e-13, on any image.
_EMPTY_CLASS_BIAS = -30.0
_ROWS_AT_ONCE = 4096


class LinearHead(nn.Linear):
    """`nn.Linear` that flattens: features (N, D), or (N, C, H, W) with C * H * W = D, to logits (N, K)."""

    def forward(self, features: Tensor) -> Tensor:
        """The logits."""
        return super().forward(features.flatten(1))


def linear_head(weights: Tensor, bias: Tensor) -> nn.Module:
    """A head to train on or to put behind a backbone, with copies of weights (K, D) and bias (K,)."""
    head = LinearHead(weights.shape[1], weights.shape[0])
    with torch.no_grad():
        head.weight.copy_(weights)
        head.bias.copy_(bias)
    return head.to(weights.device)


@dataclass(frozen=True, kw_only=True)
class LinearPath:
    """Linear heads of all strengths, for the raw features.

    Attributes:
        strengths: (S,) float64, lambda, strongest first.
        weights: (S, K, D) float32.
        biases: (S, K) float32.
        objectives: (S,) float64, mean cross-entropy + lambda / 2 |weights on the scaled features|^2.
        gaps: (S,) float64, a bound on (objective - optimum) / objective. Above the tolerance that was asked for only
            where rounding stood in the way, even in float64.
        iterations: (S,) int64.
    """

    strengths: Tensor
    weights: Tensor
    biases: Tensor
    objectives: Tensor
    gaps: Tensor
    iterations: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Logits (S, n, K) float32 of features (n, D) or (n, C, H, W), any floating dtype."""
        strengths, classes, _ = self.weights.shape
        result = self.weights.new_empty(strengths, len(features), classes)
        for start in range(0, len(features), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            block = features[rows].flatten(1).float()
            for index in range(strengths):
                result[index, rows] = torch.addmm(self.biases[index], block, self.weights[index].T)
        return result

    def head(self, index: int) -> nn.Module:
        """The head of one strength, as a module of its own."""
        return linear_head(self.weights[index], self.biases[index])


def default_strengths(count: int = 30) -> Tensor:
    """Strengths (count,) float64, log-spaced, strongest first.

    For features scaled to unit variance. On pooled EfficientNet-Lite0 features of six data sets with 3 to 100 images a
    class the lowest log loss, cross-validated and on test images, lay between 4e-5 and 0.4. Accuracy is flatter: among
    few images it can be as high at either end.
    """
    return torch.logspace(math.log10(STRONGEST), math.log10(WEAKEST), count, dtype=torch.float64)


@torch.no_grad()
def fit_linear_path(
    features: Tensor,
    labels: Tensor,
    *,
    n_classes: int,
    strengths: Tensor | None = None,
    sample_weights: Tensor | None = None,
    tolerance: float = 1e-5,
) -> LinearPath:
    """Fit a linear head at every strength.

    Minimises the weighted mean of the cross-entropy plus lambda / 2 |W|^2 on features scaled by two scalars (one
    mean and one standard deviation over all values, folded back into the result); intercepts are not penalised.
    In scikit-learn's terms C = 1 / (n lambda); its LogisticRegression has one row of weights for two classes where
    there are two here, so that there C = 2 / (n lambda).

    Besides the features, memory holds one float32 copy of them (of the n x n row space, with fewer images than
    features), two square float64 matrices of the smaller side while it is being decomposed, and about eight float64
    arrays of images x classes. The same input gives the same bits on the same machine and number of threads.

    A class that has no image (or weights of 0 only) changes nothing for the others: its weights are 0, and its
    bias is so low (-30 where the other logits have mean 0) that its probability is below 1e-13 for any image.

    Args:
        features: (n, D), or (n, C, H, W), any floating dtype.
        labels: (n,) int64 in 0 .. n_classes - 1.
        n_classes: at least 2.
        strengths: (S,) lambda, positive, in any order; `default_strengths()` if not given.
        sample_weights: (n,) not negative; only their ratios matter.
        tolerance: the gap to reach, relative to the objective.

    Raises:
        DataError: features, labels or weights do not fit together, or hold values that cannot be used.
        ConfigError: there is no strength, or one that is not positive.
    """
    features = features.flatten(1)
    _check(features, labels, n_classes)
    weights = _sample_weights(labels, sample_weights)
    ordered = _ordered(strengths)
    # Class numbers of the fit: those that have images, in order.
    present, dense = _present_classes(labels, weights)
    design = build_design(features, weights)
    if len(present) == 1:
        fits = [_certain(design.variances) for _ in ordered]
    else:
        fits = list(fit_path(design, dense, weights, ordered.tolist(), tolerance))
    coefficients = torch.stack([fit.coefficients for fit in fits])
    # The optimum has mean 0 over the classes; the same probabilities hold with any other.
    coefficients -= coefficients.mean(1, keepdim=True)
    rows, biases = design.fold_back(coefficients)
    return LinearPath(
        strengths=ordered,
        weights=_among(rows, present, n_classes, fill=0.0),
        biases=_among(biases, present, n_classes, fill=_EMPTY_CLASS_BIAS),
        objectives=torch.tensor([fit.objective for fit in fits], dtype=torch.float64),
        gaps=torch.tensor([fit.gap for fit in fits], dtype=torch.float64),
        iterations=torch.tensor([fit.iterations for fit in fits]),
    )


@torch.no_grad()
def cross_validate_linear_path(
    features: Tensor,
    labels: Tensor,
    folds: Tensor,
    *,
    n_classes: int,
    strengths: Tensor | None = None,
    sample_weights: Tensor | None = None,
    tolerance: float = 1e-5,
) -> Tensor:
    """Out-of-fold logits at every strength: those of each image from a path that was fitted without its fold.

    Args:
        features: as in `fit_linear_path`.
        labels: as in `fit_linear_path`.
        folds: (n,) integers, the fold of each image; at least two different ones.
        n_classes: as in `fit_linear_path`.
        strengths: as in `fit_linear_path`.
        sample_weights: as in `fit_linear_path`.
        tolerance: as in `fit_linear_path`.

    Returns:
        Logits (S, n, K) float32, strongest first.

    Raises:
        DataError: as in `fit_linear_path`, or there are fewer than two folds.
        ConfigError: as in `fit_linear_path`.
    """
    features = features.flatten(1)
    numbers = torch.unique(folds).tolist()
    if len(folds) != len(features) or len(numbers) < 2:
        raise DataError(
            f"Cross-validation got {len(numbers)} fold(s) over {len(folds)} images for {len(features)} images.\n"
            "It needs one fold number for each image, and at least two different ones."
        )
    ordered = _ordered(strengths)
    logits = torch.empty(len(ordered), len(features), n_classes, device=features.device)
    for number in numbers:
        held_out = folds == number
        path = fit_linear_path(
            features[~held_out],
            labels[~held_out],
            n_classes=n_classes,
            strengths=ordered,
            sample_weights=None if sample_weights is None else sample_weights[~held_out],
            tolerance=tolerance,
        )
        logits[:, held_out] = path.logits(features[held_out])
    return logits


def _certain(variances: Tensor) -> Fit:
    """The fit of a single class: it is certain without any coefficient."""
    return Fit(coefficients=variances.new_zeros(1, len(variances)), objective=0.0, gap=0.0, iterations=0)


def _present_classes(labels: Tensor, sample_weights: Tensor) -> tuple[Tensor, Tensor]:
    """The classes with a positive weight (P,), and labels counted among them (n,)."""
    present = torch.unique(labels[sample_weights > 0])
    # Labels of other classes stand in rows without weight: any number will do for them.
    return present, torch.searchsorted(present, labels).clamp_max(len(present) - 1)


def _among(values: Tensor, present: Tensor, n_classes: int, *, fill: float) -> Tensor:
    """(S, P, ...) of the present classes -> (S, n_classes, ...), others filled."""
    result = values.new_full((values.shape[0], n_classes, *values.shape[2:]), fill)
    result[:, present] = values
    return result


def _ordered(strengths: Tensor | None) -> Tensor:
    if strengths is None:
        return default_strengths()
    ordered = strengths.detach().double().cpu().flatten().sort(descending=True).values
    if len(ordered) == 0 or not bool(((ordered > 0) & ordered.isfinite()).all()):
        raise ConfigError(
            f"Strengths of a linear head came as {strengths.tolist()}.\nThey must be positive numbers, at least one."
        )
    return ordered


def _check(features: Tensor, labels: Tensor, n_classes: int) -> None:
    if n_classes < 2:
        raise DataError(
            f"A linear head needs at least two classes, and got {n_classes}.\nAdd a second class."
        )
    if not features.is_floating_point() or features.numel() == 0:
        raise DataError(
            f"Features of shape {tuple(features.shape)} and {features.dtype} came for a linear head.\n"
            "It needs at least one image and one feature, in a floating dtype."
        )
    if labels.shape != features.shape[:1] or labels.dtype != torch.int64:
        raise DataError(
            f"Labels of shape {tuple(labels.shape)} and {labels.dtype} came for {len(features)} images.\n"
            "A linear head needs one int64 label for each image."
        )
    if int(labels.min()) < 0 or int(labels.max()) >= n_classes:
        raise DataError(
            f"Labels run from {int(labels.min())} to {int(labels.max())} with {n_classes} classes.\n"
            f"They must lie in 0 .. {n_classes - 1}."
        )


def _sample_weights(labels: Tensor, sample_weights: Tensor | None) -> Tensor:
    """Weights (n,) float64 with mean 1."""
    if sample_weights is None:
        return torch.ones(len(labels), dtype=torch.float64, device=labels.device)
    weights = sample_weights.double()
    usable = weights.shape == labels.shape and bool((weights.isfinite() & (weights >= 0)).all())
    if not usable or float(weights.sum()) <= 0:
        raise DataError(
            f"Sample weights of shape {tuple(weights.shape)} came for {len(labels)} images.\n"
            "There must be one for each image, finite, not negative, and not all 0."
        )
    return weights / weights.mean()
