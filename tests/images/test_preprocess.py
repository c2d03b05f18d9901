import dataclasses
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from headstart.errors import ConfigError
from headstart.images import Preprocess, decode_for, decode_image, decoder_identity, normalise, prepare_image
from headstart.images.preprocess import Interpolation, ResizeMode

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def preprocess(
    size: int = 24, resize: int = 28, interpolation: Interpolation = "bicubic", mode: ResizeMode = "crop"
) -> Preprocess:
    return Preprocess(size=size, resize=resize, interpolation=interpolation, resize_mode=mode, **IMAGENET)


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.array(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def by_torchvision(pixels: np.ndarray, wanted: Preprocess) -> torch.Tensor:
    """The plain pipeline: Pillow's resize by way of torchvision's transforms."""
    mode = v2.InterpolationMode(wanted.interpolation)
    resize = wanted.resize if wanted.resize_mode == "crop" else [wanted.resize] * 2
    steps = v2.Compose([v2.Resize(resize, mode), v2.CenterCrop(wanted.size), v2.PILToTensor()])
    result: torch.Tensor = steps(Image.fromarray(pixels))
    return result


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("height", "width"),
    [(40, 60), (61, 40), (28, 28), (28, 97), (200, 201), (10, 14), (150, 1000), (1, 1), (2, 3), (9, 70)],
)
def test_equals_resize_and_centre_crop(interpolation: Interpolation, height: int, width: int) -> None:
    wanted = preprocess(interpolation=interpolation)
    pixels = photo(height, width)
    difference = prepare_image(pixels, wanted).int() - by_torchvision(pixels, wanted).int()
    assert difference.abs().max() <= 1  # fixed-point arithmetic against Pillow's: a level here and there


@pytest.mark.parametrize("mode", ["crop", "squash", "pad"])
def test_a_far_larger_jpeg_looks_the_same(mode: ResizeMode) -> None:
    rng = np.random.default_rng(0)
    pixels = photo(600, 800).astype(float) + rng.normal(0, 12, (600, 800, 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    wanted = preprocess(64, 64, mode=mode)

    smaller = decode_for(buffer.getvalue(), wanted)
    difference = (
        prepare_image(smaller, wanted).int() - prepare_image(decode_image(buffer.getvalue()), wanted).int()
    )

    assert smaller.shape == (150, 200, 3)
    assert difference.abs().float().mean() < 1
    assert difference.abs().max() <= 8


@pytest.mark.parametrize("resize", [24, 28])
@pytest.mark.parametrize(
    ("height", "width"), [(40, 60), (61, 40), (24, 24), (10, 14), (150, 1000), (1, 1), (9, 170)]
)
def test_squash_equals_resizing_both_sides(resize: int, height: int, width: int) -> None:
    wanted = preprocess(resize=resize, mode="squash")
    pixels = photo(height, width)
    difference = prepare_image(pixels, wanted).int() - by_torchvision(pixels, wanted).int()
    assert difference.abs().max() <= 1


def test_squash_sees_the_whole_photo() -> None:
    pixels = np.zeros((20, 400, 3), dtype=np.uint8)
    pixels[:, :200] = 255
    prepared = prepare_image(pixels, preprocess(resize=24, mode="squash"))
    assert prepared[:, :, :11].min() > 250
    assert prepared[:, :, 13:].max() < 5


def padded_by_torchvision(pixels: np.ndarray, wanted: Preprocess) -> torch.Tensor:
    """The whole photo by Pillow's resize, pasted into the middle of a square of the mean colour."""
    scale = wanted.resize / max(pixels.shape[:2])
    height, width = (max(1, round(scale * side)) for side in pixels.shape[:2])
    colour = tuple(round(255 * value) for value in wanted.mean)
    square = Image.new("RGB", (wanted.resize, wanted.resize), colour)
    resized = v2.Resize([height, width], v2.InterpolationMode(wanted.interpolation))(Image.fromarray(pixels))
    square.paste(resized, ((wanted.resize - width) // 2, (wanted.resize - height) // 2))
    result: torch.Tensor = v2.Compose([v2.CenterCrop(wanted.size), v2.PILToTensor()])(square)
    return result


@pytest.mark.parametrize("resize", [24, 28])
@pytest.mark.parametrize(
    ("height", "width"),
    [
        (40, 60),
        (61, 40),
        (24, 24),
        (23, 24),
        (10, 14),
        (1, 1),
        (1, 2),
        (9, 72),
        (9, 170),
        (2, 3000),
        (3000, 1),
    ],
)
def test_pad_equals_pasting_the_whole_photo_into_a_square(resize: int, height: int, width: int) -> None:
    wanted = preprocess(resize=resize, mode="pad")
    pixels = photo(height, width)
    difference = prepare_image(pixels, wanted).int() - padded_by_torchvision(pixels, wanted).int()
    assert difference.abs().max() <= 2


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 90), width=st.integers(1, 90), size=st.integers(1, 30), more=st.integers(0, 6))
def test_pad_takes_any_shape(height: int, width: int, size: int, more: int) -> None:
    prepared = prepare_image(photo(height, width), preprocess(size, size + more, mode="pad"))
    assert prepared.shape == (3, size, size)
    assert prepared.permute(1, 2, 0).is_contiguous()


def test_bars_are_equal_and_become_about_zero() -> None:
    wanted = preprocess(resize=24, mode="pad")
    pixels = np.full((10, 40, 3), 255, dtype=np.uint8)
    prepared = normalise(prepare_image(pixels, wanted)[None], wanted)[0]
    assert prepared[:, :9].abs().max() < 0.5 / 255 / min(wanted.std) + 1e-6
    assert torch.equal(prepared[:, :9], prepared[:, 15:])
    assert prepared[:, 9:15].min() > 2


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1)])
def test_extremely_long_images_keep_a_line_between_the_bars(shape: tuple[int, int]) -> None:
    pixels = np.full((*shape, 3), 255, dtype=np.uint8)
    prepared = prepare_image(pixels, preprocess(24, 24, mode="pad"))
    assert int((prepared == 255).all(0).sum()) == 24


def test_bars_of_an_impossible_mean_stay_colours() -> None:
    wanted = dataclasses.replace(preprocess(resize=24, mode="pad"), mean=(-0.5, 1.5, 0.0))
    assert prepare_image(photo(10, 40), wanted)[:, 0, 0].tolist() == [0, 255, 0]


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.integers(1, 30),
    more=st.integers(0, 6),
)
def test_equals_resize_and_centre_crop_for_any_size(height: int, width: int, size: int, more: int) -> None:
    wanted = preprocess(size, size + more)
    pixels = photo(height, width)
    prepared = prepare_image(pixels, wanted)
    assert prepared.shape == (3, size, size)
    if max(height, width) <= 8 * min(height, width):
        # Bicubic overshoot is clipped between the two passes, whose order is not Pillow's.
        assert (prepared.int() - by_torchvision(pixels, wanted).int()).abs().max() <= 3


@pytest.mark.parametrize("shape", [(20, 401), (402, 20)])
def test_very_long_images_keep_their_centre(shape: tuple[int, int]) -> None:
    wanted = preprocess()
    pixels = photo(*shape)
    difference = prepare_image(pixels, wanted).float() - by_torchvision(pixels, wanted).float()
    assert difference.abs().mean() < 3  # half a pixel's shift of a smooth picture


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1), (2, 60_001)])
def test_extremely_long_images_need_little_memory(shape: tuple[int, int]) -> None:
    pixels = np.zeros((*shape, 3), dtype=np.uint8)
    middle = tuple(slice((side - 1) // 2, side // 2 + 1) for side in shape)
    pixels[middle] = 255
    prepared = prepare_image(pixels, preprocess(224, 256))  # 256 x 15,360,000 pixels without care
    assert prepared[:, 112, 112].tolist() == [255, 255, 255]


def test_memory_lies_in_channels_last_order() -> None:
    prepared = prepare_image(photo(40, 60), preprocess())
    assert prepared.dtype == torch.uint8
    assert prepared.permute(1, 2, 0).is_contiguous()
    assert prepared.untyped_storage().nbytes() == 24 * 24 * 3  # the larger resized image is let go


def test_read_only_and_strided_pixels_are_taken_as_they_are() -> None:
    pixels = photo(40, 60)
    expected = prepare_image(pixels, preprocess())
    pixels.setflags(write=False)
    assert torch.equal(prepare_image(pixels, preprocess()), expected)
    assert torch.equal(prepare_image(np.asfortranarray(pixels), preprocess()), expected)


def test_pixels_are_left_alone() -> None:
    pixels = photo(24, 24)
    before = pixels.copy()
    prepare_image(pixels, preprocess(24, 24)).zero_()
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize(
    "pixels", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3))]
)
def test_other_arrays_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected \(H, W, 3\) uint8"):
        prepare_image(pixels, preprocess())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_normalise_is_the_formula(layout: torch.memory_format) -> None:
    batch = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batch = batch.contiguous(memory_format=layout)
    before = batch.clone()
    result = normalise(batch, preprocess())
    mean, std = (torch.tensor(IMAGENET[key], dtype=torch.float64).view(3, 1, 1) for key in ("mean", "std"))
    expected = (batch.double() / 255 - mean) / std
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=layout)
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-6)
    assert torch.equal(batch, before)


def test_a_preprocess_survives_json() -> None:
    original = preprocess()
    assert Preprocess.from_dict(json.loads(json.dumps(original.to_dict()))) == original
    for mode in ("squash", "pad"):
        other = preprocess(mode=mode)
        assert Preprocess.from_dict(json.loads(json.dumps(other.to_dict()))) == other != original


def test_what_was_stored_before_there_was_a_resize_mode_keeps_its_meaning() -> None:
    # The dictionary stands in the feature store's key and in saved classifiers.
    assert preprocess().to_dict().keys() == {"size", "resize", "interpolation", "mean", "std"}
    assert preprocess(mode="squash").to_dict()["resize_mode"] == "squash"
    assert Preprocess.from_dict(preprocess().to_dict() | {"resize_mode": "crop"}) == preprocess()


GOOD = preprocess().to_dict()


@pytest.mark.parametrize(
    "values",
    [
        {},
        GOOD | {"crop": 1},
        {key: value for key, value in GOOD.items() if key != "std"},
        GOOD | {"size": "24"},
        GOOD | {"size": 24.0},
        GOOD | {"size": True},
        GOOD | {"size": 0},
        GOOD | {"size": 29},
        GOOD | {"interpolation": "nearest"},
        GOOD | {"interpolation": ["bicubic"]},
        GOOD | {"resize_mode": "border"},
        GOOD | {"resize_mode": None},
        GOOD | {"mean": [0.5, 0.5]},
        GOOD | {"mean": 0.5},
        GOOD | {"mean": [0.5, 0.5, float("nan")]},
        GOOD | {"std": [0.5, 0.5, "0.5"]},
        GOOD | {"std": [0.5, 0.0, 0.5]},
    ],
)
def test_a_wrong_preprocess_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="preprocess: "):
        Preprocess.from_dict(values)


def test_the_identity_names_versions() -> None:
    identity = decoder_identity()
    assert identity == json.loads(json.dumps(identity))
    assert identity["others"] == f"pillow {Image.__version__}"
    assert torch.__version__.partition("+")[0] in identity["resize"]


def test_decoding_needs_no_torch() -> None:
    code = "import sys, headstart.images; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.shared
def test_real_photos_differ_by_two_levels_at_most(shared: Path) -> None:
    wanted = preprocess(224, 256)
    for path in sorted((shared / "data/flowers/test").rglob("*.jpg"))[::20]:
        pixels = decode_image(path.read_bytes())
        difference = (prepare_image(pixels, wanted).int() - by_torchvision(pixels, wanted).int()).abs()
        assert difference.max() <= 2
        assert difference.float().mean() < 0.02
