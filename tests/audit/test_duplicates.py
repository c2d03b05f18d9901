"""Pairs, sets of copies, and which of them leak."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headstart.audit import (
    SIDE,
    candidate_pairs,
    find_duplicates,
    find_neighbours,
    join_pairs,
    leaking_copies,
    leaking_groups,
    links_of_groups,
)

SPLITS = np.array(["train", "val", "test", "test", "test"], dtype=object)


def test_identical_files_come_first_each_with_the_first_of_its_kind() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (4, SIDE, SIDE, 3)).astype(np.uint8)
    pictures[3] = pictures[1] // 8 * 8  # all but the same
    digests = [b"a", b"b", b"a", b"c"]

    found = find_duplicates(digests, pictures, np.array([[0, 2], [1, 3], [0, 1]]))

    assert found.pairs.tolist() == [[0, 2], [1, 3]]
    assert found.identical.tolist() == [True, False]
    assert found.scores[0] == 1


def test_each_pair_of_neighbours_is_a_candidate_once() -> None:
    features = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    neighbours = find_neighbours(features, 4)

    pairs = candidate_pairs(neighbours)

    expected = {tuple(sorted((i, int(j)))) for i in range(30) for j in neighbours.rows[i]}
    assert {tuple(pair) for pair in pairs.tolist()} == expected
    assert len(pairs) == len(expected)


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=15))
def test_what_pairs_link_has_one_number(pairs: list[tuple[int, int]]) -> None:
    numbers = join_pairs(12, np.array(pairs, np.int64).reshape(-1, 2))

    sets = [{row} for row in range(12)]
    for i, j in pairs:
        joined = sets[i] | sets[j]
        for row in joined:
            sets[row] = joined
    assert [{k for k in range(12) if numbers[k] == numbers[row]} for row in range(12)] == sets


def test_groups_are_links() -> None:
    groups = np.array([4, 1, 4, 2, 1])

    numbers = join_pairs(5, links_of_groups(groups))

    assert [numbers[i] == numbers[j] for i, j in ((0, 2), (1, 4), (0, 1), (3, 0))] == [
        True,
        True,
        False,
        False,
    ]


def test_a_copy_of_a_copy_does_not_leak_unless_it_is_one_itself() -> None:
    pairs = np.array([[0, 2], [2, 3]])

    assert leaking_copies(pairs, SPLITS).tolist() == [False, False, True, False, False]
    assert not leaking_copies(np.empty((0, 2), np.int64), SPLITS).any()


def test_a_divided_group_leaks() -> None:
    assert leaking_groups(np.array([0, 1, 1, 2, 2]), SPLITS).tolist() == [False, False, True, False, False]
