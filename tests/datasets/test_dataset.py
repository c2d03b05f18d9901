from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headstart.datasets import SCHEMA, DiskFiles, ImageDataset, make_table


@pytest.fixture
def dataset() -> ImageDataset:
    table = make_table(["a/1.jpg", "a/2.jpg", "c/3.jpg"], [0, 0, 2], ["train", None, "test"])
    return ImageDataset(
        name="three", files=DiskFiles(root=Path("/photos")), table=table, classes=("a", "b", "c")
    )


def test_reads_by_split(dataset: ImageDataset) -> None:
    assert len(dataset) == 3
    assert dataset.splits == ("train", "test")
    assert dataset.split_names().tolist() == ["train", None, "test"]
    assert dataset.rows("test").tolist() == [2]
    assert dataset.labels().tolist() == [0, 0, 2]
    assert dataset.labels().dtype == np.int32
    assert dataset.labels("test").tolist() == [2]
    assert dataset.labels("val").tolist() == []
    assert dataset.names("train") == ["a/1.jpg"]


def test_paths_can_be_opened(dataset: ImageDataset) -> None:
    assert [Path(path) for path in dataset.paths("test")] == [Path("/photos/c/3.jpg")]
    bare = ImageDataset(name="bare", table=dataset.table, classes=dataset.classes)
    assert bare.paths() == ["a/1.jpg", "a/2.jpg", "c/3.jpg"]


def test_an_empty_class_is_counted_and_shifts_nothing(dataset: ImageDataset) -> None:
    assert dataset.counts().tolist() == [2, 0, 1]
    assert dataset.counts("train").tolist() == [1, 0, 0]
    assert dataset.subset(np.array([2])).counts().tolist() == [0, 0, 1]


def test_empty_classes_can_be_left_out(dataset: ImageDataset) -> None:
    fewer = dataset.without_empty_classes()
    assert fewer.classes == ("a", "c")
    assert fewer.labels().tolist() == [0, 0, 1]
    assert (fewer.names(), fewer.splits) == (dataset.names(), dataset.splits)
    assert fewer.notes == ("Classes without any image are left out: b.",)
    assert fewer.without_empty_classes() is fewer


def test_subsets_take_masks_and_row_numbers(dataset: ImageDataset) -> None:
    assert dataset.subset(np.array([True, False, True])).names() == ["a/1.jpg", "c/3.jpg"]
    assert dataset.subset(np.array([2, 0])).names() == ["c/3.jpg", "a/1.jpg"]
    nothing = dataset.subset(np.zeros(3, dtype=bool))
    assert (len(nothing), nothing.splits, nothing.names(), nothing.table.schema) == (0, (), [], SCHEMA)


def test_splits_can_be_replaced(dataset: ImageDataset) -> None:
    other = dataset.with_splits(["val", "val", None])
    assert other.split_names().tolist() == ["val", "val", None]
    assert other.names() == dataset.names()
    assert dataset.splits == ("train", "test")
    with pytest.raises(ValueError, match="splits are train, val, test"):
        dataset.with_splits(["val", "dev", None])


def test_other_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="expected the columns"):
        ImageDataset(name="x", table=pa.table({"path": ["a"]}), classes=("a",))


def test_a_row_costs_little_more_than_its_path() -> None:
    n = 10_000
    table = make_table([f"class/{i:06d}.jpg" for i in range(n)], np.zeros(n, np.int32), ["train"] * n)
    assert table.nbytes < n * (len("class/000000.jpg") + 16)
