"""The invariants of docs/scheduler.md on random traffic in virtual time.

The numbers in the names are those of the list there.
"""

import heapq
import math
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from inference_service.core.errors import Overloaded
from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.scheduler import Scheduler
from inference_service.core.scheduling.tickets import Batch, Expired, Priority, Ticket

EPS = 1e-9


class World(RuleBasedStateMachine):
    """A scheduler that knows the exact costs, its slots, and clients that come and go.

    Time moves from event to event; at each the scheduler is polled with the slots that are free, as
    the engine does it. Every decision is checked when it is made.
    """

    LARGEST = 5
    PATIENCE = 4.0
    LONGEST = 8
    NOISE: tuple[float, ...] = ()
    """How many times as long as predicted runs take; nothing: the costs are exact."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.tickets: list[Ticket[int]] = []
        self.ended: dict[int, str] = {}
        self.covered: dict[int, list[tuple[int, int]]] = {}
        self.promised: set[int] = set()
        self.urgency: dict[int, float] = {}
        self.running: list[tuple[float, Batch[int]]] = []

    @initialize(
        slots=st.integers(1, 3),
        base=st.floats(0.05, 1.0),
        row=st.floats(0.0, 0.3),
        theta=st.sampled_from([0.0, 0.0, 0.125, 0.5]),
        delay=st.sampled_from([0.0, 0.0, 0.1, 0.5]),
        rng=st.randoms(use_true_random=False),
    )
    def start(
        self, *, slots: int, base: float, row: float, theta: float, delay: float, rng: Random
    ) -> None:
        self.slots = slots
        self.rng = rng
        points = [(b, base + row * b) for b in (1, 2, 4, 5)]
        self.scheduler: Scheduler[int] = Scheduler(
            BatchPolicy(self.LARGEST, default_deadline=self.PATIENCE), CostModel(points), slots
        )
        self.scheduler.hold.theta = theta
        self.scheduler.hold.delay = delay * (base + row)

    @rule(
        key=st.integers(0, 1),
        rows=st.integers(1, 8),
        patience=st.one_of(st.none(), st.floats(0.05, 8)),
        client=st.sampled_from("abc"),
        priority=st.sampled_from(list(Priority)),
        more=st.booleans(),
    )
    def submit(
        self,
        *,
        key: int,
        rows: int,
        patience: float | None,
        client: str,
        priority: Priority,
        more: bool,
    ) -> None:
        rows = min(rows, self.LONGEST)
        number = len(self.tickets)
        deadline = math.inf if patience is None else self.now + patience
        idle = not self.running and not self.scheduler.rows
        foreseen = None
        if patience is not None:
            foreseen = self.scheduler.refusal(self.now, deadline)
        try:
            ticket = self.scheduler.submit(
                number,
                key=key,
                rows=rows,
                now=self.now,
                deadline=deadline,
                client=client,
                priority=priority,
            )
        except Overloaded as refusal:
            assert not idle, "an idle model refuses nobody"
            assert refusal.retry_after >= 0
            return
        assert foreseen is None, "what is refused unread would have been refused once read"
        self.tickets.append(ticket)
        self.covered[number] = []
        self.urgency[number] = ticket.urgency
        if ticket.planned:
            self.promised.add(number)
        if not more:
            self.poll()

    @rule(pick=st.randoms(use_true_random=False))
    @precondition(lambda self: self.tickets)
    def cancel(self, pick: Any) -> None:
        ticket = pick.choice(self.tickets)
        if ticket.item not in self.ended:
            waited = ticket.queued
            assert self.scheduler.finish(ticket) is waited
            self.ended[ticket.item] = "cancelled"

    @rule(seconds=st.floats(0.01, 3))
    def wait(self, seconds: float) -> None:
        """Live through the events of this time, in order."""
        end = self.now + seconds
        while True:
            wake = self.scheduler.wake_at(slots=self.free)
            completion = min((when for when, _ in self.running), default=math.inf)
            moment = max(min(wake, completion), self.now)
            if moment > end:
                break
            self.now = moment
            for entry in [entry for entry in self.running if entry[0] <= self.now]:
                self._complete(*entry)
            before = (self.scheduler.rows, len(self.running), len(self.ended))
            self.poll()
            after = (self.scheduler.rows, len(self.running), len(self.ended))
            if moment == wake and completion > moment and before == after:
                assert self.scheduler.wake_at(slots=self.free) > self.now, "an alarm in vain"
        self.now = end

    @property
    def free(self) -> int:
        return self.slots - len(self.running)

    def poll(self) -> None:
        free = self.free
        given = 0
        turned_away: list[Ticket[int]] = []
        decisions = self.scheduler.poll(self.now, slots=free)
        # Those who had no deadline of their own when an overload of deadlines began.
        self.promised.update(ticket.item for ticket in self.tickets if ticket.planned)
        for decision in decisions:
            if isinstance(decision, Expired) and decision.refused:
                turned_away.append(decision.ticket)
                self._turned_away(decision)
            elif isinstance(decision, Expired):
                self._expired(decision)
            else:
                given += 1
                self._dispatched(decision)
                alone = self.LONGEST == 1 and not self.scheduler.load.promises.batches
                if alone and not self.NOISE:
                    assert not any(self._room(t, decision) for t in turned_away), "there was room"
                turned_away.clear()
        assert given <= free
        # 2: no idle slot beside queued rows, unless a hold is on, and that has an end
        if given < free and self.scheduler.rows:
            alarm = self.scheduler.wake_at(slots=1)
            most = self.scheduler.load.seconds(self.LARGEST)
            hold = self.scheduler.hold
            assert self.now < alarm <= self.now + max(hold.theta * most, hold.delay) + EPS

    def _expired(self, decision: Expired[int]) -> None:
        ticket = decision.ticket
        # 5 and 11: nothing that was promised is given up, and nothing before its time
        assert self.NOISE or ticket.item not in self.promised, "a promise was broken"
        if decision.foreseen:
            assert self.NOISE or self._soonest(ticket) > ticket.deadline
        else:
            assert ticket.deadline <= self.now
        assert decision.waited == (not self.covered[ticket.item])
        self._end(ticket, "expired")

    def _soonest(self, ticket: Ticket[int]) -> float:
        """When it would be answered with all slots to itself."""
        ends = [self.now] * self.slots
        for first in range(0, ticket.left, self.LARGEST):
            rows = min(ticket.left - first, self.LARGEST)
            heapq.heapreplace(ends, ends[0] + self.scheduler.load.seconds(rows))
        return max(ends)

    def _room(self, ticket: Ticket[int], batch: Batch[int]) -> bool:
        """Whether all in the batch and this one would be in time together, or one after another."""
        seconds = self.scheduler.load.seconds
        kept = [t for t, _, _ in batch.parts if t.firm or t.item in self.promised]
        due = [other.due for other in kept]
        together = self.now + seconds(batch.rows + 1) <= min([ticket.deadline, *due])
        free = [when for when, _ in self.running]
        after = self.now if len(free) < self.slots else min(free)
        return (together and batch.rows < self.LARGEST) or after + seconds(1) <= ticket.deadline

    def _turned_away(self, decision: Expired[int]) -> None:
        """Only who was promised nothing, whole, and while others run or wait."""
        ticket = decision.ticket
        assert ticket.standby
        assert self.NOISE or ticket.item not in self.promised
        assert not self.covered[ticket.item]
        self._end(ticket, "refused")

    def _dispatched(self, batch: Batch[int]) -> None:
        # 3: bounds and one key
        assert batch.rows == sum(part.rows for part in batch.parts)
        assert 1 <= batch.rows <= self.LARGEST
        assert len({part.ticket.key for part in batch.parts}) == 1
        for part in batch.parts:
            ticket = part.ticket
            # 5: nothing runs after its end
            assert ticket.item not in self.ended, "it runs although it has ended"
            assert ticket.deadline > self.now
            # 6: chunks come in order, and what fits is not cut
            done = self.covered[ticket.item]
            assert part.start == (done[-1][1] if done else 0)
            assert ticket.rows > self.LARGEST or part.rows == ticket.rows
            if not done:
                self._in_turn(ticket)
            done.append((part.start, part.stop))
        seconds = self.scheduler.load.seconds(batch.rows)
        assert math.isclose(batch.predicted, seconds)
        if self.NOISE:
            seconds *= self.rng.choice(self.NOISE)
        self.running.append((self.now + seconds, batch))

    def _in_turn(self, ticket: Ticket[int]) -> None:
        """4: first in, first out in a lane; the newest in an overload, promises as planned."""
        if self.scheduler.overloaded or ticket.firm or ticket.item in self.promised:
            return
        for other in self.tickets:
            if (
                other.queued
                and other is not ticket
                and (other.client, other.key) == (ticket.client, ticket.key)
                and not other.firm
                and other.taken == 0
            ):
                mine = (self.urgency[ticket.item], ticket.arrival)
                assert (self.urgency[other.item], other.arrival) >= mine

    def _complete(self, when: float, batch: Batch[int]) -> None:
        self.running = [entry for entry in self.running if entry[1] is not batch]
        self.scheduler.completed(batch, when - batch.started, self.now)
        for part in batch.parts:
            ticket = part.ticket
            if ticket.item not in self.ended and part.stop == ticket.rows:
                self.scheduler.finish(ticket)
                # 11: what was promised is in time, and so is who stood by and was taken
                kept = ticket.item in self.promised or ticket.standby
                assert self.NOISE or not kept or when <= ticket.deadline + EPS
                self._end(ticket, "answered")

    def _end(self, ticket: Ticket[int], how: str) -> None:
        assert ticket.item not in self.ended, "a request ends once"
        self.ended[ticket.item] = how

    @invariant()
    def rows_are_conserved(self) -> None:
        waiting = [t for t in self.tickets if t.item not in self.ended]
        if self.tickets:
            assert self.scheduler.rows == sum(ticket.left for ticket in waiting)
            queue = self.scheduler.load.queue
            assert queue.requests == sum(ticket.queued for ticket in self.tickets)
            assert queue.firm_rows == sum(t.left for t in waiting if t.firm)
            planned = sum(batch.rows for batch in self.scheduler.load.promises.batches)
            assert planned == sum(t.left for t in waiting if t.planned)

    def teardown(self) -> None:
        """1: with time, every request ends, and exactly once."""
        if not hasattr(self, "scheduler"):
            return
        self.poll()
        for _ in range(1000):
            if len(self.ended) == len(self.tickets):
                break
            self.wait(1.0)
        assert len(self.ended) == len(self.tickets)
        assert self.scheduler.rows == 0
        assert not self.scheduler.load.queue.groups
        assert not self.scheduler.load.promises.batches


class SingleRows(World):
    """The same where every request has one row, so that batches have no gaps."""

    LONGEST = 1


class Noisy(World):
    """The same where runs take longer and shorter than predicted: promises may be broken then."""

    NOISE = (0.5, 1.0, 1.0, 1.3, 4.0)


TestSingleRows = SingleRows.TestCase
TestSingleRows.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, report_multiple_bugs=False
)
TestWorld = World.TestCase
TestWorld.settings = settings(
    max_examples=250, stateful_step_count=50, deadline=None, report_multiple_bugs=False
)
TestNoisy = Noisy.TestCase
TestNoisy.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, report_multiple_bugs=False
)
