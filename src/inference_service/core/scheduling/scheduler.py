"""Which queued requests run together, and when: the decisions of one model version.

The scheduler is told the time and the number of free slots, and returns values: run these, drop
those, wake me then. It holds no clock and starts nothing. Its driver, the engine's worker as well
as the simulation and the tests, does this and nothing else:

    scheduler.offer(entry, now)               # a request; raises Overloaded
    decisions = scheduler.decide(now, slots)  # after offers and ends, and at decisions.wake_at
    scheduler.ended(batch, seconds, now)      # a batch of decisions.run has run
    scheduler.abandoned(entry, now)           # its client has gone
    scheduler.finish(entry)                   # a request has failed or was cancelled
    scheduler.drop_until(time)                # nothing can run before that
    scheduler.refused_late(entry, text, now)  # what is told to one of decisions.drop that is shed
    scheduler.refusal(now, deadline)          # what is told to one before it is offered, if any

All other methods are queries and change nothing.
"""

import math
from collections.abc import Iterable
from typing import Generic, TypeVar

from inference_service.core.errors import Overloaded
from inference_service.core.scheduling.admission import Admission
from inference_service.core.scheduling.buckets import quantised
from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.deadlines import choose, late
from inference_service.core.scheduling.entries import (
    Batch,
    Decisions,
    Drop,
    DropReason,
    Entry,
    EntryState,
    Release,
)
from inference_service.core.scheduling.estimates import Estimates
from inference_service.core.scheduling.forming import Former
from inference_service.core.scheduling.hold import Hold
from inference_service.core.scheduling.lists import Expiries
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.queue import Group, Queue
from inference_service.core.scheduling.turns import Turns

T = TypeVar("T")


class Scheduler(Generic[T]):
    """The queue and the decisions of one model version."""

    def __init__(self, policy: BatchPolicy, cost: CostModel | None = None, slots: int = 1) -> None:
        self.policy = policy
        self.queue: Queue[T] = Queue(policy)
        self.estimates: Estimates[T] = Estimates(
            policy, cost or CostModel(policy=policy), slots, self.queue
        )
        self.admission = Admission(self.estimates)
        self.hold = Hold(policy)
        self._former = Former(self.estimates)
        self._turns = Turns(self.estimates)
        self._expiries: Expiries[T] = Expiries()
        self._live = 0
        self._fresh = 0  # requests that have come since the last decision

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return self.queue.rows

    @property
    def requests(self) -> int:
        """Requests that wait or run."""
        return self._live

    @property
    def cost(self) -> CostModel:
        """The costs in use."""
        return self.estimates.cost

    def use(self, cost: CostModel, slots: int) -> None:
        """Runs cost something else from now on: the layout has changed."""
        self.estimates.use(cost, slots)
        self.admission.changes += 1

    def offer(self, entry: Entry[T], now: float) -> None:
        """Queue a request. Raises Overloaded where it could not be answered in time.

        A model that is idle takes everything.
        """
        estimates, rows, size = self.estimates, entry.rows, entry.row_elements
        entry.arrival = now
        if entry.length:
            size *= quantised(entry.length)
        large, own = rows > estimates.max_batch_size, 0.0
        if entry.deadline == math.inf:
            seconds, entry.unit, own = estimates.terms(rows, size)
            entry.expires_at = now + seconds
            if self.admission.hang_ups.known:
                entry.deadline = entry.order_key = self.admission.learned_deadline(entry, now)
        if large and entry.deadline < math.inf:
            entry.order_key = estimates.due(entry, size)
        try:
            self.admission.check(entry, size, now, own)
        except Overloaded as refusal:
            self.admission.refused(refusal, rows, size, now)
            raise
        group = self.queue.add(entry, large=large)
        if entry.length:
            group.length = quantised(entry.length)
        estimates.recount(group)
        self._live += 1
        self._fresh += 1
        self._expiries.add(entry)

    def decide(self, now: float, slots: int) -> Decisions[T]:
        """What to drop, what to run on the free slots, and when to decide again."""
        decisions: Decisions[T] = Decisions()
        self._expire(now, decisions.drop)
        fresh, self._fresh = self._fresh, 0
        if fresh:
            self.hold.arrived(fresh, now, self._live)
        while len(decisions.run) < slots and self.queue.rows:
            batch = self._next_batch(now, decisions.drop)
            if batch is None:
                break
            batch.held = self.hold.end(now)
            if batch.held > 0 and batch.reason is Release.SLOT_FREE:
                batch.reason = Release.HOLD
            decisions.run.append(batch)
        self.admission.changes += len(decisions.run)
        if not self.queue.rows:
            self.hold.end(now)
        decisions.wake_at = self._wake_at(slots - len(decisions.run))
        return decisions

    def ended(self, batch: Batch[T], seconds: float, now: float, *, learn: bool = True) -> None:
        """A batch has run for so long, and requests all of whose rows have run have ended.

        ``learn``: its time tells what such a batch costs.
        """
        latencies, running, end = [], EntryState.RUNNING, EntryState.ENDED
        hang_ups = self.admission.hang_ups
        for entry, start, stop in batch.parts:
            latencies.append(now - entry.arrival)
            entry.done += stop - start
            if entry.done == entry.rows and entry.state is running:
                entry.state = end
                self._live -= 1
                if hang_ups.known and not entry.deadline_given:
                    hang_ups.answered(entry.client, now - entry.arrival)
        estimates = self.estimates
        estimates.ended(batch, seconds)
        self.admission.changes += 1
        self.hold.ended(latencies, now, self._live, estimates.seconds)
        if learn:
            rows = self.policy.padded(batch.rows) if self.policy.sizes else batch.rows
            estimates.cost.observe(rows, seconds, batch.row_elements)
        self._expiries.compact(self._live)

    def refused_late(self, entry: Entry[T], text: str, now: float) -> Overloaded:
        """What is told to a request that was shed: to come back after all that were refused before,
        as where it is refused when it comes."""
        estimates, size = self.estimates, entry.row_elements
        if entry.length:
            size *= quantised(entry.length)
        pause = estimates.seconds(estimates.max_batch_size, size)
        refusal = Overloaded(text, reason="deadline", retry_after=pause)
        return self.admission.refused(refusal, entry.rows, size, now)

    def drop_until(self, time: float) -> list[Drop[T]]:
        """Drop the requests whose deadlines come before this time: no run will end before it."""
        drop: list[Drop[T]] = []
        self._expire(time, drop)
        return drop

    def abandoned(self, entry: Entry[T], now: float) -> None:
        """The client of a request has gone. `finish` it afterwards."""
        if not entry.ended and not entry.deadline_given:
            self.admission.abandoned(entry, now)

    def finish(self, entry: Entry[T]) -> bool:
        """The request has failed or was cancelled: nothing of it is dispatched from now on.

        Returns whether rows of it still waited.
        """
        if entry.ended:
            return False
        waited = entry.left > 0
        self._end((entry,))
        self._expiries.compact(self._live)
        return waited

    def refusal(
        self, now: float, deadline: float = math.inf, row_elements: int | None = 0
    ) -> Overloaded | None:
        """Why a request of one row is surely refused now; None where it may be taken.

        For the edge, before a body is decoded. ``row_elements`` None: not known yet.
        """
        refusal = self.admission.refusal(now, deadline, row_elements)
        return refusal and self.admission.refused(refusal, 1, row_elements or 0, now)

    @property
    def max_batch_size(self) -> int:
        """Rows of the largest run, as it has grown."""
        return self.estimates.max_batch_size

    def run_seconds(self) -> float:
        """The expected seconds of the next run: what waits of a group, up to the largest batch."""
        rows = min(max(self.queue.rows, 1), self.max_batch_size)
        group = next(iter(self.queue.groups.values()), None)
        return self.estimates.seconds(rows, group.row_elements if group is not None else 0)

    def nearest_deadline(self) -> float:
        """When the first of the queued requests is due; inf without deadlines."""
        if not self.queue.deadline_rows:
            return math.inf
        return min([group.nearest_deadline() for group in self.queue.groups.values()])

    def _next_batch(self, now: float, drop: list[Drop[T]]) -> Batch[T] | None:
        """The batch of a slot that is free now; None: nothing may run yet."""
        former, turns, estimates = self._former, self._turns, self.estimates
        batch: Batch[T] | None = None
        while batch is None and (group := turns.deadlines(now)) is not None:
            lists, run = former.candidates(group, now)
            if lost := late(lists, run, probe=not estimates.running):
                self._shed(lost, drop)
                continue  # where lengths differ, others may run now
            choice = choose(lists, run, self.policy)
            if turns.best_effort_first(choice, now):
                break
            batch = former.deadlines(group, choice, now)
            estimates.started(batch)
            if not choice.all_in_time:  # what has no chance any more is told so at once
                run = run._replace(now=now + estimates.residual(now))
                self._shed(late(lists, run, probe=False), drop)
        if batch is None:
            group = turns.best_effort(now)
            if group is None or self._holds(group, now):
                return None
            batch = former.best_effort(group, now)
            estimates.started(batch)
        turns.charge(batch)
        return batch

    def _shed(self, entries: list[Entry[T]], drop: list[Drop[T]]) -> None:
        drop += [Drop(entry, DropReason.SHED, entry.taken > 0) for entry in entries]
        self._end(entries)

    def _holds(self, group: Group[T], now: float) -> bool:
        """Whether a free slot waits for more than what is queued of this group."""
        if self.hold.limit <= 0 or self.queue.deadline_rows or group.has_lengths:
            return False
        estimates, elements = self.estimates, group.row_elements
        return self.hold.waits(
            group.rows,
            estimates.max_batch_size,
            lambda rows: estimates.seconds(rows, elements),
            now,
        )

    def _expire(self, now: float, drop: list[Drop[T]]) -> None:
        """Drop the requests whose deadlines have passed, queued or running."""
        if expired := self._expiries.expired(now):
            drop += [Drop(entry, DropReason.EXPIRED, entry.taken > 0) for entry in expired]
            self._end(expired)

    def _end(self, entries: Iterable[Entry[T]]) -> None:
        """These requests have ended, queued or running."""
        left: dict[int, Group[T]] = {}
        self.admission.changes += 1
        for entry in entries:
            if entry.ended:
                continue
            self._live -= 1
            if entry.left:
                group = self.queue.discard(entry)
                left[id(group)] = group
            else:
                entry.end()
        for group in left.values():
            self.queue.settle(group)
            self.estimates.recount(group)
        if left and not self.queue.rows:
            self.hold.end(0.0)

    def _wake_at(self, slots: int) -> float:
        """When to decide again if nothing happens until then; inf: there is nothing to wait for."""
        wake = self._expiries.next()
        if slots > 0 and self.queue.rows:
            if self.hold.on:
                return min(wake, self.hold.until)
            if self.policy.max_queue_delay > 0:
                wake = min(wake, *map(self._turns.ready_at, self.queue.groups.values()))
        return wake
