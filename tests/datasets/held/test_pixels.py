import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.datasets import ArrayFiles, JoinedFiles, encode_ppm, read_image
from headstart.files import file_stamp
from headstart.images import decode_image


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 5, 7, 3), dtype=np.uint8)


def test_a_ppm_is_what_pillow_and_we_read(pixels: np.ndarray) -> None:
    data = encode_ppm(pixels[0])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels[0])
    assert np.array_equal(decode_image(data), pixels[0])


def test_pixels_need_not_be_contiguous(pixels: np.ndarray) -> None:
    planes = pixels.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1)
    assert encode_ppm(planes[1]) == encode_ppm(pixels[1])


def test_grey_becomes_rgb(pixels: np.ndarray) -> None:
    grey = pixels[..., 0]
    assert np.array_equal(decode_image(encode_ppm(grey[2])), np.repeat(grey[2][..., None], 3, axis=2))


@pytest.mark.parametrize("shape", [(5,), (5, 7, 4), (5, 7, 1), (2, 5, 7, 3)])
def test_other_shapes_and_kinds_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        encode_ppm(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="expected uint8"):
        encode_ppm(np.zeros((5, 7, 3), np.float32))


def test_images_of_an_array(pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "pixels.npy"
    np.save(path, pixels)
    files = ArrayFiles(path=path, listed=file_stamp(path), pixels=np.load(path, mmap_mode="r"))
    assert files.place("3") == f"{path}!/3"
    assert files.stamp(files.place("3")) == file_stamp(path)
    readers = files.readers(["3", "0"])
    assert [decode_image(read()).tolist() for read in readers] == [pixels[3].tolist(), pixels[0].tolist()]


def test_parts_keep_their_places_apart(pixels: np.ndarray, tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(name.encode() * len(name))

    def part(name: str, own: np.ndarray) -> ArrayFiles:
        return ArrayFiles(path=tmp_path / name, listed=file_stamp(tmp_path / name), pixels=own)

    parts = {
        "one": part("a.bin", pixels[:2]),
        "two": part("a.bin", pixels[2:]),
        "three": part("b.bin", pixels[:1]),
    }
    files = JoinedFiles(parts=parts)
    names = ["one/0", "one/1", "two/0", "two/1", "three/0"]
    assert len({files.place(name) for name in names}) == 5
    assert files.stamp(files.place("three/0")) == file_stamp(tmp_path / "b.bin")
    assert [read() for read in files.readers(names)] == [encode_ppm(pixels[k]) for k in (0, 1, 2, 3, 0)]
    assert read_image(files, "two/1") == encode_ppm(pixels[3])
