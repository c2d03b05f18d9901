from pathlib import Path

import numpy as np
import pytest

from headstart.datasets import dataset_from_arrays
from headstart.errors import DataError


@pytest.mark.parametrize(
    "labels",
    [
        ["dog", "cat", "ant", "cat"],
        [10, 9, 100, 9],
        np.array(["dog", "cat", "ant", "cat"]),
        np.array([3, -1, 2, -1]),
        [0.5, 0.25, 1.5, 0.25],
        [True, False, True, False],
        [(1, 2), (0, 5), (1, 1), (0, 5)],
    ],
)
def test_classes_are_sorted_as_numpy_sorts_them(labels: list[object]) -> None:
    dataset = dataset_from_arrays(["w.jpg", Path("v.jpg"), "y.jpg", "x.jpg"], labels)
    assert dataset.paths() == ["w.jpg", "v.jpg", "y.jpg", "x.jpg"]
    assert dataset.splits == ("train",)
    if not isinstance(labels[0], tuple):
        classes, inverse = np.unique(np.asarray(labels), return_inverse=True)
        assert dataset.classes == tuple(str(label) for label in classes)
        assert dataset.labels().tolist() == inverse.tolist()
    assert [dataset.classes[label] for label in dataset.labels()] == [str(label) for label in labels]


def test_the_split_can_be_left_open() -> None:
    assert dataset_from_arrays(["a.jpg"], ["x"], split=None).splits == ()


@pytest.mark.parametrize(
    ("paths", "labels", "words"),
    [
        (["a"], ["x", "y"], "as many labels as paths, got 2 and 1"),
        ([], [], "at least one image"),
        (["a", "b"], [["x"], ["x", "y"]], "several labels"),
        (["a", "b"], np.zeros((2, 2)), "several labels"),
        (["a", "b"], ["x", None], "one sortable kind"),
        (["a", "b"], ["1", 1], "one sortable kind"),
        (["a", "b"], [0.5, float("nan")], "NaN"),
        (["a\udce9", "b"], ["x", "y"], "not valid UTF-8"),
    ],
)
def test_what_cannot_be_used_is_named(paths: list[str], labels: list[object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        dataset_from_arrays(paths, labels)
