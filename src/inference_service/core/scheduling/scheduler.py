"""Which queued requests run together, and when: the decisions of one model version.

The scheduler is told the time and the number of free slots and returns values: run these, expire
those, wake me then. It holds no clock and starts nothing. docs/scheduler.md explains the rules.
"""

import heapq
import math
from collections.abc import Hashable
from itertools import count
from typing import Generic, TypeVar

from inference_service.core.errors import Overloaded
from inference_service.core.scheduling.acceptance import Acceptance
from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.formation import Former
from inference_service.core.scheduling.hold import Hold
from inference_service.core.scheduling.lengths import quantised
from inference_service.core.scheduling.load import Load
from inference_service.core.scheduling.policy import BatchPolicy, offset
from inference_service.core.scheduling.queue import Group, Queue
from inference_service.core.scheduling.tickets import (
    Batch,
    Expired,
    Priority,
    Release,
    Ticket,
)

T = TypeVar("T")

_COMPACT_AT = 64
_CANDIDATES = 8


class Scheduler(Generic[T]):
    """The queue and the decisions of one model version."""

    def __init__(self, policy: BatchPolicy, cost: CostModel | None = None, slots: int = 1) -> None:
        self.policy = policy
        self.cost = cost or CostModel()
        self.load: Load[T] = Load(policy, self.cost, slots)
        self.hold = Hold()
        self._queue: Queue[T] = self.load.queue
        self._former = Former(self.load)
        self._acceptance = Acceptance(self.load)
        self._deadlines: list[tuple[float, int, Ticket[T]]] = []
        self._live = 0
        self._sequence = count()

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return self._queue.rows

    @property
    def requests(self) -> int:
        """Requests that wait or run."""
        return self._live

    @property
    def overloaded(self) -> bool:
        """Whether the newest go first."""
        return self.load.overloaded

    def use(self, cost: CostModel, slots: int) -> None:
        """Runs cost something else from now on: the layout has changed."""
        self.cost = self.load.cost = cost
        self.load.slots = slots
        self.load.refresh()

    def submit(
        self,
        item: T,
        *,
        key: Hashable,
        rows: int,
        now: float,
        deadline: float = math.inf,
        client: Hashable = None,
        priority: Priority = Priority.NORMAL,
        volume: int = 0,
        length: int = 0,
    ) -> Ticket[T]:
        """Queue a request. Raises Overloaded where it could not be answered in time.

        ``deadline`` is the client's own, absolute; without one the derived default holds.
        ``volume`` and ``length`` choose the cost table and the padding. An idle model takes
        everything.
        """
        if rows < 1:
            raise ValueError("a request has at least one row")
        load = self.load
        ticket = Ticket(item, key, rows, now, client)
        ticket.length = length
        size = volume * quantised(length) if length else volume
        # One measure for all: else long rows, which may take longer, would give way to short ones.
        patience = usual = load.patience_of(1, 0)
        put_off = usual if priority is Priority.NORMAL else offset(priority, usual)
        if deadline != math.inf:
            ticket.firm = True
            ticket.deadline = ticket.due = deadline
            ticket.urgency = min(deadline, now + put_off)
        else:
            patience = load.patience_of(rows, size)
            longest = patience if priority is Priority.NORMAL else max(patience, put_off)
            ticket.deadline = now + longest
            ticket.urgency = ticket.due = now + min(longest, put_off)
        self._acceptance.admit(ticket, size, now, patience)
        self._queue.add(ticket, volume)
        self._live += 1
        hold = self.hold
        hold.fresh += 1
        hold.fresh_rows += rows
        heapq.heappush(self._deadlines, (ticket.deadline, next(self._sequence), ticket))
        return ticket

    def refusal(
        self, now: float, deadline: float = math.inf, volume: int | None = 0
    ) -> Overloaded | None:
        """Why a request of one row would be refused now; None where it may be taken.

        For the edge, before a body is decoded. It promises nothing. ``volume`` as in `submit`;
        None: not known yet.
        """
        return self._acceptance.refusal(now, deadline, volume)

    def finish(self, ticket: Ticket[T]) -> bool:
        """The request has ended, whichever way: answered, failed or cancelled.

        Nothing of it is dispatched from now on. Returns whether a part of it still waited.
        """
        waited = ticket.queued
        if not ticket.dead:
            self._drop(ticket)
        return waited

    def completed(self, batch: Batch[T], seconds: float, now: float, *, learn: bool = True) -> None:
        """A batch has run for so long, and its requests have been finished.

        ``learn``: its time tells what such a batch costs.
        """
        self.load.ended(batch)
        self.hold.answered(len(batch.parts), now, self._live)
        if learn:
            rows = self.policy.padded(batch.rows) if self.policy.sizes else batch.rows
            if self.cost.observe(rows, seconds, batch.volume):
                self.load.refresh()

    def poll(self, now: float, *, slots: int) -> list[Batch[T] | Expired[T]]:
        """Decide: what has expired, and what to run on the free slots."""
        decisions: list[Batch[T] | Expired[T]] = list(self.expire(now))
        while slots > 0 and self._queue.rows:
            found = self.next_batch(now)
            decisions += found
            if not found or not isinstance(found[-1], Batch):
                break
            slots -= 1
        return decisions

    def expire(self, now: float) -> list[Expired[T]]:
        """The requests whose deadlines have passed, queued or running."""
        self.hold.tick(now, self._live)
        expired = []
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now:
            ticket = heapq.heappop(deadlines)[2]
            if not ticket.dead:
                expired.append(Expired(ticket, waited=ticket.taken == 0))
                self._drop(ticket)
        return expired

    def candidate(self, now: float) -> float:
        """How urgent the next batch is, as a time; inf: there is none that may run now."""
        found = self._choose(now)
        return math.inf if found is None else self._score(found[0])

    def next_batch(self, now: float) -> list[Batch[T] | Expired[T]]:
        """The next batch for a slot that is free now, after those who can't be in time any more.

        Without a batch at the end, nothing may run now: `wake_at` tells when.
        """
        self.load.shelter(now)
        found = self._choose(now)
        if found is None:
            return []
        decisions: list[Batch[T] | Expired[T]] = []
        group, pressed = found
        batch = self._former.form(group, now, decisions, pressed=pressed)
        for decision in decisions:
            if isinstance(decision, Expired):
                self._drop(decision.ticket)
        if batch is None:  # all of them were given up; every round gives up at least one
            return decisions + (self.next_batch(now) if decisions and self._queue.rows else [])
        batch.held = self.hold.end(now, batch.rows)
        if batch.held > 0 and batch.reason is Release.SLOT_FREE:
            batch.reason = Release.HOLD
        self.load.started(batch)
        return [*decisions, batch]

    def wake_at(self, *, slots: int) -> float:
        """When to poll next if nothing happens until then; inf: there is nothing to wait for."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][2].dead:
            heapq.heappop(deadlines)
        wake = deadlines[0][0] if deadlines else math.inf
        if slots > 0 and self._queue.rows:
            if self.hold.since is not None and not self._queue.firm_rows:
                return min(wake, self.hold.until)
            ready = (self._ready_at(group) for group in self._queue.most_urgent(_CANDIDATES))
            wake = min(wake, *ready)
        return wake

    def _drop(self, ticket: Ticket[T]) -> None:
        ticket.dead = True
        self._live -= 1
        if ticket.queued:
            if ticket.planned:
                self.load.promises.remove(ticket, ticket.left)
            self._queue.discard(ticket)
            if not self._queue.rows:
                self.hold.end(0.0)
        if len(self._deadlines) > _COMPACT_AT and len(self._deadlines) > 2 * self._live:
            self._deadlines = [entry for entry in self._deadlines if not entry[2].dead]
            heapq.heapify(self._deadlines)

    def _choose(self, now: float) -> tuple[Group[T], bool] | None:
        """The group that a slot should take now, and whether promises press it.

        None where there is none, or a hold is on.
        """
        groups = self._queue.most_urgent(_CANDIDATES)
        if self.policy.max_queue_delay > 0:
            groups = [group for group in groups if self._ready_at(group) <= now]
        if not groups:
            return None
        chosen = groups[0] if len(groups) == 1 else min(groups, key=self._score)
        if self._queue.firm_rows or self.load.promises.batches:
            pressed = self.load.pressed(chosen, now)
            return (chosen, False) if pressed is None else (pressed, True)
        hold = self.hold
        if (hold.theta or hold.delay) and not chosen.has_lengths and self._waits(chosen, now):
            return None
        return chosen, False

    def _waits(self, group: Group[T], now: float) -> bool:
        """Whether a free slot waits for more than what is queued of this group."""
        hold, largest = self.hold, self.policy.max_batch_size
        if hold.theta > 0:
            volume, seconds = group.volume, self.load.seconds
            return hold.waits(group.rows, largest, lambda rows: seconds(rows, volume), now)
        head = group.head()
        return head is not None and hold.lingers(head.arrival, group.rows, largest, now)

    def _score(self, group: Group[T]) -> float:
        """The head's urgency, less the more the fuller the batch would be."""
        head = group.head()
        if head is None:  # pragma: no cover - a group without live rows is removed at once
            return math.inf
        largest = self.policy.max_batch_size
        rows = min(group.rows, largest)
        volume = group.volume * quantised(head.length) if head.length else group.volume
        return head.urgency - self.load.seconds(rows, volume) * rows / largest

    def _ready_at(self, group: Group[T]) -> float:
        """When a free slot may take this group's head."""
        delay = self.policy.max_queue_delay
        head = group.head()
        if head is None:  # pragma: no cover - a group without live rows is removed at once
            return math.inf
        if delay == 0 or group.rows >= self.policy.max_batch_size:
            return head.arrival
        return min(head.arrival + delay, head.deadline)
