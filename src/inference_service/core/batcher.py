"""Which queued requests run together, and when.

The batcher is told the time and the number of free slots and returns values: run these, expire
those, wake me then. It holds no clock and starts nothing.

Rules (docs/batching.md tells them to users):

* A batch is formed only when a slot is free to run it (late binding), never before.
* Work-conserving: a free slot takes whatever is queued. Only ``max_queue_delay``, which is 0 by
  default, makes it wait for more.
* Only requests with the same key share a batch; the key whose head has waited longest goes first.
* First in, first out within a key. A request with more rows than a batch may have is cut into
  chunks; its rest goes behind the requests that came after it, so that it can't block them.
* What has ended (cancelled, past its deadline) is never dispatched; a deadline also fires while
  the request runs.
"""

import heapq
import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Generic, TypeVar

from inference_service.core.errors import Overloaded

T = TypeVar("T")

_COMPACT_AT = 64


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Bounds of the queue. Rows are the unit: a request of 10 rows counts 10."""

    max_batch_size: int
    max_queue_rows: int
    max_queue_delay: float = 0.0

    def __post_init__(self) -> None:
        if self.max_batch_size < 1 or self.max_queue_rows < 1 or self.max_queue_delay < 0:
            raise ValueError(f"a batch policy needs positive bounds: {self}")


class Release(StrEnum):
    """Why a batch was released: the label of ``inference_batches_total``."""

    SLOT_FREE = "slot_free"
    """A slot was free and this is all that was queued."""
    FULL = "full"
    """``max_batch_size`` is reached, or the next request would pass it."""
    DELAY = "delay"
    """The oldest request has waited for ``max_queue_delay``."""


class Ticket(Generic[T]):
    """A request's place in the queue."""

    __slots__ = ("arrival", "dead", "deadline", "item", "key", "rows", "taken")

    def __init__(self, item: T, key: Hashable, rows: int, arrival: float, deadline: float) -> None:
        self.item = item
        self.key = key
        self.rows = rows
        self.arrival = arrival
        self.deadline = deadline
        self.taken = 0
        self.dead = False

    @property
    def left(self) -> int:
        """Rows that are not dispatched yet."""
        return self.rows - self.taken

    @property
    def queued(self) -> bool:
        """Whether a part of it still waits."""
        return not self.dead and self.taken < self.rows


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """Rows ``start`` to ``stop`` of one request within a batch."""

    ticket: Ticket[T]
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """How many rows it brings."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """Decision: run these parts together."""

    parts: tuple[Part[T], ...]
    rows: int
    reason: Release


@dataclass(frozen=True, slots=True)
class Expired(Generic[T]):
    """Decision: this request's deadline has passed. ``waited``: none of it was ever dispatched."""

    ticket: Ticket[T]
    waited: bool


class _Group(Generic[T]):
    """The queue of one key. Dead tickets stay until they are met, but count for nothing."""

    __slots__ = ("queue", "rows")

    def __init__(self) -> None:
        self.queue: deque[Ticket[T]] = deque()
        self.rows = 0

    def head(self) -> Ticket[T] | None:
        while self.queue and self.queue[0].dead:
            self.queue.popleft()
        return self.queue[0] if self.queue else None

    def compact(self) -> None:
        """Forget the dead once they are the majority: while no slot is free nobody meets them."""
        if len(self.queue) > _COMPACT_AT and len(self.queue) > 2 * self.rows:
            self.queue = deque(ticket for ticket in self.queue if not ticket.dead)


class Batcher(Generic[T]):
    """The queue of one model version."""

    def __init__(self, policy: BatchPolicy) -> None:
        self.policy = policy
        self.rows = 0
        self._live = 0
        self._groups: dict[Hashable, _Group[T]] = {}
        self._deadlines: list[tuple[float, int, Ticket[T]]] = []
        self._sequence = count()

    def submit(
        self, item: T, *, key: Hashable, rows: int, now: float, deadline: float = math.inf
    ) -> Ticket[T]:
        """Queue a request. Raises Overloaded when the queue is full.

        An empty queue takes a request of any size: a bound on rows that wait is no bound on rows
        that a request may have.
        """
        if rows < 1:
            raise ValueError("a request has at least one row")
        if self.rows and self.rows + rows > self.policy.max_queue_rows:
            raise Overloaded(
                f"{self.rows} rows are queued for this model, "
                f"the limit is {self.policy.max_queue_rows}",
                reason="queue_full",
            )
        ticket = Ticket(item, key, rows, now, deadline)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group()
        group.queue.append(ticket)
        group.rows += rows
        self.rows += rows
        self._live += 1
        if deadline != math.inf:
            heapq.heappush(self._deadlines, (deadline, next(self._sequence), ticket))
        return ticket

    def finish(self, ticket: Ticket[T]) -> bool:
        """The request has ended, whichever way: answered, failed or cancelled.

        Nothing of it is dispatched from now on. Returns whether a part of it still waited.
        """
        waited = ticket.queued
        if not ticket.dead:
            self._drop(ticket)
        return waited

    def poll(self, now: float, *, slots: int) -> list[Batch[T] | Expired[T]]:
        """Decide: what has expired, and what to run on the free slots."""
        decisions: list[Batch[T] | Expired[T]] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            ticket = heapq.heappop(self._deadlines)[2]
            if not ticket.dead:
                decisions.append(Expired(ticket, waited=ticket.taken == 0))
                self._drop(ticket)
        while slots > 0 and (batch := self._next_batch(now)) is not None:
            decisions.append(batch)
            slots -= 1
        return decisions

    def wake_at(self, *, slots: int) -> float:
        """When to poll next if nothing happens until then; inf: there is nothing to wait for."""
        while self._deadlines and self._deadlines[0][2].dead:
            heapq.heappop(self._deadlines)
        wake = self._deadlines[0][0] if self._deadlines else math.inf
        if slots > 0:
            wake = min([wake, *map(self._ready_at, self._groups.values())])
        return wake

    def _drop(self, ticket: Ticket[T]) -> None:
        waiting = ticket.queued
        ticket.dead = True
        self._live -= 1
        if waiting:
            group = self._groups[ticket.key]
            group.rows -= ticket.left
            self.rows -= ticket.left
            if group.rows == 0:
                del self._groups[ticket.key]
            else:
                group.compact()
        if len(self._deadlines) > _COMPACT_AT and len(self._deadlines) > 2 * self._live:
            self._deadlines = [entry for entry in self._deadlines if not entry[2].dead]
            heapq.heapify(self._deadlines)

    def _ready_at(self, group: _Group[T]) -> float:
        """When a free slot may take this group's head."""
        head = group.head()
        if head is None:  # pragma: no cover - a group without live rows is removed at once
            return math.inf
        if self.policy.max_queue_delay == 0 or group.rows >= self.policy.max_batch_size:
            return head.arrival
        return head.arrival + self.policy.max_queue_delay

    def _next_batch(self, now: float) -> Batch[T] | None:
        chosen, oldest = None, math.inf
        for group in self._groups.values():
            head = group.head()
            if head is not None and head.arrival < oldest and self._ready_at(group) <= now:
                chosen, oldest = group, head.arrival
        return None if chosen is None else self._form(chosen)

    def _form(self, group: _Group[T]) -> Batch[T]:
        limit = self.policy.max_batch_size
        parts: list[Part[T]] = []
        rows = 0
        reason = Release.DELAY if self.policy.max_queue_delay > 0 else Release.SLOT_FREE
        while (ticket := group.head()) is not None:
            room = limit - rows
            # What fits into a batch is never cut: half an answer is of no use to anybody.
            size = min(ticket.left, room) if ticket.left > limit else ticket.left
            if size > room or size == 0:
                reason = Release.FULL
                break
            group.queue.popleft()
            parts.append(Part(ticket, ticket.taken, ticket.taken + size))
            ticket.taken += size
            rows += size
            if ticket.left:
                group.queue.append(ticket)
        if rows == limit:
            reason = Release.FULL
        group.rows -= rows
        self.rows -= rows
        if group.rows == 0:
            del self._groups[parts[0].ticket.key]
        return Batch(tuple(parts), rows, reason)
