"""The rows of a design, as a fit uses them: products with coefficients and with residuals."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

# Values converted at once: few enough for the copy to stay in a cache or at least to take little memory.
_BLOCK_VALUES: Final = 2_000_000


class Rows(Protocol):
    """n rows (r + 1): images' features in a basis; the last column is 1, for the intercept."""

    @property
    def shape(self) -> torch.Size:
        """(n, r + 1)."""
        ...

    def logits(self, coefficients: Tensor, dtype: torch.dtype) -> Tensor:
        """Coefficients (K, r + 1) float64 -> rows @ coefficients', (n, K) float64; multiplied in `dtype`."""
        ...

    def gradient(self, residuals: Tensor, dtype: torch.dtype) -> Tensor:
        """Residuals (n, K) float64 -> residuals' @ rows, (K, r + 1) float64; multiplied in `dtype`."""
        ...


@dataclass(frozen=True, kw_only=True)
class HeldRows:
    """Rows that stand in memory, `values` (n, r + 1) float32."""

    values: Tensor

    @property
    def shape(self) -> torch.Size:
        """(n, r + 1)."""
        return self.values.shape

    def logits(self, coefficients: Tensor, dtype: torch.dtype) -> Tensor:
        """See `Rows.logits`."""
        columns = coefficients.T.to(dtype)
        return torch.cat([self.values[block].to(dtype) @ columns for block in self._blocks(dtype)]).double()

    def gradient(self, residuals: Tensor, dtype: torch.dtype) -> Tensor:
        """See `Rows.gradient`."""
        residuals = residuals.to(dtype)
        result = residuals.new_zeros(residuals.shape[1], self.shape[1])
        for block in self._blocks(dtype):
            result.addmm_(residuals[block].T, self.values[block].to(dtype))
        return result.double()

    def _blocks(self, dtype: torch.dtype) -> Iterator[slice]:
        """All at once as they are; in another dtype, few enough for their copy to take 16 MB."""
        n, width = self.shape
        return row_blocks(n, n if dtype == self.values.dtype else _BLOCK_VALUES // width)


@dataclass(frozen=True, kw_only=True)
class StreamedRows:
    """Rows of features that fill the memory: never made, but multiplied block by block from the features as they are.

    What is rotated is the coefficients, which are few.

    Attributes:
        features: (n, D), any floating dtype.
        mean: (D,) float64, taken from each row.
        scale: what rows are divided by.
        vectors: (D, D) float64, the axes as columns; None for the features' own.
    """

    features: Tensor
    mean: Tensor
    scale: float
    vectors: Tensor | None

    @property
    def shape(self) -> torch.Size:
        """(n, D + 1)."""
        n, width = self.features.shape
        return torch.Size((n, width + 1))

    def logits(self, coefficients: Tensor, dtype: torch.dtype) -> Tensor:
        """See `Rows.logits`."""
        slopes = coefficients[:, :-1] / self.scale
        columns = (slopes if self.vectors is None else slopes @ self.vectors.T).T.to(dtype)
        result = coefficients.new_empty(len(self.features), len(coefficients))
        for block, values in self._centred(dtype):
            result[block] = values @ columns
        return result.add_(coefficients[:, -1])

    def gradient(self, residuals: Tensor, dtype: torch.dtype) -> Tensor:
        """See `Rows.gradient`."""
        result = residuals.new_zeros(residuals.shape[1], self.features.shape[1])
        for block, values in self._centred(dtype):
            result += residuals[block].to(dtype).T @ values
        result /= self.scale
        rotated = result if self.vectors is None else result @ self.vectors
        return torch.cat([rotated, residuals.sum(0)[:, None]], dim=1)

    def _centred(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        mean = self.mean.to(dtype)
        for block in row_blocks(len(self.features), _BLOCK_VALUES // self.features.shape[1]):
            yield block, self.features[block].to(dtype) - mean


def row_blocks(n: int, step: int) -> Iterator[slice]:
    """The rows 0 to n in blocks of `step`, at least one each."""
    step = max(1, step)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))
