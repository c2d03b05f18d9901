"""The ridge head: least squares on one-hot targets, all strengths from one decomposition."""

import math

import torch
from torch import Tensor

from headstart.errors import DataError
from headstart.heads.eigenbasis import MAX_EIGEN_SIDE, Design, build_design
from headstart.heads.inputs import check_inputs, mean_one_weights, present_classes
from headstart.heads.linear import LinearPath, fold_back, ordered_strengths

STRONGEST, WEAKEST = 1e3, 1e-3


def default_ridge_strengths(count: int = 31) -> Tensor:
    """Strengths (count,) float64, log-spaced, strongest first.

    For features scaled to unit variance. On pooled EfficientNet-Lite0 features of three data sets with 1 to 50 images a
    class the lowest log loss on other training images lay between 1.6 and 1,000, the fewer images the higher.
    """
    return torch.logspace(math.log10(STRONGEST), math.log10(WEAKEST), count, dtype=torch.float64)


@torch.no_grad()
def fit_ridge_path(
    features: Tensor,
    labels: Tensor,
    *,
    n_classes: int,
    strengths: Tensor | None = None,
    sample_weights: Tensor | None = None,
) -> LinearPath:
    """Fit a ridge head at every strength (Hoerl & Kennard 1970, equation 2.1).

    Minimises the weighted mean of |one-hot target - scores|^2 plus lambda |W|^2 on features scaled by two scalars, as
    in `fit_linear_path`; intercepts are not penalised. In scikit-learn's terms Ridge's alpha = n lambda. In the
    eigenbasis of the features' covariance each axis stands alone: its coefficient is the covariance with the target
    over (variance + lambda), so that one decomposition serves all strengths (as in big_vision's few-shot evaluator).

    The scores are no logits: they lie about between 0 and 1. Their softmax is much too modest about every class until
    they are divided by a temperature that is fitted on images the head has not seen (`fit_temperature`); with it,
    softmax(scores / temperature) are this head's probabilities. `LinearPath.head` takes the temperature
    into the weights.

    A class that has no image (or weights of 0 only) changes nothing for the others: its weights are 0, and its bias is
    -30 where the scores of the others add up to 1, so that its probability is below 1e-13 at any temperature.

    Args:
        features: (n, D), or (n, C, H, W), any floating dtype; n or D at most `MAX_EIGEN_SIDE`.
        labels: (n,) int64 in 0 .. n_classes - 1.
        n_classes: at least 2.
        strengths: (S,) lambda, positive, in any order; `default_ridge_strengths()` if not given.
        sample_weights: (n,) not negative; only their ratios matter.

    Raises:
        DataError: features, labels or weights do not fit together, hold values that cannot be used, or are too many to
            be decomposed.
        ConfigError: there is no strength, or one that is not positive.
    """
    features = features.flatten(1)
    check_inputs(features, labels, n_classes)
    if min(features.shape) > MAX_EIGEN_SIDE:
        raise DataError(
            f"A ridge head decomposes at most {MAX_EIGEN_SIDE:,} images or features; "
            f"{features.shape[0]:,} images of {features.shape[1]:,} features came.\n"
            "Take features of a later layer, or a linear head."
        )
    weights = mean_one_weights(labels, sample_weights)
    ordered = ordered_strengths(default_ridge_strengths() if strengths is None else strengths)
    present, dense = present_classes(labels, weights)
    design = build_design(features, weights)
    coefficients = _solve(design, dense, weights, len(present), ordered.to(features.device))
    rows, biases, mask = fold_back(design, coefficients, present, n_classes)
    return LinearPath(strengths=ordered, weights=rows, biases=biases, present=mask)


def _solve(design: Design, labels: Tensor, weights: Tensor, classes: int, strengths: Tensor) -> Tensor:
    """Coefficients (S, P, r + 1) float64 for labels (n,) in 0 .. P - 1 and weights (n,) of mean 1."""
    shares = weights / len(labels)
    # Weighted sums of each class's rows. The last column, of ones, gives the classes' shares: the intercepts, since
    # the rows are centred.
    members = weights.new_zeros(len(labels), classes).scatter_(1, labels[:, None], shares[:, None])
    sums = design.rows.gradient(members, torch.float64)
    intercepts = sums[:, -1:]
    # Rounding has left the float32 rows' mean a little off 0.
    covariances = sums[:, :-1] - intercepts * sums[:, :-1].sum(0)
    slopes = covariances / (design.variances[:-1] + strengths[:, None, None])
    return torch.cat([slopes, intercepts.expand(len(strengths), -1, -1)], dim=2)
