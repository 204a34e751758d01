"""A server in virtual time: the scheduler itself, with costs from a function instead of runs.

The simulation of loads, the shadow replay that judges a hold, and the tests of the scheduler's
invariants all drive this one. Other batching policies can be driven through the same interface.
"""

import heapq
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from inference_service.core.errors import Overloaded
from inference_service.core.scheduling.tickets import Batch, Expired, Priority, Ticket


@dataclass(slots=True, eq=False)
class Arrival:
    """A request of a simulated load. ``patience`` is its deadline in seconds after its arrival;
    ``length`` and ``volume`` are those of `Scheduler.submit`."""

    time: float
    rows: int = 1
    patience: float = math.inf
    client: Hashable = None
    priority: Priority = Priority.NORMAL
    length: int = 0
    volume: int = 0
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
        return self.outcome == "ok" and self.latency <= self.patience * (1 + 1e-9)


class Batching(Protocol):
    """A batching policy: `Scheduler`, or a port of somebody else's."""

    def submit(
        self,
        item: Any,
        *,
        key: Hashable,
        rows: int,
        now: float,
        deadline: float = math.inf,
        client: Hashable = None,
        priority: Priority = Priority.NORMAL,
        volume: int = 0,
        length: int = 0,
    ) -> Ticket[Any]:
        """Queue a request. Raises Overloaded."""

    def poll(self, now: float, *, slots: int) -> Sequence[Batch[Any] | Expired[Any]]:
        """What to run on the free slots, and what has expired."""

    def wake_at(self, *, slots: int) -> float:
        """When to poll next if nothing happens until then."""

    def completed(self, batch: Batch[Any], seconds: float, now: float) -> None:
        """A batch has run."""

    def finish(self, ticket: Ticket[Any]) -> bool:
        """A request has ended."""


class VirtualServer:
    """Arrivals, runs and alarms in the order of their times.

    ``service`` gives the seconds of a batch. ``ended`` is called with each arrival that has ended
    and may add others: that is how clients in a closed loop come back.
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
        self.busy_seconds = 0.0
        self.idle_seconds = 0.0
        self.batches: list[Batch[Any]] = []
        self.running: list[Batch[Any]] = []
        self._service = service
        self._ended = ended
        self._events: list[tuple[float, int, Arrival | Batch[Any]]] = []
        self._order = count()

    def add(self, arrival: Arrival) -> None:
        """A request comes at its time."""
        heapq.heappush(self._events, (arrival.time, next(self._order), arrival))

    def run(self, until: float = math.inf) -> None:
        """Until nothing happens any more, or up to this time."""
        for _ in self.steps(until):
            pass

    def steps(self, until: float = math.inf) -> Iterator[float]:
        """The same one moment after the other; yields the time after each."""
        while True:
            alarm = self.policy.wake_at(slots=self.free)
            event = self._events[0][0] if self._events else math.inf
            moment = max(min(alarm, event), self.now)
            if moment > until or moment == math.inf:
                self.now = max(self.now, until) if until < math.inf else self.now
                return
            self._pass_time(moment)
            while self._events and self._events[0][0] <= moment:
                event_now = heapq.heappop(self._events)[2]
                if isinstance(event_now, Arrival):
                    self._arrive(event_now)
                else:
                    self._complete(event_now)
            self._dispatch()
            yield moment

    def _pass_time(self, moment: float) -> None:
        if self.free and getattr(self.policy, "rows", 0):
            self.idle_seconds += moment - self.now
        self.now = moment

    def _arrive(self, arrival: Arrival) -> None:
        try:
            self.policy.submit(
                arrival,
                key=arrival.key,
                rows=arrival.rows,
                now=self.now,
                deadline=self.now + arrival.patience,
                client=arrival.client,
                priority=arrival.priority,
                volume=arrival.volume,
                length=arrival.length,
            )
        except Overloaded:
            self._end(arrival, "refused")

    def _complete(self, batch: Batch[Any]) -> None:
        self.free += 1
        self.running.remove(batch)
        for part in batch.parts:
            ticket = part.ticket
            if part.stop == ticket.rows and not ticket.dead:
                self.policy.finish(ticket)
                ticket.item.batch_rows = batch.rows
                self._end(ticket.item, "ok")
        self.policy.completed(batch, self.now - batch.started, self.now)

    def _dispatch(self) -> None:
        for decision in self.policy.poll(self.now, slots=self.free):
            if isinstance(decision, Expired):
                outcome = "refused" if decision.refused else "expired"
                self._end(decision.ticket.item, outcome)
                continue
            seconds = self._service(decision)
            decision.started = self.now
            self.free -= 1
            self.busy_seconds += seconds
            self.batches.append(decision)
            self.running.append(decision)
            heapq.heappush(self._events, (self.now + seconds, next(self._order), decision))

    def _end(self, arrival: Arrival, outcome: str) -> None:
        if arrival.outcome:
            return
        arrival.outcome, arrival.ended = outcome, self.now
        if self._ended is not None:
            self._ended(arrival)
