"""Cost tables: what is learned, and what stays true whatever is measured."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.scheduling.cost import CostModel, CostTable, knee, rising
from inference_service.core.scheduling.layout import Layout, LayoutChoice, Profile, worth_having

POINTS = [(1, 0.004), (2, 0.005), (4, 0.006), (8, 0.010)]
times = st.floats(1e-6, 10.0)


@given(st.lists(times, min_size=1, max_size=12))
def test_rising_rises_and_keeps_the_mean(values: list[float]) -> None:
    result = rising(values)
    assert all(a <= b + 1e-12 for a, b in pairwise(result))
    assert sum(result) == pytest.approx(sum(values))


def test_rising_leaves_what_rises_alone() -> None:
    assert rising([1, 2, 2, 5]) == [1, 2, 2, 5]
    assert rising([1, 4, 2]) == [1, 3, 3]


def test_the_table_is_linear_between_its_sizes_and_goes_on_with_the_cost_of_a_row() -> None:
    table = CostTable(POINTS)
    assert table.seconds(1) == 0.004
    assert table.seconds(3) == pytest.approx(0.0055)
    assert table.seconds(16) == pytest.approx(0.020)


@given(st.lists(st.tuples(st.integers(1, 20), times), max_size=60))
def test_9_whatever_is_observed_tables_rise_and_the_noise_is_between_1_and_3(
    runs: list[tuple[int, float]],
) -> None:
    model = CostModel(POINTS)
    for rows, seconds in runs:
        model.observe(rows, seconds)
        costs = [model.seconds(b) for b in range(1, 24)]
        assert all(a <= b + 1e-12 for a, b in pairwise(costs))
        assert all(cost > 0 for cost in costs)
        assert 1.0 <= model.noise <= 3.0


def test_observations_pull_the_table_towards_them() -> None:
    model = CostModel(POINTS)
    for _ in range(100):
        model.observe(3, 0.007)
        model.observe(8, 0.012)
    assert model.seconds(3) == pytest.approx(0.007, rel=0.02)
    assert model.seconds(8) == pytest.approx(0.012, rel=0.02)


def test_a_lone_outlier_is_noise_and_eight_in_a_row_are_the_truth() -> None:
    model = CostModel(POINTS)
    model.observe(4, 1.0)
    assert model.seconds(4) == 0.006
    for _ in range(8):
        model.observe(4, 0.06)
    assert model.seconds(4) > 0.05


def test_an_empty_table_knows_nothing_and_learns_from_its_first_run() -> None:
    model = CostModel()
    assert model.seconds(8) == 0.0
    model.observe(8, 0.016)
    assert model.seconds(8) == pytest.approx(0.016)
    assert model.seconds(1) == pytest.approx(0.002)


def test_in_a_volume_that_was_never_measured_as_many_numbers_cost_as_much() -> None:
    model = CostModel(POINTS, volume=100)
    assert model.seconds(4, 200) == pytest.approx(model.seconds(8, 100))
    assert model.seconds(8, 25) == pytest.approx(model.seconds(2, 100))
    assert model.seconds(4) == model.seconds(4, 100)


def test_the_knee_is_the_smallest_size_that_is_nearly_the_best() -> None:
    assert knee(POINTS) == 8
    assert knee([(1, 0.01), (2, 0.02), (4, 0.04)]) == 1
    assert knee([]) == 1


def test_tables_must_have_rising_sizes() -> None:
    with pytest.raises(ValueError, match="rising rows"):
        CostTable([(2, 1.0), (1, 1.0)])


QUICK = Profile(Layout(1, 4), ((1, 0.001), (8, 0.004)))
FULL = Profile(Layout(4, 1), ((1, 0.002), (8, 0.008)))


def test_a_layout_that_is_good_at_everything_stands_alone() -> None:
    assert worth_having([QUICK]) == (QUICK,)
    also = Profile(Layout(4, 1), ((1, 0.00105), (8, 0.008)))
    assert worth_having([QUICK, also]) == (also,)
    slow = Profile(Layout(4, 1), ((1, 0.004), (8, 0.016)))
    assert worth_having([QUICK, slow]) == (QUICK,)
    assert worth_having([QUICK, FULL]) == (QUICK, FULL)


def test_the_layout_follows_the_backlog_with_hysteresis() -> None:
    choice = LayoutChoice([QUICK, FULL])
    assert not any(choice.consider(1.0) for _ in range(100))
    assert [choice.consider(3.0) for _ in range(16)] == [False] * 15 + [True]
    assert choice.layout == FULL.layout
    assert not any(choice.consider(1.0) for _ in range(100)), "between the two it stays"
    assert any(choice.consider(0.0) for _ in range(16))
    assert choice.layout == QUICK.layout
