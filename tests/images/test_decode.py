import io
import math
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from headstart.errors import UnreadableImageError
from headstart.images import IMAGE_SUFFIXES, PIXEL_LIMIT, decode_image, read_image_file

# pytest sets the filters for warnings itself, which undoes the module's own.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")

Pixels = npt.NDArray[np.uint8]
ORIENTATION = 0x0112


def scene(width: int = 31, height: int = 23) -> Image.Image:
    """A smooth colourful picture without any symmetry."""
    noise = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def by_pillow(data: bytes) -> Pixels:
    return np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def png(header: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        checksum = zlib.crc32(kind + body)
        parts.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum))
    return b"".join(parts)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


ENCODED = {
    "jpeg": encode(scene(), "JPEG"),
    "jpeg progressive": encode(scene(), "JPEG", progressive=True),
    "jpeg grey": encode(scene().convert("L"), "JPEG"),
    "jpeg 4:4:4": encode(scene(), "JPEG", subsampling=0),
    "jpeg cmyk": encode(scene().convert("CMYK"), "JPEG"),
    "jpeg stored as rgb": encode(scene(), "JPEG", keep_rgb=True),
    "png": encode(scene(), "PNG"),
    "png palette": encode(scene().convert("P"), "PNG"),
    "png grey": encode(scene().convert("L"), "PNG"),
    "png one bit": encode(scene().convert("1"), "PNG"),
    "webp": encode(scene(), "WebP"),
    "webp lossless": encode(scene(), "WebP", lossless=True),
    "bmp": encode(scene(), "BMP"),
    "bmp palette": encode(scene().convert("P"), "BMP"),
    "gif": encode(scene(), "GIF"),
    "tiff": encode(scene(), "TIFF"),
    "tiff lzw": encode(scene(), "TIFF", compression="tiff_lzw"),
    "tiff deflate": encode(scene(), "TIFF", compression="tiff_deflate"),
    "tiff jpeg": encode(scene(), "TIFF", compression="jpeg"),
    "tiff fax": encode(scene().convert("1"), "TIFF", compression="group4"),
    "tiff cmyk": encode(scene().convert("CMYK"), "TIFF"),
    "ppm": encode(scene(), "PPM"),
    "pgm": encode(scene().convert("L"), "PPM"),
    "pbm": encode(scene().convert("1"), "PPM"),
    "ppm as text": b"P3\n2 2\n255\n1 2 3 4 5 6 7 8 9 10 11 2\n",
}


@pytest.mark.parametrize("data", ENCODED.values(), ids=ENCODED.keys())
def test_pixels_are_those_of_pillow(data: bytes) -> None:
    pixels = decode_image(data)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    np.testing.assert_array_equal(pixels, by_pillow(data))


def _large(width: int, height: int) -> Image.Image:
    """A photo with detail of every size."""
    rng = np.random.default_rng(0)
    layers = [
        Image.fromarray(
            rng.integers(0, 256, (max(1, height // step), max(1, width // step), 3), dtype=np.uint8)
        )
        for step in (2, 8, 40)
    ]
    same = [
        np.array(layer.resize((width, height), Image.Resampling.BICUBIC), dtype=float) for layer in layers
    ]
    return Image.fromarray((0.15 * same[0] + 0.25 * same[1] + 0.6 * same[2]).astype(np.uint8))


@pytest.mark.parametrize(
    ("size", "least", "scale"),
    [
        ((640, 480), 480, 1),
        ((640, 480), 241, 1),
        ((640, 480), 240, 2),
        ((641, 481), 240, 2),
        ((480, 640), 120, 4),
        ((640, 480), 60, 8),
        ((640, 480), 1, 8),
        ((5, 480), 1, 4),
        ((640, 480), None, 1),
    ],
)
def test_a_large_jpeg_is_decoded_smaller(size: tuple[int, int], least: int | None, scale: int) -> None:
    width, height = size
    data = encode(_large(width, height), "JPEG", quality=90)

    pixels = decode_image(data, least_side=least)

    assert pixels.shape == (math.ceil(height / scale), math.ceil(width / scale), 3)
    assert least is None or min(pixels.shape[:2]) >= least
    if width >= 8 * scale and (width % scale, height % scale) == (0, 0):  # the same boxes
        smaller = Image.open(io.BytesIO(data)).resize(pixels.shape[1::-1], Image.Resampling.BOX)
        assert np.abs(pixels.astype(int) - np.array(smaller)).mean() < 3


def test_other_formats_are_decoded_as_they_are() -> None:
    assert decode_image(encode(_large(64, 48), "PNG"), least_side=1).shape == (48, 64, 3)


def test_a_large_jpeg_stands_upright_and_its_cut_is_seen() -> None:
    data = encode(_large(640, 480), "JPEG", exif=exif(6))

    assert decode_image(data, least_side=120).shape == (160, 120, 3)
    with pytest.raises(UnreadableImageError, match="truncated JPEG"):
        decode_image(data[: len(data) // 2], least_side=120)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WebP", "TIFF"])
def test_images_stand_upright(name: str, orientation: int) -> None:
    options = {"lossless": True} if name == "WebP" else {}
    data = encode(scene(), name, exif=exif(orientation), **options)
    pixels = decode_image(data)
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, by_pillow(data))
    assert pixels.shape == ((23, 31, 3) if orientation < 5 else (31, 23, 3))


def test_an_orientation_really_turns() -> None:
    top_left_red = Image.new("RGB", (4, 2), "blue")
    top_left_red.putpixel((0, 0), (255, 0, 0))
    pixels = decode_image(encode(top_left_red, "PNG", exif=exif(6)))  # "turn by 90 degrees, clockwise"
    assert pixels.shape == (4, 2, 3)
    assert pixels[0, 1].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    "tags", [b"Exif\x00\x00", b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"Exif\x00\x00nonsense"]
)
def test_broken_exif_means_upright(tags: bytes) -> None:
    data = encode(scene(), "JPEG", exif=tags)
    np.testing.assert_array_equal(decode_image(data), simplejpeg.decode_jpeg(data))


@pytest.mark.parametrize("name", ["PNG", "WebP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(name: str, mode: str) -> None:
    image = Image.new(mode, (3, 1))
    black, red = ((0,), (77,)) if mode == "LA" else ((0, 0, 0), (255, 0, 0))
    for x, pixel in enumerate([(*black, 0), (*red, 255), (*black, 51)]):
        image.putpixel((x, 0), pixel)
    options = {"lossless": True, "exact": True} if name == "WebP" else {}
    pixels = decode_image(encode(image, name, **options))
    opaque = [255, 0, 0] if mode == "RGBA" else [77, 77, 77]
    assert pixels[0].tolist() == [[255, 255, 255], opaque, [204, 204, 204]]


@pytest.mark.parametrize("name", ["PNG", "GIF"])
def test_a_transparent_palette_entry_becomes_white(name: str) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert decode_image(encode(image, name, transparency=0))[0].tolist() == [[255, 255, 255], [200, 100, 50]]
    assert decode_image(encode(image, name))[0].tolist() == [[10, 20, 30], [200, 100, 50]]


def test_a_transparent_grey_or_colour_becomes_white() -> None:
    grey = Image.frombytes("L", (2, 1), b"\x05\x06")
    assert decode_image(encode(grey, "PNG", transparency=5))[0].tolist() == [[255] * 3, [6] * 3]
    deep = png(
        struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0),
        (b"tRNS", b"\x05\x01"),
        (b"IDAT", zlib.compress(b"\x00\x05\x01\x05\x02")),
    )
    assert decode_image(deep)[0].tolist() == [[255] * 3, [5] * 3]


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    values = np.array([[0, 255, 256, 0x7FFF, 0x8000, 0xFFFF]], dtype=np.uint16)
    expected = [0, 0, 1, 127, 128, 255]
    image = Image.fromarray(values)
    for data in (
        encode(image, "PNG"),
        encode(image, "TIFF"),
        b"P5 6 1 65535\n" + values.astype(">u2").tobytes(),
    ):
        pixels = decode_image(data)
        assert pixels[0, :, 0].tolist() == expected
        assert (pixels == pixels[:, :, :1]).all()


def test_sixteen_bit_grey_of_either_byte_order_and_sense() -> None:
    tifffile = pytest.importorskip("tifffile")
    values = np.array([[0, 300, 40_000, 0xFFFF]], dtype=np.uint16)
    for options, expected in [
        ({"byteorder": ">"}, [0, 1, 156, 255]),
        ({"byteorder": "<"}, [0, 1, 156, 255]),
        ({"photometric": "miniswhite"}, [255, 254, 99, 0]),
    ]:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, values, **options)
        assert decode_image(buffer.getvalue())[0, :, 0].tolist() == expected


def test_sixteen_bit_colour_keeps_its_high_byte() -> None:
    rows = b"\x00" + struct.pack(">6H", 0, 0x80FF, 0xFFFF, 0x0100, 0x00FF, 0x1234)
    data = png(struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0), (b"IDAT", zlib.compress(rows)))
    assert decode_image(data)[0].tolist() == [[0, 128, 255], [1, 0, 18]]


def test_adobe_cmyk_is_not_read_as_a_negative() -> None:
    pixels = decode_image(encode(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG", quality=100))  # no ink
    assert (pixels > 250).all()


def test_ycck_is_read() -> None:
    # Pillow writes four components as CMYK; the Adobe marker's last byte says how to take them: 2 is YCCK.
    cmyk = bytearray(encode(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG", quality=100))
    marker = cmyk.index(b"Adobe")
    cmyk[marker + 11] = 2
    assert decode_image(bytes(cmyk)).shape == (16, 16, 3)


def test_the_first_frame_of_an_animation_counts() -> None:
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    for name in ("GIF", "WebP", "PNG", "TIFF"):
        data = encode(first, name, save_all=True, append_images=[second])
        assert decode_image(data)[4, 4, 0] > 200, name


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WebP", "BMP", "GIF", "TIFF", "PPM"])
def test_one_pixel_is_an_image(name: str, size: tuple[int, int]) -> None:
    assert decode_image(encode(Image.new("RGB", size, "white"), name)).shape == (size[1], size[0], 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"just a text\n", "not an image (text)"),
        (b"<html>404</html>", "not an image (HTML page)"),
        (bytes(1000), "not an image (zero bytes only)"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(40), "HEIC: not supported, save it as JPEG or PNG"),
        (ENCODED["jpeg"][:-20], "truncated JPEG"),
        (ENCODED["jpeg progressive"][:-20], "truncated JPEG"),
        (ENCODED["jpeg cmyk"][:-20], "truncated JPEG"),
        (ENCODED["png"][:-40], "truncated PNG"),
        (ENCODED["bmp"][:-40], "truncated BMP"),
        (ENCODED["ppm"][:-40], "truncated PPM"),
        (ENCODED["gif"][:-300], "truncated GIF"),
        (b"P6 0 5 255\n", "damaged PPM"),
        (
            b"P6 100000 90000 255\n" + bytes(64),
            "100000 x 90000 = 9,000,000,000 pixels, over the limit of 89,478,485",
        ),
        (encode(Image.new("F", (4, 4)), "TIFF"), "TIFF of floating-point values"),
        (encode(Image.new("I", (4, 4)), "TIFF"), "TIFF of 32-bit or signed values"),
        (encode(Image.new("LAB", (4, 4)), "TIFF"), "TIFF of Lab values"),
    ],
)
def test_the_reason_is_plain(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImageError) as caught:
        decode_image(data)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)


def test_an_end_marker_does_not_hide_a_cut() -> None:
    data = ENCODED["jpeg"]
    with pytest.raises(UnreadableImageError, match="truncated JPEG"):
        decode_image(data[: len(data) - 60] + b"\xff\xd9")


@pytest.mark.parametrize("data", ENCODED.values(), ids=ENCODED.keys())
def test_no_cut_gives_other_pixels(data: bytes) -> None:
    """Wherever a file is cut, it is refused or, where only its tail of metadata is missing, read in full."""
    whole = decode_image(data)
    for end in range(0, len(data), 1 + len(data) // 200):
        try:
            pixels = decode_image(data[:end])
        except UnreadableImageError:
            continue
        np.testing.assert_array_equal(pixels, whole, err_msg=f"cut at {end} of {len(data)}")


def _stray_bytes(data: bytes) -> bytes:
    scan = data.index(b"\xff\xda")
    return data[:scan] + b"\x00\x11\x22" + data[scan:]


@pytest.mark.parametrize(
    "spoil",
    [lambda data: data + b"garbage" * 10, lambda data: data + data, _stray_bytes],
    ids=["tail", "twice", "stray"],
)
def test_harmless_faults_of_a_jpeg_are_read_past(spoil: Callable[[bytes], bytes]) -> None:
    data = ENCODED["jpeg"]
    np.testing.assert_array_equal(decode_image(spoil(data)), decode_image(data))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WebP", "BMP", "GIF", "TIFF", "PPM"])
def test_the_limit_holds_for_every_format(name: str) -> None:
    data = encode(Image.new("RGB", (100, 81)), name)
    assert decode_image(data, pixel_limit=8100).shape == (81, 100, 3)
    with pytest.raises(UnreadableImageError, match=r"100 x 81 = 8,100 pixels, over the limit of 8,099"):
        decode_image(data, pixel_limit=8099)


def test_the_limit_is_checked_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(simplejpeg, "decode_jpeg", never)
    data = encode(Image.new("L", (9500, 9500)), "JPEG")
    assert PIXEL_LIMIT < 9500 * 9500
    with pytest.raises(UnreadableImageError, match="over the limit"):
        decode_image(data)


def test_the_limit_is_independent_of_the_host_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode_image(ENCODED["png"]).shape == (23, 31, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_a_webp_canvas_over_the_limit_is_refused() -> None:
    data = bytearray(encode(scene().convert("RGBA"), "WebP", exif=exif(1)))
    assert data[12:16] == b"VP8X"
    data[24:30] = b"\xfe\x3f\x00\xfe\x3f\x00"  # 16383 x 16383
    with pytest.raises(UnreadableImageError):
        decode_image(bytes(data))


def test_a_progressive_jpeg_of_endless_scans_is_refused() -> None:
    data = ENCODED["jpeg progressive"]
    scan = data.rindex(b"\xff\xda")
    with pytest.raises(UnreadableImageError, match="more than 500 scans"):
        decode_image(data[:scan] + data[scan:-2] * 600 + data[-2:])


def test_a_png_whose_text_is_a_bomb_is_refused_cheaply() -> None:
    bomb = b"Comment\x00\x00" + zlib.compress(bytes(50_000_000))
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    data = png(header, (b"zTXt", bomb), (b"IDAT", zlib.compress(b"\x00\x07")))
    with pytest.raises(UnreadableImageError, match="damaged PNG"):
        decode_image(data)


def test_damaged_metadata_warns_nobody() -> None:
    """In a process of its own, since pytest sets filters for warnings itself."""
    tiff = encode(scene(), "TIFF", exif=exif(1), software="x" * 500)
    code = (
        "import sys; from headstart.images import decode_image; from headstart.errors import HeadstartError\n"
        "data = sys.stdin.buffer.read()\n"
        "for end in range(8, len(data), 7):\n"
        "    try: decode_image(data[:end])\n"
        "    except HeadstartError: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=tiff, capture_output=True, check=True)
    assert done.stderr == b""


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.sampled_from(sorted(ENCODED.values())),
    edits=st.lists(
        st.tuples(st.floats(0, 1), st.binary(max_size=6), st.integers(0, 6)), min_size=1, max_size=8
    ),
)
@example(data=ENCODED["gif"], edits=[(0.004, b"\xff\xff\xff\xff", 4)])
def test_damaged_files_raise_one_kind_of_error(data: bytes, edits: list[tuple[float, bytes, int]]) -> None:
    for place, inserted, removed in edits:
        start = int(place**3 * len(data))  # headers, where the mischief is, come first
        data = data[:start] + inserted + data[start + removed :]
    _decodes_or_refuses(data)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        [
            b"",
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"RIFF\x99\x00\x00\x00WEBP",
            b"GIF89a",
            b"II*\x00",
            b"P6 ",
        ]
    ),
    st.binary(max_size=200),
)
def test_random_bytes_raise_one_kind_of_error(magic: bytes, rest: bytes) -> None:
    _decodes_or_refuses(magic + rest)


def _decodes_or_refuses(data: bytes) -> None:
    try:
        pixels = decode_image(data, pixel_limit=1_000_000)
    except UnreadableImageError:
        return
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.dtype == np.uint8


def test_threads_do_not_disturb_each_other() -> None:
    expected = [decode_image(data) for data in ENCODED.values()]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for pixels, wanted in zip(pool.map(decode_image, ENCODED.values()), expected, strict=True):
                np.testing.assert_array_equal(pixels, wanted)


@pytest.mark.shared
@pytest.mark.slow
def test_real_photos_are_those_of_pillow(shared: Path) -> None:
    photos = sorted(path for path in (shared / "data").rglob("*") if path.suffix in IMAGE_SUFFIXES)
    assert len(photos) > 1000
    for path in photos[::7]:
        data = read_image_file(path)
        np.testing.assert_array_equal(decode_image(data), by_pillow(data), err_msg=str(path))


class TestReadImageFile:
    def test_gives_all_bytes(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(b"abc")
        assert read_image_file(tmp_path / "a.jpg") == b"abc"
        assert read_image_file(str(tmp_path / "a.jpg"), byte_limit=3) == b"abc"

    def test_says_what_is_wrong(self, tmp_path: Path) -> None:
        (tmp_path / "big.jpg").write_bytes(b"abcd")
        (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone")
        (tmp_path / "circle.jpg").symlink_to(tmp_path / "circle.jpg")
        for name, reason in [
            ("big.jpg", "4 bytes, over the limit of 3"),
            ("none.jpg", "no such file, or a link to nothing"),
            ("dangling.jpg", "no such file, or a link to nothing"),
            ("circle.jpg", "a link that leads in a circle"),
            ("", "not a regular file"),
            ("a\0b.jpg", "not a possible path"),
        ]:
            with pytest.raises(UnreadableImageError) as caught:
                read_image_file(tmp_path / name, byte_limit=3)
            assert str(caught.value) == reason

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
    def test_does_not_wait_for_a_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.jpg")
        with pytest.raises(UnreadableImageError, match="not a regular file"):
            read_image_file(tmp_path / "pipe.jpg")

    def test_says_that_permission_is_missing(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(b"abc")

        def refuse(self: Path) -> bytes:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "read_bytes", refuse)  # root may read everything, so a mode would not do
        with pytest.raises(UnreadableImageError, match="no permission to read it"):
            read_image_file(tmp_path / "a.jpg")
