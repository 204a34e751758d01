"""The invariants of docs/scheduler.md on random stories in virtual time.

The numbers in the comments are those of the list there.
"""

import math
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from inference_service.core.errors import Overloaded, Repeat
from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.entries import (
    Batch,
    Drop,
    DropReason,
    Entry,
    EntryState,
    Priority,
)
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.scheduler import Scheduler

EPS = 1e-9


class World(RuleBasedStateMachine):
    """A scheduler, its slots, and clients that come and go.

    Time moves from event to event; at each the scheduler decides with the slots that are free, as
    the engine does it. Every decision is checked when it is made.
    """

    LARGEST = 5
    DEFAULT_DEADLINE = 4.0
    MOST_ROWS = 8
    NOISE: tuple[float, ...] = ()
    """How many times as long as predicted runs take; nothing: the costs are exact."""
    LENGTHS: tuple[int, ...] = (0,)

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.entries: list[Entry[int]] = []
        self.how: dict[int, str] = {}
        self.covered: dict[int, int] = {}
        self.running: list[tuple[float, Batch[int], bool]] = []
        self.repeats: dict[object, tuple[int, Repeat]] = {}

    @initialize(
        slots=st.integers(1, 3),
        base=st.floats(0.05, 1.0),
        row=st.floats(0.0, 0.3),
        hold=st.sampled_from([0.0, 0.0, 0.125, 0.5]),
        delay=st.sampled_from([0.0, 0.0, 0.3]),
        growth=st.sampled_from([0, 10]),
        sizes=st.sampled_from([(), (), (1, 3, 5)]),
        rng=st.randoms(use_true_random=False),
    )
    def start(
        self, *, slots: int, base: float, row: float, hold: float, delay: float, growth: int,
        sizes: tuple[int, ...], rng: Random,
    ) -> None:  # fmt: skip
        self.slots = slots
        self.rng = rng
        policy = BatchPolicy(
            self.LARGEST, default_deadline=self.DEFAULT_DEADLINE, max_queue_delay=delay,
            max_growth=0 if sizes else growth, sizes=sizes, probe_every=2,
        )  # fmt: skip
        self.policy = policy
        points = [(b, base + row * b) for b in sizes or (1, 2, 4, 5)]
        self.scheduler: Scheduler[int] = Scheduler(policy, CostModel(points, 1, policy), slots)
        self.scheduler.hold.limit = hold

    @rule(
        key=st.integers(0, 1),
        rows=st.integers(1, 8),
        timeout=st.one_of(st.sampled_from([None, 1.0, 2.0, 4.0]), st.floats(0.05, 8)),
        client=st.sampled_from("abc"),
        priority=st.sampled_from(list(Priority)),
        more=st.booleans(),
    )
    def offer(
        self, *, key: int, rows: int, timeout: float | None, client: str, priority: Priority,
        more: bool,
    ) -> None:  # fmt: skip
        number = len(self.entries)
        deadline = math.inf if timeout is None else self.now + timeout
        idle = not self.running and not self.scheduler.rows
        length = self.LENGTHS[(number + key) % len(self.LENGTHS)]
        foreseen = self.scheduler.refusal(self.now, deadline)
        entry = Entry(
            number, key, min(rows, self.MOST_ROWS), client=client, priority=priority,
            deadline=deadline, row_elements=1 if length else 0, length=length,
        )  # fmt: skip
        asked = key, client, priority, timeout, length
        least, repeat = self.repeats.get(asked, (0, None))
        # One larger than a batch is judged by what is ahead of it alone.
        alike = entry.rows >= least and (entry.rows > self.LARGEST) == (least > self.LARGEST)
        refused = alike and repeat is not None and repeat.again(self.now) is not None
        try:
            self.scheduler.offer(entry, self.now)
        except Overloaded as refusal:
            assert not idle, "an idle model refuses nothing"
            assert refusal.retry_after >= 0
            if refusal.repeat is not None:
                self.repeats[asked] = entry.rows, refusal.repeat
            return
        self.entries.append(entry)
        self.covered[number] = 0
        # 15
        assert not refused, "the same was to be refused"
        assert foreseen is None or length or self.NOISE, "it would have been refused unread"
        if not more:
            self.decide()

    @rule(pick=st.randoms(use_true_random=False))
    @precondition(lambda self: self.entries)
    def cancel(self, pick: Any) -> None:
        entry = pick.choice(self.entries)
        if not entry.ended:
            waited = entry.left > 0
            assert self.scheduler.finish(entry) is waited
            self.how[entry.item] = "cancelled"
            assert not self.scheduler.finish(entry), "twice is once"

    @rule(seconds=st.floats(0.01, 3))
    def wait(self, seconds: float) -> None:
        """Live through the events of this time, in order."""
        end = self.now + seconds
        self.decide()
        while True:
            completion = min((when for when, _, _ in self.running), default=math.inf)
            moment = max(min(self.wake_at, completion), self.now)
            if moment > end:
                break
            self.now = moment
            woken = moment == self.wake_at and completion > moment
            for run in [run for run in self.running if run[0] <= self.now]:
                self._complete(*run)
            before = (self.scheduler.rows, len(self.running), len(self.how))
            self.decide()
            if woken and before == (self.scheduler.rows, len(self.running), len(self.how)):
                assert self.wake_at > self.now, "an alarm in vain"
        self.now = end

    def decide(self) -> None:
        free = self.slots - len(self.running)
        idle = not self.running
        decisions = self.scheduler.decide(self.now, free)
        self.wake_at = decisions.wake_at
        for batch in decisions.run:
            self._dispatched(batch, idle)
        for drop in decisions.drop:
            self._dropped(drop)
        assert len(decisions.run) <= free
        # 2: no idle slot beside queued rows unless a hold or a delay is on, and that has an end
        if len(decisions.run) < free and self.scheduler.rows:
            most = self.scheduler.estimates.seconds(self.LARGEST)
            longest = max(self.scheduler.hold.limit * most, self.policy.max_queue_delay)
            assert self.now < self.wake_at <= self.now + longest + EPS

    def _dropped(self, drop: Drop[int]) -> None:
        entry = drop.entry
        if drop.reason is DropReason.SHED:
            # 7: only what even the next run would answer too late
            rows = min(entry.rows - self.covered[entry.item], self.LARGEST)
            alone = self.scheduler.estimates.seconds(rows)
            start = self.now
            if len(self.running) == self.slots:
                start = min(batch.started + batch.predicted for _, batch, _ in self.running)
            assert not entry.best_effort
            assert self.LENGTHS != (0,) or max(start, self.now) + alone > entry.order_key - EPS
        else:
            assert entry.expires_at <= self.now
        assert drop.dispatched == (self.covered[entry.item] > 0)
        self._end(entry, drop.reason.value)

    def _dispatched(self, batch: Batch[int], idle: bool) -> None:
        # 3: bounds and one key
        assert batch.rows == sum(part.rows for part in batch.parts)
        assert 1 <= batch.rows <= max(self.LARGEST, self.policy.max_growth)
        assert len({part.entry.key for part in batch.parts}) == 1
        for entry, start, stop in batch.parts:
            # 5: nothing runs after its end
            assert entry.item not in self.how, "it runs although it has ended"
            assert entry.expires_at > self.now
            # 6: chunks come in order, and what fits is not cut
            assert start == self.covered[entry.item]
            assert entry.rows > self.LARGEST or stop - start == entry.rows
            if start == 0:
                self._first_in_first_out(entry)
            self.covered[entry.item] = stop
        predicted = self.scheduler.estimates.seconds(batch.rows, batch.row_elements)
        assert math.isclose(batch.predicted, predicted)
        seconds = predicted * (self.rng.choice(self.NOISE) if self.NOISE else 1.0)
        self.running.append((self.now + seconds, batch, idle))

    def _first_in_first_out(self, entry: Entry[int]) -> None:
        """4: in a lane of best effort."""
        if not entry.best_effort or entry.length:
            return
        for other in self.entries:
            if other.left and other is not entry and other.best_effort and other.taken == 0:
                same = (other.client, other.key, other.rank) == (
                    entry.client,
                    entry.key,
                    entry.rank,
                )
                alike = (other.rows > self.LARGEST) == (entry.rows > self.LARGEST)
                grown = self.scheduler.max_batch_size > self.LARGEST
                assert grown or not (same and alike) or other.arrival >= entry.arrival

    def _complete(self, when: float, batch: Batch[int], idle: bool) -> None:
        self.running.remove((when, batch, idle))
        running = [entry for entry, _, _ in batch.parts if not entry.ended]
        self.scheduler.ended(batch, when - batch.started, self.now)
        for entry, start, _ in batch.parts:
            if entry in running and entry.ended:
                # 8: with exact costs only a probe of an idle model is late
                in_time = when <= entry.deadline + EPS
                assert self.NOISE or start or in_time or (idle and len(batch.parts) == 1)
                assert entry.done == entry.rows
                self._end(entry, "answered")

    def _end(self, entry: Entry[int], how: str) -> None:
        assert entry.item not in self.how, "a request ends once"
        assert entry.state is EntryState.ENDED
        self.how[entry.item] = how

    @invariant()
    def counts_are_right(self) -> None:
        if not self.entries:
            return
        waiting = [entry for entry in self.entries if entry.left]
        queue, estimates = self.scheduler.queue, self.scheduler.estimates
        assert queue.rows == sum(entry.left for entry in waiting)
        assert queue.requests == len(waiting)
        assert queue.deadline_rows == sum(e.left for e in waiting if not e.best_effort)
        assert self.scheduler.requests == sum(not entry.ended for entry in self.entries)
        assert sum(group.rows for group in queue.groups.values()) == queue.rows
        assert math.isclose(
            estimates.queued_seconds,
            sum(group.work for group in queue.groups.values()),
            abs_tol=1e-6,
        )
        flows = {id(e.flow): e.flow.weight for e in waiting if e.flow is not None}
        assert queue.weight == sum(flows.values())
        self._queries_change_nothing()

    def _queries_change_nothing(self) -> None:
        scheduler = self.scheduler
        before = (scheduler.rows, scheduler.requests, scheduler.queue.weight, scheduler.hold.on)
        scheduler.refusal(self.now, self.now + 1.0)
        scheduler.nearest_deadline()
        scheduler.run_seconds()
        scheduler.admission.state(self.now)
        assert before == (
            scheduler.rows, scheduler.requests, scheduler.queue.weight, scheduler.hold.on,
        )  # fmt: skip

    def teardown(self) -> None:
        """1: with time, every request ends, and exactly once."""
        if not hasattr(self, "scheduler"):
            return
        self.decide()
        for _ in range(1000):
            if len(self.how) == len(self.entries):
                break
            self.wait(1.0)
        assert len(self.how) == len(self.entries)
        assert self.scheduler.rows == 0
        assert not self.scheduler.queue.groups
        assert self.scheduler.estimates.queued_seconds == 0


class SingleRows(World):
    """The same where every request has one row."""

    MOST_ROWS = 1


class Noisy(World):
    """The same where runs take longer and shorter than predicted."""

    NOISE = (0.5, 1.0, 1.0, 1.3, 4.0)


class Lengths(World):
    """The same where rows have lengths."""

    NOISE = (0.5, 1.0, 1.0, 1.3, 4.0)
    LENGTHS = (1, 5, 17, 17, 90)


def _settings(examples: int) -> settings:
    return settings(
        max_examples=examples, stateful_step_count=50, deadline=None, report_multiple_bugs=False
    )


TestSingleRows = SingleRows.TestCase
TestSingleRows.settings = _settings(60)
TestWorld = World.TestCase
TestWorld.settings = _settings(100)
TestNoisy = Noisy.TestCase
TestNoisy.settings = _settings(60)
TestLengths = Lengths.TestCase
TestLengths.settings = _settings(60)
