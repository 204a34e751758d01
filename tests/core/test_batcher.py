"""The batcher's decisions, told the time."""

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inference_service.core.batcher import (
    Batch,
    Batcher,
    BatchPolicy,
    Expired,
    Release,
    Ticket,
)
from inference_service.core.errors import Overloaded


def make(size: int = 4, queue: int = 100, delay: float = 0.0) -> Batcher[str]:
    return Batcher(BatchPolicy(size, queue, delay))


def batches(batcher: Batcher[str], now: float, slots: int = 1) -> list[list[tuple[str, int, int]]]:
    return [
        [(part.ticket.item, part.start, part.stop) for part in decision.parts]
        for decision in batcher.poll(now, slots=slots)
        if isinstance(decision, Batch)
    ]


def test_a_free_slot_takes_everything_that_is_queued() -> None:
    batcher = make()
    for name in "abc":
        batcher.submit(name, key=0, rows=1, now=0)
    assert batches(batcher, 0) == [[("a", 0, 1), ("b", 0, 1), ("c", 0, 1)]]
    assert batcher.rows == 0


def test_no_batch_is_formed_without_a_free_slot() -> None:
    batcher = make()
    batcher.submit("a", key=0, rows=1, now=0)
    assert batches(batcher, 0, slots=0) == []
    assert batcher.rows == 1


def test_a_batch_never_has_more_than_max_batch_size_rows() -> None:
    batcher = make(size=4)
    for name in "abcde":
        batcher.submit(name, key=0, rows=1, now=0)
    assert [len(batch) for batch in batches(batcher, 0, slots=9)] == [4, 1]


def test_what_fits_into_a_batch_is_never_cut() -> None:
    batcher = make(size=4)
    batcher.submit("a", key=0, rows=3, now=0)
    batcher.submit("b", key=0, rows=2, now=0)
    assert batches(batcher, 0, slots=2) == [[("a", 0, 3)], [("b", 0, 2)]]


def test_a_large_request_is_cut_and_lets_others_pass_between_its_chunks() -> None:
    batcher = make(size=4)
    batcher.submit("large", key=0, rows=10, now=0)
    batcher.submit("small", key=0, rows=1, now=1)
    assert batches(batcher, 1) == [[("large", 0, 4)]]
    assert batches(batcher, 1) == [[("small", 0, 1), ("large", 4, 7)]]
    assert batches(batcher, 1) == [[("large", 7, 10)]]


def test_different_keys_never_share_a_batch_and_the_oldest_head_goes_first() -> None:
    batcher = make()
    batcher.submit("b1", key="b", rows=1, now=1)
    batcher.submit("a1", key="a", rows=1, now=2)
    batcher.submit("b2", key="b", rows=1, now=3)
    assert batches(batcher, 3) == [[("b1", 0, 1), ("b2", 0, 1)]]
    assert batches(batcher, 3) == [[("a1", 0, 1)]]


def test_a_key_of_none_is_a_key_like_any_other() -> None:
    batcher = make()
    batcher.submit("a", key=None, rows=1, now=0)
    batcher.submit("b", key=0, rows=1, now=0)
    assert batches(batcher, 0, slots=2) == [[("a", 0, 1)], [("b", 0, 1)]]


def test_what_has_ended_is_not_dispatched() -> None:
    batcher = make()
    ticket = batcher.submit("a", key=0, rows=1, now=0)
    batcher.submit("b", key=0, rows=1, now=0)
    assert batcher.finish(ticket)
    assert not batcher.finish(ticket), "the second time there is nothing left to take out"
    assert batches(batcher, 0) == [[("b", 0, 1)]]


def test_a_deadline_fires_even_while_no_slot_is_free() -> None:
    batcher = make()
    ticket = batcher.submit("a", key=0, rows=1, now=0, deadline=5)
    assert batcher.wake_at(slots=0) == 5
    assert batcher.poll(4.9, slots=0) == []
    assert batcher.poll(5, slots=0) == [Expired(ticket, waited=True)]
    assert batcher.wake_at(slots=1) == math.inf


def test_a_deadline_also_fires_while_the_request_runs() -> None:
    batcher = make()
    ticket = batcher.submit("a", key=0, rows=1, now=0, deadline=5)
    batcher.poll(0, slots=1)
    assert batcher.wake_at(slots=0) == 5
    assert batcher.poll(5, slots=0) == [Expired(ticket, waited=False)]


def test_an_answered_request_leaves_no_alarm_behind() -> None:
    batcher = make()
    ticket = batcher.submit("a", key=0, rows=1, now=0, deadline=5)
    batcher.poll(0, slots=1)
    batcher.finish(ticket)
    assert batcher.wake_at(slots=1) == math.inf


def test_a_full_queue_refuses_with_a_reason() -> None:
    batcher = make(queue=3)
    batcher.submit("a", key=0, rows=3, now=0)
    with pytest.raises(Overloaded, match="3 rows are queued") as refusal:
        batcher.submit("b", key=0, rows=1, now=0)
    assert refusal.value.reason == "queue_full"


def test_an_empty_queue_takes_a_request_of_any_size() -> None:
    batcher = make(queue=3)
    batcher.submit("a", key=0, rows=1000, now=0)
    assert batcher.rows == 1000


def test_with_a_delay_a_lone_request_waits_for_others_but_not_longer() -> None:
    batcher = make(delay=0.5)
    batcher.submit("a", key=0, rows=1, now=0)
    assert batcher.poll(0.4, slots=1) == []
    assert batcher.wake_at(slots=1) == 0.5
    (batch,) = batcher.poll(0.5, slots=1)
    assert isinstance(batch, Batch)
    assert batch.reason is Release.DELAY


def test_with_a_delay_a_full_batch_does_not_wait() -> None:
    batcher = make(size=2, delay=0.5)
    batcher.submit("a", key=0, rows=1, now=0)
    batcher.submit("b", key=0, rows=1, now=0.1)
    (batch,) = batcher.poll(0.1, slots=1)
    assert isinstance(batch, Batch)
    assert batch.reason is Release.FULL


def test_the_reason_tells_why_a_batch_was_released() -> None:
    batcher = make(size=2)
    for name in "abc":
        batcher.submit(name, key=0, rows=1, now=0)
    reasons = [d.reason for d in batcher.poll(0, slots=2) if isinstance(d, Batch)]
    assert reasons == [Release.FULL, Release.SLOT_FREE]


def test_cancelled_requests_do_not_pile_up_while_no_slot_is_free() -> None:
    batcher = make(queue=10)
    batcher.submit("stays", key=0, rows=1, now=0, deadline=9)
    for _ in range(1000):
        batcher.finish(batcher.submit("goes", key=0, rows=1, now=0, deadline=9))
    (group,) = batcher._groups.values()
    assert len(group.queue) <= 65
    assert len(batcher._deadlines) <= 65


class BatcherMachine(RuleBasedStateMachine):
    """Random traffic: every request ends exactly once, and the rules hold at each decision."""

    SIZE, QUEUE = 5, 40

    def __init__(self) -> None:
        super().__init__()
        self.batcher: Batcher[int] = Batcher(BatchPolicy(self.SIZE, self.QUEUE))
        self.now = 0.0
        self.tickets: list[Ticket[int]] = []
        self.ended: dict[int, str] = {}
        self.covered: dict[int, list[tuple[int, int]]] = {}
        self.running: list[Batch[int]] = []
        self.first_run: dict[object, list[int]] = {}

    @rule(
        key=st.integers(0, 2),
        rows=st.integers(1, 12),
        patience=st.one_of(st.none(), st.floats(0.1, 3)),
    )
    def submit(self, key: int, rows: int, patience: float | None) -> None:
        number = len(self.tickets)
        deadline = math.inf if patience is None else self.now + patience
        before = self.batcher.rows
        try:
            ticket = self.batcher.submit(
                number, key=key, rows=rows, now=self.now, deadline=deadline
            )
        except Overloaded:
            assert before + rows > self.QUEUE
            return
        assert before == 0 or before + rows <= self.QUEUE
        self.tickets.append(ticket)
        self.covered[number] = []

    @rule(pick=st.randoms(use_true_random=False))
    @precondition(lambda self: self.tickets)
    def cancel(self, pick: object) -> None:
        ticket = pick.choice(self.tickets)  # type: ignore[attr-defined]
        if ticket.item not in self.ended:
            self.batcher.finish(ticket)
            self.ended[ticket.item] = "cancelled"

    @rule(seconds=st.floats(0.01, 2))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(slots=st.integers(0, 3))
    def poll(self, slots: int) -> None:
        given = 0
        for decision in self.batcher.poll(self.now, slots=slots):
            if isinstance(decision, Expired):
                self._end(decision.ticket, "expired")
                assert decision.ticket.deadline <= self.now
                assert decision.waited == (not self.covered[decision.ticket.item])
            else:
                given += 1
                self._dispatched(decision)
        assert given <= slots
        assert given == slots or self.batcher.rows == 0, "an idle slot beside queued rows"

    def _dispatched(self, batch: Batch[int]) -> None:
        assert batch.rows == sum(part.rows for part in batch.parts)
        assert 1 <= batch.rows <= self.SIZE
        assert len({part.ticket.key for part in batch.parts}) == 1
        for part in batch.parts:
            ticket = part.ticket
            assert ticket.item not in self.ended, "it runs although it has ended"
            assert ticket.deadline > self.now
            done = self.covered[ticket.item]
            assert part.start == (done[-1][1] if done else 0), "chunks come in order"
            assert ticket.rows > self.SIZE or part.rows == ticket.rows
            if not done:
                self.first_run.setdefault(ticket.key, []).append(ticket.item)
            done.append((part.start, part.stop))
        self.running.append(batch)

    @rule(index=st.integers(0, 10))
    @precondition(lambda self: self.running)
    def complete(self, index: int) -> None:
        batch = self.running.pop(index % len(self.running))
        for part in batch.parts:
            ticket = part.ticket
            in_flight = any(p.ticket is ticket for b in self.running for p in b.parts)
            if ticket.item not in self.ended and not ticket.left and not in_flight:
                self.batcher.finish(ticket)
                self._end(ticket, "answered")

    def _end(self, ticket: Ticket[int], how: str) -> None:
        assert ticket.item not in self.ended, f"{how} after {self.ended[ticket.item]}"
        self.ended[ticket.item] = how

    @invariant()
    def rows_are_conserved(self) -> None:
        waiting = sum(ticket.left for ticket in self.tickets if ticket.item not in self.ended)
        assert self.batcher.rows == waiting

    @invariant()
    def first_in_first_out_within_a_key(self) -> None:
        for order in self.first_run.values():
            assert order == sorted(order)

    @invariant()
    def nothing_is_forgotten(self) -> None:
        alarms = [t.deadline for t in self.tickets if t.item not in self.ended]
        assert self.batcher.wake_at(slots=0) == min(alarms, default=math.inf)

    def teardown(self) -> None:
        """Drain: with slots and time, every request ends."""
        while self.batcher.rows or self.running:
            self.poll(3)
            while self.running:
                self.complete(0)
        assert len(self.ended) == len(self.tickets)


TestBatcherMachine = BatcherMachine.TestCase
TestBatcherMachine.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
