"""Intervals, paired tests and their corrections."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evaluation.metrics.base import Better
from evaluation.statistics import badness, compare, estimate, holm, share

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False, allow_subnormal=False)
JUDGING = [better for better in Better if better is not Better.none]


def test_the_interval_of_three_clips_is_that_of_the_binomial() -> None:
    # A resampled mean of (0, 0, 3) is Binomial(3, 1/3): 3 has 1/27, more than the 2.5 % that are cut off.
    found = estimate([0.0, 3.0, 0.0])
    assert (found.mean, found.count) == (1.0, 3)
    assert found.interval == (0.0, 3.0)


def test_the_interval_of_many_clips_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(3).normal(5.0, 2.0, 400)
    found = estimate(list(values))
    assert found.interval is not None
    half = 1.96 * values.std() / 20
    assert found.interval[0] == pytest.approx(values.mean() - half, abs=0.12 * half)
    assert found.interval[1] == pytest.approx(values.mean() + half, abs=0.12 * half)


def test_fewer_than_three_clips_have_no_interval() -> None:
    assert estimate([4.0]).interval is None
    found = estimate([1.0, 2.0])
    assert found.interval is None and found.mean == 1.5 and found.count == 2


@settings(max_examples=40, deadline=None)
@given(st.lists(NUMBERS, min_size=3, max_size=12), st.randoms())
def test_an_interval_holds_the_mean_and_knows_no_order(values: list[float], random: object) -> None:
    found = estimate(values, resamples=200)
    assert found.interval is not None
    assert found.interval[0] <= found.mean <= found.interval[1]
    rounding = 1e-12 * max(map(abs, values))
    assert min(values) - rounding <= found.interval[0] and found.interval[1] <= max(values) + rounding
    random.shuffle(values)  # type: ignore[attr-defined]
    assert estimate(values, resamples=200) == found


def test_equal_clips_have_an_interval_without_width() -> None:
    assert estimate([0.1, 0.1, 0.1, 0.1]).interval == pytest.approx((0.1, 0.1))


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")] * 3])
def test_a_mean_of_nothing_known_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError):
        estimate(values)


def test_the_interval_of_a_share_is_wilsons() -> None:
    assert share(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert share(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


@pytest.mark.parametrize(
    ("pairs", "p", "stars"), [(6, 1 / 64, "*"), (7, 1 / 128, "**"), (10, 1 / 1024, "***")]
)
def test_a_system_that_wins_every_clip_has_the_smallest_p(pairs: int, p: float, stars: str) -> None:
    other = np.linspace(1, 2, pairs)
    first = other + np.linspace(0.1, 0.5, pairs)
    found = compare(list(first), list(other), Better.higher)
    assert found is not None
    assert found.p == pytest.approx(p) and found.stars == stars and found.pairs == pairs
    turned = compare(list(other), list(first), Better.higher)
    assert turned is not None and turned.p == pytest.approx(1.0) and turned.stars == "ns"


def test_one_small_loss_among_eight_is_two_of_256_sums() -> None:
    difference = [-0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    found = compare(difference, [0.0] * 8, Better.higher)
    assert found is not None and found.p == pytest.approx(2 / 256)


@pytest.mark.parametrize(
    ("better", "good", "bad"),
    [(Better.higher, 2, 1), (Better.lower, 1, 2), (Better.zero, -0.5, 1.5), (Better.one, 1.2, 0.5)],
)
def test_the_direction_is_the_metrics(better: Better, good: float, bad: float) -> None:
    small = [0.001 * k for k in range(8)]
    first, other = [good + x for x in small], [bad + 2 * x for x in small]
    winning, losing = compare(first, other, better), compare(other, first, better)
    assert winning is not None and winning.stars == "**"
    assert losing is not None and losing.stars == "ns"


def test_too_few_differences_are_not_tested() -> None:
    assert compare([1.0] * 5, [0.0, 0.1, 0.2, 0.3, 0.4], Better.higher) is None
    assert compare([1.0] * 20, [1.0] * 20, Better.higher) is None
    # The normal law would give these four wins among twenty p = .03; they can have no less than 1/16.
    assert compare([1.0, 2.0, 3.0, 4.0] + [0.0] * 16, [0.0] * 20, Better.higher) is None
    assert compare(list(range(9)), [0.0] * 9, Better.none) is None


def test_a_rounding_is_no_win() -> None:
    assert abs(1.1 - 1) != abs(0.9 - 1)
    assert compare([0.9] * 8, [1.1] * 8, Better.one) is None


@pytest.mark.parametrize("seed", range(6))
def test_ties_are_counted_as_scipy_counts_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    difference = rng.choice([-2.0, -1.0, 1.0, 2.0, 3.0], size=6 + seed % 3)
    found = compare(list(difference), [0.0] * len(difference), Better.higher)
    expected = stats.wilcoxon(difference, alternative="greater", method=stats.PermutationMethod())
    assert found is not None and found.p == pytest.approx(expected.pvalue)


def test_unpaired_values_are_refused() -> None:
    with pytest.raises(ValueError, match="as many values"):
        compare([1.0, 2.0], [1.0], Better.lower)
    with pytest.raises(ValueError):
        badness(1.0, Better.none)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=6, max_size=12), st.sampled_from(JUDGING), st.randoms())
def test_a_test_knows_no_order_of_clips(
    pairs: list[tuple[float, float]], better: Better, random: object
) -> None:
    found = compare([a for a, _ in pairs], [b for _, b in pairs], better)
    random.shuffle(pairs)  # type: ignore[attr-defined]
    again = compare([a for a, _ in pairs], [b for _, b in pairs], better)
    assert (found is None) == (again is None)
    if found is not None and again is not None:
        assert found.p == pytest.approx(again.p) and 0 < found.p <= 1


def test_holm_multiplies_step_by_step() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
