"""Hugging Face's own library on data sets that lie on the disk: its real path, without a network."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart.backbones import Backbone
from headstart.datasets import ImageDataset, load_dataset, read_image
from headstart.errors import DataError, DownloadError
from headstart.features import FeatureStore, extract_features

hub = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub.config, "HF_CACHE_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(hub.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.disable_progress_bars()


def photo(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def write_parquet(path: Path, images: list[bytes], labels: list[int | None], **more: list[Any]) -> None:
    """A Parquet file as the hub has them, with its columns' types."""
    features = {"image": hub.Image(), "label": hub.ClassLabel(names=["cat", "dog"])}
    features |= {name: hub.Value("string") for name in more}
    rows = {"image": [{"bytes": image, "path": None} for image in images], "label": labels, **more}
    path.parent.mkdir(parents=True, exist_ok=True)
    hub.Dataset.from_dict(rows, features=hub.Features(features)).to_parquet(str(path))


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    data = tmp_path / "pets" / "data"
    write_parquet(data / "train-00000-of-00002.parquet", [photo(0), photo(1)], [0, 1], owner=["a", "b"])
    write_parquet(data / "train-00001-of-00002.parquet", [photo(2), photo(3)], [1, 0], owner=["b", "a"])
    write_parquet(data / "validation-00000-of-00001.parquet", [photo(4), photo(5)], [0, 1], owner=["c", "d"])
    write_parquet(
        data / "test-00000-of-00001.parquet", [photo(6), photo(7), photo(8)], [1, -1, 0], owner=["e"] * 3
    )
    return tmp_path / "pets"


def rows(dataset: ImageDataset) -> list[tuple[str, int, str | None]]:
    table = dataset.table.to_pydict()
    return list(zip(table["path"], table["label"], table["split"], strict=True))


def test_official_splits_labels_and_the_bytes_as_they_are(pets: Path, tmp_path: Path) -> None:
    dataset = load_dataset(f"hf:{pets}", cache=tmp_path / "store")
    assert dataset.name == "pets"
    assert dataset.classes == ("cat", "dog")
    assert rows(dataset) == [
        ("train/0", 0, "train"),
        ("train/1", 1, "train"),
        ("train/2", 1, "train"),
        ("train/3", 0, "train"),
        ("validation/0", 0, "val"),
        ("validation/1", 1, "val"),
        ("test/0", 1, "test"),
        ("test/2", 0, "test"),
    ]
    assert dataset.notes == ("1 images of test have no label and were passed over.",)
    seeds = [0, 1, 2, 3, 4, 5, 6, 8]
    assert [read() for read in dataset.files.readers(dataset.names())] == [photo(seed) for seed in seeds]
    assert dataset.groups() is None
    place = dataset.paths()[0]
    assert place.startswith(str(tmp_path / "store" / "datasets" / "huggingface"))
    assert place.endswith(".arrow!/train/0")
    assert len(set(dataset.paths())) == 8
    dataset.files.stamp(place)


def test_a_column_of_groups(pets: Path, tmp_path: Path) -> None:
    dataset = load_dataset(f"hf:{pets}", cache=tmp_path, group="owner")
    assert dataset.table["group"].to_pylist() == ["a", "b", "b", "a", "c", "d", "e", "e"]
    with pytest.raises(DataError, match="no column 'colour' for groups; it has image, label, owner"):
        load_dataset(f"hf:{pets}", cache=tmp_path, group="colour")


def test_changed_files_are_other_places(pets: Path, tmp_path: Path) -> None:
    before = load_dataset(f"hf:{pets}", cache=tmp_path / "store").paths()
    assert load_dataset(f"hf:{pets}", cache=tmp_path / "store").paths() == before
    write_parquet(pets / "data" / "test-00000-of-00001.parquet", [photo(9)] * 3, [1, 1, 0], owner=["e"] * 3)
    after = load_dataset(f"hf:{pets}", cache=tmp_path / "store")
    assert not set(before) & set(after.paths())
    assert read_image(after.files, "test/0") == photo(9)


def test_a_folder_of_class_folders_read_by_the_library(tmp_path: Path) -> None:
    for split, name, seed in (("train", "a", 0), ("train", "b", 1), ("test", "a", 2), ("test", "b", 3)):
        place = tmp_path / "photos" / split / name / f"{seed}.jpg"
        place.parent.mkdir(parents=True)
        place.write_bytes(photo(seed))
    dataset = load_dataset(f"hf:{tmp_path / 'photos'}", cache=tmp_path / "store")
    assert dataset.classes == ("a", "b")
    assert rows(dataset) == [
        ("train/0", 0, "train"),
        ("train/1", 1, "train"),
        ("test/0", 0, "test"),
        ("test/1", 1, "test"),
    ]
    assert [read() for read in dataset.files.readers(dataset.names())] == [photo(seed) for seed in range(4)]


def test_a_single_split_is_left_to_be_divided(tmp_path: Path) -> None:
    write_parquet(tmp_path / "one" / "data" / "train-00000-of-00001.parquet", [photo(0), photo(1)], [0, 1])
    assert load_dataset(f"hf:{tmp_path / 'one'}", cache=tmp_path).splits == ()


def test_a_test_part_without_labels_leaves_a_single_split(tmp_path: Path) -> None:
    for split, labels in (("train", [0, 1]), ("test", [-1, None])):
        write_parquet(tmp_path / "two" / f"{split}-00000-of-00001.parquet", [photo(0), photo(1)], labels)
    dataset = load_dataset(f"hf:{tmp_path / 'two'}", cache=tmp_path)
    assert rows(dataset) == [("train/0", 0, None), ("train/1", 1, None)]
    assert dataset.notes == ("2 images of test have no label and were passed over.",)


def test_splits_of_unknown_names_only_are_one_set(tmp_path: Path) -> None:
    for name in ("north", "south"):
        write_parquet(tmp_path / "set" / f"{name}.parquet", [photo(0), photo(1)], [0, 1])
    configs = "".join(f"  - split: {name}\n    path: {name}.parquet\n" for name in ("north", "south"))
    (tmp_path / "set" / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{configs}---\n"
    )
    dataset = load_dataset(f"hf:{tmp_path / 'set'}", cache=tmp_path)
    assert dataset.names() == ["north/0", "north/1", "south/0", "south/1"]
    assert dataset.splits == ()


def test_what_save_to_disk_wrote(tmp_path: Path) -> None:
    features = hub.Features(
        {"img": hub.Image(), "label": hub.ClassLabel(names=["cat", "dog"]), "mask": hub.Image()}
    )
    images = [{"bytes": photo(seed), "path": None} for seed in range(2)]
    part = hub.Dataset.from_dict({"img": images, "label": [None, 1], "mask": images}, features=features)
    hub.DatasetDict({"train": part, "extra": part}).save_to_disk(str(tmp_path / "saved"))
    dataset = load_dataset(f"hf:{tmp_path / 'saved'}", cache=tmp_path)
    assert rows(dataset) == [("train/1", 1, None)]  # a train part alone is divided later
    assert dataset.notes == (
        "Columns img and label were read, not mask.",
        "2 images of the split 'extra' were passed over.",
        "1 images of train have no label and were passed over.",
    )
    assert read_image(dataset.files, "train/1") == photo(1)


def test_configurations(tmp_path: Path) -> None:
    for name, seed in (("small", 0), ("large", 5)):
        write_parquet(
            tmp_path / "set" / name / "train-00000-of-00001.parquet", [photo(seed), photo(seed + 1)], [0, 1]
        )
    configs = "".join(
        f"- config_name: {name}\n  data_files: {name}/*.parquet\n" for name in ("small", "large")
    )
    (tmp_path / "set" / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    dataset = load_dataset(f"hf:{tmp_path / 'set'}:large", cache=tmp_path)
    assert read_image(dataset.files, dataset.names()[0]) == photo(5)
    with pytest.raises(DataError, match=r"cannot be read: Config name is missing.*small"):
        load_dataset(f"hf:{tmp_path / 'set'}", cache=tmp_path)


def test_no_classification_set(tmp_path: Path) -> None:
    part = hub.Dataset.from_dict({"text": ["a"], "label": [1]})
    (tmp_path / "words").mkdir()
    part.to_parquet(str(tmp_path / "words" / "train.parquet"))
    with pytest.raises(
        DataError, match=r"no column of type Image.*\nIts columns: text \(Value\), label \(Value\)"
    ):
        load_dataset(f"hf:{tmp_path / 'words'}", cache=tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="cannot be read") as raised:
        load_dataset(f"hf:{tmp_path / 'empty'}", cache=tmp_path)
    assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match="needs the name of a data set"):
        load_dataset("hf:", cache=tmp_path)


def test_without_a_network(tmp_path: Path) -> None:
    with pytest.raises(
        DownloadError, match=r"hf:nobody/nothing cannot be fetched: .*\n.*give their folder: hf:FOLDER"
    ):
        load_dataset("hf:nobody/nothing", cache=tmp_path)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r'pip install "headstart\[hf\]"'):
        load_dataset("hf:beans", cache=tmp_path)


def test_features_of_rows_are_found_again(pets: Path, tmp_path: Path, tiny_backbone: Backbone) -> None:
    store = FeatureStore(tmp_path / "store")
    first = extract_features(load_dataset(f"hf:{pets}", cache=tmp_path / "store"), tiny_backbone, store=store)
    again = extract_features(load_dataset(f"hf:{pets}", cache=tmp_path / "store"), tiny_backbone, store=store)
    assert (first.extracted, again.extracted) == (8, 0)
    assert np.array_equal(first.features.load(), again.features.load())
