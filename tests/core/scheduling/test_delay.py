"""The delay of open loads: what a replay says, when it is taken, and when it is given up."""

import random
from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.delay import DELAYS, DelayTrial, Latency, replayed
from inference_service.core.scheduling.hold import Came
from inference_service.core.scheduling.judges import Judges
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.scheduler import Scheduler
from inference_service.core.scheduling.tickets import Batch, Part, Priority, Release, Ticket
from inference_service.core.scheduling.virtual import Arrival, VirtualServer
from inference_service.simulation.arrivals import OPEN, Closed
from inference_service.simulation.rivals import Timer
from inference_service.simulation.study import (
    JudgedServer,
    affine,
    measured,
    ours,
    run_arrivals,
    run_closed,
    run_open,
)

WEIGHTS = affine(0.02)  # a run costs much, a row little: S(1) is 4 ms
ONE = WEIGHTS.cost(1)


def replay(
    arrivals: list[Came], seconds: Callable[[int], float], largest: int, delay: float, slots: int
) -> Latency:
    (found,) = [x for x in replayed(arrivals, seconds, largest, delay, slots) if x is not None]
    return found


def latencies(policy: Any, load: list[Arrival], seconds: Any, slots: int) -> Latency:
    server = VirtualServer(policy, lambda batch: seconds(batch.rows), slots)
    for arrival in load:
        server.add(arrival)
    server.run()
    found = sorted(arrival.latency for arrival in load)
    return Latency(sum(found) / len(found), found[int(0.99 * len(found))])


class Delayed(Scheduler[Any]):
    """A scheduler with this delay, whatever happens."""

    fixed = 0.0

    def poll(self, now: float, *, slots: int) -> Any:
        self.hold.delay = self.fixed
        return super().poll(now, slots=slots)


def scheduler_of(cost: CostModel, largest: int, delay: float, slots: int = 1) -> Delayed:
    scheduler = Delayed(BatchPolicy(largest, default_deadline=1e9), cost, slots)
    scheduler.fixed = delay
    return scheduler


some_times = st.lists(st.floats(0, 20), min_size=1, max_size=60, unique=True).map(sorted)


@given(some_times, st.floats(0, 2), st.floats(0.1, 2), st.floats(0, 0.5), st.integers(1, 3))
def test_a_replay_tells_what_the_scheduler_does_with_the_delay(
    times: list[float], delay: float, base: float, row: float, slots: int
) -> None:
    cost = CostModel([(b, base + row * b) for b in (1, 2, 4, 5)])
    expected = latencies(
        scheduler_of(cost, 5, delay, slots), [Arrival(time) for time in times], cost.seconds, slots
    )
    found = replay([Came(time, 1, 1) for time in times], cost.seconds, 5, delay, slots)
    assert found == pytest.approx(expected)


@given(some_times, st.floats(0, 2), st.floats(0.1, 2), st.floats(0, 0.5))
def test_a_replay_tells_what_a_fixed_timer_does(
    times: list[float], delay: float, base: float, row: float
) -> None:
    def seconds(rows: int) -> float:
        return base + row * rows

    expected = latencies(Timer(5, seconds, delay), [Arrival(time) for time in times], seconds, 1)
    found = replay([Came(time, 1, 1) for time in times], seconds, 5, delay, 1)
    assert found == pytest.approx(expected)


def test_requests_that_came_at_once_count_each_and_are_cut_where_they_do_not_fit() -> None:
    def seconds(rows: int) -> float:
        return 1.0 + rows

    # 4 of 6 rows run until 5, the rest and the one that came at 1 until 5 + 1 + 3.
    found = replay([Came(0.0, 3, 6), Came(1.0, 1, 1)], seconds, 4, 0.0, 1)
    assert found == Latency((3 * 9.0 + 8.0) / 4, 9.0)
    assert replay([Came(0.0, 1, 2), Came(0.5, 1, 1)], seconds, 4, 0.5, 1) == Latency(4.25, 4.5)


def bursts(rng: random.Random, count: int) -> list[float]:
    """A page with twenty pictures: as many requests within a millisecond, then 19 without any."""
    return [
        0.02 * n + t for n in range(count) for t in sorted(rng.random() / 1e3 for _ in "x" * 20)
    ]


def test_bursts_teach_a_delay_that_makes_answers_sooner() -> None:
    times = bursts(random.Random(1), 150)
    scheduler = ours(WEIGHTS)
    learned = run_open("learned", scheduler, WEIGHTS, times)
    assert scheduler.hold.delay in [share * ONE for share in DELAYS]
    plain = replay([Came(time, 1, 1) for time in times], WEIGHTS.cost, WEIGHTS.largest, 0.0, 1)
    assert learned.mean < 0.85 * plain.mean
    assert learned.p99 <= plain.p99


def test_a_trial_ends_a_delay_that_makes_runs_slower_than_the_replay_knows() -> None:
    tried = []

    def service(batch: Batch[Any]) -> float:
        tried.append(batch.held > 0)
        return WEIGHTS.cost(batch.rows) * (1.6 if batch.held > 0 else 1.0)

    times = bursts(random.Random(1), 400)
    scheduler = ours(WEIGHTS)
    run_arrivals("ours", scheduler, WEIGHTS, [Arrival(time) for time in times], service)
    assert scheduler.hold.delay == 0.0
    assert 20 < sum(tried) < 0.2 * len(tried), "tried, and ever more rarely"


def test_a_trial_ends_where_other_slots_never_rest() -> None:
    trial = DelayTrial(1.0)
    assert trial.current == 0.0
    verdicts = [
        trial.add(batch_of(64, float(n)), float(n), queued=9, alone=False) for n in range(17)
    ]
    assert verdicts == [None] * 16 + [False]


def batch_of(requests: int, arrival: float) -> Batch[None]:
    ticket: Ticket[None] = Ticket(None, 0, 1, arrival)
    return Batch(tuple(Part(ticket, 0, 1) for _ in range(requests)), requests, Release.FULL)


def stretches(delayed: float, plain: float, queued: int = 0) -> DelayTrial:
    """A trial of six stretches, one a second, whose 128 requests each waited for so long."""
    trial = DelayTrial(0.5)
    assert trial.add(batch_of(1, -0.1), 0.0, queued=queued, alone=True) is None
    for n in range(1, 7):
        arrival = n - (delayed if trial.current else plain)
        verdict = trial.add(batch_of(128, arrival), float(n), queued=queued, alone=True)
        assert verdict is (True if n == 6 and not queued else None)
    return trial


def decided(trial: DelayTrial, arrivals: list[Came]) -> bool:
    def replay(arrivals: Sequence[Came], delay: float) -> Generator[None, None, Latency]:
        assert delay == 0.0
        yield
        return Latency(0.2 * sum(came.requests for came in arrivals) / 128, 0.2)

    work = trial.verdict(arrivals, replay)
    try:
        while True:
            next(work)
    except StopIteration as end:
        return bool(end.value)


def test_a_trial_compares_each_stretch_with_its_own_arrivals() -> None:
    every = [Came(n - 0.5, 128, 128) for n in range(7)]
    assert decided(stretches(0.19, 0.2), every)
    assert not decided(stretches(0.2, 0.2), every)
    # Twice the requests in all delayed stretches: as much waiting each, but a load twice as high.
    busier = [Came(n - 0.5, 256 if n % 2 == 0 else 128, 1) for n in range(7)]
    assert decided(stretches(0.3, 0.2), busier)


def test_a_stretch_ends_although_others_wait_and_its_own_are_followed_to_their_answers() -> None:
    trial = stretches(0.2, 0.2, queued=64)
    # Half of the requests of the last stretch are answered a second after it, with some of later.
    both = Batch((*batch_of(64, 5.5).parts, *batch_of(9, 6.5).parts), 73, Release.FULL)
    assert trial.add(both, 7.0, queued=64, alone=True) is None
    assert trial.current == 0.0
    assert trial.add(batch_of(9, 6.5), 7.1, queued=64, alone=True) is True
    every = [Came(n - 0.5, 128, 128) for n in range(8)]
    assert not decided(trial, every)


def test_those_who_wait_when_a_stretch_begins_or_come_after_it_are_replayed_but_do_not_count() -> (
    None
):
    trial = stretches(0.2, 0.2, queued=7)
    trial.add(batch_of(1, 6.5), 7.0, queued=7, alone=True)
    seen = []

    def replay(arrivals: Sequence[Came], delay: float) -> Generator[None, None, Latency]:
        seen.append(list(arrivals))
        yield
        return Latency(0.2, 0.2)

    every = [Came(n - 0.5, 128, 128) for n in range(8)]
    for _ in trial.verdict(every, replay):
        pass
    assert [Came(0.0, 0, 7), Came(0.5, 128, 128), Came(1.5, 0, 128)] == seen[0][:3]
    assert len(seen) == 6


def test_stretches_whose_arrivals_are_forgotten_prove_nothing() -> None:
    late = [Came(n - 0.5, 128, 128) for n in range(6, 7)]
    assert not decided(stretches(0.1, 0.2), late)


def test_a_hold_for_a_closed_loop_ends_a_delay() -> None:
    scheduler = ours(WEIGHTS)
    judges = Judges(scheduler)
    scheduler.hold.theta, scheduler.hold.delay = 0.5, 1.0
    served(scheduler, judges, 0, 0.0, 4)
    assert scheduler.hold.delay == 0.0


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_requests_without_a_pattern_wait_for_nothing(share: float) -> None:
    scheduler = ours(WEIGHTS)
    times = OPEN["poisson"](share * WEIGHTS.capacity, 4000, 1)
    result = run_open("ours", scheduler, WEIGHTS, times)
    plain = replay([Came(time, 1, 1) for time in times], WEIGHTS.cost, WEIGHTS.largest, 0.0, 1)
    assert result.mean <= 1.01 * plain.mean
    assert result.p99 <= 1.02 * plain.p99


def test_clients_in_a_closed_loop_teach_no_delay() -> None:
    for load in (Closed(16), Closed(16, 2e-4, 2e-5), Closed(64, 1e-3, random=True)):
        scheduler = ours(WEIGHTS)
        run_closed("ours", scheduler, WEIGHTS, load, 5000)
        assert scheduler.hold.delay == 0.0


def test_nobody_waits_where_a_row_costs_as_much_as_a_run() -> None:
    model, scheduler = affine(5.0), ours(affine(5.0))
    run_open("ours", scheduler, model, bursts(random.Random(1), 75))
    assert scheduler.hold.delay == 0.0


@pytest.mark.parametrize("shortest", [0.0, 0.6 * ONE])
def test_no_delay_is_shorter_than_the_alarms_of_the_clock(shortest: float) -> None:
    scheduler = ours(WEIGHTS)
    server = JudgedServer(scheduler, lambda batch: WEIGHTS.cost(batch.rows), shortest=shortest)
    for time in bursts(random.Random(1), 150):
        server.add(Arrival(time))
    server.run()
    assert (scheduler.hold.delay > 0.0) is (shortest == 0.0)


def test_nothing_is_noted_of_requests_where_no_delay_could_pay_until_runs_cost_more() -> None:
    cheap = affine(0.02, one=5e-4)
    scheduler = ours(cheap)
    judges = Judges(scheduler, shortest=1e-3)
    assert scheduler.hold.arrivals is None
    now = served(scheduler, judges, 0, 0.0, 300)
    assert scheduler.hold.arrivals is None
    scheduler.use(CostModel(WEIGHTS.points), 1)
    for _ in range(40):
        now = served(scheduler, judges, 0, now, 256)
    assert scheduler.hold.arrivals


def served(scheduler: Scheduler[Any], judges: Judges, key: object, now: float, rows: int) -> float:
    """So many requests come at once and are answered; returns the time after them."""
    for _ in range(rows):
        scheduler.submit(None, key=key, rows=1, now=now)
    ends = now
    while scheduler.rows:
        found = scheduler.poll(ends, slots=1)
        if not found:
            ends = scheduler.wake_at(slots=1)
            continue
        (batch,) = found
        assert isinstance(batch, Batch)
        ends += batch.predicted
        for part in batch.parts:
            scheduler.finish(part.ticket)
        scheduler.completed(batch, batch.predicted, ends)
        judges.completed(batch, ends)
        while judges.due:
            judges.work()
    return ends


def test_who_waits_in_vain_three_times_in_a_row_gives_the_delay_up() -> None:
    scheduler = ours(WEIGHTS)
    judges = Judges(scheduler)
    scheduler.hold.delay = ONE / 2
    now = 0.0
    for waited in (True, True, True, False, False):
        began = now
        now = served(scheduler, judges, 0, now, 1)
        assert now - began == pytest.approx(1.5 * ONE if waited else ONE)
        now += 1.0


def test_a_delay_that_brings_somebody_now_and_then_stays() -> None:
    scheduler = ours(WEIGHTS)
    scheduler.hold.delay = ONE / 2
    for n in range(12):
        now = float(n)
        scheduler.submit(None, key=0, rows=1, now=now)
        assert scheduler.poll(now, slots=1) == []
        assert scheduler.wake_at(slots=1) == now + ONE / 2
        if n % 3 == 2:
            scheduler.submit(None, key=0, rows=1, now=now + ONE / 4)
        (batch,) = scheduler.poll(now + ONE / 2, slots=1)
        assert isinstance(batch, Batch)
        assert batch.reason is Release.HOLD
        assert batch.held == pytest.approx(ONE / 2)
        scheduler.completed(batch, batch.predicted, now + 2 * ONE)
    assert scheduler.hold.delay == ONE / 2


def test_the_more_urgent_prolong_no_delay() -> None:
    scheduler = ours(WEIGHTS)
    scheduler.hold.delay = 1.0
    scheduler.submit("first", key=0, rows=1, now=0.0)
    assert scheduler.poll(0.0, slots=1) == []
    scheduler.submit("urgent", key=0, rows=1, now=0.9, priority=Priority.HIGH)
    assert scheduler.poll(0.9, slots=1) == []
    assert scheduler.wake_at(slots=1) == 1.0
    (batch,) = scheduler.poll(1.0, slots=1)
    assert isinstance(batch, Batch)
    assert batch.rows == 2


def test_a_deadline_ends_a_delay() -> None:
    scheduler = ours(WEIGHTS)
    scheduler.hold.delay = 1.0
    scheduler.submit("patient", key=0, rows=1, now=0.0)
    assert scheduler.poll(0.0, slots=1) == []
    scheduler.submit("pressed", key=0, rows=1, now=0.1, deadline=0.2)
    assert scheduler.wake_at(slots=1) <= 0.1
    (batch,) = scheduler.poll(0.1, slots=1)
    assert isinstance(batch, Batch)
    assert batch.rows == 2


def test_requests_that_share_nothing_teach_nothing() -> None:
    scheduler = ours(WEIGHTS)
    judges = Judges(scheduler)
    now = 0.0
    for time in bursts(random.Random(1), 75):
        now = max(now, time)
        now = served(scheduler, judges, round(time * 1e6) % 2, now, 1)
    assert scheduler.hold.delay == 0.0


@pytest.mark.parametrize("seed", [4, 16])
def test_bursts_at_a_high_load_are_no_clients_in_step(seed: int) -> None:
    """Most answers are followed by as many requests, and the house is nearly always as full."""
    points = [(1, 4.2), (8, 4.7), (16, 8.0), (32, 10.9), (64, 21.4), (128, 38.7), (512, 142.3)]
    model = measured("MLP", [(rows, ms / 1e3) for rows, ms in points])
    times = OPEN["on-off"](0.9 * model.capacity, 12_000, seed)
    plain = replay([Came(time, 1, 1) for time in times], model.cost, model.largest, 0.0, 1)
    result = run_open("ours", ours(model), model, times)
    assert result.mean <= 1.01 * plain.mean
    assert result.p99 <= 1.02 * plain.p99
