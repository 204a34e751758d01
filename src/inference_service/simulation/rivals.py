"""Ports of other servers' batching policies, for one queue of equal rows.

Each names what it stands for. Those of BentoML (1.4.39), LitServe (0.2.19), MLServer (1.7.1) and
TensorFlow Serving (the scheduler's header of TensorFlow 2.21) do what their code says; the others
are written from documentation, papers and observed behaviour. They share the plain queue below and
differ in when they form a batch and of what.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from inference_service.core.scheduling.entries import (
    Batch,
    Decisions,
    Drop,
    DropReason,
    Entry,
    Release,
)

Cost = Callable[[int], float]


class Fifo:
    """A work-conserving queue: a free slot takes what is there, up to the largest batch.

    TensorFlow Serving with a timeout of 0 is one: its open batch grows until a thread takes it.
    """

    name = "work-conserving"

    def __init__(self, largest: int, cost: Cost) -> None:
        self.largest = largest
        self.cost = cost
        self.queue: deque[Entry[Any]] = deque()

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return len(self.queue)

    def offer(self, entry: Entry[Any], now: float) -> None:
        """See `Batching.offer`."""
        entry.arrival = now
        self.queue.append(entry)

    def decide(self, now: float, slots: int) -> Decisions[Any]:
        """See `Batching.decide`."""
        decisions = Decisions[Any]()
        self.release(now, slots, decisions)
        decisions.wake_at = self.wake_at(slots - len(decisions.run))
        return decisions

    def release(self, now: float, slots: int, decisions: Decisions[Any]) -> None:
        """Note the batches for the free slots."""
        while len(decisions.run) < slots:
            count = self.count(now, decisions)
            if count < 1:
                break
            decisions.run.append(self.take(count, now))

    def count(self, now: float, decisions: Decisions[Any]) -> int:
        """How many of the queue run now; those that are dropped are noted in ``decisions``."""
        return min(len(self.queue), self.largest)

    def take(self, count: int, now: float) -> Batch[Any]:
        """The first ``count`` as a batch."""
        parts = []
        for _ in range(count):
            entry = self.queue.popleft()
            parts.append(entry.dispatch(entry.rows))
        return Batch(tuple(parts), count, Release.SLOT_FREE, now)

    def drop(self, decisions: Decisions[Any]) -> None:
        """The head is given up."""
        entry = self.queue.popleft()
        entry.end()
        decisions.drop.append(Drop(entry, DropReason.EXPIRED, dispatched=False))

    def wake_at(self, slots: int) -> float:
        """When to decide again with this many free slots if nothing happens until then."""
        return math.inf

    def ended(self, batch: Batch[Any], seconds: float, now: float) -> None:
        """See `Batching.ended`."""


class Timer(Fifo):
    """TensorFlow Serving: a free thread takes the open batch once it is full or its time is up.

    The time begins with the first request of the batch, whatever runs then.
    """

    name = "timer"

    def __init__(self, largest: int, cost: Cost, delay: float) -> None:
        super().__init__(largest, cost)
        self.delay = delay

    def due(self) -> float:
        """When the head is taken although the batch isn't full."""
        return self.queue[0].arrival + self.delay

    def count(self, now: float, decisions: Decisions[Any]) -> int:
        """Full, or the head has waited long enough."""
        there = len(self.queue)
        ready = there >= self.largest or (there > 0 and now >= self.due())
        return min(there, self.largest) if ready else 0

    def wake_at(self, slots: int) -> float:
        """The end of the head's time."""
        return self.due() if slots and self.queue else math.inf


class Window(Timer):
    """mosec, Ray Serve: the time begins when a free worker has got the first request."""

    name = "window"

    def __init__(self, largest: int, cost: Cost, delay: float) -> None:
        super().__init__(largest, cost, delay)
        self._free_at = 0.0

    def ended(self, batch: Batch[Any], seconds: float, now: float) -> None:
        """The worker is free."""
        self._free_at = now

    def due(self) -> float:
        """The worker's own wait."""
        return max(self.queue[0].arrival, self._free_at) + self.delay


class RollingWindow(Window):
    """LitServe: the time begins when the worker is free, and again and again while nobody comes."""

    name = "rolling window"

    def due(self) -> float:
        """The end of the window in which the head came, or of the first one."""
        windows = max(0, math.floor((self.queue[0].arrival - self._free_at) / self.delay))
        return self._free_at + (windows + 1) * self.delay


class ClosedBatches(Fifo):
    """MLServer: batches close by size or time, whatever runs, and closed ones queue."""

    name = "closed batches"

    def __init__(self, largest: int, cost: Cost, delay: float) -> None:
        super().__init__(largest, cost)
        self.delay = delay
        self._closed: deque[int] = deque()

    def _close(self, now: float) -> None:
        opened = sum(self._closed)
        while len(self.queue) - opened >= self.largest:
            self._closed.append(self.largest)
            opened += self.largest
        if len(self.queue) > opened and now >= self.queue[opened].arrival + self.delay:
            self._closed.append(len(self.queue) - opened)

    def release(self, now: float, slots: int, decisions: Decisions[Any]) -> None:
        """Run the oldest closed batches."""
        self._close(now)
        while len(decisions.run) < slots and self._closed:
            decisions.run.append(self.take(self._closed.popleft(), now))

    def wake_at(self, slots: int) -> float:
        """When the open batch closes."""
        opened = sum(self._closed)
        return self.queue[opened].arrival + self.delay if len(self.queue) > opened else math.inf


class Prefetched(Fifo):
    """Triton with no delay, and TEI: the next batch is formed while the last one starts.

    It is frozen one service time early and can't grow any more.
    """

    name = "prefetched"

    def __init__(self, largest: int, cost: Cost) -> None:
        super().__init__(largest, cost)
        self._frozen = 0

    def release(self, now: float, slots: int, decisions: Decisions[Any]) -> None:
        """Run the frozen batch and freeze the next; a lone one is frozen as it comes."""
        while len(decisions.run) < slots and self.queue:
            count = self._frozen or min(len(self.queue), self.largest)
            decisions.run.append(self.take(count, now))
            self._frozen = 0
        if not self._frozen and self.queue:
            self._frozen = min(len(self.queue), self.largest)


class Preferred(Timer):
    """Triton with preferred batch sizes and a queue delay for all other sizes."""

    name = "preferred sizes"

    def __init__(self, largest: int, cost: Cost, sizes: Sequence[int], delay: float) -> None:
        super().__init__(largest, cost, delay)
        self.sizes = sorted(sizes)

    def count(self, now: float, decisions: Decisions[Any]) -> int:
        """The largest preferred size that is there, or all once the head has waited."""
        there = min(len(self.queue), self.largest)
        fitting = [size for size in self.sizes if size <= there]
        if fitting:
            return fitting[-1]
        return there if there and now >= self.due() else 0


class Cork(Fifo):
    """BentoML: waits while that is expected to cost less than it has lately, polling each ms.

    The duration of a batch is fitted as a * n + b by least squares over the last 50, every five
    seconds. The first eleven batches train it: they go at once, and no request is dropped.
    """

    name = "cork"
    tick = 0.001
    training, refresh = 11, 5.0

    def __init__(self, largest: int, cost: Cost, latency: float) -> None:
        super().__init__(largest, cost)
        self.latency = latency
        self._seen: deque[tuple[int, float, float]] = deque(maxlen=50)
        self._a, self._b, self._wait = min(2.0, latency / 15), min(1.0, latency / 30), 0.0
        self._batches = 0
        self._refreshed = 0.0
        self._again = math.inf

    def release(self, now: float, slots: int, decisions: Decisions[Any]) -> None:
        """Drop heads that would be late, then wait, or take all."""
        self._again = math.inf
        while self.queue:
            n = len(self.queue)
            head = now - self.queue[0].arrival
            trained = self._batches >= self.training
            alone = n == 1 and len(decisions.run) >= slots and head >= self.latency
            if trained and (alone or (n > 1 and head + self._a * n + self._b >= self.latency)):
                self.drop(decisions)
                continue
            if len(decisions.run) >= slots or (trained and self._corked(n, now)):
                self._again = now + self.tick
                break
            decisions.run.append(self.take(min(n, self.largest), now))
            self._batches += 1

    def _corked(self, n: int, now: float) -> bool:
        last = now - self.queue[-1].arrival
        return n < self.largest and n * (last + self.tick + self._a) <= self._wait * 0.95

    def wake_at(self, slots: int) -> float:
        """The next tick."""
        return self._again if self.queue else math.inf

    def ended(self, batch: Batch[Any], seconds: float, now: float) -> None:
        """Fit again, if it is time for that."""
        waited = now - seconds - batch.parts[0].entry.arrival
        training = self._batches <= self.training
        self._seen.append((batch.rows, seconds, 0.0 if training else waited))
        if not training and now < self._refreshed + self.refresh:
            return
        self._refreshed = now
        n = len(self._seen)
        mean_x = sum(x for x, _, _ in self._seen) / n
        mean_y = sum(y for _, y, _ in self._seen) / n
        self._wait = sum(w for _, _, w in self._seen) / n
        spread = sum((x - mean_x) ** 2 for x, _, _ in self._seen)
        # Of one size alone, the solution of least norm.
        slope = (
            sum((x - mean_x) * (y - mean_y) for x, y, _ in self._seen) / spread
            if spread > 0
            else mean_x * mean_y / (mean_x * mean_x + 1)
        )
        self._a = max(slope, 1e-6)
        self._b = max(mean_y - slope * mean_x, 0.0)


class Aimd(Fifo):
    """Clipper (NSDI'17): the largest batch grows by one while latency is met, or shrinks 10 %."""

    name = "aimd"

    def __init__(self, largest: int, cost: Cost, slo: float) -> None:
        super().__init__(largest, cost)
        self.slo = slo
        self._limit = 1.0

    def count(self, now: float, decisions: Decisions[Any]) -> int:
        """Up to the present limit."""
        return min(len(self.queue), int(self._limit), self.largest)

    def ended(self, batch: Batch[Any], seconds: float, now: float) -> None:
        """Additive increase, multiplicative decrease."""
        if seconds > self.slo:
            self._limit = max(1.0, self._limit * 0.9)
        elif batch.rows >= int(self._limit):
            self._limit += 1


class EarlyDrop(Fifo):
    """Nexus (SOSP'19): a fixed target batch; heads that keep it from being in time are dropped."""

    name = "early drop"

    def __init__(self, largest: int, cost: Cost, slo: float) -> None:
        super().__init__(largest, cost)
        fitting = [b for b in range(1, largest + 1) if 2 * cost(b) <= slo]
        self.target = fitting[-1] if fitting else 1

    def count(self, now: float, decisions: Decisions[Any]) -> int:
        """Slide the window past heads that the target batch would make late."""
        while self.queue:
            n = min(self.target, len(self.queue))
            if now + self.cost(n) <= self.queue[0].deadline:
                return n
            self.drop(decisions)
        return 0


class Clockwork(Fifo):
    """Clockwork (OSDI'20): the largest batch in time for its head; hopeless ones dropped."""

    name = "clockwork"

    def count(self, now: float, decisions: Decisions[Any]) -> int:
        """The largest batch that the head's deadline allows."""
        while self.queue:
            n = min(len(self.queue), self.largest)
            while n > 1 and now + self.cost(n) > self.queue[0].deadline:
                n -= 1
            if now + self.cost(n) <= self.queue[0].deadline:
                return n
            self.drop(decisions)
        return 0


WORK_CONSERVING = "work-conserving; TF Serving, timeout 0"


def rivals(largest: int, cost: Cost, slo: float) -> dict[str, Callable[[], Fifo]]:
    """All ports by the names for tables, set as their documentation advises for this latency."""
    half = slo / 2
    return {
        WORK_CONSERVING: lambda: Fifo(largest, cost),
        "Triton, delay 0; TEI": lambda: Prefetched(largest, cost),
        "Triton, preferred sizes": lambda: Preferred(largest, cost, (8, 16, largest), slo / 10),
        "TF Serving, 1 ms": lambda: Timer(largest, cost, 0.001),
        "MLServer, 1 ms": lambda: ClosedBatches(largest, cost, 0.001),
        "mosec, Ray Serve, 10 ms": lambda: Window(largest, cost, 0.01),
        "LitServe, 10 ms": lambda: RollingWindow(largest, cost, 0.01),
        "BentoML": lambda: Cork(largest, cost, slo),
        "Clipper": lambda: Aimd(largest, cost, half),
        "Nexus": lambda: EarlyDrop(largest, cost, slo),
        "Clockwork": lambda: Clockwork(largest, cost),
    }
