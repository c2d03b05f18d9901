"""The kinds of heads that are solved for rather than trained: what their path is swept over, and how it is fitted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import torch
from torch import Tensor

from headstart.heads import (
    FitPath,
    default_neighbours,
    default_ridge_strengths,
    default_strengths,
    fit_knn_path,
    fit_linear_path,
    fit_ridge_path,
)

HeadKind = Literal["linear", "ridge", "knn"]
Swept = Literal["strength", "neighbours"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of head.

    Attributes:
        swept: what its path is swept over.
        unvalidated: the value where nothing can be validated, because some class has a single image.
        unvalidated_temperature: the temperature there.
        candidates: from the smallest number of images that a path is fitted to, to the values that are tried.
        fitting: from the number of classes and values to the fit of their path.
    """

    swept: Swept
    unvalidated: float
    unvalidated_temperature: float
    candidates: Callable[[int], Sequence[float]]
    fitting: Callable[[int, Sequence[float]], FitPath]


def _always(strengths: Tensor) -> Callable[[int], Sequence[float]]:
    """The same candidates, however many images there are."""
    values: list[float] = strengths.tolist()
    return lambda images: values


def _linear(n_classes: int, values: Sequence[float]) -> FitPath:
    return partial(fit_linear_path, n_classes=n_classes, strengths=torch.tensor(values, dtype=torch.float64))


def _ridge(n_classes: int, values: Sequence[float]) -> FitPath:
    return partial(fit_ridge_path, n_classes=n_classes, strengths=torch.tensor(values, dtype=torch.float64))


def _knn(n_classes: int, values: Sequence[float]) -> FitPath:
    return partial(fit_knn_path, n_classes=n_classes, neighbours=[int(value) for value in values])


KINDS: Final[dict[HeadKind, Kind]] = {
    "linear": Kind(
        swept="strength",
        unvalidated=1e-2,
        unvalidated_temperature=1.0,
        candidates=_always(default_strengths()),
        fitting=_linear,
    ),
    # From one image a class this tells flowers, scenes and cifar10 apart nearly as well as any strength, and wants
    # temperatures of 0.05 to 0.1 (pooled EfficientNet-Lite0 features, judged on other training images).
    "ridge": Kind(
        swept="strength",
        unvalidated=100.0,
        unvalidated_temperature=0.07,
        candidates=_always(default_ridge_strengths()),
        fitting=_ridge,
    ),
    "knn": Kind(
        swept="neighbours",
        unvalidated=1,
        unvalidated_temperature=1.0,
        candidates=default_neighbours,
        fitting=_knn,
    ),
}
