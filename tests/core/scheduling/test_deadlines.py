"""Tables of cases for the choice among deadlines; S(b) = 1 + 0.1 b unless it says otherwise."""

import math
from dataclasses import dataclass

import pytest

from inference_service.core.errors import Overloaded
from inference_service.core.scheduling.deadlines import Run, choose, late
from inference_service.core.scheduling.entries import DropReason, Entry, Priority
from inference_service.core.scheduling.lists import EntryList
from inference_service.core.scheduling.policy import DEFAULTS
from tests.core.scheduling.make import items, make, occupy, offer, runs

CURVE = [0.0] + [1 + 0.1 * rows for rows in range(1, 9)]
STEP = [0.0] + [1.0] * 4 + [2.5] * 4
"""Five rows take more than twice as long as four."""


@dataclass
class Next:
    """What happens to these deadlines when a slot is free."""

    lost: list[int]
    chosen: list[int]
    rows: int
    latest_end: float
    all_in_time: bool


def decided(
    deadlines: list[float], *, most: int = 8, curve: list[float] = CURVE, idle: bool = False,
    margin: float = 1.0, ends: tuple[float, ...] = (0.0,), rows: tuple[int, ...] = (),
) -> Next:  # fmt: skip
    listed: EntryList[int] = EntryList()
    entries = [
        Entry(index, 0, rows[index] if rows else 1, deadline=deadline)
        for index, deadline in enumerate(deadlines)
    ]
    for entry in entries:
        listed.add(entry)
    run = Run(0.0, curve, 1.0, margin, most, most, ends)
    lost = late([listed], run, probe=idle)
    for entry in lost:
        entry.end()
    if listed.first() is None:
        return Next([entry.item for entry in lost], [], 0, 0.0, all_in_time=False)
    choice = choose([listed], run, DEFAULTS)
    return Next([entry.item for entry in lost], [entry.item for entry in choice.chosen],
                choice.rows, choice.latest_end, choice.all_in_time)  # fmt: skip


@pytest.mark.parametrize(
    ("deadlines", "most", "lost", "chosen", "all_in_time"),
    [
        ([5, 6, 7], 8, [], [0, 1, 2], True),
        ([7, 5, 6], 2, [], [1, 2], True),
        ([1.15, 9, 9], 8, [], [0], True),
        ([1.15, 1.25, 1.25], 8, [], [1, 2], False),
        ([1.3] * 6, 8, [], [3, 4, 5], False),
        ([0.5, 0.6], 8, [0, 1], [], False),
        ([0.5, 2.0, 2.0], 8, [0], [1, 2], True),
        ([1.05, 1.09, 9.0], 8, [0, 1], [2], True),
    ],
    ids=["all in one run", "nearest first", "a small run for the first", "the latest together",
         "as many as are in time", "none", "the nearest is late", "late even alone"],
)  # fmt: skip
def test_the_choice(
    deadlines: list[float], most: int, lost: list[int], chosen: list[int], *, all_in_time: bool
) -> None:
    found = decided(deadlines, most=most)
    assert (found.lost, sorted(found.chosen)) == (lost, chosen)
    assert found.all_in_time is all_in_time
    assert found.rows == len(chosen)


def test_an_idle_model_probes_with_the_latest_deadline() -> None:
    found = decided([0.5, 0.6, 0.4], idle=True)
    assert (found.lost, found.chosen) == ([2, 0], [1])


def test_no_probe_where_another_class_can_be_in_time() -> None:
    scheduler = make(4, one=1.0)
    offer(scheduler, "hopeless", deadline=0.5, priority=Priority.HIGH)
    offer(scheduler, "fine", deadline=5.0, priority=Priority.LOW)
    decisions = scheduler.decide(0.0, 1)
    assert [drop.entry.item for drop in decisions.drop] == ["hopeless"]
    assert items(decisions.run[0]) == ["fine"]


def test_of_the_sets_in_time_that_with_the_most_rows_per_second_runs() -> None:
    assert decided([2.6] * 40, curve=STEP).rows == 4, "eight rows would take 2.5 s"


def test_the_margin_bounds_the_set_but_drops_nothing() -> None:
    found = decided([1.2] * 3, margin=1.5)
    assert (found.rows, found.lost, found.all_in_time) == (1, [], False)


def test_rows_of_a_cut_request_count_up_to_a_run() -> None:
    found = decided([9.0, 2.5, 2.5, 1.3, 1.3], rows=(8, 4, 4, 1, 1), most=5)
    own = (8, 4, 4, 1, 1)
    assert sum(min(own[i], 5) for i in found.chosen) == found.rows <= 5


def test_of_those_surely_in_time_the_nearest_go_first() -> None:
    curve, deadlines = [0.0] + [1.4] * 8, [4.0] * 8 + [9.0] * 40
    assert decided([1.5] * 8 + deadlines, curve=curve).chosen == list(range(8))
    found = decided([1.5] * 12 + deadlines, curve=curve)
    assert not found.all_in_time
    assert found.chosen == list(range(12, 20)), "those of 4.0"


def test_other_slots_are_counted_in() -> None:
    assert decided([1.5, 1.5, 2.2, 2.2], most=2, ends=(0.0, 1.0)).all_in_time
    assert not decided([1.5, 1.5, 2.2, 2.2], most=2).all_in_time


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
        priority = Priority.HIGH if i >= 4 else Priority.LOW
        offer(scheduler, f"{priority}{i}", deadline=2.5, priority=priority)
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
    scheduler = make(4, default_deadline=80.0, safe_end=1.0)
    offer(scheduler, "lone", key="other")
    for i in range(200):
        offer(scheduler, "deadline", deadline=1.0 + i // 4)
    order = runs(scheduler, 0.0, 14)
    assert ["lone"] in order
    assert order.index(["lone"]) == pytest.approx(10, abs=1)


def test_a_large_request_with_a_deadline_is_due_earlier_by_the_runs_that_follow() -> None:
    scheduler = make(2)
    assert offer(scheduler, "a", rows=6, deadline=10.0).order_key == pytest.approx(8.0)
    assert runs(scheduler, 0.0) == [["a"]] * 3
    assert math.isinf(scheduler.nearest_deadline())
