"""Deadlines in an overload: who is answered is decided when a run starts."""

import itertools
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.errors import Overloaded
from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.scheduler import Scheduler
from inference_service.core.scheduling.standby import all_in_time, largest_in_time
from inference_service.core.scheduling.tickets import Batch, Expired, Release, Ticket
from inference_service.core.scheduling.virtual import Arrival
from inference_service.simulation.arrivals import poisson
from inference_service.simulation.study import affine, run_arrivals
from tests.core.scheduling.test_rules import make, occupy


def tickets(*deadlines: float) -> list[Ticket[str]]:
    made = []
    for deadline in sorted(deadlines):
        ticket = Ticket("t", 0, 1, 0.0)
        ticket.deadline = deadline
        made.append(ticket)
    return made


def cost(rows: int) -> float:
    return 0.5 + 0.5 * rows


def in_time(deadlines: tuple[float, ...], largest: int) -> bool:
    """Whether one slot can answer all in time: every way to cut them into runs is tried."""
    ordered = sorted(deadlines)
    for cuts in itertools.product([False, True], repeat=len(ordered) - 1):
        now, rows, good = 0.0, 0, True
        due = ordered[0]
        for deadline, cut in zip(ordered, (*cuts, True), strict=True):
            due = deadline if rows == 0 else due
            rows += 1
            if cut:
                now, good = now + cost(rows), good and rows <= largest and now + cost(rows) <= due
                rows = 0
        if good:
            return True
    return False


@given(st.lists(st.floats(0.5, 8), min_size=1, max_size=6), st.integers(1, 4))
def test_a_plan_for_all_is_one_that_could_be_kept(deadlines: list[float], largest: int) -> None:
    found = all_in_time(tickets(*deadlines), largest, [0.0], cost)
    if found is None:
        return
    rows, slack = found
    assert in_time(tuple(deadlines), largest)
    assert 1 <= rows <= largest
    assert slack >= 0
    assert cost(rows) + slack <= min(deadlines) + 1e-9


@given(st.lists(st.floats(0.0, 8), max_size=8), st.integers(1, 4), st.floats(0.0, 8))
def test_the_largest_run_has_no_room_for_one_more(
    deadlines: list[float], largest: int, latest: float
) -> None:
    rows, due = largest_in_time(tickets(*deadlines), largest, latest, 0.0, cost)
    best = max(
        (
            b
            for b in range(1, min(largest, len(deadlines)) + 1)
            if cost(b) <= min(latest, sorted(deadlines)[-b])
        ),
        default=0,
    )
    assert rows == best
    assert due <= latest
    assert rows == 0 or cost(rows) <= due


def refuse(scheduler: Scheduler[str], deadline: float) -> None:
    """From now on nothing is promised."""
    with pytest.raises(Overloaded):
        scheduler.submit("hopeless", key=0, rows=1, now=0.0, deadline=deadline)


def overloaded(*deadlines: float, largest: int = 4) -> tuple[list[str], list[str]]:
    """Who runs and who is refused at 1.0, after a request that could not be promised anything."""
    scheduler = make(largest, one=1.0, row=0.5)
    running = occupy(scheduler)
    refuse(scheduler, 1.5)
    for deadline in deadlines:
        scheduler.submit(f"{deadline:g}", key=0, rows=1, now=0.0, deadline=deadline)
    scheduler.completed(running, 1.0, 1.0)
    decisions = scheduler.poll(1.0, slots=1)
    ran: list[str] = []
    refused: list[str] = []
    for decision in decisions:
        if isinstance(decision, Expired):
            assert decision.refused
            assert decision.foreseen
            refused.append(decision.ticket.item)
        else:
            ran += [part.ticket.item for part in decision.parts]
    return ran, refused


def test_nobody_is_refused_where_all_can_be_in_time() -> None:
    assert overloaded(2.0, 4.0, 4.0) == (["2"], [])


def test_the_largest_run_is_started_and_whom_it_leaves_no_chance_is_refused_at_once() -> None:
    assert overloaded(2.1, 3.1, 3.2, 3.3, 3.4) == (["3.1", "3.2", "3.3"], ["2.1", "3.4"])
    assert overloaded(2.1, 3.1, 3.2, 3.3, 4.4) == (["3.1", "3.2", "3.3"], ["2.1"])


def test_others_fill_the_run_although_some_have_lost() -> None:
    scheduler = make(4, one=1.0, row=0.1)
    running = occupy(scheduler)
    refuse(scheduler, 1.5)
    for name, deadline in (("lost", 2.05), ("a", 2.4), ("b", 2.4), ("patient", math.inf)):
        scheduler.submit(name, key=0, rows=1, now=0.0, deadline=deadline)
    scheduler.completed(running, 1.0, 1.0)
    *gone, batch = scheduler.poll(1.0, slots=1)
    assert [d.ticket.item for d in gone if isinstance(d, Expired)] == ["lost"]
    assert isinstance(batch, Batch)
    assert [part.ticket.item for part in batch.parts] == ["a", "b", "patient"]


def test_who_can_hardly_be_in_time_is_refused_at_the_door() -> None:
    scheduler = make(4, one=1.0, row=0.5)
    occupy(scheduler)
    with pytest.raises(Overloaded, match="answer would take about"):
        scheduler.submit("a", key=0, rows=1, now=0.0, deadline=1.9)
    refusal = scheduler.refusal(0.0, 1.9)
    assert refusal is not None
    assert refusal.reason == "deadline"
    assert scheduler.refusal(0.0, 2.0) is None


def test_a_promise_is_kept_even_if_those_who_stand_by_would_fill_a_larger_run() -> None:
    scheduler = make(4, one=1.0, row=0.5)
    running = occupy(scheduler)
    scheduler.submit("promised", key=0, rows=1, now=0.0, deadline=2.2)
    refuse(scheduler, 1.5)
    for _ in range(3):
        scheduler.submit("standby", key=0, rows=1, now=0.0, deadline=3.6)
    scheduler.completed(running, 1.0, 1.0)
    *gone, batch = scheduler.poll(1.0, slots=1)
    assert gone == []
    assert isinstance(batch, Batch)
    assert [part.ticket.item for part in batch.parts] == ["promised"]
    assert batch.reason is Release.DEADLINE


def test_deadlines_are_promised_again_when_runs_have_refused_nobody_for_a_while() -> None:
    scheduler = make(4, one=0.1)
    running = occupy(scheduler)
    refuse(scheduler, 0.15)
    now, standing = 0.1, 0
    for _ in range(40):
        ticket = scheduler.submit("next", key=0, rows=1, now=now - 0.05, deadline=now + 5)
        standing += ticket.standby
        scheduler.completed(running, 0.1, now)
        decision = scheduler.poll(now, slots=1)[-1]
        assert isinstance(decision, Batch)
        running = decision
        now += 0.1
    assert 30 < standing < 35


@pytest.mark.parametrize("patience", [8.0, 100.0])
def test_what_is_kept_of_deadlines_does_not_grow_with_those_that_were_answered(
    patience: float,
) -> None:
    """The queue never empties: nothing is swept by its end."""
    scheduler = make(4, one=1.0)
    running = occupy(scheduler)
    now = 0.0
    for _ in range(200):
        for _ in range(8):
            with suppress(Overloaded):
                scheduler.submit("x", key=0, rows=1, now=now, deadline=now + patience)
        now += 1.0
        scheduler.completed(running, 1.0, now)
        running = next(d for d in scheduler.poll(now, slots=1) if isinstance(d, Batch))
        (group,) = scheduler.load.queue.groups.values()
        kept = len(group.firm) + len(scheduler.load.queue.standby)
        assert kept <= 4 * max(scheduler.load.queue.requests, 64)


def test_a_request_of_several_runs_that_has_lost_takes_no_place_in_a_run() -> None:
    scheduler = make(4, one=1.0)
    running = occupy(scheduler)
    refuse(scheduler, 1.5)
    scheduler.completed(running, 1.0, 1.0)
    # An idle model refuses nobody, but two runs are late for the one, and one is in time.
    scheduler.submit("lost", key=0, rows=5, now=1.0, deadline=2.5)
    scheduler.submit("kept", key=0, rows=1, now=1.0, deadline=2.5)
    *gone, batch = scheduler.poll(1.0, slots=1)
    assert [d.ticket.item for d in gone if isinstance(d, Expired)] == ["lost"]
    assert isinstance(batch, Batch)
    assert [part.ticket.item for part in batch.parts] == ["kept"]


def test_only_rows_of_the_same_part_of_lengths_get_into_a_run() -> None:
    scheduler: Scheduler[str] = Scheduler(
        BatchPolicy(2, default_deadline=1e6), CostModel([(1, 0.1), (2, 0.2)])
    )
    running = occupy(scheduler)
    refuse(scheduler, 0.15)
    for name, length, deadline in (("a", 1, 1.9), ("long", 10, 2.3), ("b", 1, 2.5)):
        scheduler.submit(
            name, key="texts", rows=1, now=0.0, deadline=deadline, volume=1, length=length
        )
    scheduler.completed(running, 0.1, 0.5)
    (batch,) = scheduler.poll(0.5, slots=1)
    assert isinstance(batch, Batch)
    assert [part.ticket.item for part in batch.parts] == ["a", "b"]


def test_who_brings_no_deadline_is_not_starved_by_an_overload_of_deadlines() -> None:
    model = affine(0.1)
    patience = 10 * model.cost(1)
    firm = [Arrival(t, patience=patience) for t in poisson(2 * model.capacity, 12_000, 1)]
    patient = [Arrival(t) for t in poisson(0.1 * model.capacity, 600, 2)]
    scheduler: Scheduler[Any] = Scheduler(BatchPolicy(model.largest), CostModel(model.points))
    run_arrivals("mixed", scheduler, model, sorted([*firm, *patient], key=lambda a: a.time))
    assert {arrival.outcome for arrival in patient} == {"ok"}
    seconds = firm[-1].time - firm[0].time
    assert sum(arrival.in_time for arrival in firm) > 0.85 * model.capacity * seconds


def test_who_waits_when_an_overload_of_deadlines_begins_is_planned_in() -> None:
    scheduler = make(4, one=1.0, row=0.1, default_deadline=6.0)
    running = occupy(scheduler)
    for name in "abcd":
        scheduler.submit(name, key=0, rows=1, now=0.0)
    now, answered = 0.0, set[str]()
    while now < 8.0:
        for n in range(8):  # four of them fit into a run, and some of each eight are refused
            with suppress(Overloaded):
                scheduler.submit(f"{now}-{n}", key=0, rows=1, now=now, deadline=now + 2.8)
        now = now + running.predicted
        for part in running.parts:
            scheduler.finish(part.ticket)
            answered.add(part.ticket.item)
        scheduler.completed(running, running.predicted, now)
        decisions = scheduler.poll(now, slots=1)
        assert not [d for d in decisions if isinstance(d, Expired) and not d.refused]
        running = next(d for d in decisions if isinstance(d, Batch))
    assert answered >= set("abcd")
