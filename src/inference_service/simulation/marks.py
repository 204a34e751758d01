"""A mark to measure the scheduler by: EDF-max that knows what runs really cost."""

from bisect import insort
from operator import attrgetter
from typing import Any

from inference_service.core.scheduling.entries import (
    Batch,
    Decisions,
    Drop,
    DropReason,
    Entry,
    Release,
)
from inference_service.simulation.rivals import Fifo
from inference_service.simulation.truths import LARGEST, Seconds

_LOOK_AHEAD = 4
_deadline = attrgetter("deadline")


class EdfMax(Fifo):
    """Requests of one row, by deadline; of the sets in time that with the most rows per second."""

    name = "EDF-max that knows the truth"

    def __init__(self, seconds: Seconds, largest: int = LARGEST) -> None:
        super().__init__(largest, seconds)
        self._curve = [0.0, *(seconds(rows) for rows in range(1, largest + 1))]
        self._queue: list[Entry[Any]] = []

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return len(self._queue)

    def offer(self, entry: Entry[Any], now: float) -> None:
        """See `Batching.offer`."""
        entry.arrival = now
        insort(self._queue, entry, key=_deadline)

    def decide(self, now: float, slots: int) -> Decisions[Any]:
        """See `Batching.decide`."""
        decisions = Decisions[Any]()
        queue = self._queue
        if not slots:
            return decisions
        while queue and now + self._curve[1] > queue[0].deadline:
            entry = queue.pop(0)
            entry.end()
            decisions.drop.append(Drop(entry, DropReason.SHED, dispatched=False))
        if queue:
            first = self._first_of_all_in_time(now)
            count = first or self._most_in_time(now)
            chosen = queue[:count] if first else queue[-count:]
            self._queue = queue[count:] if first else queue[:-count]
            parts = tuple(entry.dispatch(1) for entry in chosen)
            decisions.run.append(Batch(parts, count, Release.SLOT_FREE, now))
        return decisions

    def _first_of_all_in_time(self, now: float) -> int:
        """Rows of the first of the next runs if all of these are in time; 0: they are not."""
        start, index, first = now, 0, 0
        for _ in range(_LOOK_AHEAD):
            left = self._queue[index : index + len(self._curve) - 1]
            if not left:
                break
            fitting = [
                n for n in range(1, len(left) + 1) if start + self._curve[n] <= left[0].deadline
            ]
            if not fitting:
                return 0
            first = first or fitting[-1]
            start += self._curve[fitting[-1]]
            index += fitting[-1]
        return first

    def _most_in_time(self, now: float) -> int:
        """Rows of the latest deadlines that are in time together, the most per second."""
        best, count = 0.0, 1
        for rows in range(1, min(len(self._queue), len(self._curve) - 1) + 1):
            seconds = self._curve[rows]
            if now + seconds <= self._queue[-rows].deadline and rows / seconds >= best:
                best, count = rows / seconds, rows
        return count
