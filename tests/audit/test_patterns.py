"""A group pattern is suggested where names show one and looks bear it out."""

import numpy as np
import pytest

from headstart.audit import find_neighbours, find_outliers, suggest_pattern
from headstart.audit.patterns import PATTERNS
from headstart.datasets import group_by_pattern, make_table
from headstart.datasets.dataset import ImageDataset

TRACKS, FRAMES = 8, 5


def _tracks(spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and tracks of two classes with eight tracks of five frames each."""
    rng = np.random.default_rng(seed)
    tracks = np.repeat(np.arange(2 * TRACKS), FRAMES)
    features = rng.normal(size=(2 * TRACKS, 16))[tracks] * spread + rng.normal(size=(len(tracks), 16))
    return features.astype(np.float32), (tracks // TRACKS).astype(np.int64), tracks


@pytest.mark.parametrize(
    ("name", "per_class"),
    [
        ("{label:02}/{track:05}_{frame:05}.ppm", True),
        ("train/{label:02}/{track:05}_{frame:05}.ppm", False),
        ("{label}/IMG_{track}_{frame}.jpg", False),
        ("{label}/{track}-shot-{frame}.jpg", False),
    ],
)
def test_frames_of_tracks(name: str, per_class: bool) -> None:
    features, labels, tracks = _tracks(3.0)
    numbers = tracks % TRACKS if per_class else tracks
    frames = np.arange(len(tracks)) % FRAMES
    names = [
        name.format(label=int(c), track=int(t), frame=int(f))
        for c, t, f in zip(labels, numbers, frames, strict=True)
    ]

    found = suggest_pattern(names, labels, find_neighbours(features))

    assert found is not None
    assert found.n_groups == 2 * TRACKS
    assert found.observed > 0.9
    assert found.expected < 0.2
    # What is suggested does the same when it is copied.
    dataset = ImageDataset(
        name="frames",
        table=make_table(names, labels, [None] * len(names)),
        classes=("a", "b"),
    )
    np.testing.assert_array_equal(group_by_pattern(dataset, found.pattern).groups(), found.groups)
    assert found.pattern in PATTERNS


def test_not_where_looks_do_not_bear_it_out() -> None:
    features, labels, tracks = _tracks(0.0)
    names = [f"{c}/{t:05}_{i:05}.ppm" for i, (c, t) in enumerate(zip(labels, tracks, strict=True))]

    assert suggest_pattern(names, labels, find_neighbours(features)) is None


@pytest.mark.parametrize(
    "name", ["{c}/{c}_{i}.jpg", "{c}/{i}_b76a_n.jpg", "{c}/{i}.jpg", "{c}/train_{i}.jpg"]
)
def test_not_of_names_that_group_nothing(name: str) -> None:
    features, labels, _ = _tracks(3.0)
    names = [name.format(c=int(c), i=i) for i, c in enumerate(labels)]

    assert suggest_pattern(names, labels, find_neighbours(features)) is None


def test_of_no_images() -> None:
    empty = np.empty((0, 4), np.float32)

    assert suggest_pattern([], np.empty(0, np.int64), find_neighbours(empty)) is None


def test_what_is_far_from_all_is_named_first() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(0, 0.2, (100, 8)).astype(np.float32)
    features += np.eye(8, dtype=np.float32)[np.arange(100) % 4]
    features[40] = 5 * np.eye(8, dtype=np.float32)[6]

    found = find_outliers(find_neighbours(features))

    assert found.rows[0] == 40
    assert len(found.rows) < 6


def test_of_few_images_none_is_unlike_the_others() -> None:
    found = find_outliers(find_neighbours(np.eye(5, dtype=np.float32)))

    assert len(found.rows) == 0
