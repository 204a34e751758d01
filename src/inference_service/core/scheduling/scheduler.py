"""Which queued requests run together, and when: the decisions of one model version.

The scheduler is told the time and the number of free slots, and returns values: run these, drop
those, wake me then. It holds no clock and starts nothing. Its driver, the engine's worker as well
as the simulation and the tests, does this and nothing else:

    entry = scheduler.offer(item, key=..., rows=..., now=now)  # a request; raises Overloaded
    decisions = scheduler.decide(now, slots)                   # after offers, ends, at wake_at
    scheduler.finish(entry)                                    # it is answered, failed, cancelled
    scheduler.ended(batch, seconds, now)                       # a batch of decisions.run has run

All other methods are queries and change nothing.
"""

import heapq
import math
from collections.abc import Hashable
from itertools import count
from typing import Generic, TypeVar

from inference_service.core.errors import Overloaded
from inference_service.core.scheduling.admission import Admission
from inference_service.core.scheduling.buckets import quantised
from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.deadlines import Feasibility
from inference_service.core.scheduling.entries import (
    RANK,
    Batch,
    Decisions,
    Drop,
    DropReason,
    Entry,
    EntryState,
    Priority,
    Release,
)
from inference_service.core.scheduling.estimates import Estimates
from inference_service.core.scheduling.forming import Former
from inference_service.core.scheduling.groups import Group, nearest
from inference_service.core.scheduling.hold import Hold
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.queue import Queue
from inference_service.core.scheduling.turns import Turns

T = TypeVar("T")

_COMPACT_AT = 64


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
        self._turns = Turns(self.estimates, self._former)
        self._expiries: list[tuple[float, int, Entry[T]]] = []
        self._live = 0
        self._sequence = count()

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
        self.estimates.cost, self.estimates.slots = cost, slots
        for group in self.queue.groups.values():
            self.estimates.recount(group)

    def offer(
        self,
        item: T,
        *,
        key: Hashable,
        rows: int,
        now: float,
        deadline: float = math.inf,
        client: Hashable = None,
        priority: Priority = Priority.NORMAL,
        row_elements: int = 0,
        length: int = 0,
    ) -> Entry[T]:
        """Queue a request. Raises Overloaded where it could not be answered in time.

        ``deadline`` is the client's own, absolute; without one the derived default holds.
        ``row_elements`` chooses the cost table; where rows have a ``length`` it is per unit of
        length. A model that is idle takes everything.
        """
        if rows < 1:
            raise ValueError("a request has at least one row")
        if math.isnan(deadline):
            raise ValueError("a deadline is a time")
        estimates = self.estimates
        entry = Entry(
            item,
            key,
            rows,
            now,
            client=client,
            rank=RANK[priority],
            deadline=deadline,
            length=length,
        )
        size = row_elements * quantised(length) if length else row_elements
        if deadline == math.inf:
            entry.expires_at = now + estimates.default_deadline(rows, size)
        elif rows > estimates.max_batch_size:
            entry.due = estimates.due(entry, size)
        large = rows > estimates.max_batch_size
        self.admission.check(entry, size, now, large=large)
        group = self.queue.add(entry, row_elements, estimates.unit(size), large=large)
        if length:
            group.length = quantised(length)
        estimates.recount(group)
        self._live += 1
        self.hold.arrived()
        heapq.heappush(self._expiries, (entry.expires_at, next(self._sequence), entry))
        return entry

    def decide(self, now: float, slots: int) -> Decisions[T]:
        """What to drop, what to run on the free slots, and when to decide again."""
        decisions = Decisions[T]()
        self._expire(now, decisions.drop)
        self.hold.decide(now, self._live)
        while len(decisions.run) < slots and self.queue.rows:
            batch = self._next_batch(now, decisions.drop)
            if batch is None:
                break
            batch.held = self.hold.end(now)
            if batch.held > 0 and batch.reason is Release.SLOT_FREE:
                batch.reason = Release.HOLD
            self.estimates.started(batch)
            decisions.run.append(batch)
        if not self.queue.rows:
            self.hold.end(now)
        decisions.wake_at = self._wake_at(slots - len(decisions.run))
        return decisions

    def finish(self, entry: Entry[T]) -> bool:
        """The request has ended, whichever way: answered, failed or cancelled.

        Nothing of it is dispatched from now on. Returns whether rows of it still waited.
        """
        waited = entry.left > 0
        if not entry.ended:
            self._end(entry)
        return waited

    def ended(self, batch: Batch[T], seconds: float, now: float, *, learn: bool = True) -> None:
        """A batch has run for so long, and its requests have been finished.

        ``learn``: its time tells what such a batch costs.
        """
        estimates = self.estimates
        estimates.ended(batch, seconds)
        latencies = [now - entry.arrival for entry, _, _ in batch.parts]
        self.hold.ended(latencies, now, self._live, estimates.seconds)
        if learn:
            rows = self.policy.padded(batch.rows) if self.policy.sizes else batch.rows
            estimates.cost.observe(rows, seconds, batch.row_elements)

    def refusal(
        self, now: float, deadline: float = math.inf, row_elements: int | None = 0
    ) -> Overloaded | None:
        """Why a request of one row would surely be refused now; None where it may be taken.

        For the edge, before a body is decoded. ``row_elements`` None: not known yet.
        """
        return self.admission.refusal(now, deadline, row_elements)

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
        """The deadline that comes first among those of queued requests; inf without any."""
        groups = [group for group in self.queue.groups.values() if group.deadline_rows]
        return min((nearest(g.deadlines, 1)[0].due for g in groups), default=math.inf)

    def _next_batch(self, now: float, drop: list[Drop[T]]) -> Batch[T] | None:
        """The batch of a slot that is free now; None: nothing may run yet."""
        while (turn := self._turns.next(now)) is not None:
            group, choice = turn
            if choice is None:
                if self._holds(group, now):
                    return None
                batch = self._former.best_effort(group, now)
            else:
                for entry in choice.lost:
                    drop.append(Drop(entry, DropReason.SHED, entry.taken > 0))
                    self.queue.discard(entry)
                self._live -= len(choice.lost)
                if choice.feasibility is Feasibility.NONE:
                    self._settle(group)
                    continue
                batch = self._former.deadlines(group, choice, now)
            self._turns.charge(batch)
            return batch
        return None

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
        expiries = self._expiries
        left: dict[Hashable, Group[T]] = {}
        while expiries and expiries[0][0] <= now:
            entry = heapq.heappop(expiries)[2]
            if entry.ended:
                continue
            drop.append(Drop(entry, DropReason.EXPIRED, entry.taken > 0))
            self._live -= 1
            if entry.left:
                left[entry.key] = self.queue.discard(entry)
            else:
                entry.move(EntryState.ENDED)
        for group in left.values():
            self._settle(group)

    def _end(self, entry: Entry[T]) -> None:
        self._live -= 1
        if entry.left:
            self._settle(self.queue.discard(entry))
        else:
            entry.move(EntryState.ENDED)
        if len(self._expiries) > _COMPACT_AT and len(self._expiries) > 2 * self._live:
            self._expiries = [record for record in self._expiries if not record[2].ended]
            heapq.heapify(self._expiries)

    def _settle(self, group: Group[T]) -> None:
        """Entries of a group have ended while they waited."""
        self.queue.settle(group)
        self.estimates.recount(group)
        if not self.queue.rows:
            self.hold.end(0.0)

    def _wake_at(self, slots: int) -> float:
        """When to decide again if nothing happens until then; inf: there is nothing to wait for."""
        expiries = self._expiries
        while expiries and expiries[0][2].ended:
            heapq.heappop(expiries)
        wake = expiries[0][0] if expiries else math.inf
        if slots > 0 and self.queue.rows:
            if self.hold.on:
                return min(wake, self.hold.until)
            if self.policy.max_queue_delay > 0:
                wake = min(wake, *map(self._turns.ready_at, self.queue.groups.values()))
        return wake
