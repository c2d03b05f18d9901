import pytest

from headstart.datasets import ImageDataset, Overlap, make_table, overlapping_labels, shared_between_splits


def dataset(labels: list[int], splits: list[str | None]) -> ImageDataset:
    table = make_table([f"{row}.jpg" for row in range(len(labels))], labels, splits)
    return ImageDataset(name="x", table=table, classes=("ant", "bee", "cat"))


def test_contents_with_several_labels_are_named() -> None:
    images = dataset([0, 1, 1, 2, 0, 2], [None] * 6)
    assert overlapping_labels(images, ["p", "q", "q", "p", "r", "p"]) == (
        Overlap(paths=("0.jpg", "3.jpg", "5.jpg"), classes=("ant", "cat", "cat")),
    )
    assert overlapping_labels(images, list("abcdef")) == ()


def test_contents_in_two_splits_are_counted() -> None:
    images = dataset([0] * 7, ["train", "train", "val", "test", "test", "test", None])
    digests = [b"p", b"q", b"q", b"p", b"p", b"z", b"p"]
    assert shared_between_splits(images, digests) == {
        ("train", "val"): 1,
        ("train", "test"): 2,
        ("val", "test"): 0,
    }
    assert shared_between_splits(dataset([0], ["train"]), [b"p"]) == {}


def test_digests_belong_to_rows() -> None:
    with pytest.raises(ValueError, match="one digest for each of 2 images"):
        overlapping_labels(dataset([0, 1], [None, None]), ["p"])
    with pytest.raises(ValueError, match="one digest for each of 2 images"):
        shared_between_splits(dataset([0, 1], [None, None]), ["p"])
