"""The linear head, with its whole L2 path: multinomial logistic regression on frozen features."""

import math
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from headstart.errors import ConfigError
from headstart.heads.eigenbasis import Design, build_design
from headstart.heads.inputs import EMPTY_CLASS_LOGIT, check_inputs, mean_one_weights, present_classes
from headstart.heads.softmax_path import Fit, fit_path

STRONGEST, WEAKEST = 1e2, 1e-6
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


def new_linear_head(width: int, n_classes: int, *, seed: int) -> LinearHead:
    """A head from features of `width` values to be trained in epochs; see `begin_dense` for where it begins."""
    generator = torch.Generator().manual_seed(seed)
    return begin_dense(LinearHead(width, n_classes, device="meta"), generator)


_Dense = TypeVar("_Dense", bound=nn.Linear)


def begin_dense(layer: _Dense, generator: torch.Generator) -> _Dense:
    """Give a layer the values that TensorFlow's dense layers begin with.

    Weights are Glorot's uniform ones (Glorot & Bengio 2010, equation 16), biases 0.

    Args:
        layer: made on the meta device, since it would else draw weights from the global generator.
        generator: what the weights are drawn from.
    """
    layer = layer.to_empty(device="cpu")
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


@dataclass(frozen=True, kw_only=True)
class LinearPath:
    """Linear heads of all strengths, for the raw features.

    Attributes:
        strengths: (S,) float64, lambda, strongest first.
        weights: (S, K, D) float32.
        biases: (S, K) float32.
        present: (K,) bool, the classes that had images (of a weight above 0).
    """

    strengths: Tensor
    weights: Tensor
    biases: Tensor
    present: Tensor

    @property
    def values(self) -> tuple[float, ...]:
        """The strengths, as numbers."""
        return tuple(self.strengths.tolist())

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

    def head(self, index: int, *, temperature: float = 1.0) -> nn.Module:
        """The head of one strength, as a module of its own, with a temperature in its weights.

        A class without images keeps its bias, which rules it out at any temperature.
        """
        biases = self.biases[index]
        softened = torch.where(self.present, biases / temperature, biases)
        return linear_head(self.weights[index] / temperature, softened)


@dataclass(frozen=True, kw_only=True)
class LogisticPath(LinearPath):
    """Linear heads by logistic regression, and how near they are to their optimum.

    Attributes:
        objectives: (S,) float64, mean cross-entropy + lambda / 2 |weights on the scaled features|^2.
        gaps: (S,) float64, a bound on (objective - optimum) / objective. Above the tolerance that was asked for only
            where rounding stood in the way, even in float64.
        iterations: (S,) int64.
    """

    objectives: Tensor
    gaps: Tensor
    iterations: Tensor


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
) -> LogisticPath:
    """Fit a linear head at every strength.

    Minimises the weighted mean of the cross-entropy plus lambda / 2 |W|^2 on features scaled by two scalars (one
    mean and one standard deviation over all values, folded back into the result); intercepts are not penalised.
    In scikit-learn's terms C = 1 / (n lambda); its LogisticRegression has one row of weights for two classes where
    there are two here, so that there C = 2 / (n lambda).

    Besides the features, memory holds one float32 copy of them (of the n x n row space, with fewer images than
    features; none where it would take more than 1 GiB), two square float64 matrices of the smaller side while it is
    being decomposed, and about eight float64 arrays of images x classes. The same input gives the same bits on the
    same machine and number of threads.

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
    check_inputs(features, labels, n_classes)
    weights = mean_one_weights(labels, sample_weights)
    ordered = ordered_strengths(default_strengths() if strengths is None else strengths)
    # Class numbers of the fit: those that have images, in order.
    present, dense = present_classes(labels, weights)
    design = build_design(features, weights)
    if len(present) == 1:
        fits = [_certain(design.variances) for _ in ordered]
    else:
        fits = list(fit_path(design, dense, weights, ordered.tolist(), tolerance))
    coefficients = torch.stack([fit.coefficients for fit in fits])
    # The optimum has mean 0 over the classes, so that the largest logit is never below 0; the same probabilities hold
    # with any other mean.
    coefficients -= coefficients.mean(1, keepdim=True)
    rows, biases, mask = fold_back(design, coefficients, present, n_classes)
    return LogisticPath(
        strengths=ordered,
        weights=rows,
        biases=biases,
        present=mask,
        objectives=torch.tensor([fit.objective for fit in fits], dtype=torch.float64),
        gaps=torch.tensor([fit.gap for fit in fits], dtype=torch.float64),
        iterations=torch.tensor([fit.iterations for fit in fits]),
    )


def _certain(variances: Tensor) -> Fit:
    """The fit of a single class: it is certain without any coefficient."""
    return Fit(coefficients=variances.new_zeros(1, len(variances)), objective=0.0, gap=0.0, iterations=0)


def fold_back(
    design: Design, coefficients: Tensor, present: Tensor, n_classes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients in a design's basis -> weights and biases for the raw features and for all classes.

    Args:
        design: what was fitted on.
        coefficients: (S, P, r + 1) float64 of the classes that had images; the largest logit that they give must
            never be below 0.
        present: (P,) int64, these classes.
        n_classes: K.

    Returns:
        Weights (S, K, D) and biases (S, K), float32, and which classes had images, (K,) bool.
    """
    weights, biases = design.fold_back(coefficients)
    mask = torch.zeros(n_classes, dtype=torch.bool, device=present.device)
    mask[present] = True
    return (
        _among(weights, present, n_classes, fill=0.0),
        _among(biases, present, n_classes, fill=EMPTY_CLASS_LOGIT),
        mask,
    )


def _among(values: Tensor, present: Tensor, n_classes: int, *, fill: float) -> Tensor:
    """(S, P, ...) of the present classes -> (S, n_classes, ...), others filled."""
    result = values.new_full((values.shape[0], n_classes, *values.shape[2:]), fill)
    result[:, present] = values
    return result


def ordered_strengths(strengths: Tensor) -> Tensor:
    """Strengths (S,) float64, strongest first.

    Raises:
        ConfigError: there is none, or one that is not positive.
    """
    ordered = strengths.detach().double().cpu().flatten().sort(descending=True).values
    if len(ordered) == 0 or not bool(((ordered > 0) & ordered.isfinite()).all()):
        raise ConfigError(
            f"Strengths of a linear head came as {strengths.tolist()}.\nThey must be positive numbers, at least one."
        )
    return ordered
