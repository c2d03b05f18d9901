"""Bytes to RGB pixels, and RGB pixels to a network's input.

`decode_image` knows formats and hostile files, and needs no torch. `prepare_image` and `normalise` know what
a network wants (`Preprocess`); they import torch when first called.
"""

from headstart.images.decode import BYTE_LIMIT, PIXEL_LIMIT, decode_image, file_reason, read_image_file
from headstart.images.formats import IMAGE_SUFFIXES, SNIFF_BYTES, sniff_image
from headstart.images.preprocess import (
    Preprocess,
    ResizeMode,
    decode_for,
    decoder_identity,
    normalise,
    prepare_image,
    resize_image,
)

__all__ = [
    "BYTE_LIMIT",
    "IMAGE_SUFFIXES",
    "PIXEL_LIMIT",
    "SNIFF_BYTES",
    "Preprocess",
    "ResizeMode",
    "decode_for",
    "decode_image",
    "decoder_identity",
    "file_reason",
    "normalise",
    "prepare_image",
    "read_image_file",
    "resize_image",
    "sniff_image",
]
