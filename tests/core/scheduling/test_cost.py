"""What the cost table learns: knees, noise, stalls, spells, bad warm-ups."""

import random

import pytest

from inference_service.core.scheduling.cost import CostModel, CostTable, knee
from inference_service.simulation.truths import TABLES, capacity, warm_up

POINTS = [(1, 1.0), (2, 2.0), (4, 4.0), (8, 6.0)]


@pytest.mark.parametrize(
    ("rows", "seconds"), [(1, 1.0), (3, 3.0), (4, 4.0), (6, 5.0), (8, 6.0), (16, 12.0)]
)
def test_it_is_linear_between_its_sizes_and_goes_on_with_the_last_rows_cost(
    rows: int, seconds: float
) -> None:
    assert CostTable(POINTS).seconds(rows) == pytest.approx(seconds)


def test_an_empty_table_knows_nothing_and_learns_a_straight_line() -> None:
    table = CostTable()
    assert table.seconds(3) == 0.0
    table.observe(4, 2.0)
    assert [table.seconds(rows) for rows in (1, 2, 4)] == pytest.approx([0.5, 1.0, 2.0])


@pytest.mark.parametrize("points", [[(2, 1.0), (1, 2.0)], [(0, 1.0)], [(1, 1.0), (1, 2.0)]])
def test_rows_must_rise_from_one(points: list[tuple[int, float]]) -> None:
    with pytest.raises(ValueError, match="rising rows"):
        CostTable(points)


@pytest.mark.parametrize(
    ("points", "rows"),
    [([], 1), ([(1, 1.0), (2, 1.1), (4, 2.2)], 2), ([(1, 1.0), (2, 2.0)], 1)],
)
def test_the_knee_is_the_smallest_size_that_is_nearly_the_best(
    points: list[tuple[int, float]], rows: int
) -> None:
    assert knee(points) == rows


def test_a_size_that_was_never_run_costs_at_most_twice_its_half() -> None:
    assert CostTable([(1, 1.0), (2, 9.0), (4, 9.0)]).points == [(1, 1.0), (2, 2.0), (4, 4.0)]


def test_the_first_live_run_replaces_the_warm_up() -> None:
    model = CostModel([(1, 1.0), (2, 4.0)])
    model.observe(2, 1.2)
    assert model.seconds(2) == pytest.approx(1.2)


def test_a_size_between_two_is_added_where_the_line_is_off_by_a_tenth() -> None:
    model = CostModel([(1, 1.0), (32, 1.0), (64, 2.0)])
    model.observe(48, 1.55)
    assert len(model.tables[1]) == 3, "the line was right"
    model.observe(33, 2.0)
    assert dict(model.tables[1])[33] == pytest.approx(2.0)
    assert model.seconds(32) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("slow", [3.0, 8.0, 20.0])
def test_a_slow_spell_is_known_after_five_runs_and_over_after_five(slow: float) -> None:
    model = CostModel(POINTS)
    for rows in (1, 2, 4, 8) * 10:
        model.observe(rows, CostTable(POINTS).seconds(rows))
    for _ in range(5):
        model.observe(8, 6.0 * slow)
    found = [model.seconds(rows) for rows in (1, 8)]
    assert found == pytest.approx([slow, 6 * slow]), "all sizes, not only those that ran"
    for _ in range(30):
        model.observe(4, 4.0 * slow)
    for _ in range(5):
        model.observe(1, 1.0)
    assert model.speed == 1.0
    assert [model.seconds(rows) for rows in (1, 2, 4)] == pytest.approx([1, 2, 4], rel=0.05)
    assert model.seconds(8) == pytest.approx(6.0, rel=0.05), "the first slow runs taught nothing"


@pytest.mark.parametrize("slow", [2.0, 4.0, 20.0])
def test_the_backlog_that_a_spell_brings_does_not_make_large_runs_seem_slow(slow: float) -> None:
    """They run for the first time then: their first runs are not the cost of their size."""
    truth = CostTable([(1, 6.0), (2, 6.0), (8, 6.1), (16, 6.2), (32, 6.3), (48, 6.5)])
    model = CostModel(truth.points)
    for rows in (8, 12, 16) * 5:
        model.observe(rows, truth.seconds(rows))
    for rows in (21, 48, 48, 32, 17, 32, 16, 48, 48, *[16] * 6):
        model.observe(rows, slow * truth.seconds(rows))
    assert model.speed == pytest.approx(slow, rel=0.05)
    assert not model.table().believed(48)
    for rows in (8, 16, 32, 48):
        assert model.seconds(rows) == pytest.approx(slow * truth.seconds(rows), rel=0.05)


def test_a_size_that_is_slow_by_itself_is_no_spell() -> None:
    model = CostModel(POINTS)
    for _ in range(10):
        model.observe(2, 2.0)
        model.observe(8, 24.0)
    assert model.speed == 1.0
    assert model.seconds(8) == pytest.approx(24.0, rel=0.1)


def test_a_spell_that_lasts_becomes_the_usual_speed() -> None:
    model = CostModel(POINTS)
    for _ in range(20):
        model.observe(1, 1.0)
    for _ in range(400):
        model.observe(1, 4.0)
    assert model.speed == 1.0
    assert model.seconds(1) == pytest.approx(4.0, rel=0.1)
    assert model.seconds(8) == pytest.approx(6.0 * 4.0, rel=0.25), "all sizes, run or not"


@pytest.mark.parametrize("share", [0.01, 0.02])
def test_stalls_move_neither_the_table_nor_the_margin_much(share: float) -> None:
    rng, model = random.Random(1), CostModel(POINTS)
    for _ in range(2000):
        model.observe(4, 4.0 * (8.0 if rng.random() < share else 1.0))
        assert model.margin <= 1.2
    assert model.seconds(4) == pytest.approx(4.0, rel=0.25)


def test_the_margin_is_the_p90_of_noise() -> None:
    rng, model = random.Random(1), CostModel(POINTS)
    margins = []
    for _ in range(2000):
        model.observe(4, 4.0 * rng.lognormvariate(0.0, 0.12))
        margins.append(model.margin)
    assert sum(margins) / len(margins) == pytest.approx(1.166, abs=0.04)


@pytest.mark.parametrize("name", list(TABLES))
def test_a_disturbed_warm_up_is_corrected_by_the_sizes_that_run(name: str) -> None:
    truth, rng = TABLES[name], random.Random(3)
    model = CostModel(warm_up(truth, rng))
    for _ in range(600):
        rows = rng.randint(1, 64)
        model.observe(rows, truth(rows))
    errors = [abs(model.seconds(rows) / truth(rows) - 1) for rows in range(1, 65)]
    assert sum(errors) / len(errors) < 0.1
    assert model.speed == 1.0


@pytest.mark.parametrize("name", list(TABLES))
def test_bad_news_is_believed_only_if_it_was_measured_twice(name: str) -> None:
    table = CostTable(warm_up(TABLES[name]))
    assert not any(table.believed(rows) for rows in range(1, 65))
    table.observe(32, TABLES[name](32))
    assert not table.believed(32)
    table.observe(32, TABLES[name](32))
    assert table.believed(32)
    assert capacity(TABLES[name]) > 0


def test_rows_that_were_never_measured_cost_what_as_many_elements_do() -> None:
    model = CostModel(POINTS, row_elements=10)
    assert model.seconds(2, row_elements=20) == pytest.approx(4.0)
    model.observe(2, 5.0, row_elements=20)
    assert model.seconds(2, row_elements=20) == pytest.approx(5.0)
    assert model.seconds(2) == pytest.approx(2.0)


def test_without_a_warm_up_the_first_shape_that_runs_is_the_usual_one() -> None:
    model = CostModel()
    model.observe(2, 4.0, row_elements=7)
    assert model.seconds(2) == pytest.approx(4.0)
