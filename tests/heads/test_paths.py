"""Cross-validation: the same for every kind of head."""

from functools import partial

import pytest
import torch
from torch import Tensor

from headstart.errors import DataError
from headstart.heads import FitPath, cross_validate, fit_knn_path, fit_linear_path, fit_ridge_path

FITS: dict[str, FitPath] = {
    "linear": partial(fit_linear_path, n_classes=4, strengths=torch.tensor([1.0, 1e-2])),
    "ridge": partial(fit_ridge_path, n_classes=4, strengths=torch.tensor([1.0, 1e-2])),
    "knn": partial(fit_knn_path, n_classes=4, neighbours=[5, 1]),
}


def clouds(n: int = 60, width: int = 30) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 4
    return torch.randn(4, width, generator=generator)[labels] + torch.randn(
        n, width, generator=generator
    ), labels


@pytest.mark.parametrize("kind", FITS)
@pytest.mark.parametrize("weighted", [False, True])
def test_out_of_fold_logits_come_from_a_path_that_never_saw_the_fold(kind: str, weighted: bool) -> None:
    (features, labels), folds = clouds(), torch.arange(60) // 3 % 4
    weights = torch.rand(60, generator=torch.Generator().manual_seed(0)) + 0.5 if weighted else None

    logits = cross_validate(FITS[kind], features, labels, folds, sample_weights=weights)

    assert logits.shape == (2, 60, 4)
    for fold in range(4):
        seen = folds != fold
        path = FITS[kind](
            features[seen], labels[seen], sample_weights=None if weights is None else weights[seen]
        )
        torch.testing.assert_close(logits[:, ~seen], path.logits(features[~seen]), rtol=0, atol=0)


@pytest.mark.parametrize("kind", FITS)
def test_a_fold_that_holds_all_of_a_class_still_gives_finite_logits(kind: str) -> None:
    features, labels = clouds()
    logits = cross_validate(FITS[kind], features, labels, labels // 2)
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize("folds", [torch.zeros(60, dtype=torch.int64), torch.arange(59) % 3])
def test_it_needs_two_folds_and_one_for_each_image(folds: Tensor) -> None:
    with pytest.raises(DataError, match="at least two"):
        cross_validate(FITS["linear"], *clouds(), folds)
