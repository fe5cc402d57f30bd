"""Percentile intervals and p values agree with each other; Holm's rule agrees with the closed test it abbreviates."""

from itertools import combinations

import numpy as np
import pytest

from eval.stats.interval import (
    Interval,
    holm,
    percentile_interval,
    percentile_p_value,
    pivotal_interval,
    replicates_for_holm,
)


def test_interval_excludes() -> None:
    assert Interval(estimate=0.1, low=0.05, high=0.2).excludes(0.0)
    assert not Interval(estimate=0.1, low=-0.05, high=0.2).excludes(0.0)


def test_percentile_interval_leaves_out_half_each_side() -> None:
    interval = percentile_interval(7.0, np.arange(1001.0), level=0.9)
    assert (interval.estimate, interval.low, interval.high) == pytest.approx((7.0, 50.0, 950.0))


def test_pivotal_interval_reaches_as_far_below_as_replicates_lie_above() -> None:
    interval = pivotal_interval(0.3, 0.3 + np.linspace(-0.1, 0.2, 1001), level=1.0)
    assert (interval.estimate, interval.low, interval.high) == pytest.approx((0.3, 0.1, 0.4))
    all_above = pivotal_interval(0.02, np.linspace(0.03, 0.09, 100))
    assert (all_above.low, all_above.high) == (0.0, 0.02)


@pytest.mark.parametrize("shift", [0.0, 1.0, 1.9, 2.02, 3.0, -2.02, -1.9])
def test_p_value_is_under_5_percent_where_the_95_percent_interval_excludes_zero(shift: float) -> None:
    replicates = np.random.default_rng(0).normal(size=20_000) + shift
    assert percentile_interval(shift, replicates).excludes(0.0) == (percentile_p_value(replicates) < 0.05)


def test_p_value_of_no_difference_is_1_and_of_a_clear_one_the_least_there_is() -> None:
    assert percentile_p_value(np.zeros(100)) == 1.0
    assert percentile_p_value(np.full(999, 0.3)) == pytest.approx(2 / 1000)
    assert percentile_p_value(np.full(999, -0.3)) == pytest.approx(2 / 1000)


def closed_test(p_values: list[float]) -> list[float]:
    """A hypothesis is rejected if Bonferroni's rule rejects every set of hypotheses that it belongs to."""
    sets = [chosen for size in range(1, len(p_values) + 1) for chosen in combinations(range(len(p_values)), size)]
    of_set = {chosen: min(1.0, len(chosen) * min(p_values[i] for i in chosen)) for chosen in sets}
    return [max(of_set[chosen] for chosen in sets if i in chosen) for i in range(len(p_values))]


def test_holm_equals_the_closed_test_with_bonferroni() -> None:
    generator = np.random.default_rng(0)
    for number in range(1, 7):
        p_values = (generator.random(number) ** 3).tolist()
        corrected = holm(dict(enumerate(p_values)))
        assert list(corrected) == list(range(number))
        assert list(corrected.values()) == pytest.approx(closed_test(p_values))


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.02}) == pytest.approx(
        {"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.06}
    )
    assert holm({}) == {}


@pytest.mark.parametrize("num_comparisons", [1, 3, 48])
def test_replicates_for_holm_are_the_fewest_that_can_pass(num_comparisons: int) -> None:
    enough = replicates_for_holm(num_comparisons)
    for num_replicates, passes in ((enough, True), (enough - 1, False)):
        clearest = percentile_p_value(np.ones(num_replicates))
        others = dict.fromkeys(range(1, num_comparisons), 1.0)
        assert (holm({0: clearest} | others)[0] <= 0.05 + 1e-12) is passes
