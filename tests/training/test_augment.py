import math
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from torch import Tensor
from torchvision.transforms import v2

from headstart.errors import ConfigError
from headstart.training.augment import Augmentation, Kind, augment, crop_and_flip, draw_crop

KINDS: list[Kind] = ["none", "crop", "randaugment", "trivialaugment"]
RANDOM = KINDS[1:]


def augmentation(kind: Kind, *, flip: bool = True, seed: int = 0) -> Augmentation:
    return Augmentation(kind=kind, flip=flip, seed=seed)


def canvas_for(kind: Kind, size: int = 32) -> Tensor:
    """A random canvas in height, width, channel order, larger than the result where there are crops."""
    sides = (size, size) if kind == "none" else (size + 5, size + 19)
    pixels = np.random.default_rng(3).integers(0, 256, (*sides, 3), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_numbers_give_the_same_bits_whatever_was_drawn_before(kind: Kind) -> None:
    canvas, how = canvas_for(kind), augmentation(kind)
    keys = [(epoch, index) for epoch in range(3) for index in range(6)]
    first = {key: augment(canvas, 32, how, *key) for key in keys}
    torch.manual_seed(5)
    for key in reversed(keys):
        torch.rand(3)
        again = augment(canvas, 32, how, *key)
        assert torch.equal(again, first[key])
        assert (again.shape, again.dtype) == ((3, 32, 32), torch.uint8)


@pytest.mark.parametrize("kind", RANDOM)
def test_seed_epoch_and_index_all_matter(kind: Kind) -> None:
    canvas = canvas_for(kind)
    images = [augment(canvas, 32, augmentation(kind, seed=s), e, i) for s, e, i in np.ndindex(3, 3, 3)]
    assert len({image.numpy().tobytes() for image in images}) == 27


@pytest.mark.parametrize("kind", KINDS)
def test_no_global_generator_is_used_or_changed(kind: Kind) -> None:
    def states() -> tuple[object, ...]:
        return torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()

    before = states()
    for index in range(10):
        augment(canvas_for(kind), 32, augmentation(kind), 0, index)
    assert states() == before


@pytest.mark.parametrize("kind", RANDOM)
def test_the_number_of_threads_changes_nothing(kind: Kind) -> None:
    canvas = canvas_for(kind, size=200)
    images = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        images.append([augment(canvas, 200, augmentation(kind), 1, index) for index in range(30)])
        assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    assert all(map(torch.equal, *images))


def test_half_of_the_images_are_mirrored_and_nothing_else_happens() -> None:
    canvas, how = canvas_for("none"), augmentation("none")
    images = [augment(canvas, 32, how, 0, index) for index in range(1000)]
    mirrored = [torch.equal(image, canvas.flip(-1)) for image in images]
    assert all(m or torch.equal(image, canvas) for m, image in zip(mirrored, images, strict=True))
    assert 450 < sum(mirrored) < 550


def test_crops_are_the_same_with_flips_and_without() -> None:
    canvas = canvas_for("crop")
    mirrored = 0
    for index in range(40):
        plain = crop_and_flip(canvas, 32, augmentation("crop", flip=False), 0, index)
        image = crop_and_flip(canvas, 32, augmentation("crop"), 0, index)
        mirrored += torch.equal(image, plain.flip(-1))
        assert torch.equal(image, plain) or torch.equal(image, plain.flip(-1))
    assert 8 < mirrored < 32


def handedness(image: Tensor) -> float | None:
    """Which way round the red, green and blue blob lie: above 0, below 0, or None where one is not to be seen.

    A pixel's channel is the one that differs most from grey, so that inverted colours change nothing.
    """
    colours = image.double() - image.double().mean(dim=0)
    strongest = colours.abs().argmax(dim=0)
    y, x = torch.meshgrid(*(torch.arange(side) for side in image.shape[1:]), indexing="ij")
    places = []
    for channel in range(3):
        weight = colours.abs().amax(dim=0) * (strongest == channel)
        if (weight > 8).sum() < 100:
            return None
        places.append(torch.stack([(weight * x).sum(), (weight * y).sum()]) / weight.sum())
    (ax, ay), (bx, by) = places[1] - places[0], places[2] - places[0]
    return float(ax * by - ay * bx)


@pytest.mark.parametrize("kind", RANDOM)
def test_nothing_mirrors_an_image_that_must_not_be_mirrored(kind: Kind) -> None:
    canvas = torch.full((3, 256, 256), 128, dtype=torch.uint8)
    for channel, (top, left) in enumerate([(80, 80), (80, 140), (140, 110)]):
        canvas[:, top : top + 36, left : left + 36] = 40
        canvas[channel, top : top + 36, left : left + 36] = 150
    right_way_round = handedness(canvas)
    assert right_way_round is not None
    assert right_way_round > 0
    flipped = handedness(canvas.flip(-1))
    assert flipped is not None
    assert flipped < 0
    seen = [
        way
        for index in range(150)
        if (way := handedness(augment(canvas, 224, augmentation(kind, flip=False), 0, index))) is not None
    ]
    assert len(seen) > 75
    assert min(seen) > 0


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([0.05, 0.35, 1.0]), st.integers(0, 99))
def test_crops_lie_inside_the_image(height: int, width: int, scale_min: float, seed: int) -> None:
    top, left, h, w = draw_crop(height, width, scale_min, np.random.default_rng(seed))
    assert h >= 1
    assert w >= 1
    assert 0 <= top <= height - h
    assert 0 <= left <= width - w


@pytest.mark.parametrize(("height", "width"), [(256, 256), (256, 341), (400, 256)])
def test_crops_are_distributed_as_torchvisions(height: int, width: int) -> None:
    draws = np.random.default_rng(0)
    ours = np.array([draw_crop(height, width, 0.35, draws) for _ in range(4000)])
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    rule = v2.RandomResizedCrop(8, scale=(0.35, 1))
    theirs = np.array(
        [
            [drawn[name] for name in ("top", "left", "height", "width")]
            for drawn in (rule.make_params([image]) for _ in range(4000))
        ]
    )
    figures: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda box: box[:, 0],
        lambda box: box[:, 1],
        lambda box: box[:, 2] * box[:, 3],
        lambda box: box[:, 3] / box[:, 2],
    ]
    for figure in figures:
        assert ks_2samp(figure(ours), figure(theirs)).pvalue > 0.01
    shares = ours[:, 2] * ours[:, 3] / (height * width)
    assert shares.min() > 0.34
    # A large crop seldom fits into a long image, so that small ones are drawn instead.
    assert 0.5 < shares.mean() < 0.7


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [(10, 1000, (0, 493, 10, 13)), (1000, 10, (493, 0, 13, 10)), (1, 1, (0, 0, 1, 1))],
)
def test_of_an_elongated_image_the_centre_is_left(
    height: int, width: int, box: tuple[int, int, int, int]
) -> None:
    assert draw_crop(height, width, 0.35, np.random.default_rng(0)) == box


def test_a_crop_is_the_box_resized() -> None:
    how = augmentation("crop", flip=False)
    y, x = np.mgrid[:64, :96]
    canvas = torch.from_numpy(np.stack([y * 2, x * 2, y + x]).astype(np.uint8))
    for index in range(10):
        image = augment(canvas, 32, how, 0, index).double()
        down, across = (image[channel].mean().item() / 2 for channel in range(2))
        # Ramps say where a crop's centre was, and how far it reached.
        assert image[2].mean().item() == pytest.approx(down + across, abs=0.6)
        h = (image[0, -1].mean() - image[0, 0].mean()).item() / 2 * 32 / 31
        w = (image[1, :, -1].mean() - image[1, :, 0].mean()).item() / 2 * 32 / 31
        assert 0.33 < h * w / (64 * 96) < 1.05
        assert 3 / 4 * 0.93 < w / h < 4 / 3 * 1.07


@pytest.mark.parametrize("kind", ["randaugment", "trivialaugment"])
def test_distortions_come_after_the_crop(kind: Kind) -> None:
    canvas = canvas_for(kind)
    same = 0
    for index in range(40):
        image = augment(canvas, 32, augmentation(kind), 0, index)
        same += torch.equal(image, crop_and_flip(canvas, 32, augmentation("crop"), 0, index))
    assert same < 20  # some draws mean: leave it as it is


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="augment is 'six'; expected none, crop"):
        Augmentation(kind="six", flip=False, seed=0)  # type: ignore[arg-type]
    for share in (0.0, 1.1, math.nan):
        with pytest.raises(ConfigError, match="smallest crop"):
            Augmentation(kind="crop", flip=False, seed=0, scale_min=share)
    with pytest.raises(ValueError, match="nothing is cropped"):
        augment(canvas_for("crop"), 32, augmentation("none"), 0, 0)
