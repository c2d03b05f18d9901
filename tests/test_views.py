"""Views: the parts, colours and flips that their names promise, drawn from nothing but seed, view and image."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional

from headstart.views import FLIP, ORIGINAL, SIX, ColourChange, View, draw_view

SHA = hashlib.sha256(b"image").digest()


def photo(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def draw(view: View, pixels: np.ndarray | None = None, seed: int = 0, sha: bytes = SHA) -> np.ndarray:
    return draw_view(photo() if pixels is None else pixels, view, seed=seed, sha256=sha)


def shas(n: int) -> list[bytes]:
    return [hashlib.sha256(str(i).encode()).digest() for i in range(n)]


def adjust(of: str, pixels: np.ndarray, factor: float) -> np.ndarray:
    """torchvision's change of the whole image at once."""
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
    changed: np.ndarray = getattr(functional, f"adjust_{of}")(image, factor).permute(1, 2, 0).numpy()
    return changed


def test_the_original_is_the_image_itself() -> None:
    pixels = photo()
    assert draw(ORIGINAL, pixels) is pixels
    assert SIX[0] == ORIGINAL


def test_the_flip_mirrors_the_whole_image() -> None:
    assert np.array_equal(draw(FLIP), photo()[:, ::-1])


def test_the_second_of_six_is_the_middle_mirrored() -> None:
    assert np.array_equal(draw(SIX[1]), photo()[3:37, 4:55][:, ::-1])  # 34 x 51 of 40 x 60


@pytest.mark.parametrize(
    ("view", "place", "of", "low", "high"),
    [
        (SIX[2], (slice(0, 34), slice(0, 52)), "hue", -0.45, 0.45),
        (SIX[3], (slice(0, 34), slice(8, 60)), "brightness", 0.7, 1.3),
        (SIX[4], (slice(6, 40), slice(0, 52)), "saturation", 0.4, 2.0),
        (SIX[5], (slice(6, 40), slice(8, 60)), "contrast", 0.5, 1.5),
    ],
)
def test_the_corners_of_six_are_those_of_the_reference_program(
    view: View, place: tuple[slice, slice], of: str, low: float, high: float
) -> None:
    assert (view.share, view.colour, view.flip) == (
        0.86,
        ColourChange(of=of, low=low, high=high),  # type: ignore[arg-type]
        "at random",
    )
    plain = replace(view, colour=None, flip="never")
    assert np.array_equal(draw(plain), photo()[place])
    fixed = replace(view, colour=ColourChange(of=of, low=high, high=high), flip="never")  # type: ignore[arg-type]
    assert np.array_equal(draw(fixed), adjust(of, photo()[place], high))


@pytest.mark.parametrize("of", ["hue", "brightness", "saturation", "contrast"])
def test_large_images_change_as_a_whole_although_in_strips(of: str) -> None:
    pixels = np.ascontiguousarray(photo(700, 500)[::-1, ::-1])
    view = View(name="x", colour=ColourChange(of=of, low=0.4, high=0.4))  # type: ignore[arg-type]
    difference = draw(view, pixels).astype(int) - adjust(of, pixels, 0.4)
    # The mean grey level is exact here; torchvision's is a sum in float32.
    assert np.abs(difference).max() <= (1 if of == "contrast" else 0)


def test_factors_and_flips_are_drawn_evenly_and_apart() -> None:
    pixels = np.full((1, 2, 3), 100, dtype=np.uint8)
    pixels[:, 1] = 50
    drawn = np.array([draw(replace(SIX[3], share=1.0), pixels, sha=sha)[0, :, 0] for sha in shas(2000)])
    flipped = drawn[:, 0] < drawn[:, 1]
    light = drawn.max(1) / 100
    assert 0.45 < flipped.mean() < 0.55
    assert (light.min(), light.max()) == (pytest.approx(0.7, abs=0.015), pytest.approx(1.3, abs=0.015))
    counts, _ = np.histogram(light, bins=6, range=(0.7, 1.3))
    assert counts.min() > 250
    assert abs(np.corrcoef(flipped, light)[0, 1]) < 0.07


def test_hue_turns_either_way() -> None:
    red = np.zeros((1, 1, 3), dtype=np.uint8)
    red[..., 0] = 255
    drawn = np.array([draw(SIX[2], red, sha=sha)[0, 0] for sha in shas(300)]).astype(int)
    assert (drawn[:, 1] > drawn[:, 2]).mean() == pytest.approx(0.5, abs=0.1)  # towards green or towards blue
    assert drawn[:, 0].min() == 0


@pytest.mark.parametrize("view", SIX[2:])
def test_seed_view_and_image_decide_and_nothing_else(view: View) -> None:
    first = draw(view)
    np.random.seed(1)  # neither of the global generators matters
    torch.manual_seed(1)
    draw(SIX[2], sha=bytes(32))
    assert np.array_equal(draw(view), first)
    assert not np.array_equal(draw(view, seed=1), first)
    assert any(not np.array_equal(draw(view, sha=sha), first) for sha in shas(3))
    assert not np.array_equal(draw(replace(view, version=2)), first)


def test_another_process_with_other_threads_draws_the_same() -> None:
    code = (
        "import hashlib, sys, numpy as np, torch; torch.set_num_threads(3)\n"
        "from headstart.views import SIX, draw_view\n"
        "pixels = np.random.default_rng(0).integers(0, 256, (600, 700, 3), dtype=np.uint8)\n"
        "sha = hashlib.sha256(b'image').digest()\n"
        "for view in SIX:\n"
        "    print(hashlib.sha256(draw_view(pixels, view, seed=5, sha256=sha).tobytes()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "3"}
    got = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    ours = [hashlib.sha256(draw(view, photo(600, 700), seed=5).tobytes()).hexdigest() for view in SIX]
    assert got.stdout.split() == ours


def test_what_was_drawn_stays_so() -> None:
    # Stored features rest on it: raise a view's version where another outcome is meant.
    pair = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    flipped = [
        [draw(replace(view, colour=None), pair, seed)[0, 0, 0] == 3 for view in SIX[2:]] for seed in (0, 1, 2)
    ]
    assert flipped == [[False, False, True, False], [False, True, True, False], [True, False, True, True]]
    grey = np.full((1, 1, 3), 100, dtype=np.uint8)
    assert [int(draw(SIX[3], grey, seed)[0, 0, 0]) for seed in range(4)] == [100, 93, 80, 93]


def test_identities() -> None:
    assert [view.identity(3) for view in (ORIGINAL, FLIP, *SIX)] == [
        "original",
        "flip v1",
        "original",
        "six-2 v1",
        "six-3 v1 seed 3",
        "six-4 v1 seed 3",
        "six-5 v1 seed 3",
        "six-6 v1 seed 3",
    ]
    assert replace(SIX[2], version=2).identity(0) == "six-3 v2 seed 0"


def test_pixels_are_left_alone_whatever_their_memory() -> None:
    pixels = photo()
    before = pixels.copy()
    for view in (FLIP, *SIX):
        drawn = draw(view, pixels)
        assert (drawn.dtype, drawn.flags.c_contiguous) == (np.uint8, True)
        turned = np.ascontiguousarray(pixels[::-1, ::-1])[::-1, ::-1]
        turned.setflags(write=False)
        assert np.array_equal(draw(view, turned), drawn)
        assert np.array_equal(draw(view, np.asfortranarray(pixels)), drawn)
    assert np.array_equal(pixels, before)


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 12), width=st.integers(1, 12), view=st.sampled_from(SIX))
def test_every_image_has_every_view(height: int, width: int, view: View) -> None:
    drawn = draw(view, photo(height, width))
    assert drawn.shape == (max(1, round(view.share * height)), max(1, round(view.share * width)), 3)


def test_extreme_shapes_have_every_view() -> None:
    for shape in ((1, 70_000), (70_000, 1)):
        for view in SIX:
            assert draw(view, photo(*shape)).size >= 0.85 * 3 * 70_000 - 3
