"""torchvision's own classes on data sets that lie on the disk, or that it makes up."""

import gzip
import inspect
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image

from headstart.datasets import ImageDataset, ReadOptions, load_dataset, make_table, read_image
from headstart.datasets.named.torchvision_sets import SETS
from headstart.errors import DataError, DownloadError
from headstart.images import decode_image


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def draw(seed: int, shape: tuple[int, ...] = (12, 16, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, seed: int) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw(seed)).save(path)
    return path.read_bytes()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "datasets" / "torchvision"


@pytest.mark.parametrize("name", SETS)
def test_the_library_has_each_class_and_takes_its_arguments(name: str) -> None:
    make = getattr(torchvision.datasets, name)
    known = inspect.signature(make).parameters
    more = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    for arguments in SETS[name].values():
        assert more or arguments.keys() <= known.keys()


def test_no_set_is_left_to_the_librarys_unpickling() -> None:
    for name in SETS:
        source = inspect.getsource(inspect.getmodule(getattr(torchvision.datasets, name)))
        assert "pickle.load" not in source
        assert source.count("torch.load(") == source.count("weights_only=True")


def test_images_that_the_library_makes_up(tmp_path: Path) -> None:
    dataset = load_dataset("torchvision:FakeData", cache=tmp_path)
    oracle = torchvision.datasets.FakeData()
    assert len(dataset) == 1000
    assert dataset.classes == tuple("0123456789")
    assert dataset.splits == ()
    for k in (0, 7, 999):
        image, label = oracle[k]
        assert dataset.labels()[k] == int(label)
        assert np.array_equal(decode_image(read_image(dataset.files, f"all/{k}")), np.asarray(image))
    dataset.files.stamp(dataset.paths()[0])


def write_idx(path: Path, values: np.ndarray) -> None:
    """The format of MNIST: http://yann.lecun.com/exdb/mnist."""
    head = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + values.tobytes())
    with gzip.open(f"{path}.gz", "wb") as file:
        file.write(path.read_bytes())


@pytest.mark.parametrize("typed", ["MNIST", "mnist"])
def test_arrays_with_official_splits(root: Path, tmp_path: Path, typed: str) -> None:
    raw = root / "MNIST" / "MNIST" / "raw"
    parts = {"train": (draw(0, (5, 28, 28)), [3, 1, 0, 9, 3]), "t10k": (draw(1, (2, 28, 28)), [0, 9])}
    for part, (pixels, labels) in parts.items():
        write_idx(raw / f"{part}-images-idx3-ubyte", pixels)
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.array(labels, np.uint8))
    dataset = load_dataset(f"torchvision:{typed}", cache=tmp_path)
    assert dataset.name == "MNIST"
    assert dataset.classes[3] == "3 - three"
    assert dataset.labels().tolist() == [3, 1, 0, 9, 3, 0, 9]
    assert dataset.split_names().tolist() == ["train"] * 5 + ["test"] * 2
    assert len(set(dataset.paths())) == 7
    got = np.stack([decode_image(read_image(dataset.files, name)) for name in dataset.names()])
    assert np.array_equal(
        got, np.repeat(np.concatenate([p for p, _ in parts.values()])[..., None], 3, axis=3)
    )


def test_image_files_are_left_where_they_are(root: Path, tmp_path: Path) -> None:
    base = root / "OxfordIIITPet" / "oxford-iiit-pet"
    content = {
        name: save(base / "images" / f"{name}.jpg", k) for k, name in enumerate(("Pug_2", "Pug_1", "boxer_3"))
    }
    (base / "annotations").mkdir()
    (base / "annotations" / "trainval.txt").write_text("Pug_2 1 2 1\nPug_1 1 2 1\nboxer_3 2 2 2\n")
    (base / "annotations" / "test.txt").write_text("boxer_3 2 2 2\nPug_2 1 2 1\n")
    dataset = load_dataset("torchvision:OxfordIIITPet", cache=tmp_path)
    assert dataset.classes == ("Pug", "Boxer")
    assert dataset.split_names().tolist() == ["train"] * 3 + ["test"] * 2
    assert [Path(name).stem for name in dataset.names()] == ["Pug_1", "Pug_2", "boxer_3", "Pug_2", "boxer_3"]
    assert dataset.labels().tolist() == [0, 0, 1, 0, 1]
    assert read_image(dataset.files, dataset.names()[0]) == content["Pug_1"]
    assert Path(dataset.paths()[0]).is_file()


def test_class_folders_and_a_table(root: Path, tmp_path: Path) -> None:
    base = root / "GTSRB" / "gtsrb"
    for label in range(2):
        save(base / "GTSRB" / "Training" / f"{label:05}" / "00000_00000.ppm", label)
    save(base / "GTSRB" / "Final_Test" / "Images" / "00000.ppm", 5)
    (base / "GT-final_test.csv").write_text("Filename;Width;ClassId\n00000.ppm;16;1\n")
    dataset = load_dataset("torchvision:GTSRB", cache=tmp_path)
    assert dataset.classes == ("0", "1")
    assert dataset.labels().tolist() == [0, 1, 1]
    assert dataset.splits == ("train", "test")


def test_folders_without_splits(root: Path, tmp_path: Path) -> None:
    for k, name in enumerate(("Forest", "River")):
        save(root / "EuroSAT" / "eurosat" / "2750" / name / "1.jpg", k)
    dataset = load_dataset("torchvision:EuroSAT", cache=tmp_path)
    assert dataset.classes == ("Forest", "River")
    assert dataset.splits == ()


def test_folders_that_the_library_opens_by_number(root: Path, tmp_path: Path) -> None:
    base = root / "Caltech256" / "caltech256" / "256_ObjectCategories"
    for label, name in enumerate(("001.ak47", "002.flag")):
        for k in (1, 2):
            save(base / name / f"{label + 1:03}_{k:04}.png", 10 * label + k)
    for label, name in enumerate(("001.ak47", "002.flag")):
        for k in (1, 2):
            (base / name / f"{label + 1:03}_{k:04}.png").rename(base / name / f"{label + 1:03}_{k:04}.jpg")
    dataset = load_dataset("torchvision:Caltech256", cache=tmp_path)
    assert dataset.classes == ("001.ak47", "002.flag")
    assert dataset.labels().tolist() == [0, 0, 1, 1]
    assert np.array_equal(decode_image(read_image(dataset.files, "all/3")), draw(12))


def test_a_name_that_is_close_is_offered(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no classification set 'flower102'.*\nDid you mean torchvision:Flowers102\?"
    ):
        load_dataset("torchvision:flower102", cache=tmp_path)
    with pytest.raises(DataError, match=r"known: CIFAR10, CIFAR100, Caltech101"):
        load_dataset("torchvision:CocoDetection", cache=tmp_path)


def test_cifar_is_read_by_ourselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def read_named(name: str, options: ReadOptions) -> ImageDataset:
        asked.append((name, options.cache))
        return ImageDataset(name=name, table=make_table(["0"], [0], ["test"]), classes=("a",))

    monkeypatch.setattr("headstart.datasets.named.torchvision_sets.read_named", read_named)
    assert load_dataset("torchvision:cifar100", cache=tmp_path).name == "cifar100"
    assert asked == [("cifar100", tmp_path / "datasets")]


def test_what_cannot_be_fetched_is_named_with_its_folder(root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DownloadError, match=rf"torchvision could not provide EuroSAT: .*\n.* {root / 'EuroSAT'}"
    ):
        load_dataset("torchvision:EuroSAT", cache=tmp_path)
    with pytest.raises(DownloadError, match="torchvision could not provide StanfordCars"):
        load_dataset("torchvision:StanfordCars", cache=tmp_path)
