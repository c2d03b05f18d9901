"""The same preparation as `prepare_image`'s in numpy, for programs that are not to wait for torch's import.

torch resizes uint8 images with weights of 16 bits and sums of 32, first along rows, then along columns, as Pillow-SIMD
does (`_compute_index_ranges_int16_weights` in its UpSampleKernel.cpp). The same is done here in float64, where sums of
such whole numbers are exact, so the pixels are the same, too. torch is several times as fast: this is for a few photos.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from headstart.images.preprocess import (
    Interpolation,
    Preprocess,
    bar_colour,
    bar_widths,
    resized_sides,
    without_far_ends,
)

_RGB = npt.NDArray[np.uint8]

_TAPS: Final[dict[Interpolation, int]] = {"bilinear": 2, "bicubic": 4}
_MOST_BITS: Final = 22
_A: Final = -0.5  # of Keys' cubic: Pillow's, where antialiased


def prepare_pixels(pixels: _RGB, preprocess: Preprocess) -> _RGB:
    """Resize and crop the centre.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        preprocess: what the network expects.

    Returns:
        (size, size, 3) uint8: the pixels of `prepare_image`, where torch resizes in fixed point (`decoder_identity`).
    """
    cropping = preprocess.resize_mode == "crop"
    kept = without_far_ends(pixels) if cropping else pixels
    sides = resized_sides(kept.shape[0], kept.shape[1], preprocess)
    if cropping:
        short, long = sorted(kept.shape[:2])
        length = int(preprocess.resize * long / short)
        sides = [preprocess.resize, length] if kept.shape[0] <= kept.shape[1] else [length, preprocess.resize]
    image = _resized(kept, sides, preprocess.interpolation)
    if preprocess.resize_mode == "pad":
        left, top, right, bottom = bar_widths(sides, preprocess.resize)
        square = np.empty((preprocess.resize, preprocess.resize, 3), np.uint8)
        square[...] = bar_colour(preprocess)
        square[top : preprocess.resize - bottom, left : preprocess.resize - right] = image
        image = square
    above, beside = (round((side - preprocess.size) / 2) for side in image.shape[:2])
    return image[above : above + preprocess.size, beside : beside + preprocess.size]


def _resized(pixels: _RGB, sides: list[int], kind: Interpolation) -> _RGB:
    """(H, W, 3) -> (sides[0], sides[1], 3)."""
    (height, width, channels), (new_height, new_width) = pixels.shape, sides
    result = pixels.astype(np.float64)
    if new_width != width:
        weights, bits = _weights(width, new_width, kind)
        columns = result.transpose(1, 0, 2).reshape(width, -1)
        result = _rounded(weights @ columns, bits).reshape(new_width, height, channels).transpose(1, 0, 2)
    if new_height != height:
        weights, bits = _weights(height, new_height, kind)
        result = _rounded(weights @ result.reshape(height, -1), bits).reshape(new_height, -1, channels)
    return result.astype(np.uint8)


def _rounded(sums: npt.NDArray[np.float64], bits: int) -> npt.NDArray[np.float64]:
    levels: npt.NDArray[np.float64] = np.floor((sums + 2 ** (bits - 1)) / 2**bits)
    return levels.clip(0, 255)


def _weights(before: int, after: int, kind: Interpolation) -> tuple[npt.NDArray[np.float64], int]:
    """Whole numbers (after, before), and by how many bits they are too large."""
    scale = before / after
    stretch = max(scale, 1.0)
    support = _TAPS[kind] / 2 * stretch
    centres = scale * (np.arange(after)[:, None] + 0.5)
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    end = np.minimum((centres + support + 0.5).astype(np.int64), before)
    places = np.arange(before)[None]
    values = _filter((places - centres + 0.5) / stretch, kind)
    values[(places < first) | (places >= end)] = 0
    values /= values.sum(axis=1, keepdims=True)
    bits = 0
    while bits < _MOST_BITS and int(0.5 + values.max() * 2 ** (bits + 1)) < 2**15:
        bits += 1
    return np.trunc(values * 2**bits + np.copysign(0.5, values)), bits


def _filter(x: npt.NDArray[np.float64], kind: Interpolation) -> npt.NDArray[np.float64]:
    x = np.abs(x)
    if kind == "bilinear":
        return np.maximum(1 - x, 0)
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * _A
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
