"""Paired tests against enumeration, McNemar's test, SciPy's permutation test, and published figures."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, permutation_test

from headstart.errors import DataError
from headstart.metrics import holm, paired_permutation


def enumerated(differences: np.ndarray) -> float:
    """All throws, one by one."""
    signs = np.array(list(product((-1, 1), repeat=len(differences))))
    return float((np.abs(signs @ differences) >= abs(differences.sum())).mean())


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=10))
def test_it_is_the_share_of_all_throws(hits: list[tuple[int, int]]) -> None:
    first, second = np.array(hits).T

    assert paired_permutation(first, second) == pytest.approx(enumerated(first - second), abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=30))
def test_whole_groups_are_thrown(hits: list[tuple[int, int, int]]) -> None:
    first, second, groups = np.array(hits).T
    totals = np.array([(first - second)[groups == group].sum() for group in np.unique(groups)])

    assert paired_permutation(first, second, groups=groups) == pytest.approx(enumerated(totals), abs=1e-12)


@pytest.mark.parametrize(("only_first", "only_second"), [(9, 2), (25, 9), (0, 5), (150, 86)])
def test_with_one_trial_it_is_mcnemars_exact_test(only_first: int, only_second: int) -> None:
    first = np.repeat([1, 0, 1, 0], [only_first, only_second, 300, 40])
    second = np.repeat([0, 1, 1, 0], [only_first, only_second, 300, 40])

    expected = binomtest(only_first, only_first + only_second).pvalue
    assert paired_permutation(first, second) == pytest.approx(expected, rel=1e-6)


def test_it_is_scipys_permutation_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.binomial(3, 0.9, 12), rng.binomial(3, 0.6, 12)

    expected = permutation_test(
        (first, second),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert paired_permutation(first, second) == pytest.approx(expected.pvalue, abs=1e-12)


def test_the_same_answers_differ_in_nothing() -> None:
    assert paired_permutation([1, 0, 1], [1, 0, 1]) == 1.0


def test_large_test_sets_take_no_time_and_stay_above_zero() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.binomial(3, 0.9, 100_000), rng.binomial(3, 0.5, 100_000)

    assert 0 < paired_permutation(first, second) < 1e-10


def test_equally_good_ones_are_called_different_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(0)
    draws = [rng.binomial(1, 0.7, (2, 60)) for _ in range(2000)]

    share = np.mean([paired_permutation(*draw) <= 0.05 for draw in draws])
    assert 0.01 < share <= 0.05  # exact tests on whole numbers are a little careful


@pytest.mark.parametrize(("first", "second"), [([], []), ([1], [1, 0]), ([[1]], [[1]])])
def test_what_is_no_pair_is_refused(first: list[int], second: list[int]) -> None:
    with pytest.raises(DataError, match="the same images twice"):
        paired_permutation(first, second)


def test_holm_as_published() -> None:
    # Holm (1979) as worked out in the documentation of R's p.adjust and in Wikipedia: 0.01, 0.04, 0.03, 0.005.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_its_steps_reject(p_values: list[float]) -> None:
    adjusted, left, level = holm(p_values), sorted(p_values), 0.05
    rejected = 0
    while rejected < len(left) and left[rejected] * (len(left) - rejected) <= level:
        rejected += 1

    assert sum(p <= level for p in adjusted) == rejected
    assert [p for _, p in sorted(zip(p_values, adjusted, strict=True))] == sorted(adjusted)
