import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.datasets import ImageDataset, assign_splits, make_table, parse_protocol
from headstart.datasets.protocols import REFERENCE, Protocol
from headstart.errors import ConfigError


def dataset(**counts: list[int]) -> ImageDataset:
    """So many images of each class in each split; `none` stands for no split."""
    rows = [
        (f"{split}/{label}/{number:04d}.jpg", label, None if split == "none" else split)
        for split, sizes in counts.items()
        for label, size in enumerate(sizes)
        for number in range(size)
    ]
    paths, labels, splits = zip(*rows, strict=True)
    return ImageDataset(
        name="x", table=make_table(paths, labels, splits), classes=tuple(map(str, range(max(labels) + 1)))
    )


def sizes(images: ImageDataset) -> dict[str, list[int]]:
    return {split: images.counts(split).tolist() for split in images.splits}


class TestParsing:
    def test_what_is_known(self) -> None:
        assert parse_protocol("auto") is None
        assert parse_protocol("80/10/10") == Protocol(train=80, val=10, test=10)
        assert parse_protocol("67/33") == Protocol(train=67, val=0, test=33)
        assert parse_protocol("80/0/20") == Protocol(train=80, val=0, test=20)
        assert [parse_protocol(name) for name in ("r1", "r3", "r5")] == list(REFERENCE.values())

    @given(st.integers(1, 98), st.integers(0, 98))
    def test_all_shares_of_100(self, train: int, val: int) -> None:
        test = 100 - train - val
        if test > 0:
            assert parse_protocol(f"{train}/{val}/{test}") == Protocol(train=train, val=val, test=test)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "r2",
            "R1",
            "80",
            "80/20/10",
            "100/0",
            "0/100",
            "90/10/0",
            "50/25/15/10",
            "80/-10/30",
            "8e1/20",
            "80/10/10 ",
            "80/10/10\n",
            "80:20",
            "0.8/0.2",
            "train/test",
            "\u0668\u0660/20",
        ],
    )
    def test_what_is_not(self, text: str) -> None:
        with pytest.raises(ConfigError, match=re.escape(repr(text)) + "; expected auto, shares of 100"):
            parse_protocol(text)


class TestR1:
    def test_the_flowers(self) -> None:
        """3,670 photos: 2,936 / 367 / 367, as nearly as each class's own share allows."""
        counts = [633, 898, 641, 699, 799]
        images, record = assign_splits(dataset(none=counts), split="r1", seed=3)
        for split, share, total in (("train", 0.8, 2936), ("val", 0.1, 367), ("test", 0.1, 367)):
            assert np.abs(images.counts(split) - share * np.array(counts)).max() <= 1
            assert abs(images.counts(split).sum() - total) <= 2
        assert record.rule == "stratified 80/10/10 of all images, seed 3"

    def test_given_splits_are_pooled(self) -> None:
        images, _ = assign_splits(dataset(train=[50, 50], val=[10, 10], test=[40, 40]), split="r1")
        assert sizes(images) == {"train": [80, 80], "val": [10, 10], "test": [10, 10]}


class TestR3:
    def test_a_hundred_images_a_class_and_test_whole(self) -> None:
        images, record = assign_splits(dataset(none=[600, 300, 50]), split="r3")
        assert sizes(images) == {"train": [80, 80, 32], "val": [20, 20, 8], "test": [120, 60, 10]}
        assert record.per_class == 100
        assert "stratified 80/20 of all images, at most 100 images a class" in record.rule

    def test_another_number_of_images(self) -> None:
        images, record = assign_splits(dataset(none=[600, 300]), split="r3", per_class=10)
        assert sizes(images) == {"train": [10, 10], "test": [120, 60]}
        assert record.choice == "cross-validation"


class TestR5:
    def test_trainval_and_70_percent_of_test(self) -> None:
        images, record = assign_splits(dataset(train=[100, 99], test=[100, 90]), split="r5")
        assert sizes(images)["test"] == [30, 27]
        assert (images.counts("train") + images.counts("val")).tolist() == [170, 162]
        assert all(name.startswith("test/") for name in images.names("test"))
        assert record.rule == (
            "train, val and 70 % of test as given for training, "
            "validation a stratified fifth of train, seed 42"
        )

    def test_validation_as_given_trains_too(self) -> None:
        images, _ = assign_splits(dataset(train=[50, 50], val=[50, 50], test=[100, 100]), split="r5")
        assert sizes(images)["test"] == [30, 30]
        assert (images.counts("train") + images.counts("val")).tolist() == [170, 170]

    def test_the_pets(self) -> None:
        """37 breeds, 3,680 images of trainval and 3,669 of test make 85:15 of 7,349."""
        trainval = [100] * 17 + [99] * 20
        images, _ = assign_splits(
            dataset(train=trainval, test=[100] * 17 + [98] * 10 + [99] * 10), split="r5"
        )
        assert abs(len(images.rows("test")) / len(images) - 0.15) < 0.002

    @pytest.mark.parametrize("counts", [{"train": [60, 60], "test": [60, 60]}, {"none": [60, 60]}])
    def test_its_seed_is_its_own(self, counts: dict[str, list[int]]) -> None:
        one, record = assign_splits(dataset(**counts), split="r5", seed=0)
        other, _ = assign_splits(dataset(**counts), split="r5", seed=7)
        assert one.table == other.table
        assert record.seed == 42

    def test_without_a_test_it_is_85_to_15(self) -> None:
        images, record = assign_splits(dataset(none=[100, 200]), split="r5")
        assert sizes(images) == {"train": [68, 136], "val": [17, 34], "test": [15, 30]}
        assert record.rule.startswith("stratified 85/15 of all images")


def test_shares_with_small_classes_leave_two_to_train_on() -> None:
    images, record = assign_splits(dataset(none=[3, 2, 1, 40]), split="50/50")
    assert sizes(images) == {"train": [2, 2, 1, 20], "test": [1, 0, 0, 20]}
    assert record.choice == "none"
