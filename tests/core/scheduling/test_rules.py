"""The rules of docs/scheduler.md one by one; the numbers are those of its list of invariants."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.errors import Overloaded
from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.lengths import cheapest_cut, padding_waste, quantised
from inference_service.core.scheduling.load import CALM
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.scheduler import Scheduler
from inference_service.core.scheduling.tickets import Batch, Expired, Priority, Release
from inference_service.simulation.arrivals import OPEN, Closed
from inference_service.simulation.rivals import Fifo
from inference_service.simulation.study import affine, ideal_lockstep, ours, run_closed, run_open


def make(largest: int = 4, one: float = 1.0, row: float = 0.0, **policy: object) -> Scheduler[str]:
    points = [(b, one + row * (b - 1)) for b in (1, 2, 4, 8, 16, 32, 64) if b <= largest]
    values = {"default_deadline": 1e6, **policy}
    return Scheduler(BatchPolicy(largest, **values), CostModel(points))  # type: ignore[arg-type]


def names(scheduler: Scheduler[str], now: float) -> list[str]:
    """The next batch; its run is over at once."""
    batch = scheduler.next_batch(now)[-1]
    assert isinstance(batch, Batch)
    for part in batch.parts:
        if part.stop == part.ticket.rows:
            scheduler.finish(part.ticket)
    scheduler.completed(batch, batch.predicted, now)
    return [part.ticket.item for part in batch.parts]


def occupy(scheduler: Scheduler[str], now: float = 0.0) -> Batch[str]:
    scheduler.submit("running", key=0, rows=1, now=now)
    batch = scheduler.next_batch(now)[-1]
    assert isinstance(batch, Batch)
    return batch


@pytest.mark.parametrize("process", list(OPEN))
@pytest.mark.parametrize("load", [0.3, 0.95])
def test_10_without_a_hold_it_dispatches_exactly_as_the_plain_work_conserving_policy(
    process: str, load: float
) -> None:
    model = affine(0.1)
    times = OPEN[process](load * model.capacity, 1500, 3)
    policy = BatchPolicy(model.largest, default_deadline=1e9, hold=False)
    mine = run_open("a", Scheduler(policy, CostModel(model.points)), model, times)
    assert mine == run_open("a", Fifo(model.largest, model.cost), model, times)


def test_12_a_request_waits_for_the_run_before_its_own_at_most() -> None:
    model = affine(0.1)
    times = OPEN["poisson"](0.7 * model.capacity, 2000, 5)
    result = run_open("a", ours(model), model, times)
    assert result.p999 <= 2 * model.cost(model.largest)


def test_3_a_deadline_bounds_the_batch() -> None:
    scheduler = make(8, one=1.0, row=1.0)
    running = occupy(scheduler)
    for i in range(4):
        scheduler.submit(f"r{i}", key=0, rows=1, now=0.0, deadline=4.2 if i == 0 else 20.0)
    scheduler.completed(running, 1.0, 1.0)
    (batch,) = scheduler.next_batch(1.0)
    assert isinstance(batch, Batch)
    assert [part.ticket.item for part in batch.parts] == ["r0", "r1", "r2"]
    assert batch.reason is Release.DEADLINE


def test_5_what_cannot_be_in_time_is_refused_at_once_with_the_time_to_come_back() -> None:
    scheduler = make(1, one=1.0)
    occupy(scheduler)
    scheduler.submit("a", key=0, rows=1, now=0.0, deadline=2.5)
    with pytest.raises(Overloaded, match="answer would take about") as refusal:
        scheduler.submit("b", key=0, rows=1, now=0.0, deadline=2.9)
    assert refusal.value.reason == "deadline"
    assert refusal.value.retry_after > 0
    scheduler.submit("c", key=0, rows=1, now=0.0, deadline=3.1)


def test_4_a_tighter_newcomer_may_go_first_but_makes_nobody_late() -> None:
    scheduler = make(1, one=1.0)
    running = occupy(scheduler)
    scheduler.submit("loose", key=0, rows=1, now=0.0, deadline=4.0)
    scheduler.submit("tight", key=0, rows=1, now=0.0, deadline=2.2)
    with pytest.raises(Overloaded):
        scheduler.submit("tighter", key=0, rows=1, now=0.0, deadline=2.1)
    scheduler.completed(running, 1.0, 1.0)
    assert names(scheduler, 1.0) == ["tight"]
    assert names(scheduler, 2.0) == ["loose"]


def test_an_idle_model_takes_even_what_its_table_calls_hopeless_and_learns() -> None:
    scheduler = make(1, one=1.0)
    scheduler.submit("a", key=0, rows=1, now=0.0, deadline=0.1)
    assert names(scheduler, 0.0) == ["a"]


def test_a_large_request_does_not_overtake_the_nearer_deadline_in_a_batch_with_a_later_one() -> (
    None
):
    scheduler = make(4, one=0.1)
    running = occupy(scheduler)
    for name, rows, deadline in (("late", 1, 2.0), ("near", 1, 0.4), ("large", 5, 1.0)):
        scheduler.submit(name, key=0, rows=rows, now=0.0, deadline=deadline)
    scheduler.completed(running, 0.1, 0.1)
    assert "near" in names(scheduler, 0.1)


def test_a_deadline_that_can_not_be_promised_is_refused_before_the_body_is_read() -> None:
    scheduler = make(1, one=1.0)
    occupy(scheduler)
    assert scheduler.refusal(0.0, 5.0) is None
    for _ in range(3):
        scheduler.submit("x", key=0, rows=1, now=0.0, deadline=4.0)
    assert scheduler.refusal(0.0, 3.0) is None, "it might go in between: a look at it will tell"
    refusal = scheduler.refusal(0.0, 4.0)
    assert refusal is not None
    assert refusal.reason == "deadline"
    with pytest.raises(Overloaded):
        scheduler.submit("y", key=0, rows=1, now=0.0, deadline=4.0)


def test_a_queue_that_would_take_longer_than_the_default_deadline_refuses() -> None:
    scheduler = make(1, one=1.0, default_deadline=10.0)
    occupy(scheduler)
    taken = 0
    with pytest.raises(Overloaded, match=r"more than the \S+ s there are") as refusal:
        for _ in range(20):
            scheduler.submit("x", key=0, rows=1, now=0.0)
            taken += 1
    assert 3 <= taken <= 5, "half of the deadline once the queue stands"
    assert refusal.value.retry_after > 0
    assert scheduler.refusal(0.0) is not None, "the edge may say so before it reads the body"
    assert make().refusal(0.0) is None


def test_in_an_overload_the_newest_goes_first_and_the_order_returns_with_the_load() -> None:
    scheduler = make(1, one=1.0, default_deadline=16.0)
    running = occupy(scheduler)
    for name in "abcdef":
        assert not scheduler.overloaded
        scheduler.submit(name, key=0, rows=1, now=0.0)
    assert scheduler.overloaded
    scheduler.completed(running, 1.0, 1.0)
    assert names(scheduler, 1.0) == ["f"]


def test_7_priorities_are_virtual_deadlines_so_the_low_ones_get_their_turn() -> None:
    scheduler = make(1, one=0.001, default_deadline=1.0)
    scheduler.submit("low", key=0, rows=1, now=0.0, priority=Priority.LOW, deadline=100.0)
    served = []
    for i in range(600):
        now = i * 0.01
        scheduler.submit("high", key=0, rows=1, now=now, priority=Priority.HIGH, deadline=now + 99)
        served += names(scheduler, now)
        if "low" in served:
            break
    assert "low" in served
    assert len(served) * 0.01 <= 4.0 + 0.1, "an offset of four default deadlines, and no more"
    assert len(served) > 100, "but it was put off for others"


def test_7_of_two_that_wait_the_high_one_goes_first() -> None:
    scheduler = make(1, one=0.001, default_deadline=1.0)
    scheduler.submit("low", key=0, rows=1, now=0.0, priority=Priority.LOW)
    scheduler.submit("normal", key=0, rows=1, now=0.0)
    scheduler.submit("high", key=0, rows=1, now=0.0, priority=Priority.HIGH)
    assert [names(scheduler, 0.0)[0] for _ in range(3)] == ["high", "normal", "low"]


@given(
    seed=st.integers(0, 1000),
    largest=st.sampled_from([1, 4, 8]),
    clients=st.integers(2, 5),
)
def test_8_clients_with_something_queued_are_served_alike(
    seed: int, largest: int, clients: int
) -> None:
    rng = random.Random(seed)
    scheduler = make(largest, one=1.0, row=0.1)
    cost = scheduler.load.seconds(largest)
    served = [0.0] * clients
    for client in range(clients):  # client 0 has ten times the requests of the others
        for _ in range(600 if client == 0 else 60):
            rows = rng.randint(1, largest)
            scheduler.submit(str(client), key=0, rows=rows, now=0.0, client=client)
    for _ in range(20):
        (batch,) = scheduler.next_batch(0.0)
        assert isinstance(batch, Batch)
        for part in batch.parts:
            served[int(part.ticket.item)] += cost / largest * part.rows
        scheduler.completed(batch, batch.predicted, 0.0)
        queued = [c for c in range(clients) if any(
            c in group.lanes for group in scheduler.load.queue.groups.values())]  # fmt: skip
        spread = [served[c] for c in queued]
        assert max(spread) - min(spread) <= 2 * cost + 1e-9


def test_8_a_newcomer_is_not_made_to_wait_behind_a_flood() -> None:
    scheduler = make(2)
    for i in range(100):
        scheduler.submit(f"flood{i}", key=0, rows=1, now=0.0, client="hog")
    names(scheduler, 0.0)
    scheduler.submit("small", key=0, rows=1, now=1.0, client="guest")
    assert "small" in names(scheduler, 1.0)


def test_8_a_client_with_more_than_its_share_of_a_full_queue_is_refused_first() -> None:
    scheduler = make(1, one=1.0, default_deadline=100.0)
    occupy(scheduler)
    scheduler.submit("y", key=0, rows=1, now=0.0, client="guest")
    with pytest.raises(Overloaded) as refusal:
        for _ in range(60):
            scheduler.submit("x", key=0, rows=1, now=0.0, client="hog")
    assert refusal.value.reason == "client_share"
    scheduler.submit("y", key=0, rows=1, now=0.0, client="guest")


def test_11_a_promise_is_kept_whatever_comes_without_a_deadline() -> None:
    scheduler = make(4, one=1.0, row=0.5)
    running = occupy(scheduler)
    scheduler.submit("promised", key=0, rows=1, now=0.0, deadline=5.0)
    for _ in range(40):
        scheduler.submit("other", key=1, rows=1, now=0.0)
    now, done = 1.0, 0.0
    scheduler.completed(running, 1.0, now)
    while not done:
        (batch,) = scheduler.next_batch(now)
        assert isinstance(batch, Batch)
        now += batch.predicted
        if any(part.ticket.item == "promised" for part in batch.parts):
            done = now
        scheduler.completed(batch, batch.predicted, now)
    assert done <= 5.0


def test_after_a_pause_the_hopeless_are_given_up_and_the_others_still_answered() -> None:
    scheduler = make(4, one=1.0)
    running = occupy(scheduler)
    for i in range(8):
        scheduler.submit(f"r{i}", key=0, rows=1, now=0.0, deadline=4.0 + i)
    scheduler.completed(running, 5.5, 5.5, learn=False)
    decisions = scheduler.poll(5.5, slots=1)
    assert [d.ticket.item for d in decisions if isinstance(d, Expired)] == ["r0", "r1", "r2"]
    batch = decisions[-1]
    assert isinstance(batch, Batch)
    assert [part.ticket.item for part in batch.parts] == ["r3", "r4", "r5", "r6"]


@pytest.mark.parametrize("load", [Closed(16, 2e-4), Closed(64, 2e-4), Closed(16, 2e-4, 2e-5)])
def test_clients_in_step_are_answered_in_one_step(load: Closed) -> None:
    model = affine(0.02)
    rate = run_closed("a", ours(model), model, load, 20_000).rate
    assert rate >= 0.9 * ideal_lockstep(model, load)


def test_no_hold_where_arrivals_have_nothing_to_do_with_answers() -> None:
    model = affine(0.02)
    scheduler = ours(model)
    result = run_open("a", scheduler, model, OPEN["poisson"](0.5 * model.capacity, 4000, 1))
    assert scheduler.hold.theta == 0.0
    assert result.idle == 0.0


@given(st.integers(1, 100_000))
def test_padded_lengths_are_on_a_geometric_grid(length: int) -> None:
    padded = quantised(length)
    assert padded >= length
    assert padded == quantised(padded)
    assert padded <= max(length + 1, 1.2 * length)


@given(
    st.dictionaries(st.integers(1, 60), st.integers(1, 6), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
    st.floats(0.0, 20.0),
)
def test_the_cut_of_lengths_is_the_cheapest_of_all(
    rows: dict[int, int], rng: random.Random, base: float
) -> None:
    lengths = sorted(rows.items())
    head = rng.choice(lengths)[0]

    def seconds(count: int, length: int) -> float:
        return base + count * length

    def total(cuts: tuple[int, ...]) -> float:
        bounds = [0, *cuts, len(lengths)]
        return sum(
            seconds(sum(n for _, n in lengths[a:b]), lengths[b - 1][0]) for a, b in pairwise(bounds)
        )

    found = cheapest_cut(lengths, head, seconds)
    spots = range(1, len(lengths))
    every = [tuple(s for s in spots if mask >> s & 1) for mask in range(0, 2 ** len(lengths), 2)]
    best = min(map(total, every))
    if found is None:
        together = total(())
        flat = [length for length, count in lengths for _ in range(count)]
        assert together == pytest.approx(best) or padding_waste(flat, lengths[-1][0]) <= 0.1 + 1e-9
        return
    assert found[0] <= head <= found[1]
    a = next(i for i, (length, _) in enumerate(lengths) if length == found[0])
    b = next(i for i, (length, _) in enumerate(lengths) if length == found[1]) + 1
    containing = [cuts for cuts in every if {a, b} - {0, len(lengths)} <= set(cuts)
                  and not any(a < c < b for c in cuts)]  # fmt: skip
    assert min(map(total, containing)) == pytest.approx(best), "part of a cheapest partition"


def test_rows_of_unlike_length_are_parted_where_padding_would_cost_more() -> None:
    points = [(1, 0.001), (8, 0.0015)]
    scheduler: Scheduler[str] = Scheduler(
        BatchPolicy(8, default_deadline=1e6), CostModel(points, volume=10)
    )
    for name, length in (("short1", 10), ("long", 400), ("short2", 11)):
        scheduler.submit(name, key=0, rows=1, now=0.0, volume=1, length=length)
    (batch,) = scheduler.next_batch(0.0)
    assert isinstance(batch, Batch)
    assert [part.ticket.item for part in batch.parts] == ["short1", "short2"]
    assert (batch.reason, batch.length) == (Release.LENGTH, 11)


def test_waiting_for_the_largest_time_is_never_needed() -> None:
    scheduler = make()
    assert scheduler.wake_at(slots=1) == math.inf


@given(
    one=st.floats(1e-6, 1.0),
    row=st.floats(0.0, 0.1),
    largest=st.sampled_from([1, 4, 64]),
    queued=st.lists(st.integers(1, 70), max_size=12),
    slots=st.integers(1, 3),
    after=st.floats(0.0, 0.5),
)
def test_a_calm_queue_is_far_from_every_bound(
    one: float, row: float, largest: int, queued: list[int], slots: int, after: float
) -> None:
    """The quick answer at the door is never another one than the exact one's."""
    scheduler: Scheduler[str] = make(largest, one, row, default_deadline=None)
    load = scheduler.load
    load.slots = slots
    for _ in range(slots):
        occupy(scheduler)
    for rows in queued:
        try:
            scheduler.submit("x", key=0, rows=rows, now=0.0)
        except Overloaded:
            break
    if load.calm(1, 0, after):
        wait = load.residual(after) + load.careful(load.drain(load.queue.rows + 1))
        assert wait <= CALM * load.patience(0.0) * 1.000001
        assert scheduler.refusal(after) is None


def test_7_rows_that_cost_more_are_not_put_off_for_those_that_cost_less() -> None:
    scheduler = make(2, one=1.0, row=0.5, default_deadline=None)
    occupy(scheduler)
    scheduler.submit("long", key="long", rows=1, now=0.0, volume=100)
    for i in range(20):
        scheduler.submit(f"short {i}", key="short", rows=1, now=0.5, volume=1)
    served = [names(scheduler, float(i)) for i in range(1, 4)]
    assert ["long"] in served
