"""Random variants of a training image, each a pure function of (seed, epoch, image number).

Nothing is drawn from a global generator, so an image's variant depends neither on the batch it comes in nor on
what was drawn before it, and a training that goes on after a kill sees the same images as one that was not.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from headstart.errors import ConfigError
from headstart.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["none", "crop", "randaugment", "trivialaugment"]

_ASPECTS: Final = (3 / 4, 4 / 3)
_ATTEMPTS: Final = 10
_CROP_DRAWS, _DISTORTION_DRAWS = 0, 1


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training images vary from epoch to epoch.

    Attributes:
        kind: "none"; "crop", a random part of the image; "randaugment" or "trivialaugment", such a part with random
            distortions of colour and geometry.
        flip: whether half of the images are mirrored left to right. Nothing else ever mirrors an image: the
            distortions shear, shift, turn and recolour.
        seed: of all draws.
        scale_min: the smallest share of the image's area that a crop may have; the largest is all of it.
    """

    kind: Kind
    flip: bool
    seed: int
    scale_min: float = 0.35

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"augment is {self.kind!r}; expected {', '.join(get_args(Kind))}.")
        if not 0 < self.scale_min <= 1:
            raise ConfigError(
                f"The smallest crop's share of an image is {self.scale_min}; expected above 0, at most 1."
            )

    @property
    def crops(self) -> bool:
        """Whether images are cropped at random."""
        return self.kind != "none"

    @property
    def distorts(self) -> bool:
        """Whether images are distorted after the crop."""
        return self.kind in ("randaugment", "trivialaugment")


def augment(canvas: Tensor, size: int, augmentation: Augmentation, epoch: int, index: int) -> Tensor:
    """One image's variant in one epoch: `distort` after `crop_and_flip`.

    Args:
        canvas: (3, H, W) uint8.
        size: side of the result.
        augmentation: how images vary.
        epoch: number of the epoch.
        index: number of the image.

    Returns:
        (3, size, size) uint8, which may share the canvas' memory.
    """
    return distort(crop_and_flip(canvas, size, augmentation, epoch, index), augmentation, epoch, index)


def crop_and_flip(canvas: Tensor, size: int, augmentation: Augmentation, epoch: int, index: int) -> Tensor:
    """The part of `augment` that many threads may do at once; arguments and result are the same.

    Raises:
        ValueError: the augmentation does not crop, and the canvas is of another size.
    """
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    draws = _draws(augmentation, epoch, index, _CROP_DRAWS)
    mirrored = draws.random() < 0.5  # drawn in any case, so that crops are the same with flips and without
    if augmentation.crops:
        height, width = canvas.shape[-2:]
        top, left, height, width = draw_crop(height, width, augmentation.scale_min, draws)
        crop = canvas[:, top : top + height, left : left + width]
        mode = InterpolationMode.BILINEAR
        canvas = functional.resize(crop, [size, size], interpolation=mode, antialias=True)
    elif canvas.shape != (3, size, size):
        raise ValueError(
            f"expected an image of (3, {size}, {size}) where nothing is cropped, got {tuple(canvas.shape)}"
        )
    return canvas.flip(-1) if augmentation.flip and mirrored else canvas


def draw_crop(
    height: int, width: int, scale_min: float, draws: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw a random resized crop, by the rule of torchvision's `RandomResizedCrop`.

    The area's share is uniform in (`scale_min`, 1), the aspect log-uniform in (3/4, 4/3) (Szegedy et al. 2015,
    arXiv:1409.4842, section 6), the place uniform. A crop that does not fit is drawn again, up to ten times; then
    it is the largest central part of an admitted aspect.

    Returns:
        Top, left, height and width in pixels.
    """
    narrowest, widest = _ASPECTS
    for _ in range(_ATTEMPTS):
        area = height * width * draws.uniform(scale_min, 1)
        aspect = math.exp(draws.uniform(math.log(narrowest), math.log(widest)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(draws.integers(height - h + 1)), int(draws.integers(width - w + 1)), h, w
    h = min(height, max(1, round(width / narrowest)))
    w = min(width, max(1, round(height * widest)))
    return (height - h) // 2, (width - w) // 2, h, w


def distort(image: Tensor, augmentation: Augmentation, epoch: int, index: int) -> Tensor:
    """Distort colours and geometry, where the augmentation does; never from several threads at once.

    RandAugment (Cubuk et al. 2020, arXiv:1909.13719) with two operations of magnitude 9, or TrivialAugment with its
    wide ranges (Müller & Hutter 2021, arXiv:2103.10158), both torchvision's. They draw from torch's global
    generator, which is seeded for the image and then given back as it was. On one thread, since a mean of grey
    levels would otherwise depend on the number of threads.

    Args:
        image: (3, H, W) uint8.
        augmentation: how images vary.
        epoch: number of the epoch.
        index: number of the image.

    Returns:
        (3, H, W) uint8.
    """
    if not augmentation.distorts:
        return image
    seed = int(_draws(augmentation, epoch, index, _DISTORTION_DRAWS).integers(2**63))
    with one_thread(), torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed the GPUs' generators too.
        torch.default_generator.manual_seed(seed)
        return _policy(augmentation.kind)(image)


@cache
def _policy(kind: Kind) -> "Callable[[Tensor], Tensor]":
    """The transform of that name."""
    from torchvision.transforms import v2

    policy: Callable[[Tensor], Tensor]
    policy = v2.RandAugment(num_ops=2, magnitude=9) if kind == "randaugment" else v2.TrivialAugmentWide()
    return policy


def _draws(augmentation: Augmentation, epoch: int, index: int, purpose: int) -> np.random.Generator:
    """The generator of one image in one epoch, from a hash of these numbers."""
    return np.random.default_rng((augmentation.seed, epoch, index, purpose))
