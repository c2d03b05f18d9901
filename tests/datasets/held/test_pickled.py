"""Data sets in pickles and .npz files."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from headstart.datasets.held.pickled import LabelledArrays, read_npz, read_pickled_dict, read_sign_names
from headstart.errors import DataError, PickleRefusedError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (6, 8, 9, 3), np.uint8)
GREY = RNG.integers(0, 256, (6, 8, 9), np.uint8)
LABELS = np.array([2, 0, 1, 1, 0, 2], np.uint8)


def save(path: Path, value: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_train_p(protocol: int, tmp_path: Path) -> None:
    value = {"features": COLOUR, "labels": LABELS, "sizes": np.zeros((6, 2)), "coords": np.zeros((6, 4))}
    arrays = read_pickled_dict(save(tmp_path / "train.p", value, protocol))
    assert np.array_equal(arrays.pixels, COLOUR)
    assert arrays.pixels.dtype == np.uint8
    assert arrays.labels.tolist() == LABELS.tolist()
    assert arrays.labels.dtype == np.int64
    assert arrays.splits is None
    assert arrays.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    "labels",
    [LABELS.tolist(), list(LABELS), LABELS[:, None], LABELS.astype(">i8"), LABELS.astype(np.int32)],
    ids=["list", "list of numpy's", "column", "big-endian", "int32"],
)
def test_labels_in_other_forms(labels: object, tmp_path: Path) -> None:
    arrays = read_pickled_dict(save(tmp_path / "a.p", {"features": COLOUR, "labels": labels}))
    assert arrays.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize("labels", [list("cabbac"), np.array(list("cabbac"))])
def test_labels_of_text_are_sorted(labels: object, tmp_path: Path) -> None:
    arrays = read_pickled_dict(save(tmp_path / "a.p", {"features": COLOUR, "labels": labels}))
    assert arrays.classes == ("a", "b", "c")
    assert arrays.labels.tolist() == [2, 0, 1, 1, 0, 2]


@pytest.mark.parametrize("grey", [GREY, GREY[..., None]])
def test_grey_becomes_three_equal_channels(grey: np.ndarray, tmp_path: Path) -> None:
    arrays = read_pickled_dict(save(tmp_path / "a.p", {"features": grey, "labels": LABELS}))
    assert arrays.pixels.shape == (6, 8, 9, 3)
    assert all(np.array_equal(arrays.pixels[..., channel], GREY) for channel in range(3))
    assert arrays.pixels.flags.c_contiguous


def test_a_class_without_an_image_keeps_its_number(tmp_path: Path) -> None:
    arrays = read_pickled_dict(save(tmp_path / "a.p", {"features": COLOUR, "labels": [0, 4, 4, 0, 0, 4]}))
    assert arrays.classes == ("0", "1", "2", "3", "4")


def test_sign_names_beside_the_file(tmp_path: Path) -> None:
    # With a byte order mark, quotes, another order and one more class than the file has labels of.
    table = 'ClassId,SignName\r\n1,"Stop, now"\r\n0,Vorfahrt gewähren\r\n3,Kreisverkehr\r\n2,End\r\n'
    (tmp_path / "signnames.csv").write_bytes(table.encode("utf-8-sig"))
    arrays = read_pickled_dict(save(tmp_path / "train.p", {"features": COLOUR, "labels": LABELS}))
    assert arrays.classes == ("Vorfahrt gewähren", "Stop, now", "End", "Kreisverkehr")
    np.savez(tmp_path / "train.npz", x=COLOUR, y=LABELS)
    assert read_npz(tmp_path / "train.npz").classes == arrays.classes
    text = {"features": COLOUR, "labels": list("cabbac")}
    assert read_pickled_dict(save(tmp_path / "text.p", text)).classes == ("a", "b", "c")


def test_too_few_sign_names(tmp_path: Path) -> None:
    (tmp_path / "signnames.csv").write_text("ClassId,SignName\n0,Stop\n1,Go\n")
    path = save(tmp_path / "train.p", {"features": COLOUR, "labels": LABELS})
    with pytest.raises(DataError, match=r"names 2 classes, but .*train\.p has labels up to 2"):
        read_pickled_dict(path)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "expected the columns"),
        ("Id,Name\n0,Stop\n", "expected the columns"),
        ("ClassId,SignName\n0,Stop\n2,Go\n", "without a gap"),
        ("ClassId,SignName\n0,Stop\n0,Go\n", "without a gap"),
        ("ClassId,SignName\n0,Stop\n1,\n", "expected the columns"),
        ("ClassId,SignName\n0,Stop\nx,Go\n", "expected the columns"),
        ("ClassId,SignName\n0,Stop\n1,Stop\n", "stands twice"),
        ("ClassId,SignName\n0,\udce9\n", "cannot be read as a table in UTF-8"),
    ],
)
def test_tables_that_name_no_classes(table: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "signnames.csv"
    path.write_bytes(table.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=words):
        read_sign_names(path)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([COLOUR, LABELS], "holds no data set"),
        ({"features": COLOUR}, "holds no data set"),
        ({"features": COLOUR / 255, "labels": LABELS}, r"float64.*\n.*images \* 255"),
        ({"features": COLOUR.astype(int), "labels": LABELS}, "int64"),
        ({"features": COLOUR.tolist(), "labels": LABELS}, "images are a list"),
        ({"features": COLOUR.transpose(0, 3, 1, 2), "labels": LABELS}, r"shape \(6, 3, 8, 9\).\n.*channels come last"),
        ({"features": COLOUR.reshape(6, -1), "labels": LABELS}, r"shape \(6, 216\)"),
        ({"features": np.zeros((6, 8, 9, 4), np.uint8), "labels": LABELS}, r"shape \(6, 8, 9, 4\)"),
        ({"features": COLOUR[:0], "labels": LABELS[:0]}, r"shape \(0, 8, 9, 3\)"),
        ({"features": np.zeros((6, 1, 1, 512), np.float32), "labels": LABELS}, r"\(6, 1, 1, 512\)(.|\n)*probe"),
        ({"features": COLOUR, "labels": LABELS[:5]}, "a label for each of its 6 images, got 5"),
        ({"features": COLOUR, "labels": np.eye(6)}, "one-hot"),
        ({"features": COLOUR, "labels": 3}, "no list or array"),
        ({"features": COLOUR, "labels": LABELS * 0.5}, "whole numbers"),
        ({"features": COLOUR, "labels": [0, 1, -1, 0, 0, 0]}, "whole numbers"),
        ({"features": COLOUR, "labels": [0, 1, 10**30, 0, 0, 0]}, "whole numbers"),
        ({"features": COLOUR, "labels": [0, 1, "a", 0, 0, 0]}, "whole numbers"),
        ({"features": COLOUR, "labels": [True] * 6}, "whole numbers"),
        ({"features": COLOUR, "labels": np.array([[1], 2, 3, 4, 5, 6], dtype=object)}, "whole numbers"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(value: object, words: str, tmp_path: Path) -> None:
    path = save(tmp_path / "bad.p", value)
    with pytest.raises(DataError, match=words) as error:
        read_pickled_dict(path)
    assert str(path) in str(error.value)


def test_labels_that_nest_without_end_are_not_looked_into(tmp_path: Path) -> None:
    nested: list[object] = []
    for _ in range(60):
        nested = [nested, nested]
    path = save(tmp_path / "a.p", {"features": COLOUR, "labels": [nested] * 6})
    with pytest.raises(DataError, match="whole numbers"):
        read_pickled_dict(path)


def test_hostile_and_missing_files(tmp_path: Path) -> None:
    path = save(tmp_path / "a.p", {"features": COLOUR, "labels": os.getcwd})
    with pytest.raises(PickleRefusedError, match="getcwd"):
        read_pickled_dict(path)
    for read in (read_pickled_dict, read_npz):
        with pytest.raises(DataError, match="There is no file"):
            read(tmp_path / "absent")


def archive(path: Path, **arrays: object) -> LabelledArrays:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return read_npz(path)


@pytest.mark.parametrize("names", ["x y", "images labels", "features labels", "data labels", "X Y"])
def test_npz_of_one_split(names: str, tmp_path: Path) -> None:
    x, y = names.split()
    arrays = archive(tmp_path / "a.npz", **{x: COLOUR, y: LABELS, "other": np.arange(3)})
    assert np.array_equal(arrays.pixels, COLOUR)
    assert arrays.labels.tolist() == LABELS.tolist()
    assert arrays.splits is None


@pytest.mark.parametrize("val", ["", "val", "valid"])
def test_npz_of_several_splits(val: str, tmp_path: Path) -> None:
    middle: Mapping[str, object] = {f"x_{val}": GREY[4:5], f"y_{val}": LABELS[4:5]} if val else {}
    arrays = archive(
        tmp_path / "a.npz",
        x_test=GREY[5:],
        y_test=LABELS[5:],
        x_train=GREY[:4],
        y_train=LABELS[:4, None],
        **middle,
    )
    rows = [0, 1, 2, 3, 4, 5] if val else [0, 1, 2, 3, 5]
    assert np.array_equal(arrays.pixels[..., 1], GREY[rows])
    assert arrays.labels.tolist() == LABELS[rows].tolist()
    assert arrays.splits == tuple(["train"] * 4 + ["val"] * bool(val) + ["test"])
    assert arrays.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": COLOUR, "b": LABELS}, r"holds a, b, and no images with labels"),
        ({}, "holds nothing"),
        ({"x_train": COLOUR}, "holds x_train, and no images"),
        (
            {"x_train": COLOUR, "y_train": LABELS, "x_test": COLOUR[:, :4], "y_test": LABELS},
            r"differ in size \(4 x 9, 8 x 9\)",
        ),
        (
            {"x_train": COLOUR, "y_train": LABELS, "x_test": COLOUR, "y_test": LABELS[:3]},
            "each of its 6 images, got 3",
        ),
        ({"x": COLOUR / 255, "y": LABELS}, "float64"),
    ],
)
def test_npz_that_cannot_be_used(arrays: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        archive(tmp_path / "a.npz", **arrays)
