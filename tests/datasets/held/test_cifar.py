"""CIFAR-10's batches, as its authors' Python 2 wrote them and as Python 3 would."""

import gzip
import io
import os
import pickle
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from headstart.datasets.held import cifar
from headstart.datasets.held.cifar import read_cifar
from headstart.errors import DataError, PickleRefusedError

CLASSES = ["airplane", "automobile", "bird", "cat"]
NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def old_batch(pixels: np.ndarray, labels: list[int]) -> bytes:
    """A batch as cPickle of Python 2 wrote it: str keys, str data, protocol 2."""

    def text(data: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(data)) + data

    return (
        b"\x80\x02}q\x01(" + text(b"batch_label") + text(b"training batch 1 of 5") + text(b"labels") + b"]q\x02("
        + b"".join(b"K" + bytes([label]) for label in labels) + b"e" + text(b"data")
        + b"cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85" + text(b"b") + b"\x87R"
        + b"(K\x01K" + bytes([len(labels)]) + b"M\x00\x0c\x86cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
        + b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + text(pixels.tobytes()) + b"tb"
        + text(b"filenames") + b"](" + b"".join(text(b"%d.png" % label) for label in labels) + b"eu."
    )  # fmt: skip


def rows(images: np.ndarray) -> np.ndarray:
    """(n, 32, 32, 3) to (n, 3072): all red, then all green, then all blue."""
    return np.concatenate([images[..., channel].reshape(len(images), -1) for channel in range(3)], 1)


@pytest.fixture(scope="module")
def images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, (3 + i, 32, 32, 3), np.uint8) for i, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def labels(images: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    rng = np.random.default_rng(1)
    return {name: rng.integers(0, 4, len(each)).tolist() for name, each in images.items()}


@pytest.fixture(scope="module")
def files(images: Mapping[str, np.ndarray], labels: Mapping[str, list[int]]) -> dict[str, bytes]:
    """The files of the archive; the last batch is Python 3's."""
    data = {name: old_batch(rows(images[name]), labels[name]) for name in NAMES}
    data["test_batch"] = pickle.dumps({"data": rows(images["test_batch"]), "labels": labels["test_batch"]})
    meta = pickle.dumps({"num_cases_per_batch": 10000, "label_names": CLASSES, "num_vis": 3072}, 2)
    return {**data, "batches.meta": meta, "readme.html": b"<html>"}


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def write_archive(path: Path, files: Mapping[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("form", ["tar.gz", "tar", "reversed"])
def test_all_forms_give_the_same(
    form: str,
    tmp_path: Path,
    files: dict[str, bytes],
    images: dict[str, np.ndarray],
    labels: dict[str, list[int]],
) -> None:
    match form:
        case "tar.gz":
            path = write_archive(tmp_path / "cifar-10-python.tar.gz", files)
        case "tar":
            path = write_archive(tmp_path / "cifar-10-python.tar", files, "w")
        case _:
            path = write_archive(tmp_path / "c.tgz", dict(reversed(files.items())))
    arrays = read_cifar(path)
    assert np.array_equal(arrays.pixels, np.concatenate([images[name] for name in NAMES]))
    assert arrays.labels.tolist() == [label for name in NAMES for label in labels[name]]
    assert arrays.splits == tuple(["train"] * (3 + 4 + 5 + 6 + 7) + ["test"] * 8)
    assert arrays.classes == tuple(CLASSES)


def test_one_batch(tmp_path: Path, files: dict[str, bytes], images: dict[str, np.ndarray]) -> None:
    path = write_folder(tmp_path / "c", files) / "data_batch_2"
    arrays = read_cifar(path)
    assert np.array_equal(arrays.pixels, images["data_batch_2"])
    assert arrays.pixels.flags.c_contiguous
    assert arrays.splits is None
    assert arrays.classes == tuple(CLASSES)
    (path.parent / "batches.meta").unlink()
    assert read_cifar(path).classes == tuple(str(i) for i in range(max(read_cifar(path).labels) + 1))


def test_nothing_is_unpacked(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = write_archive(tmp_path / "c.tar.gz", {"../../../outside": b"x", **files})
    read_cifar(path)
    assert [each.name for each in tmp_path.iterdir()] == ["c.tar.gz"]


def test_missing_batches_are_named(tmp_path: Path, files: dict[str, bytes]) -> None:
    some = {name: data for name, data in files.items() if name not in {"data_batch_3", "test_batch"}}
    with pytest.raises(DataError, match=r"lacks data_batch_3, test_batch\."):
        read_cifar(write_archive(tmp_path / "c.tar.gz", some))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("data_batch_2", [1, 2], "data_batch_2 is no batch"),
        ("data_batch_2", {"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, "data_batch_2 is no batch"),
        ("data_batch_2", {"data": np.zeros((1, 3072)), "labels": [1]}, "uint8, got .* float64"),
        ("data_batch_2", {"data": np.zeros((1, 3071), np.uint8), "labels": [1]}, r"got \(1, 3071\)"),
        ("data_batch_2", {"data": np.zeros((1, 3072), np.uint8), "labels": [9]}, "4 classes, but labels go up to 9"),
        ("data_batch_2", {"data": np.zeros((1, 3072), np.uint8), "labels": [[9]]}, "whole numbers"),
        ("data_batch_2", {"data": np.zeros((1, 3072), np.uint8), "labels": ["cat"]}, "labels are text"),
        ("batches.meta", {"label_names": []}, "batches.meta: expected"),
        ("batches.meta", {"label_names": ["a", "a", "b", "c"]}, "stands twice"),
    ],
)  # fmt: skip
def test_batches_that_are_none(
    name: str, value: object, words: str, tmp_path: Path, files: dict[str, bytes]
) -> None:
    with pytest.raises(DataError, match=words):
        read_cifar(write_archive(tmp_path / "c.tar.gz", {**files, name: pickle.dumps(value)}))


def test_a_hostile_batch_is_refused_by_name(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = write_archive(tmp_path / "c.tar.gz", {**files, "data_batch_4": pickle.dumps(os.getcwd)})
    with pytest.raises(PickleRefusedError, match=r"cifar-10-batches-py/data_batch_4: it asks for .*getcwd"):
        read_cifar(path)


def test_damaged_archives(tmp_path: Path, files: dict[str, bytes]) -> None:
    data = write_archive(tmp_path / "c.tar.gz", files).read_bytes()
    path = tmp_path / "d.tar.gz"
    for damaged in (
        b"",
        b"no archive",
        gzip.compress(b"no archive either"),
        data[: len(data) // 2],
        data[:11],
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"damaged one|lacks data_batch"):
            read_cifar(path)
    with pytest.raises(DataError, match="There is no file"):
        read_cifar(tmp_path / "absent.tar.gz")


def test_a_bomb_is_left(tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "_MOST_UNPACKED", 10**7)
    path = write_archive(tmp_path / "c.tar.gz", {"zeros": bytes(2 * 10**7), **files})
    with pytest.raises(DataError, match="unpacks to more than 10 MB"):
        read_cifar(path)
    # What stands behind all batches is not even unpacked.
    read_cifar(write_archive(tmp_path / "d.tar.gz", {**files, "zeros": bytes(2 * 10**7)}))
