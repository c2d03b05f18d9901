from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_sample_weight

from headstart.datasets import (
    ImageDataset,
    SplitRecord,
    assign_splits,
    balanced_weights,
    imbalance,
    make_table,
    stratified_folds,
)
from headstart.errors import DataError


def dataset(**counts: list[int]) -> ImageDataset:
    """A data set with so many images of each class in each split; `none` stands for no split."""
    rows = [
        (f"{split}/{label}/{number:04d}.jpg", label, None if split == "none" else split)
        for split, sizes in counts.items()
        for label, size in enumerate(sizes)
        for number in range(size)
    ]
    paths, labels, splits = zip(*rows, strict=True)
    classes = tuple(f"class {label}" for label in range(max(labels) + 1))
    return ImageDataset(name="x", table=make_table(paths, labels, splits), classes=classes)


def sizes(images: ImageDataset) -> dict[str, list[int]]:
    return {split: images.counts(split).tolist() for split in images.splits}


class TestRules:
    def test_no_split_given(self) -> None:
        images, record = assign_splits(dataset(none=[100, 50, 30]))
        assert sizes(images) == {"train": [80, 40, 24], "val": [10, 5, 3], "test": [10, 5, 3]}
        assert record == SplitRecord(
            rule="stratified 80/10/10, seed 0", choice="validation", folds=0, seed=0, per_class=None
        )

    def test_no_split_given_and_few_images(self) -> None:
        images, record = assign_splits(dataset(none=[100, 21]), seed=3)
        assert sizes(images) == {"train": [90, 19], "test": [10, 2]}
        assert (record.rule, record.choice, record.folds) == (
            "stratified 90/10 into train and test, seed 3",
            "cross-validation",
            5,
        )

    def test_tiny_classes(self) -> None:
        images, record = assign_splits(dataset(none=[3, 4, 2, 9]))
        assert sizes(images) == {"train": [2, 3, 2, 8], "test": [1, 1, 0, 1]}
        assert (record.choice, record.folds) == ("cross-validation", 2)
        images, record = assign_splits(dataset(none=[1, 4]))
        assert sizes(images) == {"train": [1, 3], "test": [0, 1]}
        assert (record.choice, record.folds) == ("none", 0)

    def test_train_and_test_given(self) -> None:
        images, record = assign_splits(dataset(train=[100, 20], test=[7, 0]))
        assert sizes(images) == {"train": [80, 16], "val": [20, 4], "test": [7, 0]}
        assert record.rule == "train, test as given, validation a stratified fifth of train, seed 0"
        assert record.choice == "validation"

    def test_train_and_test_given_and_few_images(self) -> None:
        images, record = assign_splits(dataset(train=[100, 19], test=[7, 1]))
        assert sizes(images) == {"train": [100, 19], "test": [7, 1]}
        assert str(record) == "train, test as given; choices made by 5-fold cross-validation within train"

    def test_all_given(self) -> None:
        given_ = dataset(train=[3, 2], val=[1, 1], test=[7, 1])
        images, record = assign_splits(given_)
        assert images.table == given_.table
        assert str(record) == "train, val, test as given; choices made on validation"

    def test_train_and_val_given(self) -> None:
        images, record = assign_splits(dataset(train=[100, 20], val=[9, 9]))
        assert sizes(images) == {"train": [90, 18], "val": [9, 9], "test": [10, 2]}
        assert record.rule == "train, val as given, test a stratified tenth of train, seed 0"

    def test_train_alone_given_is_not_tested(self) -> None:
        images, record = assign_splits(dataset(train=[100, 20]))
        assert sizes(images) == {"train": [80, 16], "val": [20, 4]}
        assert record.rule == "train as given, validation a stratified fifth of train, seed 0"

    @pytest.mark.parametrize("split", ["val", "test"])
    def test_no_train(self, split: str) -> None:
        with pytest.raises(DataError, match="none to train on"):
            assign_splits(dataset(**{split: [3, 3]}))

    def test_half_a_split(self) -> None:
        with pytest.raises(DataError, match="3 of 6 images have no split"):
            assign_splits(dataset(train=[2, 1], none=[1, 2]))

    def test_a_class_without_images_shifts_nothing(self) -> None:
        images, record = assign_splits(dataset(none=[50, 0, 50]))
        assert sizes(images) == {"train": [40, 0, 40], "val": [5, 0, 5], "test": [5, 0, 5]}
        assert record.choice == "validation"


class TestPerClass:
    def test_few(self) -> None:
        images, record = assign_splits(dataset(train=[100, 4], test=[7, 7]), per_class=5)
        assert sizes(images) == {"train": [5, 4], "test": [7, 7]}
        assert str(record) == (
            "train, test as given, at most 5 images a class, seed 0; "
            "choices made by 4-fold cross-validation within train"
        )

    def test_one(self) -> None:
        images, record = assign_splits(dataset(train=[100, 4], test=[7, 7]), per_class=1)
        assert sizes(images) == {"train": [1, 1], "test": [7, 7]}
        assert record.choice == "none"

    def test_many(self) -> None:
        images, record = assign_splits(dataset(none=[200, 100]), per_class=50)
        assert sizes(images) == {"train": [40, 40], "val": [10, 10], "test": [20, 10]}
        assert record.rule == (
            "test a stratified tenth, at most 50 images a class, "
            "validation a stratified fifth of train, seed 0"
        )

    def test_given_validation_is_pooled(self) -> None:
        images, record = assign_splits(dataset(train=[10, 10], val=[10, 10], test=[3, 3]), per_class=8)
        assert sizes(images) == {"train": [8, 8], "test": [3, 3]}
        assert "at most 8 images a class of train and val together" in record.rule
        assert {name.split("/")[0] for name in images.names("train")} == {"train", "val"}

    @given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
    @settings(max_examples=30, deadline=None)
    def test_smaller_draws_lie_within_larger_ones(self, one: int, other: int, seed: int) -> None:
        images = dataset(none=[60, 25, 3])
        few, many = (assign_splits(images, seed=seed, per_class=n)[0] for n in sorted((one, other)))
        assert few.names("test") == many.names("test")
        assert set(few.names()) <= set(many.names())


COUNTS = st.lists(st.integers(1, 60), min_size=2, max_size=6)


@settings(max_examples=80, deadline=None)
@given(counts=COUNTS, seed=st.integers(0, 1000))
def test_every_image_gets_one_split_and_every_class_its_share(counts: list[int], seed: int) -> None:
    before = dataset(none=counts)
    images, record = assign_splits(before, seed=seed)
    assert images.names() == before.names()
    assert None not in images.split_names()
    train, val, test = (images.counts(split) for split in ("train", "val", "test"))
    assert (train >= 1).all()
    for size, tested, held in zip(counts, test, val, strict=True):
        assert tested == (max(1, int(size / 10 + 0.5)) if size >= 3 else 0)
        assert held == 0 or abs(held - size / 10) <= 1
    assert (val.sum() > 0) == (record.choice == "validation") == (min(np.array(counts) - test) >= 20)
    assert record.folds == (min(5, train.min()) if record.choice == "cross-validation" else 0)


@settings(max_examples=40, deadline=None)
@given(counts=COUNTS, seed=st.integers(0, 1000), shuffle=st.integers(0, 1000))
def test_the_order_of_the_listing_does_not_matter(counts: list[int], seed: int, shuffle: int) -> None:
    images = dataset(none=counts)
    order = np.random.default_rng(shuffle).permutation(len(images))
    straight, _ = assign_splits(images, seed=seed)
    shuffled, _ = assign_splits(images.subset(order), seed=seed)
    assert dict(zip(straight.names(), straight.split_names(), strict=True)) == dict(
        zip(shuffled.names(), shuffled.split_names(), strict=True)
    )


def test_seeds_draw_differently_and_repeatably() -> None:
    images = dataset(none=[100, 100])
    tests = [set(assign_splits(images, seed=seed)[0].names("test")) for seed in (0, 0, 1)]
    assert tests[0] == tests[1] != tests[2]


def test_draws_are_uniform() -> None:
    images = dataset(none=[20, 20])
    drawn = Counter(name for seed in range(400) for name in assign_splits(images, seed=seed)[0].names("test"))
    assert len(drawn) == 40
    assert 15 < min(drawn.values()) <= max(drawn.values()) < 75  # 40 expected of 400 draws of a tenth


def test_draws_stay_what_they_are() -> None:
    """A seed names the same images in every version: published figures depend on it."""
    images, _ = assign_splits(dataset(none=[20, 20]), seed=0)
    assert images.names("test") == [
        "none/0/0008.jpg",
        "none/0/0014.jpg",
        "none/1/0002.jpg",
        "none/1/0019.jpg",
    ]


def test_adding_images_moves_few() -> None:
    small, large = (assign_splits(dataset(none=[n, n]))[0] for n in (200, 210))
    before = dict(zip(small.names(), small.split_names(), strict=True))
    after = dict(zip(large.names(), large.split_names(), strict=True))
    assert sum(after[name] != split for name, split in before.items()) < 10


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(5, 40), min_size=2, max_size=6),
    folds=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_folds_are_stratified(counts: list[int], folds: int, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    held_out = stratified_folds(labels, folds, seed)
    assert held_out.shape == labels.shape
    table = np.stack(
        [np.bincount(held_out[labels == label], minlength=folds) for label in range(len(counts))]
    )
    assert table.sum() == len(labels)
    assert (np.ptp(table, axis=1) <= 1).all()
    np.testing.assert_array_equal(held_out, stratified_folds(labels, folds, seed))


@pytest.mark.parametrize("folds", [1, 4])
def test_folds_need_an_image_of_every_class(folds: int) -> None:
    with pytest.raises(ValueError, match="expected 2 to 3 folds"):
        stratified_folds(np.array([0, 0, 0, 2, 2, 2, 2]), folds, 0)


def test_imbalance() -> None:
    assert imbalance(np.array([30, 0, 3])) == 10.0
    assert imbalance(np.array([4, 4])) == 1.0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=50))
def test_balanced_weights_are_those_of_scikit_learn(labels: list[int]) -> None:
    weights = balanced_weights(np.array(labels), 7)
    np.testing.assert_allclose(weights, compute_sample_weight("balanced", labels))
    np.testing.assert_allclose(weights.mean(), 1.0)
