"""What a file is, by its first bytes: names of image formats, and plain words for everything else."""

import codecs
from typing import Final

SNIFF_BYTES: Final = 64
"""How many leading bytes `sniff_image` looks at."""

# The last six are not read, but meant as images: they belong in the list of problems.
_SUFFIXES: Final = """
.jpg .jpeg .jpe .jfif .png .apng .webp .bmp .dib .gif .tif .tiff .ppm .pgm .pbm .pnm
.heic .heif .avif .jxl .jp2 .j2k
"""
IMAGE_SUFFIXES: Final = frozenset(_SUFFIXES.split())
"""Lower-case suffixes that say "this is meant to be an image"."""

# (offset, magic, name). The order matters where one magic is the beginning of another.
_IMAGE_MAGIC: Final = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (8, b"WEBP", "WebP"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"CR\x02\x00", "Canon raw"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),
    (0, b"MM\x00+", "TIFF"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"8BPS", "Photoshop file"),
)

_OTHER_MAGIC: Final = (
    (0, b"%PDF", "PDF"),
    (0, b"PK\x03\x04", "ZIP archive"),
    (0, b"\x1f\x8b", "gzip archive"),
    (4, b"ftyp", "video"),
    (8, b"AVI ", "video"),
    (0, b"version https://git-lfs", "Git LFS pointer: fetch the real file with git lfs pull"),
)

_BMP_HEADER_SIZES: Final = frozenset({12, 40, 52, 56, 64, 108, 124})


def sniff_image(head: bytes) -> str | None:
    """Name the image format that a file's first bytes announce.

    Args:
        head: the first `SNIFF_BYTES` bytes, or fewer where the file is shorter.

    Returns:
        One of the formats that `decode_image` reads (JPEG, PNG, WebP, BMP, GIF, TIFF, PPM), the name of
        another image format, or None where the bytes are no image.
    """
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"  # two letters alone would turn every text that begins with "BM" into an image
    if len(head) > 3 and head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM" if head[3:4].isspace() or head[3:4] == b"#" or head[3:4].isdigit() else None
    return _match(_IMAGE_MAGIC, head)


def describe_other(data: bytes) -> str:
    """Say in plain words what bytes that are no known image are, for example ``HTML page``."""
    head = data[:4096]
    if name := _match(_OTHER_MAGIC, head):
        return name
    if not any(head):
        return "zero bytes only"
    if not _is_text(head):
        return "unknown content"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "HTML page"
    return "SVG drawing" if b"<svg" in start else "text"


def _match(table: tuple[tuple[int, bytes, str], ...], head: bytes) -> str | None:
    return next((name for offset, magic, name in table if head.startswith(magic, offset)), None)


def _is_text(head: bytes) -> bool:
    if any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head):
        return False
    try:
        # Incrementally, since the head may end within a character.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True
