"""Views: fixed variants of an image, whose features are stored as those of the image itself are.

What is drawn at random is drawn from a hash of the seed, the view and the image's sha256: an image's view is the
same whoever computes it, in whatever order, in whatever company.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Place = Literal["centre", "top-left", "top-right", "bottom-left", "bottom-right"]
Flip = Literal["never", "always", "at random"]
Property = Literal["hue", "brightness", "saturation", "contrast"]

_RGB = npt.NDArray[np.uint8]

# Colours are changed piece by piece: on a photo of 12 megapixels the change of hue takes a seventh of the time
# so, and no memory to speak of instead of two gigabytes.
_STRIP_PIXELS: Final = 2**16


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColourChange:
    """A change of colour by a factor drawn evenly from a range.

    Attributes:
        of: what is changed, as torchvision's `adjust_hue` and so on do it.
        low: least factor; for hue, a share of the colour circle.
        high: greatest factor.
    """

    of: Property
    low: float
    high: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """A fixed variant of an image: a part of it, with its colours changed, mirrored.

    Attributes:
        name: what to call it.
        share: how much of each side is kept.
        place: where that part lies.
        colour: what is done to its colours.
        flip: whether left and right are exchanged.
        version: to be raised whenever the same name begins to mean other pixels.
    """

    name: str
    share: float = 1.0
    place: Place = "centre"
    colour: ColourChange | None = None
    flip: Flip = "never"
    version: int = 1

    @property
    def is_random(self) -> bool:
        """Whether something is drawn, so that the seed matters."""
        return self.colour is not None or self.flip == "at random"

    @property
    def is_original(self) -> bool:
        """Whether it shows the image as it is."""
        return self.share == 1 and self.colour is None and self.flip == "never"

    def identity(self, seed: int) -> str:
        """What it is in a store key: `original`, `flip v1`, or `six-3 v1 seed 0` where something is drawn."""
        if self.is_original:
            return "original"
        return f"{self.name} v{self.version}" + (f" seed {seed}" if self.is_random else "")


ORIGINAL: Final = View(name="original")
"""The image as it is."""

FLIP: Final = View(name="flip", flip="always")
"""The whole image mirrored: what classes that know left from right are found out by."""

# What the pets' reference program adds to each photo. It names jitters of hue and brightness by one number, which in
# torchvision's ColorJitter, its library, mean [-0.45, 0.45] and [1 - 0.3, 1 + 0.3].
_HUE: Final = ColourChange(of="hue", low=-0.45, high=0.45)
_BRIGHTNESS: Final = ColourChange(of="brightness", low=0.7, high=1.3)
_SATURATION: Final = ColourChange(of="saturation", low=0.4, high=2.0)
_CONTRAST: Final = ColourChange(of="contrast", low=0.5, high=1.5)

SIX: Final[tuple[View, ...]] = (
    ORIGINAL,
    View(name="six-2", share=0.85, flip="always"),
    View(name="six-3", share=0.86, place="top-left", colour=_HUE, flip="at random"),
    View(name="six-4", share=0.86, place="top-right", colour=_BRIGHTNESS, flip="at random"),
    View(name="six-5", share=0.86, place="bottom-left", colour=_SATURATION, flip="at random"),
    View(name="six-6", share=0.86, place="bottom-right", colour=_CONTRAST, flip="at random"),
)
"""`--augment six`: the six-fold synthetic data of the pets' reference program."""

VIEW_SETS: Final[Mapping[str, tuple[View, ...]]] = MappingProxyType({"original": (ORIGINAL,), "six": SIX})
"""The sets of views that a classifier may average over, by the name that its file has."""


def draw_view(pixels: _RGB, view: View, *, seed: int, sha256: bytes) -> _RGB:
    """Draw one view of an image, for `prepare_image`.

    Args:
        pixels: (H, W, 3) uint8 RGB; left as they are.
        view: which.
        seed: of what is drawn at random.
        sha256: 32 bytes, of the image's file.

    Returns:
        (h, w, 3) uint8 in C order; the given array itself for the original.
    """
    if view.is_original:
        return pixels
    colour_draw, flip_draw = _draw_two(f"{view.identity(seed)}\n".encode() + sha256)
    shown = _part_of(pixels, view.share, view.place)
    if view.colour is not None:
        factor = view.colour.low + colour_draw * (view.colour.high - view.colour.low)
        shown = _change_colour(shown, view.colour.of, factor)
    if view.flip == "always" or (view.flip == "at random" and flip_draw < 0.5):
        shown = shown[:, ::-1]
    return np.ascontiguousarray(shown)


def _draw_two(name: bytes) -> tuple[float, float]:
    """Two numbers from [0, 1), evenly distributed over names and unrelated to each other.

    Straight from a hash: the streams of numpy's and torch's generators may change from one version to the next.
    """
    digest = hashlib.sha256(name).digest()
    first, second = (int.from_bytes(digest[at : at + 8]) >> 11 for at in (0, 8))
    return first / 2**53, second / 2**53  # as many bits as a float holds


def _part_of(pixels: _RGB, share: float, place: Place) -> _RGB:
    """The part of an image with so much of each side, at least one pixel, as a view of the array."""
    height, width = (max(1, round(share * side)) for side in pixels.shape[:2])
    below, beside = pixels.shape[0] - height, pixels.shape[1] - width
    top = below // 2 if place == "centre" else below * place.startswith("bottom")
    left = beside // 2 if place == "centre" else beside * place.endswith("right")
    return pixels[top : top + height, left : left + width]


def _change_colour(pixels: _RGB, of: Property, factor: float) -> _RGB:
    """Change one property of all colours: (h, w, 3) uint8, a new array."""
    from torchvision.transforms.v2 import functional

    if of == "contrast":
        mean = _mean_grey(pixels)
        return _by_strips(pixels, lambda strip: _blend(strip, mean, factor))
    adjust = {
        "hue": functional.adjust_hue,
        "brightness": functional.adjust_brightness,
        "saturation": functional.adjust_saturation,
    }[of]
    return _by_strips(pixels, lambda strip: adjust(strip, factor))


def _mean_grey(pixels: _RGB) -> float:
    """The mean over all pixels of their grey level, as `adjust_contrast` takes it.

    But summed as whole numbers: its sum in float32 depends on the number of threads, and would need the whole image
    at once.
    """
    from torchvision.transforms.v2 import functional

    total: int = sum(int(functional.rgb_to_grayscale(strip).sum()) for _, strip in _strips(pixels))
    return total / (pixels.size // 3)


def _blend(strip: torch.Tensor, grey: float, factor: float) -> torch.Tensor:
    """`adjust_contrast` for a given mean of the grey levels."""
    import torch

    return strip.mul(factor).add_(torch.tensor(grey), alpha=1 - factor).clamp_(0, 255).to(torch.uint8)


def _by_strips(pixels: _RGB, change: Callable[[torch.Tensor], torch.Tensor]) -> _RGB:
    """Apply what is done to each pixel by itself, strip by strip: (h, w, 3) uint8."""
    changed = np.empty(pixels.shape, dtype=np.uint8)
    for rows, strip in _strips(pixels):
        changed[rows] = change(strip).permute(1, 2, 0).numpy()
    return changed


def _strips(pixels: _RGB) -> Iterator[tuple[slice, torch.Tensor]]:
    """An image's rows in strips, each as (3, rows, w) uint8."""
    import torch

    height, width, _ = pixels.shape
    step = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, step):
        rows = slice(top, top + step)
        # Read-only arrays and mirrored ones are copied: torch takes neither.
        kept = np.require(pixels[rows], requirements=["C", "W"])
        yield rows, torch.from_numpy(kept).permute(2, 0, 1)
