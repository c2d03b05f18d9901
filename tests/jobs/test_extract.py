"""Extraction to files: the features of the right images, in order, with their labels."""

import importlib
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headstart.backbones import Backbone
from headstart.config import ExtractConfig
from headstart.datasets import assign_splits, load_dataset
from headstart.errors import DataError
from headstart.features import extract_features, read_features
from headstart.images import decode_image, prepare_image
from headstart.jobs import extract, extract_bottleneck

DrawPhotos = Callable[..., Path]
# `headstart.jobs.extract` is the function; this is the module it lives in.
MODULE = importlib.import_module("headstart.jobs.extract")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbone) -> Backbone:
    """Extractions in this file use the tiny backbone, so that they take no time."""
    monkeypatch.setattr(MODULE, "load_backbone_of", lambda config: tiny_backbone)
    return tiny_backbone


def _one_by_one(paths: list[str], backbone: Backbone, layer: str = "pooled") -> np.ndarray:
    """The features of each path, by an extraction of its own."""
    return np.stack([extract_features([path], backbone, layer=layer).features.load()[0] for path in paths])


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_one_file_holds_all_images_with_what_is_known_of_them(
    suffix: str, photo_folder: Path, tmp_path: Path, tiny: Backbone
) -> None:
    made = extract(ExtractConfig(str(photo_folder), seed=3), tmp_path / f"codes{suffix}")

    table = read_features(tmp_path / f"codes{suffix}")
    dataset, record = assign_splits(load_dataset(photo_folder), seed=3)
    assert table.names == tuple(dataset.names())
    assert table.classes == ("brick", "grass", "sky")
    assert table.splits == tuple(dataset.split_names())
    assert table.labels.tolist() == dataset.labels().tolist()
    np.testing.assert_allclose(table.features, _one_by_one(dataset.paths(), tiny), atol=1e-5)
    (file,) = made.files
    assert (file.path, file.images, file.words) == (tmp_path / f"codes{suffix}", 24, record.rule)
    assert (made.extracted, made.from_store, made.problems) == (24, 0, ())


def test_a_pickle_of_all_images(photo_folder: Path, tmp_path: Path) -> None:
    extract(ExtractConfig(str(photo_folder)), tmp_path / "codes.p")

    with (tmp_path / "codes.p").open("rb") as file:
        data = pickle.load(file)
    assert data["features"].shape[:3] == (24, 1, 1)
    assert data["labels"].tolist() == [0] * 8 + [1] * 8 + [2] * 8


def test_a_layer_in_the_middle_keeps_its_shape(photo_folder: Path, tmp_path: Path, tiny: Backbone) -> None:
    layer = next(name for name, cut in tiny.cuts.items() if len(cut.shape) == 3)

    extract(ExtractConfig(str(photo_folder), layer=layer, per_class=4), tmp_path / "codes.parquet")

    table = read_features(tmp_path / "codes.parquet")
    assert table.features.shape[1:] == tiny.cuts[layer].shape
    assert table.names is not None
    paths = [str(photo_folder / name) for name in table.names]
    np.testing.assert_allclose(table.features, _one_by_one(paths, tiny, layer), atol=1e-5)


def test_the_bottleneck_files(tmp_path: Path, draw_photos: DrawPhotos, tiny: Backbone) -> None:
    photos = tmp_path / "gtsrb"
    draw_photos(photos / "train", per_class=6, seed=1)
    draw_photos(photos / "test", per_class=4, seed=2)

    made = extract_bottleneck(
        ExtractConfig(str(photos), backbone="vgg16", per_class=5), tmp_path / "new/packs"
    )

    train, validation = (file.path for file in made.files)
    assert train == tmp_path / "new/packs/vgg_traffic_5_bottleneck_features_train.p"
    assert validation == tmp_path / "new/packs/vgg_traffic_bottleneck_features_validation.p"
    with train.open("rb") as first, validation.open("rb") as second:
        train_data, validation_data = pickle.load(first), pickle.load(second)
    width = train_data["features"].shape[-1]
    assert train_data["features"].shape == (15, 1, 1, width)
    assert train_data["labels"].tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert validation_data["features"].shape == (12, 1, 1, width)
    assert validation_data["labels"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    paths = load_dataset(photos).paths("test")
    np.testing.assert_allclose(validation_data["features"][:, 0, 0], _one_by_one(paths, tiny), atol=1e-5)
    assert [file.images for file in made.files] == [15, 12]
    assert made.extracted == 27  # what is not used is not extracted


def test_a_second_extraction_comes_from_the_store(photo_folder: Path, tmp_path: Path) -> None:
    extract(ExtractConfig(str(photo_folder)), tmp_path / "codes.npz", store=tmp_path / "store")
    made = extract_bottleneck(ExtractConfig(str(photo_folder)), tmp_path, store=tmp_path / "store")

    assert made.extracted == 0
    assert made.files[0].path.name == "tf_efficientnet_lite0_photos_100_bottleneck_features_train.p"


def test_unreadable_images_are_named_and_left_out(photo_folder: Path, tmp_path: Path) -> None:
    before = extract_bottleneck(ExtractConfig(str(photo_folder), per_class=3), tmp_path / "before")
    (photo_folder / "grass" / "00a.jpg").write_text("no image")

    after = extract_bottleneck(ExtractConfig(str(photo_folder), per_class=3), tmp_path / "after")
    extract(ExtractConfig(str(photo_folder)), tmp_path / "codes.npz")

    assert len(read_features(tmp_path / "codes.npz")) == 24
    for old, new in zip(before.files, after.files, strict=True):  # as if it had never been there
        assert old.path.read_bytes() == new.path.read_bytes()


@pytest.mark.parametrize("out", ["codes.csv", "none/codes.npz"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_computed(
    out: str, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "list_images_of", lambda *_: pytest.fail("it began"))

    with pytest.raises(DataError, match="codes"):
        extract(ExtractConfig(str(photo_folder)), tmp_path / out)


def test_a_folder_that_cannot_be_made(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(DataError, match=r"The folder .*file cannot be made"):
        extract_bottleneck(ExtractConfig(str(photo_folder)), tmp_path / "file")


@pytest.mark.parametrize("job", [extract, extract_bottleneck])
def test_nothing_can_be_read(job: Callable[..., object], photo_folder: Path, tmp_path: Path) -> None:
    for photo in photo_folder.rglob("*.jpg"):
        photo.write_text("no image")

    with pytest.raises(DataError, match="None of the 24 images of photos can be read"):
        job(ExtractConfig(str(photo_folder)), tmp_path / "codes.p")


def test_groups_go_into_the_file(photo_folder: Path, tmp_path: Path) -> None:
    extract(ExtractConfig(str(photo_folder), group_pattern=r"0([0-7])\.jpg"), tmp_path / "codes.parquet")

    table = read_features(tmp_path / "codes.parquet")
    assert table.names is not None
    assert table.groups is not None
    assert table.groups.tolist() == [int(Path(name).stem) for name in table.names]


def test_where_those_drawn_instead_cannot_be_read_either_all_are_told_once(
    photo_folder: Path, tmp_path: Path
) -> None:
    broken = sorted((photo_folder / "brick").glob("*.jpg"))[:-1]
    for photo in broken:
        photo.write_bytes(b"no image")

    made = extract(ExtractConfig(str(photo_folder), per_class=1), tmp_path / "codes.npz")

    # Each pass draws at most two of the class; it ends when one that can be read has been drawn.
    names = [problem.path for problem in made.problems]
    assert len(names) == len(set(names)) >= 6
    assert set(names) <= {f"brick/{photo.name}" for photo in broken}
    table = read_features(tmp_path / "codes.npz")
    assert table.names is not None
    assert [name for name in table.names if name.startswith("brick/")] == ["brick/07.jpg"]
    assert made.extracted == made.files[0].images


def test_pixels_may_be_normalised_by_the_training_part(
    photo_folder: Path, tmp_path: Path, tiny: Backbone
) -> None:
    (photo_folder / "brick/broken.jpg").write_text("no image")
    config = ExtractConfig(str(photo_folder), normalise="dataset", seed=3)

    made = extract(config, tmp_path / "codes.npz")

    dataset, _ = assign_splits(load_dataset(photo_folder).subset(_readable(photo_folder)), seed=3)
    train = [str(photo_folder / name) for name in dataset.names("train")]
    pixels = (
        np.stack([prepare_image(decode_image(Path(p).read_bytes()), tiny.preprocess) for p in train]) / 255
    )
    mean, std = pixels.mean(axis=(0, 2, 3)), pixels.std(axis=(0, 2, 3))
    backbone = tiny.with_preprocess(
        replace(tiny.preprocess, mean=tuple(mean.round(6).tolist()), std=tuple(std.round(6).tolist()))
    )
    table = read_features(tmp_path / "codes.npz")
    assert table.names == tuple(dataset.names())
    np.testing.assert_allclose(table.features, _one_by_one(dataset.paths(), backbone), atol=1e-6)
    assert np.abs(table.features - _one_by_one(dataset.paths(), tiny)).max() > 1e-3
    assert (made.extracted, len(made.problems)) == (24, 1)


def _readable(folder: Path) -> np.ndarray:
    return np.array(["broken" not in name for name in load_dataset(folder).names()])
