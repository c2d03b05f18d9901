"""Files of arrays as data sets: found by their names, read in place, their features found again."""

import io
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from headstart.backbones import Backbone
from headstart.datasets import ImageDataset, load_dataset
from headstart.errors import DataError, PickleRefusedError
from headstart.features import FeatureStore, extract_features
from headstart.images import decode_image


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


LABELS = [0, 1, 2, 0, 1, 2]


def decoded(dataset: ImageDataset) -> np.ndarray:
    return np.stack([decode_image(read()) for read in dataset.files.readers(dataset.names())])


@pytest.mark.parametrize("name", ["train.p", "signs.PKL", "a.pickle"])
def test_a_pickled_dict_with_the_signs_names(tmp_path: Path, pixels: np.ndarray, name: str) -> None:
    content = {
        "features": pixels,
        "labels": np.array(LABELS),
        "sizes": np.zeros((6, 2)),
        "coords": np.zeros((6, 4)),
    }
    (tmp_path / name).write_bytes(pickle.dumps(content, protocol=2))
    dataset = load_dataset(str(tmp_path / name))
    assert dataset.name == name.partition(".")[0]
    assert dataset.classes == ("0", "1", "2")
    assert dataset.labels().tolist() == LABELS
    assert dataset.splits == ()
    assert np.array_equal(decoded(dataset), pixels)
    assert dataset.paths()[5] == f"{tmp_path / name}!/5"
    (tmp_path / "signnames.csv").write_text("ClassId,SignName\n0,Stop\n1,Yield\n2,Wild animals\n")
    assert load_dataset(tmp_path / name).classes == ("Stop", "Yield", "Wild animals")


def test_npz_with_splits(tmp_path: Path, pixels: np.ndarray) -> None:
    np.savez(
        tmp_path / "set.npz", x_train=pixels[:4], y_train=LABELS[:4], x_test=pixels[4:], y_test=LABELS[4:]
    )
    dataset = load_dataset(str(tmp_path / "set.npz"))
    assert dataset.split_names().tolist() == ["train"] * 4 + ["test"] * 2
    assert dataset.labels().tolist() == LABELS
    assert np.array_equal(decoded(dataset), pixels)
    np.savez(tmp_path / "one.npz", x_train=pixels, y_train=LABELS)
    assert load_dataset(str(tmp_path / "one.npz")).splits == ()  # a train part alone is divided later


def write_batches(folder: Path, pixels: np.ndarray) -> Path:
    """CIFAR-10 for Python with one image a batch."""
    folder.mkdir(parents=True)
    for k, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        data = pixels[k : k + 1].transpose(0, 3, 1, 2).reshape(1, -1)
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": [LABELS[k]]}, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["cat", "dog", "ship"]}, protocol=2))
    return folder


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-py"])
def test_a_folder_of_batches(tmp_path: Path, pixels: np.ndarray, inner: str) -> None:
    write_batches(tmp_path / "cifar" / inner, pixels)
    dataset = load_dataset(str(tmp_path / "cifar"))
    assert dataset.name == "cifar"
    assert dataset.classes == ("cat", "dog", "ship")
    assert dataset.labels().tolist() == LABELS
    assert dataset.split_names().tolist() == ["train"] * 5 + ["test"]
    assert np.array_equal(decoded(dataset), pixels)
    (tmp_path / "cifar" / inner / "data_batch_3").unlink()
    with pytest.raises(DataError, match=r"lacks data_batch_3\.\nExpected CIFAR-10"):
        load_dataset(str(tmp_path / "cifar"))


@pytest.mark.parametrize("top", ["cifar-10-batches-py/", ""])
def test_an_archive_of_batches(tmp_path: Path, pixels: np.ndarray, top: str) -> None:
    folder = write_batches(tmp_path / "batches", pixels)
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(folder, top) if top else [
            archive.add(path, path.name) for path in sorted(folder.iterdir())
        ]
    dataset = load_dataset(str(tmp_path / "cifar-10-python.tar.gz"))
    assert dataset.name == "cifar-10-python"
    assert dataset.split_names().tolist() == ["train"] * 5 + ["test"]
    assert np.array_equal(decoded(dataset), pixels)


def test_one_batch(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = write_batches(tmp_path / "batches", pixels)
    dataset = load_dataset(str(folder / "data_batch_2"))
    assert (dataset.classes, dataset.labels().tolist(), dataset.splits) == (("cat", "dog", "ship"), [1], ())
    assert np.array_equal(decoded(dataset), pixels[1:2])


def test_other_archives_are_not_taken_for_batches(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        for k in range(5):
            archive.addfile(tarfile.TarInfo(f"photos/{k}/data_batch_1.jpg"), io.BytesIO())
    (tmp_path / "broken.tar.gz").write_bytes(b"nothing")
    assert load_dataset(tmp_path / "photos.tar").classes == ("0", "1", "2", "3", "4")
    with pytest.raises(DataError, match=r"broken\.tar\.gz is no tar archive"):
        load_dataset(tmp_path / "broken.tar.gz")


@pytest.mark.parametrize("name", ["missing.npz", "missing.p", "missing.pkl"])
def test_what_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"There is no file .*{name}"):
        load_dataset(str(tmp_path / name))


def test_nothing_in_a_pickle_is_run(tmp_path: Path) -> None:
    (tmp_path / "evil.p").write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "run").encode() + b"'\ntR.")
    with pytest.raises(PickleRefusedError, match=r"os\.system"):
        load_dataset(str(tmp_path / "evil.p"))
    assert not (tmp_path / "run").exists()


def test_a_column_of_groups_is_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", x=pixels, y=LABELS)
    with pytest.raises(DataError, match="is no table"):
        load_dataset(tmp_path / "a.npz", group="track")


def test_features_are_found_again_until_a_batch_changes(
    tmp_path: Path, pixels: np.ndarray, tiny_backbone: Backbone
) -> None:
    folder, store = write_batches(tmp_path / "batches", pixels), FeatureStore(tmp_path / "store")

    def extract() -> int:
        return extract_features(load_dataset(str(folder)), tiny_backbone, store=store).extracted

    assert (extract(), extract()) == (6, 0)
    changed = 255 - pixels[5:].transpose(0, 3, 1, 2).reshape(1, -1)
    (folder / "test_batch").write_bytes(pickle.dumps({"data": changed, "labels": [0]}, protocol=2))
    assert (extract(), extract()) == (1, 0)


@pytest.mark.parametrize("kind", ["npz", "batches"])
def test_pixels_of_a_file_that_has_changed_since_are_not_taken_for_its_new_ones(
    tmp_path: Path,
    pixels: np.ndarray,
    tiny_backbone: Backbone,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As if the file had been written long before it is read: the store trusts no stamp of the last seconds.
    monkeypatch.setattr("headstart.features.store._RACY_NS", 0)
    store = FeatureStore(tmp_path / "store")

    def write(images: np.ndarray) -> Path:
        if kind == "batches":
            shutil.rmtree(tmp_path / "batches", ignore_errors=True)
            return write_batches(tmp_path / "batches", images)
        np.savez(tmp_path / "a.npz", x=images, y=LABELS)
        return tmp_path / "a.npz"

    def extract(dataset: ImageDataset) -> np.ndarray:
        return extract_features(dataset, tiny_backbone, store=store).features.load()

    old = load_dataset(str(write(pixels)))
    changed = write(255 - pixels)
    extract(old)
    new = load_dataset(str(changed))
    fresh = FeatureStore(tmp_path / "fresh")
    expected = extract_features(new, tiny_backbone, store=fresh).features.load()
    assert np.array_equal(extract(new), expected)
