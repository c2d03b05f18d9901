"""The same pixels are found again however they were re-encoded, cropped and mirrored; others are not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from headstart.audit import SIDE, compare_pictures


def _scene(seed: int) -> Image.Image:
    """A photo-like picture: shapes of all sizes and colours on a gradient, never twice the same."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:240, :320]
    pixels = np.stack([rng.uniform(60, 190) + rng.uniform(-0.2, 0.2) * x for _ in range(3)], axis=-1)
    for _ in range(60):
        cx, cy, r = rng.uniform(0, 320), rng.uniform(0, 240), rng.uniform(4, 45)
        pixels[(x - cx) ** 2 + (y - cy) ** 2 < r**2] = rng.uniform(0, 255, 3)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _picture(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _encoded(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return Image.open(buffer).convert("RGB")


def _borders_cut(image: Image.Image) -> Image.Image:
    w, h = image.size
    return image.crop((w // 20, h // 20, w - w // 20, h - h // 20))


def _one_corner_cut(image: Image.Image) -> Image.Image:
    return image.crop((0, 0, round(0.95 * image.width), round(0.95 * image.height)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("cut", [lambda image: image, _borders_cut, _one_corner_cut])
@pytest.mark.parametrize("swapped", [False, True])
def test_copies_are_the_same(seed: int, turned: bool, cut, swapped: bool) -> None:
    scene = _scene(seed)
    copy = _encoded(cut(ImageOps.mirror(scene) if turned else scene))
    pair = np.stack([_picture(scene), _picture(copy)])

    found = compare_pictures(pair, np.array([[1, 0] if swapped else [0, 1]]))

    assert found.same.all()
    assert found.mirrored[0] == turned


def test_other_photos_are_not() -> None:
    pictures = np.stack([_picture(_scene(seed)) for seed in range(30)])
    pairs = np.array([(i, j) for i in range(30) for j in range(i)])

    assert not compare_pictures(pictures, pairs).same.any()


def test_two_skies_of_one_gradient_are_not() -> None:
    rng = np.random.default_rng(0)
    slope = np.linspace(90, 200, SIDE)[:, None, None] * np.ones((SIDE, SIDE, 3))
    skies = np.stack([slope + rng.normal(0, 4, slope.shape) for _ in range(2)]).astype(np.uint8)

    assert not compare_pictures(skies, np.array([[0, 1]])).same.any()


def test_the_same_drawing_in_another_colour_is_not() -> None:
    one = _picture(_scene(1))

    found = compare_pictures(np.stack([one, one // 2]), np.array([[0, 1]]))

    assert not found.same.any()


@pytest.mark.parametrize("value", [0, 255])
def test_pictures_of_nothing_are_no_copies(value: int) -> None:
    blank = np.full((2, SIDE, SIDE, 3), value, np.uint8)

    found = compare_pictures(blank, np.array([[0, 1]]))

    assert np.isfinite(found.detail).all()
    assert not found.same.any()


def test_no_pairs() -> None:
    found = compare_pictures(np.zeros((0, SIDE, SIDE, 3), np.uint8), np.empty((0, 2), np.int64))

    assert len(found.same) == 0
