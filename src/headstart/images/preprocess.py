"""RGB pixels to a network's input: resize, centre crop (or bars around the whole), normalise.

The same steps as torchvision's and timm's evaluation transforms, but on uint8 tensors whose memory lies in
height, width, channel order, where torch's fixed-point resize is several times as fast as Pillow's. On photos
the values differ from Pillow's by one level, rarely two; on noise by more, since bicubic overshoot is clipped
between the two passes.
"""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from headstart.errors import ConfigError
from headstart.images.decode import DECODE_VERSION, decode_image

if TYPE_CHECKING:
    import torch

Interpolation = Literal["bilinear", "bicubic"]
ResizeMode = Literal["crop", "squash", "pad"]
Triple = tuple[float, float, float]

# Longer images lose their ends before they are resized: the centre crop never sees them, and 1 x 5000 pixels
# would become 256 x 1,280,000. Eight times the short side leaves every resize filter its full support.
_LONGEST_SIDE_RATIO: Final = 8

_SPARE_PIXELS: Final = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocess:
    """What a network's weights expect of an image.

    Attributes:
        size: side of the square network input, in pixels.
        resize: length the short side ("pad": the long side) is resized to before the centre crop, in pixels; at
            least `size`.
        interpolation: filter of the resize, always antialiased.
        mean: subtracted from each channel (red, green, blue), for pixels in 0 to 1.
        std: what each channel is divided by after that.
        resize_mode: "crop" keeps the photo's proportions, and its ends are not seen; "squash" resizes both sides to
            `resize`; "pad" keeps the proportions and adds bars of the colour `mean` to both sides of a photo that is
            no square. With `resize` equal to `size` these two show the whole photo.
    """

    size: int
    resize: int
    interpolation: Interpolation
    mean: Triple
    std: Triple
    resize_mode: ResizeMode = "crop"

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.resize:
            raise ConfigError(f"preprocess: expected 1 <= size <= resize, got {self.size} and {self.resize}.")
        if self.interpolation not in get_args(Interpolation):
            raise ConfigError(
                f"preprocess: interpolation is bilinear or bicubic, not {self.interpolation!r}."
            )
        if self.resize_mode not in get_args(ResizeMode):
            raise ConfigError(f"preprocess: resize_mode is crop, squash or pad, not {self.resize_mode!r}.")
        _check_channels(self.mean, self.std)

    def to_dict(self) -> dict[str, object]:
        """Give the fields as JSON knows them; `from_dict` is the inverse.

        The usual `resize_mode` is left out, so that features stored before there was another keep their key.
        """
        fields = dataclasses.asdict(self)
        if self.resize_mode == "crop":
            del fields["resize_mode"]
        return {name: list(v) if isinstance(v, tuple) else v for name, v in fields.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Preprocess:
        """Rebuild what `to_dict` gave.

        Raises:
            ConfigError: if a key is missing or unknown, or a value is of another kind.
        """
        values = {"resize_mode": "crop", **values}
        names = {field.name for field in dataclasses.fields(cls)}
        if wrong := sorted(names ^ values.keys()):
            raise ConfigError(
                f"preprocess: missing or unknown {', '.join(wrong)}; expected {', '.join(sorted(names))}."
            )
        return cls(
            size=_whole(values["size"]),
            resize=_whole(values["resize"]),
            interpolation=cast(Interpolation, values["interpolation"]),  # checked when it is made
            mean=_triple(values["mean"]),
            std=_triple(values["std"]),
            resize_mode=cast(ResizeMode, values["resize_mode"]),
        )


def decode_for(data: bytes, preprocess: Preprocess) -> npt.NDArray[np.uint8]:
    """`decode_image` with as many pixels as it takes for `prepare_image`.

    Far larger JPEGs are decoded smaller, but with twice the pixels on each side that they are resized to, so that the
    resize, and not the decoder, decides what is seen.

    Args:
        data: the whole file.
        preprocess: what the network expects.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UnreadableImageError: see `decode_image`.
    """
    return decode_image(data, least_side=_SPARE_PIXELS * preprocess.resize)


def prepare_image(pixels: npt.NDArray[np.uint8], preprocess: Preprocess) -> torch.Tensor:
    """Resize and crop the centre, as torchvision's Resize, Pad and CenterCrop would.

    With "crop", images more than eight times as long as wide lose their ends first, which moves what is left by at
    most half a pixel of the result. With "pad", the bars have the colour that becomes zero, or as near to it as a
    level in 0 to 255 comes, once it is normalised; a photo keeps at least one pixel between them.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        preprocess: what the network expects.

    Returns:
        (3, size, size) uint8 whose memory lies in height, width, channel order, so that copying it into a
        channels_last batch is a plain copy.
    """
    import torch
    from torchvision.transforms.v2 import functional

    image: torch.Tensor = functional.center_crop(resize_image(pixels, preprocess), [preprocess.size] * 2)
    # A copy of its own: neither the caller's pixels nor the larger resized image stay in use.
    return image.permute(1, 2, 0).clone(memory_format=torch.contiguous_format).permute(2, 0, 1)


def resize_image(pixels: npt.NDArray[np.uint8], preprocess: Preprocess) -> torch.Tensor:
    """What `prepare_image` does before it crops the centre.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        preprocess: what the network expects.

    Returns:
        (3, H', W') uint8 whose memory lies in height, width, channel order; a square of side `resize`, or with "crop"
        an image with such a short side. Where there was nothing to do, it shares the memory of `pixels`.
    """
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"expected (H, W, 3) uint8 pixels, got {pixels.shape} {pixels.dtype}")
    kept = np.require(
        without_far_ends(pixels) if preprocess.resize_mode == "crop" else pixels, requirements=["C", "W"]
    )
    image: torch.Tensor = torch.from_numpy(kept).permute(2, 0, 1)
    mode = InterpolationMode(preprocess.interpolation)
    sides = resized_sides(kept.shape[0], kept.shape[1], preprocess)
    image = functional.resize(image, sides, interpolation=mode, antialias=True)
    if preprocess.resize_mode == "pad":
        image = functional.pad(image, bar_widths(sides, preprocess.resize), fill=bar_colour(preprocess))
    return image


def normalise(batch: torch.Tensor, preprocess: Preprocess) -> torch.Tensor:
    """Turn uint8 images into a network's input.

    Args:
        batch: (N, 3, H, W) uint8, on any device, in any memory format.
        preprocess: whose `mean` and `std` to use.

    Returns:
        (N, 3, H, W) float32, ``(batch / 255 - mean) / std``, on the same device, in the same memory format.
    """
    import torch
    from torchvision.transforms.v2 import functional

    floats = functional.to_dtype(batch, torch.float32, scale=True)
    normalised: torch.Tensor = functional.normalize(floats, preprocess.mean, preprocess.std, inplace=True)
    return normalised


def decoder_identity() -> dict[str, str]:
    """Name all that decides which pixels a file's bytes become, for the feature store's key."""
    import torch

    # Without these instructions torchvision resizes in float and rounds: another level here and there.
    wide = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    fixed_point = wide or platform.machine() in ("aarch64", "arm64")
    return {
        "rules": str(DECODE_VERSION),
        "jpeg": f"simplejpeg {version('simplejpeg')}",
        "others": f"pillow {version('pillow')}",
        "resize": f"torchvision {_release('torchvision')}, torch {_release('torch')}, "
        f"{'fixed point' if fixed_point else 'float'}",
    }


def resized_sides(height: int, width: int, preprocess: Preprocess) -> list[int]:
    """What torchvision's resize takes: the length of the short side, or height and width."""
    if preprocess.resize_mode == "crop":
        return [preprocess.resize]
    if preprocess.resize_mode == "squash":
        return [preprocess.resize] * 2
    scale = preprocess.resize / max(height, width)
    return [max(1, round(scale * side)) for side in (height, width)]


def bar_widths(sides: list[int], square: int) -> list[int]:
    """Widths of the bars that make a square of an image with these sides: left, top, right, bottom."""
    height, width = sides
    left, top = (square - width) // 2, (square - height) // 2
    return [left, top, square - width - left, square - height - top]


def bar_colour(preprocess: Preprocess) -> list[int]:
    """The normalisation's mean, as near as uint8 comes to it."""
    return [min(255, max(0, round(255 * value))) for value in preprocess.mean]


def without_far_ends(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Crop the longer side to a bounded ratio around the centre, as a view."""
    height, width, _ = pixels.shape
    longest = _LONGEST_SIDE_RATIO * min(height, width)
    top, left = (max(0, (side - longest) // 2) for side in (height, width))
    # The same margin at both ends, so that the centre stays where it is.
    return pixels[top : height - top, left : width - left]


def _check_channels(mean: Triple, std: Triple) -> None:
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != 3 or not all(map(math.isfinite, values)):
            raise ConfigError(f"preprocess: {name} is three finite numbers, not {values!r}.")
    if min(std) <= 0:
        raise ConfigError(f"preprocess: std is above zero in each channel, not {std!r}.")


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"preprocess: expected a whole number of pixels, got {value!r}.")
    return value


def _triple(value: object) -> Triple:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise ConfigError(f"preprocess: expected three numbers, got {value!r}.")
    if not all(isinstance(v, int | float) for v in value):
        raise ConfigError(f"preprocess: expected three numbers, got {value!r}.")
    red, green, blue = map(float, value)
    return red, green, blue


def _release(package: str) -> str:
    """Give a package's version without its build ("2.4.0+cpu" and "2.4.0+cu124" resize alike on a CPU)."""
    return version(package).partition("+")[0]
