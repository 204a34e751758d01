"""Tables of cases for the choice among deadlines; S(b) = 1 + 0.1 b unless it says otherwise."""

import math

import pytest

from inference_service.core.errors import Overloaded
from inference_service.core.scheduling.deadlines import Choice, Feasibility, Run, choose
from inference_service.core.scheduling.entries import DropReason, Entry, Priority
from inference_service.core.scheduling.groups import DeadlineList
from inference_service.core.scheduling.policy import DEFAULTS
from tests.core.scheduling.make import items, make, occupy, offer, runs

CURVE = [0.0] + [1 + 0.1 * rows for rows in range(1, 9)]
STEP = [0.0] + [1.0] * 4 + [2.5] * 4
"""Five rows take more than twice as long as four."""


def decided(
    deadlines: list[float], *, most: int = 8, curve: list[float] = CURVE, idle: bool = False,
    margin: float = 1.0, ends: tuple[float, ...] = (0.0,),
) -> Choice[int]:  # fmt: skip
    listed: DeadlineList[int] = DeadlineList()
    for index, deadline in enumerate(deadlines):
        listed.add(Entry(index, 0, 1, 0.0, deadline=deadline))
    run = Run(0.0, curve, 1.0, margin, most, most, ends, idle)
    return choose([listed], run, DEFAULTS)


@pytest.mark.parametrize(
    ("deadlines", "most", "chosen", "feasibility"),
    [
        ([5, 6, 7], 8, [0, 1, 2], Feasibility.ALL_IN_TIME),
        ([7, 5, 6], 2, [1, 2], Feasibility.ALL_IN_TIME),
        ([1.15, 9, 9], 8, [0], Feasibility.ALL_IN_TIME),
        ([1.15, 1.25, 1.25], 8, [1, 2], Feasibility.SOME_IN_TIME),
        ([1.3] * 6, 8, [0, 1, 2], Feasibility.SOME_IN_TIME),
        ([0.5, 0.6], 8, [], Feasibility.NONE),
    ],
    ids=["all in one run", "nearest first", "a small run for the first", "the latest together",
         "as many as are in time", "none"],
)  # fmt: skip
def test_the_choice(
    deadlines: list[float], most: int, chosen: list[int], feasibility: Feasibility
) -> None:
    choice = decided(deadlines, most=most)
    assert choice.feasibility is feasibility
    if feasibility is Feasibility.ALL_IN_TIME:
        assert [entry.item for entry in choice.chosen] == chosen
    else:
        assert len(choice.chosen) == len(chosen)
        assert min((e.deadline for e in choice.chosen), default=9) >= 1.25 or not chosen
    assert choice.rows == len(choice.chosen)


def test_what_is_late_even_alone_is_lost_and_so_is_what_the_chosen_run_leaves_no_chance() -> None:
    choice = decided([0.9, 1.15, 1.25, 1.25, 9.0])
    assert {entry.item for entry in choice.lost} >= {0}
    assert all(entry.deadline < 2.2 for entry in choice.lost)
    assert not {entry.item for entry in choice.lost} & {entry.item for entry in choice.chosen}


def test_an_idle_model_probes_with_the_latest_deadline() -> None:
    choice = decided([0.5, 0.6], idle=True)
    assert [entry.item for entry in choice.chosen] == [1]
    assert [entry.item for entry in choice.lost] == [0]
    assert choice.feasibility is Feasibility.DOUBTFUL


def test_of_the_sets_in_time_that_with_the_most_rows_per_second_runs() -> None:
    assert decided([2.6] * 40, curve=STEP).rows == 4, "eight rows would take 2.5 s"


def test_the_margin_bounds_the_set_but_drops_nothing() -> None:
    choice = decided([1.2] * 3, margin=1.5)
    assert choice.feasibility is Feasibility.DOUBTFUL
    assert (choice.rows, len(choice.lost)) == (1, 0)


def test_of_those_surely_in_time_the_nearest_go_first() -> None:
    choice = decided([1.5] * 8 + [4.0] * 8 + [9.0] * 40, curve=[0.0] + [1.4] * 8)
    assert choice.feasibility is Feasibility.ALL_IN_TIME
    choice = decided([1.5] * 12 + [4.0] * 8 + [9.0] * 40, curve=[0.0] + [1.4] * 8)
    assert choice.feasibility is Feasibility.SOME_IN_TIME
    assert {entry.deadline for entry in choice.chosen} == {4.0}


def test_other_slots_are_counted_in() -> None:
    assert decided([1.5, 1.5, 2.2, 2.2], most=2, ends=(0.0, 1.0)).feasibility is (
        Feasibility.ALL_IN_TIME
    )
    assert decided([1.5, 1.5, 2.2, 2.2], most=2).feasibility is Feasibility.SOME_IN_TIME


def test_other_rows_may_join_as_long_as_all_runs_are_in_time() -> None:
    assert decided([5.0, 9.0]).latest_end == pytest.approx(5.0)
    assert decided([5.0, 5.0, 3.5], most=2).latest_end == pytest.approx(3.5)
    assert decided([5.0, 5.0, 5.0, 2.6], most=2).latest_end == pytest.approx(2.6)


def test_a_request_that_can_not_be_in_time_in_the_next_run_is_refused_at_the_door() -> None:
    scheduler = make()
    occupy(scheduler)
    with pytest.raises(Overloaded, match=r"about 2 s, more than the 1\.5 s there are") as refusal:
        offer(scheduler, "a", deadline=1.5)
    assert refusal.value.retry_after == pytest.approx(1.5)
    assert scheduler.refusal(0.0, 1.5) is not None
    assert scheduler.refusal(0.0, 2.5) is None


def test_an_idle_model_takes_even_what_its_table_calls_hopeless_and_learns() -> None:
    scheduler = make()
    offer(scheduler, "a", deadline=0.1)
    assert runs(scheduler, 0.0) == [["a"]]


def test_high_priority_is_chosen_first_in_an_overload_of_deadlines() -> None:
    scheduler = make(4, slots=1)
    running = occupy(scheduler)
    for i in range(8):
        priority = Priority.HIGH if i % 2 else Priority.LOW
        offer(scheduler, f"{priority}{i}", deadline=2.5, priority=priority)
    scheduler.finish(running.parts[0].entry)
    scheduler.ended(running, 1.0, 1.0)
    decisions = scheduler.decide(1.0, 1)
    assert {name[:4] for name in items(decisions.run[0])} == {"high"}
    assert {drop.reason for drop in decisions.drop} == {DropReason.SHED}


def test_best_effort_fills_up_a_run_for_deadlines() -> None:
    scheduler = make(8)
    offer(scheduler, "a", deadline=50.0)
    offer(scheduler, "b")
    assert runs(scheduler, 0.0) == [["a", "b"]]


def test_best_effort_has_half_of_the_service_beside_deadlines_if_it_needs_it() -> None:
    scheduler = make(1, default_deadline=200.0)
    for i in range(12):
        offer(scheduler, "best effort", client=i)
        offer(scheduler, "deadline", deadline=1000.0 + i)
    names = [batch[0] for batch in runs(scheduler, 0.0, 12)]
    assert names.count("best effort") == pytest.approx(6, abs=1)


def test_best_effort_of_another_shape_waits_for_a_full_batch_or_an_eighth_of_its_deadline() -> None:
    scheduler = make(4, default_deadline=80.0)
    offer(scheduler, "lone", key="other")
    for i in range(200):
        offer(scheduler, "deadline", deadline=1.0 + i // 4)
    order = runs(scheduler, 0.0, 14)
    assert ["lone"] in order
    assert order.index(["lone"]) == pytest.approx(10, abs=1)


def test_a_large_request_with_a_deadline_is_due_earlier_by_the_runs_that_follow() -> None:
    scheduler = make(2)
    assert offer(scheduler, "a", rows=6, deadline=10.0).due == pytest.approx(8.0)
    assert runs(scheduler, 0.0) == [["a"]] * 3
    assert math.isinf(scheduler.nearest_deadline())
