from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.datasets import ImageDataset, assign_splits, group_by_pattern, make_table, stratified_folds
from headstart.errors import ConfigError, DataError

Sizes = list[list[int]]
"""For each class the sizes of its groups."""

PURE = st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=8), min_size=2, max_size=4)
SPLITS = st.sampled_from(["auto", "80/10/10", "85/15", "60/20/20", "r1", "r3", "r5"])


def named(*names: str) -> ImageDataset:
    """A data set of images of two classes with these names."""
    labels = [i % 2 for i in range(len(names))]
    return ImageDataset(name="x", table=make_table(names, labels, [None] * len(names)), classes=("a", "b"))


def pure(sizes: Sizes, splits: Sequence[Sequence[str]] | None = None) -> ImageDataset:
    """Each group is of one class; `splits` gives each group one."""
    rows = [
        (
            f"c{label}/{group:02}_{i:03}.jpg",
            label,
            splits[label][group] if splits else None,
            f"{label}-{group}",
        )
        for label, groups in enumerate(sizes)
        for group, size in enumerate(groups)
        for i in range(size)
    ]
    paths, labels, given_splits, groups = zip(*rows, strict=True)
    classes = tuple(map(str, range(len(sizes))))
    return ImageDataset(name="x", table=make_table(paths, labels, given_splits, groups), classes=classes)


def places(dataset: ImageDataset) -> dict[str, set[str]]:
    """In which splits each group stands."""
    found: dict[str, set[str]] = {}
    for group, split in zip(dataset.table["group"].to_pylist(), dataset.split_names(), strict=True):
        found.setdefault(group, set()).add(split)
    return found


class TestPattern:
    @pytest.mark.parametrize(
        ("pattern", "groups"),
        [
            (r"^(\d+)_", ["1", "1", "2", "1"]),
            (r"^\d+", ["1", "1", "2", "1"]),
            (r"([^/]+/\d+)_", ["a/1", "a/1", "a/2", "b/1"]),
            (r"^(?:x)?(\d)_(\d)", ["1", "1", "2", "1"]),
        ],
    )
    def test_what_it_matches(self, pattern: str, groups: list[str]) -> None:
        dataset = group_by_pattern(named("x/a/1_1.jpg", "x/a/1_2.jpg", "x/a/2_1.jpg", "x/b/1_1.jpg"), pattern)
        assert dataset.table["group"].to_pylist() == groups
        numbers = dataset.groups()
        assert numbers is not None
        assert [groups.index(group) for group in groups] == [numbers.tolist().index(n) for n in numbers]

    def test_no_regular_expression(self) -> None:
        with pytest.raises(ConfigError, match=r"is no regular expression: .*unterminated"):
            group_by_pattern(named("1.jpg"), "(1")

    @pytest.mark.parametrize("pattern", ["^(t)", "(t)?", "t*$"])
    def test_names_without_a_match_are_named(self, pattern: str) -> None:
        names = ["t.t", *(f"{i}.jpg" for i in range(5))]
        with pytest.raises(DataError, match=r"does not match 0\.jpg, 1\.jpg, 2\.jpg and 2 more\.\nEach"):
            group_by_pattern(named(*names), pattern)


@settings(max_examples=200, deadline=None)
@given(sizes=PURE, split=SPLITS, seed=st.integers(0, 99), few=st.none() | st.integers(1, 20))
def test_no_group_is_divided_and_every_class_is_tested(
    sizes: Sizes, split: str, seed: int, few: int | None
) -> None:
    images, record = assign_splits(pure(sizes), split=split, seed=seed, per_class=few)
    assert all(len(splits) == 1 for splits in places(images).values())
    assert "no group divided" in record.rule
    for label, groups in enumerate(sizes):
        assert images.counts("train")[label] > 0
        assert (images.counts("test")[label] > 0) == (len(groups) > 1)
    if record.choice == "validation":
        assert (images.counts("val") > 0).sum() >= sum(len(groups) > 2 for groups in sizes)
    elif record.choice == "cross-validation":
        assert 2 <= record.folds <= min(map(len, sizes))
    assert len(images) == sum(map(sum, sizes)) or few is not None or split == "r3"


@settings(max_examples=200, deadline=None)
@given(
    groups=st.lists(st.integers(0, 11), min_size=24, max_size=60),
    labels=st.lists(st.integers(0, 3), min_size=60, max_size=60),
    split=SPLITS,
    seed=st.integers(0, 99),
)
def test_no_group_of_several_classes_is_divided(
    groups: list[int], labels: list[int], split: str, seed: int
) -> None:
    n = len(groups)
    classes = np.unique(labels[:n], return_inverse=True)[1]
    table = make_table([f"{i}.jpg" for i in range(n)], classes, [None] * n, list(map(str, groups)))
    dataset = ImageDataset(name="x", table=table, classes=tuple(map(str, range(classes.max() + 1))))
    images, _ = assign_splits(dataset, split=split, seed=seed)
    assert all(len(splits) == 1 for splits in places(images).values())
    assert images.counts("train").all()


@settings(max_examples=100, deadline=None)
@given(sizes=PURE, split=SPLITS, seed=st.integers(0, 99))
def test_neither_chance_nor_order_matters(sizes: Sizes, split: str, seed: int) -> None:
    dataset = pure(sizes)
    once = assign_splits(dataset, split=split, seed=seed)[0]
    again = assign_splits(dataset, split=split, seed=seed)[0]
    shuffled = dataset.subset(np.random.default_rng(seed).permutation(len(dataset)))
    other = assign_splits(shuffled, split=split, seed=seed)[0]
    assert once.table == again.table
    splits = [dict(zip(d.names(), d.split_names(), strict=True)) for d in (once, other)]
    assert splits[0] == splits[1]


@settings(max_examples=200, deadline=None)
@given(
    groups=st.lists(st.integers(1, 30), min_size=2, max_size=9),
    share=st.integers(5, 50),
    seed=st.integers(0, 99),
)
def test_shares_are_met_as_nearly_as_groups_allow(groups: list[int], share: int, seed: int) -> None:
    """Within half the largest group of the best of all choices, which are tried one by one.

    Where a single group may be taken at all, whichever is drawn is the test: within the largest group.
    """
    images, _ = assign_splits(pure([groups, [1]]), split=f"{100 - share}/{share}", seed=seed)
    got = int(images.counts("test")[0])
    total = sum(groups)
    wanted = max(1, int(np.floor(total * share / 100 + 0.5)))
    keep = min(2, len(groups) - 1)
    choices = {sum(choice) for n in range(1, len(groups) - keep + 1) for choice in combinations(groups, n)}
    best = min(abs(wanted - drawn) for drawn in choices)
    assert got in choices
    slack = max(groups) if len(groups) - keep == 1 else max(max(groups) / 2, min(groups))
    assert abs(wanted - got) <= best + slack


@pytest.mark.parametrize("split", ["80/10/10", "85/15"])
def test_many_groups_meet_the_shares(split: str) -> None:
    """As with the frames of traffic signs: tracks of 30."""
    images, _ = assign_splits(pure([[30] * 20, [30] * 40]), split=split, seed=1)
    wanted = {"80/10/10": [60, 120], "85/15": [90, 180]}[split]
    assert images.counts("test").tolist() == wanted
    assert images.counts("val").tolist() == ([60, 120] if split == "80/10/10" else [90, 210])


@pytest.mark.parametrize("split", ["auto", "80/10/10", "85/15"])
def test_groups_of_one_image_are_shared_out_like_images(split: str) -> None:
    grouped = pure([[1] * 100, [1] * 40])
    table = make_table(grouped.names(), grouped.labels(), [None] * 140)
    alone = ImageDataset(name="x", table=table, classes=grouped.classes)
    one, other = (assign_splits(images, split=split)[0] for images in (grouped, alone))
    assert [one.counts(part).tolist() for part in one.splits] == [
        other.counts(part).tolist() for part in other.splits
    ]


class TestGivenSplits:
    def test_r5_keeps_groups_of_train_as_given_together(self) -> None:
        dataset = pure([[10] * 15, [10] * 15], [["train"] * 5 + ["test"] * 10] * 2)
        names = dataset.split_names()
        names[3] = "test"  # a frame of a group that else is in train
        images, record = assign_splits(dataset.with_splits(names), split="r5")
        assert all(len(splits) == 1 for splits in places(images).values())
        assert images.counts("test").tolist() == [30, 30]
        assert "no group divided" in record.rule
        assert names[3] == "test"
        assert images.split_names()[3] in ("train", "val")

    def test_r5_draws_its_test_from_groups_that_train_as_given_has_nothing_of(self) -> None:
        dataset = pure([[10] * 10, [10] * 10], [["train"] * 2 + ["test"] * 8] * 2)
        names = dataset.split_names()
        names[20:60:10] = names[120:160:10] = "train"  # a frame of half the groups of test
        images, record = assign_splits(dataset.with_splits(names), split="r5")
        assert all(len(splits) == 1 for splits in places(images).values())
        assert "no group divided" in record.rule
        assert images.counts("test").min() > 0

    def test_given_splits_that_divide_groups_are_kept_and_told(self) -> None:
        dataset = pure([[10] * 5, [10] * 5], [["train", "train", "train", "val", "test"]] * 2)
        names = dataset.split_names()
        names[0] = names[12] = "test"
        images, record = assign_splits(dataset.with_splits(names))
        assert images.split_names().tolist() == names.tolist()
        assert record.rule.startswith("train, val, test as given, 2 groups divided by the splits as given")

    def test_validation_divides_no_group_of_train(self) -> None:
        dataset = pure([[10] * 6, [10] * 6], [["train"] * 5 + ["test"]] * 2)
        images, record = assign_splits(dataset)
        assert all(len(splits) == 1 for splits in places(images).values())
        assert (record.choice, images.counts("val").tolist()) == ("validation", [10, 10])

    def test_one_group_of_a_class_leaves_nothing_to_choose_with(self) -> None:
        images, record = assign_splits(pure([[40, 9], [20] * 5]))
        assert images.counts("test").tolist() == [9, 20]
        assert (record.choice, record.folds) == ("none", 0)


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(1, 12), min_size=2, max_size=8), min_size=2, max_size=4),
    seed=st.integers(0, 99),
    data=st.data(),
)
@pytest.mark.filterwarnings("ignore:The least populated class")
def test_folds_divide_no_group_and_train_on_every_class(sizes: Sizes, seed: int, data: st.DataObject) -> None:
    folds = data.draw(st.integers(2, min(map(len, sizes))))
    dataset = pure(sizes)
    groups = dataset.groups()
    dealt = stratified_folds(dataset.labels(), folds, seed, groups=groups)
    assert set(dealt) == set(range(folds))
    assert groups is not None
    for group in np.unique(groups):
        assert len(set(dealt[groups == group])) == 1
    for fold in range(folds):
        assert set(dataset.labels()[dealt != fold]) == set(range(len(sizes)))
    assert (dealt == stratified_folds(dataset.labels(), folds, seed, groups=groups)).all()
