"""Rows of a design, held and streamed, against plain products."""

import pytest
import torch
from torch import Tensor

from headstart.heads.rows import HeldRows, Rows, StreamedRows, row_blocks


def _problem() -> tuple[Tensor, Tensor, float, Tensor]:
    """Features (23, 6) float32, their mean, a scale, and an orthonormal basis (6, 6)."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(23, 6, generator=generator) + 3
    basis, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))
    return features, features.double().mean(0), 1.7, basis


def _rows(kind: str, basis: Tensor | None) -> tuple[Rows, Tensor]:
    """Rows of a kind, and the same as one float64 matrix."""
    features, mean, scale, _ = _problem()
    centred = (features.double() - mean) / scale
    rotated = centred if basis is None else centred @ basis
    plain = torch.cat([rotated, torch.ones(23, 1, dtype=torch.float64)], dim=1)
    if kind == "held":
        return HeldRows(values=plain.float()), plain
    return StreamedRows(features=features, mean=mean, scale=scale, vectors=basis), plain


@pytest.mark.parametrize("block", [1, 30, 10_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("own_axes", [True, False])
@pytest.mark.parametrize("kind", ["held", "streamed"])
def test_products_are_the_plain_ones(
    kind: str, own_axes: bool, dtype: torch.dtype, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.heads.rows._BLOCK_VALUES", block)
    rows, plain = _rows(kind, None if own_axes else _problem()[3])
    generator = torch.Generator().manual_seed(1)
    coefficients = torch.randn(3, 7, generator=generator, dtype=torch.float64)
    residuals = torch.randn(23, 3, generator=generator, dtype=torch.float64)

    logits, gradient = rows.logits(coefficients, dtype), rows.gradient(residuals, dtype)

    assert rows.shape == (23, 7)
    assert (logits.dtype, gradient.dtype) == (torch.float64, torch.float64)
    torch.testing.assert_close(logits, plain @ coefficients.T, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, residuals.T @ plain, rtol=1e-5, atol=1e-5)


def test_blocks_cover_all_rows_once() -> None:
    for n, step in ((10, 3), (10, 0), (10, 10), (10, 99), (1, 1)):
        assert [i for block in row_blocks(n, step) for i in range(n)[block]] == list(range(n))
