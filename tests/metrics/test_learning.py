"""Learning curves whose law is known, against scipy's own fit, and curves that say nothing."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import least_squares

from headstart.errors import DataError
from headstart.metrics import Extrapolation, extrapolate_curve
from headstart.metrics.learning import _follow

SIZES = np.array([32.0, 51, 80, 128, 202, 320])


def drawn(error, *, n: int = 4000, repeats: int = 4, seed: int = 0, sizes: NDArray = SIZES) -> NDArray:
    """(R, S, n) answers whose share of mistakes follows a law; an image is as hard at every size."""
    hardness = np.random.default_rng(seed).uniform(size=(repeats, 1, n))
    return hardness >= error(sizes)[None, :, None]


@pytest.mark.parametrize(
    ("a", "b", "c"), [(0.05, 2.0, 0.5), (0.0, 1.5, 0.4), (0.2, 4.0, 0.8), (0.1, 0.0, 1.0)]
)
def test_the_law_is_found_as_scipy_finds_it(a: float, b: float, c: float) -> None:
    rng = np.random.default_rng(1)
    errors = (a + b * SIZES**-c)[None] + rng.normal(0, 0.002, (3, len(SIZES)))
    targets = np.array([640.0, 3200.0])

    ours = _follow(SIZES, errors, np.full(len(SIZES), 0.002), targets, asymptote=True)

    for row, found in zip(errors, ours, strict=True):

        def residuals(p: NDArray, row: NDArray = row) -> NDArray:
            return (p[0] + p[1] * (SIZES / 320) ** -p[2] - row) / 0.002

        starts = [(row[-1] / 2, row[-1] / 2, start) for start in (0.1, 0.5, 1.0, 1.8)]
        fits = [least_squares(residuals, start, bounds=([0, 0, 0.05], [1, 1, 2])) for start in starts]
        best = min(fits, key=lambda fit: fit.cost)
        at_ours = least_squares_cost(SIZES, row, found, targets)
        # The exponent is searched on a grid of 0.05: the fit is as good but for that.
        assert at_ours <= best.cost + 0.5
        expected = best.x[0] + best.x[1] * (targets / 320) ** -best.x[2]
        assert found == pytest.approx(expected, abs=0.012)


def least_squares_cost(sizes: NDArray, row: NDArray, found: NDArray, targets: NDArray) -> float:
    """The least cost of a law through two known points: one number, the exponent, is left."""
    best = np.inf
    for c in np.arange(0.05, 2.01, 0.05):
        x = (targets / 320) ** -c
        b = (found[0] - found[1]) / (x[0] - x[1])
        a = found[0] - b * x[0]
        best = min(best, 0.5 * float(np.sum(((a + b * (sizes / 320) ** -c - row) / 0.002) ** 2)))
    return best


def test_the_interval_holds_the_truth() -> None:
    def law(n: NDArray) -> NDArray:
        return 0.04 + 1.2 * n**-0.5

    targets = np.array([400.0, 800.0, 4000.0])
    held = []
    for seed in range(12):
        found = extrapolate_curve(SIZES, drawn(law, n=500, seed=seed), targets=targets, seed=seed)
        assert found is not None
        assert (found.low <= found.expected).all()
        assert (found.expected <= found.high).all()
        held.append((found.low <= 1 - law(targets)) & (1 - law(targets) <= found.high))
    assert np.mean(held) >= 0.85  # nominally 0.95, of 36


def test_further_is_less_certain_and_more_images_more() -> None:
    def law(n: NDArray) -> NDArray:
        return 0.02 + 1.5 * n**-0.5

    targets = np.array([640.0, 3200.0])
    few, many = (extrapolate_curve(SIZES, drawn(law, n=n), targets=targets) for n in (200, 5000))
    assert few is not None
    assert many is not None
    widths = [found.high - found.low for found in (few, many)]
    assert (widths[1] < widths[0]).all()
    assert (np.diff(many.expected) > 0).all()


def test_groups_make_it_less_certain() -> None:
    right = np.repeat(drawn(lambda n: 0.5 * n**-0.2, n=40), 25, axis=2)
    targets = np.array([640.0])
    alone = extrapolate_curve(SIZES, right, targets=targets)
    grouped = extrapolate_curve(SIZES, right, targets=targets, groups=np.repeat(np.arange(40), 25))
    assert alone is not None
    assert grouped is not None
    assert (grouped.high - grouped.low)[0] > 2 * (alone.high - alone.low)[0]


def test_a_flat_curve_stays_flat_and_a_perfect_one_perfect() -> None:
    flat = extrapolate_curve(SIZES, drawn(lambda n: np.full(len(n), 0.25)), targets=np.array([3200.0]))
    assert flat is not None
    assert flat.expected[0] == pytest.approx(0.75, abs=0.04)
    perfect = extrapolate_curve(SIZES, np.ones((3, 6, 50), dtype=bool), targets=np.array([3200.0]))
    assert perfect is not None
    assert perfect.expected[0] == pytest.approx(1.0)
    assert perfect.high[0] <= 1.0


def test_the_same_seed_gives_the_same_numbers() -> None:
    right = drawn(lambda n: n**-0.3, n=200)
    first, again = (extrapolate_curve(SIZES, right, targets=SIZES * 2, seed=3) for _ in range(2))
    assert first is not None
    assert again is not None
    assert (first.low == again.low).all()
    assert (first.part(slice(2)).expected == again.expected[:2]).all()


def test_too_few_points_say_nothing_and_wrong_ones_are_refused() -> None:
    assert extrapolate_curve(SIZES[:3], np.ones((2, 3, 9), dtype=bool), targets=SIZES) is None
    with pytest.raises(DataError, match="6 sizes for 5 points"):
        extrapolate_curve(SIZES, np.ones((2, 5, 9), dtype=bool), targets=SIZES)


def test_between_targets_it_goes_straight_on_a_logarithmic_axis() -> None:
    shares = np.array([0.5, 0.7, 0.8])
    curve = Extrapolation(targets=np.array([10.0, 100, 1000]), expected=shares, low=shares, high=shares)

    assert np.allclose(curve.at([10, 10**1.5, 1000]), [0.5, 0.6, 0.8])
