"""Preparation without torch against that with it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.images import Preprocess, decoder_identity, prepare_image
from headstart.images.plain import prepare_pixels


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.integers(1, 40),
    more=st.integers(0, 9),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    mode=st.sampled_from(["crop", "squash", "pad"]),
    seed=st.integers(0, 99),
)
def test_the_pixels_are_torchs(
    height: int, width: int, size: int, more: int, interpolation: str, mode: str, seed: int
) -> None:
    preprocess = Preprocess(
        size=size,
        resize=size + more,
        interpolation=interpolation,  # type: ignore[arg-type]
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        resize_mode=mode,  # type: ignore[arg-type]
    )
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    expected = prepare_image(pixels, preprocess).permute(1, 2, 0).numpy()
    got = prepare_pixels(pixels, preprocess)

    assert (got.shape, got.dtype) == (expected.shape, np.uint8)
    exact = "fixed point" in decoder_identity()["resize"]
    assert np.abs(got.astype(int) - expected).max() <= (0 if exact else 1)


@pytest.mark.parametrize("shape", [(600, 800), (37, 1000), (1024, 512)])
def test_large_photos_too(shape: tuple[int, int]) -> None:
    preprocess = Preprocess(size=224, resize=256, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)

    expected = prepare_image(pixels, preprocess).permute(1, 2, 0).numpy()

    exact = "fixed point" in decoder_identity()["resize"]
    assert np.abs(prepare_pixels(pixels, preprocess).astype(int) - expected).max() <= (0 if exact else 1)
