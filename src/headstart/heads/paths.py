"""Paths of heads: one head for each value of what is swept, and what each says of images it has not seen."""

from typing import Protocol

import torch
from torch import Tensor, nn

from headstart.errors import DataError


class HeadPath(Protocol):
    """Heads of one kind fitted to the same images, one for each value of what is swept, the smoothest first."""

    @property
    def values(self) -> tuple[float, ...]:
        """What was swept, S of them: strengths of a penalty, or numbers of neighbours."""
        ...

    @property
    def present(self) -> Tensor:
        """(K,) bool, the classes that had images."""
        ...

    def logits(self, features: Tensor) -> Tensor:
        """Logits (S, n, K) float32 of features (n, D) or (n, C, H, W), any floating dtype."""
        ...

    def head(self, index: int, *, temperature: float = 1.0) -> nn.Module:
        """The head of one value, as a module of its own; its logits are those of the path over the temperature.

        A class without images keeps its own logit, which rules it out at any temperature.
        """
        ...


class FitPath(Protocol):
    """Fits a path, of the same values each time."""

    def __call__(self, features: Tensor, labels: Tensor, *, sample_weights: Tensor | None) -> HeadPath:
        """The path of features (n, D), labels (n,) and sample weights (n,), None for equal ones."""
        ...


@torch.no_grad()
def cross_validate(
    fit: FitPath, features: Tensor, labels: Tensor, folds: Tensor, *, sample_weights: Tensor | None = None
) -> Tensor:
    """Out-of-fold logits at every value: those of each image from a path that was fitted without its fold.

    Args:
        fit: fits the path of some of the images.
        features: (n, D), or (n, C, H, W), any floating dtype.
        labels: (n,) int64.
        folds: (n,) integers, the fold of each image; at least two different ones.
        sample_weights: (n,).

    Returns:
        Logits (S, n, K) float32, in the order of the path.

    Raises:
        DataError: there are fewer than two folds, or not one for each image; or the fit raises it.
        ConfigError: the fit raises it.
    """
    numbers = torch.unique(folds).tolist()
    if len(folds) != len(features) or len(numbers) < 2:
        raise DataError(
            f"Cross-validation got {len(numbers)} fold(s) over {len(folds)} images for {len(features)} images.\n"
            "It needs one fold number for each image, and at least two different ones."
        )
    parts = []
    for number in numbers:
        held_out = folds == number
        path = fit(
            features[~held_out],
            labels[~held_out],
            sample_weights=None if sample_weights is None else sample_weights[~held_out],
        )
        parts.append((held_out, path.logits(features[held_out])))
    values, _, classes = parts[0][1].shape
    logits = parts[0][1].new_empty(values, len(features), classes)
    for held_out, part in parts:
        logits[:, held_out] = part
    return logits
