"""Bytes to RGB pixels: one function for every format, and one plain reason for every file that is none.

JPEG goes to libjpeg-turbo by way of simplejpeg, whose pixels equal Pillow's in less time; Pillow reads the
rest, and the JPEGs that simplejpeg finds fault with. Pillow's plugins are called directly instead of through
`PIL.Image.open`: only the chosen format is tried, and the limit on pixels is this module's, whatever
`PIL.Image.MAX_IMAGE_PIXELS` is in the process.
"""

import errno
import io
import math
import os
import stat
import struct
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from headstart.errors import UnreadableImageError
from headstart.images.formats import SNIFF_BYTES, describe_other, sniff_image

PIXEL_LIMIT: Final = 89_478_485
"""Images of more pixels are refused before they are decoded. Pillow warns of bombs from here on."""

BYTE_LIMIT: Final = 1_000_000_000
"""Files of more bytes are refused before they are read."""

DECODE_VERSION: Final = 2
"""Raised whenever the same bytes begin to give other pixels."""

RGB = npt.NDArray[np.uint8]
"""(H, W, 3) pixels."""

# Thousands of all but empty scans make a small progressive file burn minutes; cameras write about ten.
_SCAN_LIMIT: Final = 500
_ORIENTATION_TAG, _BITS_TAG, _PHOTOMETRIC_TAG = 0x0112, 258, 262

_PLUGINS: Final[Mapping[str, Callable[[io.BytesIO], ImageFile]]] = MappingProxyType(
    {
        "JPEG": JpegImageFile,
        "PNG": PngImageFile,
        "WebP": WebPImageFile,
        "BMP": BmpImageFile,
        "GIF": GifImageFile,
        "TIFF": TiffImageFile,
        "PPM": PpmImageFile,
    }
)

# Remarks of these two plugins on metadata nobody asked for. Set once, here: `warnings.catch_warnings` around
# each image would race, since images are decoded in several threads.
warnings.filterwarnings("ignore", module=r"PIL\.(Tiff|Png)ImagePlugin")


def decode_image(data: bytes, *, pixel_limit: int = PIXEL_LIMIT, least_side: int | None = None) -> RGB:
    """Decode an image file's bytes to RGB, upright as its EXIF orientation says.

    The content decides the format: JPEG, PNG, WebP, BMP, GIF (first frame), TIFF (first page) or PPM.
    Transparent parts are laid over white, palettes and CMYK become RGB, 16 bits keep their high byte.
    Safe to call from several threads at once.

    Args:
        data: the whole file.
        pixel_limit: width times height above which an image is refused before it is decoded. An image at the
            default limit takes up to about 1.5 GB while it is decoded.
        least_side: a JPEG is decoded at half, a quarter or an eighth of its size, which takes a fraction of the time,
            where both sides still have so many pixels; by default all images are decoded as they are.

    Returns:
        (H, W, 3) uint8, C-contiguous and writable.

    Raises:
        UnreadableImageError: whatever else the bytes are; the message is a short reason, for example
            ``truncated JPEG``. No other exception leaves this function because of its input.
    """
    name = sniff_image(data[:SNIFF_BYTES])
    plugin = _PLUGINS.get(name or "")
    if name is None or plugin is None:
        raise UnreadableImageError(_refusal(data, name))
    try:
        image = plugin(io.BytesIO(data))
        _check_size(image.size, pixel_limit)
        pixels = _decode_jpeg(data, image, pixel_limit, least_side) if name == "JPEG" else _to_rgb(image)
        return np.ascontiguousarray(_turn_upright(pixels, _orientation(image)))
    except UnreadableImageError:
        raise
    except Exception as error:  # on hostile bytes Pillow raises a dozen kinds, even AttributeError
        raise UnreadableImageError(_reason(name, error)) from error


def read_image_file(path: str | os.PathLike[str], *, byte_limit: int = BYTE_LIMIT) -> bytes:
    """Read a whole image file.

    Raises:
        UnreadableImageError: if it is gone, may not be read, is no regular file or has more than `byte_limit`
            bytes; the message is the reason alone.
    """
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise UnreadableImageError("not a regular file")
        if status.st_size > byte_limit:
            raise UnreadableImageError(f"{status.st_size:,} bytes, over the limit of {byte_limit:,}")
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise UnreadableImageError(file_reason(error)) from error


def file_reason(error: OSError | ValueError) -> str:
    """Say in plain words why a file could not be opened."""
    code = error.errno if isinstance(error, OSError) else errno.EINVAL
    words = {
        errno.ENOENT: "no such file, or a link to nothing",
        errno.EACCES: "no permission to read it",
        errno.EPERM: "no permission to read it",
        errno.ELOOP: "a link that leads in a circle",
        errno.EINVAL: "not a possible path",
    }
    return words.get(code or 0, f"cannot be read ({os.strerror(code or 0)})")


def _check_size(size: tuple[int, int], pixel_limit: int) -> None:
    width, height = size
    if width * height > pixel_limit:
        pixels = f"{width} x {height} = {width * height:,} pixels"
        raise UnreadableImageError(f"{pixels}, over the limit of {pixel_limit:,}")


def _decode_jpeg(data: bytes, image: ImageFile, pixel_limit: int, least_side: int | None) -> RGB:
    if image.info.get("progressive") and data.count(b"\xff\xda") > _SCAN_LIMIT:
        raise UnreadableImageError(f"progressive JPEG of more than {_SCAN_LIMIT} scans")
    if image.mode == "CMYK":  # Pillow knows Adobe's inverted inks
        return _to_rgb(image)
    try:
        # Asked again, of the library that will decode: two parsers may differ over a hostile header.
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        _check_size((width, height), pixel_limit)
        scale = _scale(height, width, least_side)
        pixels: RGB = simplejpeg.decode_jpeg(
            data, "RGB", min_height=math.ceil(height / scale), min_width=math.ceil(width / scale)
        )
    except (ValueError, KeyError) as error:
        if "premature end" in str(error).lower():
            raise UnreadableImageError("truncated JPEG") from error
        # Faults that cost no pixel, such as stray bytes before a marker: Pillow reads past them.
        return _to_rgb(image)
    return pixels


def _scale(height: int, width: int, least_side: int | None) -> int:
    """By how much a JPEG may be smaller: powers of two, which libjpeg-turbo has fast code for."""
    if least_side is None:
        return 1
    return next((scale for scale in (8, 4, 2) if min(height, width) >= scale * least_side), 1)


def _to_rgb(image: ImageFile) -> RGB:
    image.load()
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _narrow_grey(image)
    if image.mode in ("I", "F", "LAB"):
        kind = {"I": "32-bit or signed", "F": "floating-point", "LAB": "Lab"}[image.mode]
        raise UnreadableImageError(
            f"{image.format} of {kind} values, not supported: save it with 8 or 16 bits a colour"
        )
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return np.array(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"))
    return np.array(image.convert("RGB"))


def _narrow_grey(image: ImageFile) -> RGB:
    """Keep the high byte of 16-bit (TIFF: also 12-bit) grey; Pillow's own conversion would clip at 255."""
    tags = getattr(image, "tag_v2", {})
    values = np.asarray(image).astype(np.uint16)
    grey = (values >> (tags.get(_BITS_TAG, (16,))[0] - 8)).astype(np.uint8)
    if tags.get(_PHOTOMETRIC_TAG) == 0:  # "white is zero", which Pillow undoes for 8 bits only
        grey = 255 - grey
    if (transparent := image.info.get("transparency")) is not None:
        grey[values == transparent] = 255
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


def _orientation(image: ImageFile) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except (ValueError, TypeError, SyntaxError, OSError, LookupError, AttributeError, struct.error):
        return 1  # the pixels are sound, and broken metadata says nothing about them


def _turn_upright(pixels: RGB, orientation: int) -> RGB:
    """Undo an EXIF orientation (1 to 8; anything else means upright), as a view."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _refusal(data: bytes, name: str | None) -> str:
    if not data:
        return "empty file"
    if name is None:
        return f"not an image ({describe_other(data)})"
    return f"{name}: not supported, save it as JPEG or PNG"


def _reason(name: str, error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"{name} that needs more memory than there is"
    if isinstance(error, Image.DecompressionBombError):  # some plugins look at a frame's size while opening
        return f"{name} of too many pixels"
    text = "".join(c if c.isprintable() else " " for c in str(error))[:80].strip()
    cut_short = ("truncated", "premature", "eof", "not enough", "requires a buffer", "incomplete")
    if any(words in text.lower() for words in cut_short):
        return f"truncated {name}"
    return f"damaged {name} ({text or type(error).__name__})"
