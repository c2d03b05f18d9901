"""Which training images are looked at beforehand, and how they are dealt."""

from dataclasses import replace

import numpy as np
import pytest

from headstart.config import ExtractConfig
from headstart.datasets import ImageDataset, assign_splits, stratified_sample
from headstart.datasets.dataset import make_table
from headstart.errors import DataError
from headstart.jobs.sampling import LEAST_PER_CLASS, deal_folds, training_sample


def images(counts: dict[str, int], groups: int | None = None) -> ImageDataset:
    """Images of so many a class; with groups, so many of each class."""
    labels = np.repeat(np.arange(len(counts)), list(counts.values()))
    names = [f"{label}/{i:04}.jpg" for i, label in enumerate(labels)]
    made = ImageDataset(
        name="drawn", table=make_table(names, labels, [None] * len(names)), classes=tuple(counts)
    )
    if groups is None:
        return made
    return made.with_groups([f"{label}-{i % groups}" for i, label in enumerate(labels)])


CONFIG = ExtractConfig("drawn")


def test_a_sample_is_in_proportion_nested_and_repeatable() -> None:
    dataset = images({"a": 600, "b": 300, "c": 100})
    rows = stratified_sample(dataset, 100)
    assert np.bincount(dataset.labels()[rows]).tolist() == [60, 30, 10]
    assert set(rows) < set(stratified_sample(dataset, 250))
    assert (rows == stratified_sample(dataset, 100)).all()
    assert set(rows) != set(stratified_sample(dataset, 100, seed=1))
    assert len(stratified_sample(dataset, 5000)) == 1000


def test_small_classes_keep_some_images() -> None:
    dataset = images({"a": 900, "b": 8, "c": 2})
    counts = np.bincount(dataset.labels()[stratified_sample(dataset, 20, least=5)])
    assert counts.tolist() == [13, 5, 2]
    many = images({f"{i:03}": 9 for i in range(50)})
    assert len(stratified_sample(many, 10, least=5)) == 250


def test_no_test_image_is_looked_at() -> None:
    dataset = images({"a": 200, "b": 200})
    divided, _ = training_sample(CONFIG, None, validation=True)(dataset, ())
    assert set(divided.split_names()) == {"train", "val"}
    divided, _ = training_sample(CONFIG, 50, validation=False)(dataset, ())
    assert set(divided.split_names()) == {"train"}
    assert len(divided) == 50


def test_training_images_are_those_of_a_training() -> None:
    dataset = images({"a": 60, "b": 45})
    divided, _ = training_sample(replace(CONFIG, seed=4), None, validation=False)(dataset, ())
    made, _ = assign_splits(dataset, seed=4)
    assert divided.names() == made.names("train")


def test_folds_hold_out_every_class_and_whole_groups() -> None:
    dataset = images({"a": 40, "b": 24}, groups=4)
    folds, count = deal_folds(dataset, 0)
    assert count == 4
    groups = dataset.groups()
    assert groups is not None
    assert all(len(set(folds[groups == group])) == 1 for group in np.unique(groups))
    folds, count = deal_folds(images({"a": 40, "b": 3}), 0)
    assert count == 3
    assert LEAST_PER_CLASS >= 2


@pytest.mark.parametrize(
    ("dataset", "kept", "what"),
    [
        (images({"a": 9, "b": 1, "c": 8}), ["a", "c"], "single training image, 'b'"),
        (
            images({"a": 9, "b": 9}).with_groups([*"001122334", *"555555555"]),
            None,
            "Fewer than two classes of drawn have more than a single group of training images",
        ),
        (images({"a": 9, "b": 0}), None, "more than a single training image"),
    ],
)
def test_of_what_nothing_can_be_held_out_is_left_out(
    dataset: ImageDataset, kept: list[str] | None, what: str
) -> None:
    dataset = dataset.with_splits(["train"] * len(dataset))
    divide = training_sample(CONFIG, None, validation=False)
    if kept is None:
        with pytest.raises(DataError, match=what):
            divide(dataset, ())
        return
    made, _ = divide(dataset, ())
    assert [dataset.classes[label] for label in np.unique(made.labels())] == kept
    assert what in made.notes[-1]
    assert deal_folds(made, 0)[1] == 5
