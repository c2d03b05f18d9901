import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.errors import DataError
from headstart.metrics import cluster_interval, wilson_interval


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        # Newcombe (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_values(correct: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 5_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_holds_the_share_and_mirrors(case: tuple[int, int]) -> None:
    correct, n = case
    low, high = wilson_interval(correct, n)
    assert 0 <= low <= correct / n <= high <= 1
    assert wilson_interval(n - correct, n) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_more_confidence_is_wider() -> None:
    low, high = wilson_interval(30, 40, confidence=0.99)
    assert low < wilson_interval(30, 40)[0]
    assert high > wilson_interval(30, 40)[1]


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_impossible_counts(correct: int, n: int) -> None:
    with pytest.raises(DataError):
        wilson_interval(correct, n)


class TestClusters:
    def test_the_same_as_resampling_by_hand(self) -> None:
        rng = np.random.default_rng(3)
        groups = np.repeat(np.arange(40), rng.integers(1, 30, 40))
        correct = rng.random(len(groups)) < np.repeat(rng.random(40), np.bincount(groups))
        low, high = cluster_interval(correct, groups)
        resampled = [
            np.concatenate([correct[groups == g] for g in rng.integers(0, 40, 40)]).mean()
            for _ in range(4000)
        ]
        assert (low, high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])), abs=0.015)
        wilson = wilson_interval(int(correct.sum()), len(correct))
        assert high - low > 2 * (wilson[1] - wilson[0])

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
    @settings(max_examples=25, deadline=None)
    def test_never_narrower_than_wilson_and_whatever_the_order(self, images: list[tuple[bool, int]]) -> None:
        correct, groups = (np.array(column) for column in zip(*images, strict=True))
        low, high = cluster_interval(correct, groups)
        inner = wilson_interval(int(correct.sum()), len(correct))
        assert 0 <= low <= inner[0] <= inner[1] <= high <= 1
        assert cluster_interval(correct[::-1], 3 - 7 * groups[::-1]) == (low, high)

    def test_what_the_groups_are_called_does_not_matter(self) -> None:
        rng = np.random.default_rng(0)
        groups = rng.integers(0, 37, 400)
        correct = rng.random(400) < rng.random(37)[groups]
        assert cluster_interval(correct, rng.permutation(37)[groups]) == cluster_interval(correct, groups)

    def test_one_group_says_nothing(self) -> None:
        assert cluster_interval(np.array([True, False]), np.array([4, 4])) == (0.0, 1.0)
