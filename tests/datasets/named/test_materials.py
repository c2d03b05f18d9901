"""The embedded data set: the same files for a seed, and nothing to be had without looking at the texture."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError
from sklearn.linear_model import LogisticRegression

from headstart.datasets import load_dataset
from headstart.datasets.named import materials as module
from headstart.datasets.named.materials import PHOTOS, Materials, draw_patch, write_materials
from headstart.errors import DataError


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Materials:
    return write_materials(tmp_path_factory.mktemp("materials"), plant_broken=True)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def grey_levels(files: list[Path]) -> np.ndarray:
    """Mean and standard deviation of each patch, (n, 2)."""
    pixels = [np.asarray(Image.open(path), dtype=np.float64) for path in files]
    return np.array([[patch.mean(), patch.std()] for patch in pixels])


def test_it_is_a_folder_of_classes_like_any_other(written: Materials) -> None:
    dataset = load_dataset(str(written.folder))
    assert dataset.classes == written.classes
    assert len(written.classes) == len(PHOTOS) == 16
    assert dataset.counts("test").tolist() == [20] * 16
    planted = written.classes.index("brick")
    assert dataset.counts("train").tolist() == [21 if i == planted else 20 for i in range(16)]


def test_every_patch_is_a_small_grey_png(written: Materials) -> None:
    patches = [path for path in written.folder.rglob("*.png") if path != written.broken]
    assert len(patches) == 640
    for path in patches:
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("PNG", "L")
            assert image.width == image.height
            assert 32 <= image.width <= 128


def test_the_planted_file_looks_like_a_png_and_cannot_be_read(written: Materials) -> None:
    assert written.broken is not None
    assert written.broken.read_bytes().startswith(b"\x89PNG")
    with pytest.raises((OSError, SyntaxError, UnidentifiedImageError)), Image.open(written.broken) as image:
        image.load()


def test_nothing_broken_is_planted_unasked(tmp_path: Path) -> None:
    result = write_materials(tmp_path, per_class=1, test_per_class=1)
    assert result.broken is None
    assert len(digests(tmp_path)) == 32


def test_a_seed_gives_the_same_bytes_every_time(written: Materials, tmp_path: Path) -> None:
    write_materials(tmp_path, plant_broken=True)
    assert digests(tmp_path) == digests(written.folder)


def test_another_seed_gives_other_patches(written: Materials, tmp_path: Path) -> None:
    write_materials(tmp_path, per_class=2, test_per_class=2, seed=1)
    assert not set(digests(tmp_path).values()) & set(digests(written.folder).values())


def test_fewer_patches_are_the_first_of_more(written: Materials, tmp_path: Path) -> None:
    write_materials(tmp_path, per_class=2, test_per_class=3)
    assert digests(tmp_path).items() <= digests(written.folder).items()


def test_no_patch_stands_there_twice(written: Materials) -> None:
    values = list(digests(written.folder).values())
    assert len(set(values)) == len(values)


def test_training_and_test_patches_come_from_different_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photographs whose right half is a checkerboard, told from stripes on the left by every pixel."""
    photo = np.zeros((200, 300), dtype=np.uint8)
    photo[:, :150] = np.where(np.arange(150) % 2, 100, 110)
    photo[:, 150:] = np.where((np.arange(200)[:, None] + np.arange(150)) % 2, 100, 110)
    monkeypatch.setattr(module, "_read_photo", lambda _: photo)
    write_materials(tmp_path, per_class=5, test_per_class=5)
    for path in tmp_path.rglob("*.png"):
        levels = np.asarray(Image.open(path), dtype=np.int64)
        across, down = np.ptp(levels, axis=1).max(), np.ptp(levels, axis=0).max()
        assert (min(across, down) == 0) == (path.relative_to(tmp_path).parts[0] == "train")


def test_brightness_and_contrast_say_nothing_of_the_class(written: Materials) -> None:
    files = {split: sorted((written.folder / split).rglob("[0-9]*.png")) for split in ("train", "test")}
    train, test = (grey_levels(files[split]) for split in ("train", "test"))
    labels = np.repeat(np.arange(16), 20)
    scale = train.std(axis=0)
    accuracy = LogisticRegression().fit(train / scale, labels).score(test / scale, labels)
    assert accuracy < 0.125  # chance is 0.0625; with their own brightness and contrast 0.38


@settings(max_examples=50, deadline=None)
@given(height=st.integers(32, 200), width=st.integers(32, 200), seed=st.integers(0, 2**32))
def test_a_patch_fits_into_any_photograph(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    patch = draw_patch(rng.integers(0, 256, (height, width), dtype=np.uint8), rng)
    assert patch.dtype == np.uint8
    assert patch.shape[0] == patch.shape[1] <= min(height, width, 128)
    assert 10 < patch.std() <= 128


def test_a_flat_photograph_is_an_error_not_an_endless_search() -> None:
    with pytest.raises(ValueError, match="contrast"):
        draw_patch(np.full((100, 100), 7, dtype=np.uint8), np.random.default_rng(0))


def test_without_scikit_image_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(DataError, match="pip install"):
        write_materials(tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_photograph_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PHOTOS", ("brick.png", "missing.png"))
    with pytest.raises(DataError, match=r"missing\.png"):
        write_materials(tmp_path / "m")
