"""Features in the coordinates where a linear head is easy to fit: centred, scaled, and uncorrelated.

The objective of a linear head with an L2 penalty does not change when the features are shifted (the intercept
takes it up) or rotated (the penalty is the same in every orthonormal basis). In the eigenbasis of their covariance the
curvature of the loss is close to diagonal at every strength at once, and with fewer images than features the
basis has as many axes as images: the optimum lies in the span of the images (the representer theorem).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from scipy.linalg import eigh
from threadpoolctl import threadpool_limits
from torch import Tensor

from headstart.heads.inputs import not_finite
from headstart.heads.rows import HeldRows, Rows, StreamedRows, row_blocks

# An eigendecomposition grows with the cube of its side; beyond this (about a minute) it costs more than it saves.
MAX_EIGEN_SIDE = 8192
# A copy of the features in the basis is made where it takes no more than this: 1 GiB.
MAX_COPY_BYTES = 2**30
# Values converted to float64 at once: 4 MB, and a few times that on the way, so that no second copy of the features
# ever stands in memory.
_BLOCK_VALUES = 500_000


class Basis(Protocol):
    """The way back from coefficients in a basis to weights on the centred, scaled features."""

    def spread(self, coefficients: Tensor) -> Tensor:
        """(m, r) float64 in the basis -> (m, D) float64."""
        ...


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a fit works on.

    Attributes:
        rows: n rows (r + 1), the features in the basis; the last column is 1, for the intercept.
        variances: (r + 1,) float64, the weighted mean square of each column.
        basis: the way back.
        mean: (D,) float64, the weighted mean of the raw features.
        scale: the standard deviation over all values of the raw features.
    """

    rows: Rows
    variances: Tensor
    basis: Basis
    mean: Tensor
    scale: float

    def fold_back(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients (S, K, r + 1) -> weights (S, K, D) and biases (S, K), float32, for the raw features."""
        strengths, classes, _ = coefficients.shape
        flat = coefficients.flatten(0, 1)
        weights = self.basis.spread(flat[:, :-1]) / self.scale
        biases = flat[:, -1] - weights @ self.mean
        return weights.float().view(strengths, classes, -1), biases.float().view(strengths, classes)


def build_design(features: Tensor, sample_weights: Tensor) -> Design:
    """Centre, scale and rotate the features.

    Two scalars, one mean and one standard deviation over all values, scale the features, so that relations
    between features stay as the backbone made them. The scalar mean needs no code of its own: centring each
    feature takes it up, and moves nothing but the intercept, which is not penalised.

    Args:
        features: (n, D), any floating dtype.
        sample_weights: (n,) float64 with mean 1.

    Raises:
        DataError: the features hold a value that is not finite.
    """
    mean, scale = _moments(features, sample_weights)
    scaled = _Scaled(features=features, mean=mean, scale=scale)
    n, width = features.shape
    if min(n, width) > MAX_EIGEN_SIDE:
        rows, variances, basis = _plain(scaled, sample_weights)
    elif n <= width:
        rows, variances, basis = _row_space(scaled, sample_weights)
    else:
        rows, variances, basis = _eigenvectors(scaled, sample_weights)
    variances = torch.cat([variances.clamp_min(0), variances.new_ones(1)])
    return Design(rows=rows, variances=variances, basis=basis, mean=mean, scale=scale)


@dataclass(frozen=True, kw_only=True)
class _Scaled:
    """The centred, scaled features, made block by block in float64."""

    features: Tensor
    mean: Tensor
    scale: float

    def row_blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Blocks (b, D) with the rows that they are."""
        for block in row_blocks(len(self.features), _BLOCK_VALUES // self.features.shape[1]):
            yield block, (self.features[block].double() - self.mean) / self.scale

    def column_blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Blocks (n, b) with the columns that they are."""
        for block in row_blocks(self.features.shape[1], _BLOCK_VALUES // len(self.features)):
            yield block, (self.features[:, block].double() - self.mean[block]) / self.scale


def _moments(features: Tensor, sample_weights: Tensor) -> tuple[Tensor, float]:
    """The weighted mean of each feature (D,), and the standard deviation over all values, 1 if they are constant."""
    n, width = features.shape
    total, weighted = (torch.zeros(width, dtype=torch.float64, device=features.device) for _ in range(2))
    for block in row_blocks(n, _BLOCK_VALUES // width):
        values = features[block].double()
        total += values.sum(0)
        weighted += sample_weights[block] @ values
    centre = float(total.sum()) / (n * width)
    if not math.isfinite(centre):
        raise not_finite(features)
    squares = sum(
        float((features[block].double() - centre).square().sum())
        for block in row_blocks(n, _BLOCK_VALUES // width)
    )
    scale = math.sqrt(squares / (n * width))
    # The mean of equal values is rounded, so their spread need not come out as exactly 0.
    return weighted / n, scale if scale > 1e-10 * abs(centre) else 1.0


@dataclass(frozen=True, kw_only=True)
class _Plain:
    """The features' own axes."""

    def spread(self, coefficients: Tensor) -> Tensor:
        return coefficients


@dataclass(frozen=True, kw_only=True)
class _Eigenvectors:
    """Axes along the eigenvectors (D, D) of the covariance."""

    vectors: Tensor

    def spread(self, coefficients: Tensor) -> Tensor:
        return coefficients @ self.vectors.T


@dataclass(frozen=True, kw_only=True)
class _RowSpace:
    """Axes that are mixtures (r, n) of the images: V' = mixtures @ X, never formed."""

    mixtures: Tensor
    scaled: _Scaled

    def spread(self, coefficients: Tensor) -> Tensor:
        mixed = coefficients @ self.mixtures
        weights = mixed.new_empty(len(mixed), self.scaled.features.shape[1])
        for block, columns in self.scaled.column_blocks():
            weights[:, block] = mixed @ columns
        return weights


def _plain(scaled: _Scaled, sample_weights: Tensor) -> tuple[Rows, Tensor, Basis]:
    variances = torch.zeros_like(scaled.mean)
    for block, values in scaled.row_blocks():
        variances += sample_weights[block] @ values.square()
    return _rotated(scaled, None), variances / len(scaled.features), _Plain()


def _eigenvectors(scaled: _Scaled, sample_weights: Tensor) -> tuple[Rows, Tensor, Basis]:
    width = scaled.features.shape[1]
    covariance = torch.zeros(width, width, dtype=torch.float64, device=scaled.features.device)
    # Of a million rows float64 products would take minutes. Any orthonormal basis gives the same optimum; it is only
    # reached sooner where curvature is diagonal.
    rough = _fills_memory(scaled.features)
    for block, values in scaled.row_blocks():
        weighted = values * sample_weights[block, None]
        if rough:
            covariance.add_(weighted.T.float() @ values.float(), alpha=1 / len(scaled.features))
        else:
            covariance.addmm_(weighted.T, values, alpha=1 / len(scaled.features))
    variances, vectors = _decompose(covariance)
    del covariance  # before the rows are made: the two together would be the peak
    return _rotated(scaled, vectors), variances, _Eigenvectors(vectors=vectors)


def _rotated(scaled: _Scaled, vectors: Tensor | None) -> Rows:
    """The rows along the axes that are the columns of `vectors` (D, D), or the features' own."""
    if _fills_memory(scaled.features):
        return StreamedRows(features=scaled.features, mean=scaled.mean, scale=scaled.scale, vectors=vectors)
    n, width = scaled.features.shape
    rows = _with_intercept(n, width, scaled.features.device)
    for block, values in scaled.row_blocks():
        rows[block, :-1] = (values if vectors is None else values @ vectors).float()
    return HeldRows(values=rows)


def _fills_memory(features: Tensor) -> bool:
    """Whether a float32 copy of features is too large to be made."""
    return 4 * features.numel() > MAX_COPY_BYTES


def _row_space(scaled: _Scaled, sample_weights: Tensor) -> tuple[Rows, Tensor, Basis]:
    """From X X' = U S^2 U' (n, n), with X weighted: the axes are V' = S^-1 U' X and the rows X V = U S."""
    n, roots = len(scaled.features), sample_weights.sqrt()[:, None]
    gram = torch.zeros(n, n, dtype=torch.float64, device=scaled.features.device)
    for _, columns in scaled.column_blocks():
        weighted = columns * roots
        gram.addmm_(weighted, weighted.T)
    squares, vectors = _decompose(gram)
    # Centring and repeated images leave axes along which nothing varies.
    kept = squares > squares[-1].clamp_min(0) * n * torch.finfo(torch.float64).eps
    singular, vectors = squares[kept].sqrt(), vectors[:, kept]
    rows = _with_intercept(n, len(singular), gram.device)
    # Rows without weight have no part in the fit; 0 for them, not 0 / 0.
    rows[:, :-1] = torch.where(roots > 0, vectors * singular / roots, 0.0).float()
    mixtures = (vectors * roots / singular).T
    return HeldRows(values=rows), singular.square() / n, _RowSpace(mixtures=mixtures, scaled=scaled)


def _decompose(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (m,), ascending, and eigenvectors (m, m) of a symmetric float64 matrix, which is used up.

    On a CPU by relatively robust representations, which take half the memory of torch's divide and conquer.
    """
    if matrix.device.type != "cpu":
        on_device: tuple[Tensor, Tensor] = torch.linalg.eigh(matrix)
        return on_device
    # scipy's BLAS has threads of its own.
    with threadpool_limits(limits=torch.get_num_threads(), user_api="blas"):
        values, vectors = eigh(matrix.numpy().T, overwrite_a=True, check_finite=False, driver="evr")
    return torch.from_numpy(values), torch.from_numpy(vectors)


def _with_intercept(n: int, width: int, device: torch.device) -> Tensor:
    return torch.ones(n, width + 1, dtype=torch.float32, device=device)
