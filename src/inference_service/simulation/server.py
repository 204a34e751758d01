"""A server in virtual time: the scheduler itself, with costs from a function instead of runs.

The simulation of loads and the tests of the scheduler's invariants drive this one, in the sequence
of the engine's worker. Other batching policies can be driven through the same interface.
"""

import heapq
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from inference_service.core.errors import Overloaded
from inference_service.core.scheduling.entries import (
    Batch,
    Decisions,
    DropReason,
    Entry,
    Priority,
)


@dataclass(slots=True, eq=False)
class Arrival:
    """A request of a simulated load. ``timeout`` is its deadline in seconds after its arrival;
    ```length`` and ``row_elements`` are those of `Entry`."""

    time: float
    rows: int = 1
    timeout: float = math.inf
    client: Hashable = None
    priority: Priority = Priority.NORMAL
    length: int = 0
    row_elements: int = 0
    key: Hashable = 0
    ended: float = math.nan
    outcome: str = ""
    batch_rows: int = 0

    @property
    def latency(self) -> float:
        """Seconds to the end, whichever way."""
        return self.ended - self.time

    @property
    def in_time(self) -> bool:
        """Answered, and before the deadline."""
        return self.outcome == "ok" and self.latency <= self.timeout * (1 + 1e-9)


class Batching(Protocol):
    """A batching policy: `Scheduler`, or a port of another server's."""

    @property
    def rows(self) -> int:
        """Rows that wait."""

    def offer(self, entry: Entry[Any], now: float) -> None:
        """Queue a request. Raises Overloaded."""

    def decide(self, now: float, slots: int) -> Decisions[Any]:
        """What to run on the free slots, what is dropped, and when to decide again."""

    def ended(self, batch: Batch[Any], seconds: float, now: float) -> None:
        """A batch has run."""


class VirtualServer:
    """Arrivals, runs and alarms in the order of their times.

    ``service`` gives the seconds of a batch: the truth, which the policy need not know. ``ended``
    is called with each arrival that has ended and may add others: that is how clients in a closed
    loop come back.
    """

    def __init__(
        self,
        policy: Batching,
        service: Callable[[Batch[Any]], float],
        slots: int = 1,
        ended: Callable[[Arrival], None] | None = None,
    ) -> None:
        self.policy = policy
        self.now = 0.0
        self.free = slots
        self.idle_seconds = 0.0
        self.batches: list[Batch[Any]] = []
        self._service = service
        self._ended = ended
        self._wake_at = math.inf
        self._events: list[tuple[float, int, Arrival | tuple[Batch[Any], float]]] = []
        self._order = count()

    def add(self, arrival: Arrival) -> None:
        """A request comes at its time."""
        heapq.heappush(self._events, (arrival.time, next(self._order), arrival))

    def run(self, until: float = math.inf) -> None:
        """Until nothing happens any more, or up to this time."""
        while True:
            event = self._events[0][0] if self._events else math.inf
            moment = max(min(self._wake_at, event), self.now)
            if moment > until or moment == math.inf:
                self.now = max(self.now, until) if until < math.inf else self.now
                return
            if self.free and self.policy.rows:
                self.idle_seconds += moment - self.now
            self.now = moment
            while self._events and self._events[0][0] <= moment:
                happened = heapq.heappop(self._events)[2]
                if isinstance(happened, Arrival):
                    self._arrive(happened)
                else:
                    self._complete(*happened)
            self._decide()

    def _arrive(self, arrival: Arrival) -> None:
        entry = Entry(
            arrival, arrival.key, arrival.rows, client=arrival.client, priority=arrival.priority,
            deadline=self.now + arrival.timeout, row_elements=arrival.row_elements,
            length=arrival.length,
        )  # fmt: skip
        try:
            self.policy.offer(entry, self.now)
        except Overloaded:
            self._end(arrival, "refused")

    def _complete(self, batch: Batch[Any], seconds: float) -> None:
        self.free += 1
        for entry, _, stop in batch.parts:
            if stop == entry.rows and not entry.ended:
                entry.item.batch_rows = batch.rows
                self._end(entry.item, "ok")
        self.policy.ended(batch, seconds, self.now)

    def _decide(self) -> None:
        decisions = self.policy.decide(self.now, self.free)
        for batch in decisions.run:
            seconds = self._service(batch)
            self.free -= 1
            self.batches.append(batch)
            heapq.heappush(self._events, (self.now + seconds, next(self._order), (batch, seconds)))
        for drop in decisions.drop:
            shed = drop.reason is DropReason.SHED
            self._end(drop.entry.item, "shed" if shed else "expired")
        self._wake_at = decisions.wake_at

    def _end(self, arrival: Arrival, outcome: str) -> None:
        if arrival.outcome:
            return
        arrival.outcome, arrival.ended = outcome, self.now
        if self._ended is not None:
            self._ended(arrival)
