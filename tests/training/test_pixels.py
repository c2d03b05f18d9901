from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from headstart.datasets import DiskFiles
from headstart.errors import DataError
from headstart.images import Preprocess, decode_image
from headstart.training.pixels import Photos, PixelMemory

PREPROCESS = Preprocess(size=32, resize=36, interpolation="bicubic", mean=(0.5,) * 3, std=(0.25,) * 3)


def image(size: int, value: int = 0) -> torch.Tensor:
    return torch.full((3, size, size), value, dtype=torch.uint8)


def test_images_are_kept_until_the_memory_is_full() -> None:
    memory = PixelMemory(3 * 100 + 3 * 16)
    memory.keep((0, True), image(10, value=1))
    memory.keep((0, True), image(10, value=2))  # two workers made the same: it is counted once
    memory.keep((1, True), image(5))  # no room
    memory.keep((0, False), image(4, value=3))
    kept = memory.get((0, True))
    assert kept is not None
    assert kept.unique().tolist() == [1]
    assert memory.get((1, True)) is None
    assert memory.get((0, False)) is not None


def test_by_default_a_part_of_the_free_memory_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Free:
        available = 4 * 300

    monkeypatch.setattr(psutil, "virtual_memory", Free)
    memory = PixelMemory()
    memory.keep((0, False), image(11))
    memory.keep((1, False), image(10))
    assert memory.get((0, False)) is None
    assert memory.get((1, False)) is not None


def test_photos_are_decoded_and_drawn(photo_folder: Path) -> None:
    names = ["brick/00.jpg", "sky/01.jpg"]
    plain = Photos(files=DiskFiles(root=photo_folder), names=names)
    mirrored = Photos(files=plain.files, names=names, views=[lambda pixels: pixels, lambda p: p[:, ::-1]])
    assert len(plain) == len(mirrored) == 2
    for row, (reader, again) in enumerate(zip(plain.readers([0, 1]), mirrored.readers([0, 1]), strict=True)):
        pixels = decode_image((photo_folder / names[row]).read_bytes())
        assert np.array_equal(plain.decode(row, reader, PREPROCESS), pixels)
        assert np.array_equal(mirrored.decode(row, again, PREPROCESS), pixels[:, ::-1] if row else pixels)


def test_a_photo_that_cannot_be_read_any_more_is_named(photo_folder: Path) -> None:
    photos = Photos(files=DiskFiles(root=photo_folder), names=["brick/00.jpg", "brick/01.jpg"])
    readers = list(photos.readers([0, 1]))
    (photo_folder / "brick/00.jpg").unlink()
    Image.new("RGB", (8, 8)).save(photo_folder / "brick/01.jpg")
    data = (photo_folder / "brick/01.jpg").read_bytes()
    (photo_folder / "brick/01.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"brick/00\.jpg could be read before.*no such file"):
        photos.decode(0, readers[0], PREPROCESS)
    with pytest.raises(DataError, match=r"brick/01\.jpg could be read before.*JPEG"):
        photos.decode(1, readers[1], PREPROCESS)


def test_views_belong_to_rows() -> None:
    with pytest.raises(ValueError, match="each of 2 rows, got 1"):
        Photos(files=DiskFiles(), names=["a", "b"], views=[lambda pixels: pixels])
