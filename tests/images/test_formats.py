import io

import pytest
from PIL import Image

from headstart.images import SNIFF_BYTES, sniff_image
from headstart.images.formats import describe_other


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WebP", "BMP", "GIF", "TIFF", "PPM"])
def test_formats_are_known_by_their_first_bytes(name: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), "red").save(buffer, name)
    assert sniff_image(buffer.getvalue()[:SNIFF_BYTES]) == name


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "HEIC"),
        (b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00", "AVIF"),
        (b"\xff\x0a\xfa\x7f", "JPEG XL"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"II*\x00\x10\x00\x00\x00CR\x02\x00", "Canon raw"),
        (b"MM\x00+\x00\x08\x00\x00", "TIFF"),
        (b"P5\n# made by hand\n3 2", "PPM"),
    ],
)
def test_other_images_are_named(head: bytes, name: str) -> None:
    assert sniff_image(head) == name


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"B",
        b"BMW drives through the village",
        b"P5",
        b"P5 of the plan",
        b"P6: see page 3",
        b"GIF is a format",
        b"RIFF\x00\x00\x00\x00AVI LIST",
        b"hello",
    ],
)
def test_texts_and_other_files_are_no_image(head: bytes) -> None:
    assert sniff_image(head) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"label,file\ncat,1.jpg\n", "text"),
        ("Grüße ".encode() * 1000, "text"),
        (b"\xef\xbb\xbf  <!DOCTYPE html><html><body>404", "HTML page"),
        (b'<?xml version="1.0"?><svg xmlns="...">', "SVG drawing"),
        (b"%PDF-1.7\n\x00", "PDF"),
        (b"PK\x03\x04\x14\x00", "ZIP archive"),
        (b"\x00\x00\x00\x18ftypmp42", "video"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "Git LFS pointer"),
        (b"\x00" * 500, "zero bytes only"),
        (bytes(range(256)), "unknown content"),
        (b"\xc3\x28 not utf-8", "unknown content"),
    ],
)
def test_other_content_is_described(data: bytes, words: str) -> None:
    assert describe_other(data).startswith(words)
