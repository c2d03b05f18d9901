"""What every head is fitted to: features, labels and weights, checked before anything is computed."""

import torch
from torch import Tensor

from headstart.errors import DataError

EMPTY_CLASS_LOGIT = -30.0
"""Logit of a class without images, where the largest of the others is never below 0.

Its probability would be 0 and its logit minus infinity; this one means at most e^-30 = 1e-13, on any image.
"""


def check_inputs(features: Tensor, labels: Tensor, n_classes: int) -> None:
    """Refuse what no head can be fitted to.

    Args:
        features: (n, D), any floating dtype.
        labels: (n,) int64 in 0 .. n_classes - 1.
        n_classes: at least 2.

    Raises:
        DataError: one of them is not so.
    """
    if n_classes < 2:
        raise DataError(f"A head needs at least two classes, and got {n_classes}.\nAdd a second class.")
    if not features.is_floating_point() or features.numel() == 0:
        raise DataError(
            f"Features of shape {tuple(features.shape)} and {features.dtype} came for a head.\n"
            "It needs at least one image and one feature, in a floating dtype."
        )
    if labels.shape != features.shape[:1] or labels.dtype != torch.int64:
        raise DataError(
            f"Labels of shape {tuple(labels.shape)} and {labels.dtype} came for {len(features)} images.\n"
            "A head needs one int64 label for each image."
        )
    if int(labels.min()) < 0 or int(labels.max()) >= n_classes:
        raise DataError(
            f"Labels run from {int(labels.min())} to {int(labels.max())} with {n_classes} classes.\n"
            f"They must lie in 0 .. {n_classes - 1}."
        )


def mean_one_weights(labels: Tensor, sample_weights: Tensor | None) -> Tensor:
    """Weights (n,) float64 with mean 1: those given, or equal ones.

    Raises:
        DataError: they are not one for each label, finite, not negative, and not all 0.
    """
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


def present_classes(labels: Tensor, sample_weights: Tensor) -> tuple[Tensor, Tensor]:
    """The classes with a positive weight (P,), and labels counted among them (n,)."""
    present = torch.unique(labels[sample_weights > 0])
    # Labels of other classes stand in rows without weight: any number will do for them.
    return present, torch.searchsorted(present, labels).clamp_max(len(present) - 1)


def not_finite(features: Tensor) -> DataError:
    """The error for features (n, D) that hold a value that is not finite."""
    rows = [i for i, row in enumerate(features) if not bool(torch.isfinite(row).all())]
    return DataError(
        f"{len(rows)} of {len(features)} rows of features hold nan or infinity, the first is row {rows[0]}.\n"
        "Leave these images out, or extract their features again in float32."
    )
