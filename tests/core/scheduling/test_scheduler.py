"""The scheduler's decisions, told the time."""

import math

import pytest

from inference_service.core.errors import Overloaded
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.scheduler import Scheduler
from inference_service.core.scheduling.tickets import Batch, Expired, Release


def make(size: int = 4, queue: int | None = 100, delay: float = 0.0) -> Scheduler[str]:
    return Scheduler(BatchPolicy(size, queue, delay, default_deadline=1000.0), slots=9)


def batches(
    scheduler: Scheduler[str], now: float, slots: int = 1
) -> list[list[tuple[str, int, int]]]:
    return [
        [(part.ticket.item, part.start, part.stop) for part in decision.parts]
        for decision in scheduler.poll(now, slots=slots)
        if isinstance(decision, Batch)
    ]


def test_a_free_slot_takes_everything_that_is_queued() -> None:
    scheduler = make()
    for name in "abc":
        scheduler.submit(name, key=0, rows=1, now=0)
    assert batches(scheduler, 0) == [[("a", 0, 1), ("b", 0, 1), ("c", 0, 1)]]
    assert scheduler.rows == 0


def test_no_batch_is_formed_without_a_free_slot() -> None:
    scheduler = make()
    scheduler.submit("a", key=0, rows=1, now=0)
    assert batches(scheduler, 0, slots=0) == []
    assert scheduler.rows == 1


def test_a_batch_never_has_more_than_max_batch_size_rows() -> None:
    scheduler = make(size=4)
    for name in "abcde":
        scheduler.submit(name, key=0, rows=1, now=0)
    assert [len(batch) for batch in batches(scheduler, 0, slots=9)] == [4, 1]


def test_what_fits_into_a_batch_is_never_cut() -> None:
    scheduler = make(size=4)
    scheduler.submit("a", key=0, rows=3, now=0)
    scheduler.submit("b", key=0, rows=2, now=0)
    assert batches(scheduler, 0, slots=2) == [[("a", 0, 3)], [("b", 0, 2)]]


def test_a_large_request_is_cut_and_lets_others_pass_between_its_chunks() -> None:
    scheduler = make(size=4)
    scheduler.submit("large", key=0, rows=10, now=0)
    scheduler.submit("small", key=0, rows=1, now=1)
    assert batches(scheduler, 1) == [[("large", 0, 4)]]
    assert batches(scheduler, 1) == [[("small", 0, 1), ("large", 4, 7)]]
    assert batches(scheduler, 1) == [[("large", 7, 10)]]


def test_different_keys_never_share_a_batch_and_the_oldest_head_goes_first() -> None:
    scheduler = make()
    scheduler.submit("b1", key="b", rows=1, now=1)
    scheduler.submit("a1", key="a", rows=1, now=2)
    scheduler.submit("b2", key="b", rows=1, now=3)
    assert batches(scheduler, 3) == [[("b1", 0, 1), ("b2", 0, 1)]]
    assert batches(scheduler, 3) == [[("a1", 0, 1)]]


def test_a_key_of_none_is_a_key_like_any_other() -> None:
    scheduler = make()
    scheduler.submit("a", key=None, rows=1, now=0)
    scheduler.submit("b", key=0, rows=1, now=0)
    assert batches(scheduler, 0, slots=2) == [[("a", 0, 1)], [("b", 0, 1)]]


def test_what_has_ended_is_not_dispatched() -> None:
    scheduler = make()
    ticket = scheduler.submit("a", key=0, rows=1, now=0)
    scheduler.submit("b", key=0, rows=1, now=0)
    assert scheduler.finish(ticket)
    assert not scheduler.finish(ticket), "the second time there is nothing left to take out"
    assert batches(scheduler, 0) == [[("b", 0, 1)]]


def test_a_deadline_fires_even_while_no_slot_is_free() -> None:
    scheduler = make()
    ticket = scheduler.submit("a", key=0, rows=1, now=0, deadline=5)
    assert scheduler.wake_at(slots=0) == 5
    assert scheduler.poll(4.9, slots=0) == []
    assert scheduler.poll(5, slots=0) == [Expired(ticket, waited=True)]
    assert scheduler.wake_at(slots=1) == math.inf


def test_a_deadline_also_fires_while_the_request_runs() -> None:
    scheduler = make()
    ticket = scheduler.submit("a", key=0, rows=1, now=0, deadline=5)
    scheduler.poll(0, slots=1)
    assert scheduler.wake_at(slots=0) == 5
    assert scheduler.poll(5, slots=0) == [Expired(ticket, waited=False)]


def test_an_answered_request_leaves_no_alarm_behind() -> None:
    scheduler = make()
    ticket = scheduler.submit("a", key=0, rows=1, now=0, deadline=5)
    scheduler.poll(0, slots=1)
    scheduler.finish(ticket)
    assert scheduler.wake_at(slots=1) == math.inf


def test_a_full_queue_refuses_with_a_reason() -> None:
    scheduler = make(queue=3)
    scheduler.submit("a", key=0, rows=3, now=0)
    with pytest.raises(Overloaded, match="3 rows are queued") as refusal:
        scheduler.submit("b", key=0, rows=1, now=0)
    assert refusal.value.reason == "queue_full"


def test_an_empty_queue_takes_a_request_of_any_size() -> None:
    scheduler = make(queue=3)
    scheduler.submit("a", key=0, rows=1000, now=0)
    assert scheduler.rows == 1000


def test_with_a_delay_a_lone_request_waits_for_others_but_not_longer() -> None:
    scheduler = make(delay=0.5)
    scheduler.submit("a", key=0, rows=1, now=0)
    assert scheduler.poll(0.4, slots=1) == []
    assert scheduler.wake_at(slots=1) == 0.5
    (batch,) = scheduler.poll(0.5, slots=1)
    assert isinstance(batch, Batch)
    assert batch.reason is Release.DELAY


def test_with_a_delay_a_full_batch_does_not_wait() -> None:
    scheduler = make(size=2, delay=0.5)
    scheduler.submit("a", key=0, rows=1, now=0)
    scheduler.submit("b", key=0, rows=1, now=0.1)
    (batch,) = scheduler.poll(0.1, slots=1)
    assert isinstance(batch, Batch)
    assert batch.reason is Release.FULL


def test_the_reason_tells_why_a_batch_was_released() -> None:
    scheduler = make(size=2)
    for name in "abc":
        scheduler.submit(name, key=0, rows=1, now=0)
    reasons = [d.reason for d in scheduler.poll(0, slots=2) if isinstance(d, Batch)]
    assert reasons == [Release.FULL, Release.SLOT_FREE]


def test_cancelled_requests_do_not_pile_up_while_no_slot_is_free() -> None:
    scheduler = make(queue=10)
    scheduler.submit("stays", key=0, rows=1, now=0, deadline=9)
    for _ in range(1000):
        scheduler.finish(scheduler.submit("goes", key=0, rows=1, now=0, deadline=9))
    (group,) = scheduler.load.queue.groups.values()
    (lane,) = group.lanes.values()
    assert len(lane.queue) <= 65
    assert len(scheduler._deadlines) <= 65
