"""Which group takes a free slot, and the balance between best effort and deadlines.

Deadlines go first. Best effort fills up their runs, and has half of the service if it needs it.
"""

import math
from typing import Generic, TypeVar

from inference_service.core.scheduling.deadlines import Choice
from inference_service.core.scheduling.entries import Batch
from inference_service.core.scheduling.estimates import Estimates
from inference_service.core.scheduling.queue import Group

T = TypeVar("T")


class Turns(Generic[T]):
    """The order of the groups of one model."""

    def __init__(self, estimates: Estimates[T]) -> None:
        self._estimates = estimates
        self._queue = estimates.queue
        self._delay = estimates.policy.max_queue_delay
        self._balance = 0.0  # seconds of service of best effort less those of deadlines

    def deadlines(self, now: float) -> Group[T] | None:
        """The group whose deadlines have had the least service, of those that may run now."""
        if not self._queue.deadline_rows:
            return None
        if not self._delay:
            return self._queue.least_served()
        groups = self._queue.groups.values()
        ready = [g for g in groups if g.deadline_rows and self.ready_at(g) <= now]
        return min(ready, key=lambda group: group.served, default=None)

    def best_effort(self, now: float) -> Group[T] | None:
        """The group whose best effort goes first, of those that may run now."""
        group = self._queue.least_tag()
        if group is None or not self._delay or self.ready_at(group) <= now:
            return group
        groups = self._queue.groups.values()
        ready = (g for g in groups if g.rows > g.deadline_rows and self.ready_at(g) <= now)
        return next(ready, None)

    def best_effort_first(self, choice: Choice[T], now: float) -> bool:
        """Whether best effort takes the slot although deadlines wait.

        It has half of the service if it needs it, but a run of its own starts only with a full
        batch or after a share of the default deadline: until then it fills up the others' runs.
        """
        if self._balance > 0 or self._queue.rows == self._queue.deadline_rows:
            return False
        group = self.best_effort(now)
        head = None if group is None else group.fair.first()
        if group is None or head is None:
            return False
        estimates = self._estimates
        rows, most = group.rows - group.deadline_rows, estimates.max_batch_size
        if choice.all_in_time and head.key != choice.chosen[0].key:
            run = estimates.seconds(min(rows, most), group.row_elements)
            own = estimates.seconds(choice.rows, group.row_elements)
            if now + own + run <= choice.latest_end:
                return True
        put_off = estimates.policy.put_off * (head.expires_at - head.arrival)
        return rows >= most or now - head.arrival >= put_off

    def charge(self, batch: Batch[T]) -> None:
        """Keep the balance between the two kinds while both wait."""
        queue = self._queue
        if not queue.deadline_rows or queue.deadline_rows == queue.rows:
            self._balance = 0.0
            return
        rows = sum([stop - start for entry, start, stop in batch.parts if entry.best_effort])
        self._balance += (2 * rows - batch.rows) * batch.predicted / batch.rows

    def ready_at(self, group: Group[T]) -> float:
        """When a free slot may take this group: after ``max_queue_delay``, or once it is full."""
        estimates = self._estimates
        if not self._delay or group.rows >= estimates.max_batch_size:
            return -math.inf
        ready = min(entry.arrival for entry in group.entries()) + self._delay
        seconds = estimates.seconds(group.rows, group.row_elements) * estimates.cost.margin
        return min(ready, group.nearest_deadline() - seconds)
