"""Which group takes a free slot, and the balance between best effort and deadlines.

Deadlines go first. Best effort fills up their runs, and has half of the service if it needs it.
"""

import math
from typing import Generic, TypeVar

from inference_service.core.scheduling.deadlines import Choice, Feasibility
from inference_service.core.scheduling.entries import Batch
from inference_service.core.scheduling.estimates import Estimates
from inference_service.core.scheduling.forming import Former
from inference_service.core.scheduling.groups import Group, nearest

T = TypeVar("T")


class Turns(Generic[T]):
    """The order of the groups of one model."""

    def __init__(self, estimates: Estimates[T], former: Former[T]) -> None:
        self._policy = estimates.policy
        self._estimates = estimates
        self._queue = estimates.queue
        self._former = former
        self._balance = 0.0  # seconds of service of best effort less those of deadlines

    def next(self, now: float) -> tuple[Group[T], Choice[T] | None] | None:
        """The group that takes a slot, with a choice of its deadlines or for best effort (None).

        None: nothing may run now.
        """
        if self._queue.deadline_rows:
            group = self._deadline_group(now)
            if group is not None:
                choice = self._former.choose(group, now)
                if not self._best_effort_first(choice, now):
                    return group, choice
        group = self._best_effort_group(now)
        return None if group is None else (group, None)

    def _best_effort_first(self, choice: Choice[T], now: float) -> bool:
        """Whether best effort takes the slot although deadlines wait.

        It has half of the service if it needs it, but a run of its own starts only with a full
        batch or after a share of the default deadline: until then it fills up the others' runs.
        """
        group = self._queue.least_tag()
        if group is None or self._balance > 0 or not self._ready(group, now):
            return False
        head = self._former.head(group)
        if head is None:  # pragma: no cover - least_tag finds groups with a head
            return False
        estimates = self._estimates
        rows = group.rows - group.deadline_rows
        run = estimates.seconds(min(rows, estimates.max_batch_size), group.row_elements)
        if choice.feasibility is Feasibility.ALL_IN_TIME and head.key != choice.chosen[0].key:
            own = estimates.seconds(choice.rows, group.row_elements)
            if now + own + run <= choice.latest_end:
                return True
        put_off = self._policy.put_off * (head.expires_at - head.arrival)
        return rows >= estimates.max_batch_size or now - head.arrival >= put_off

    def _deadline_group(self, now: float) -> Group[T] | None:
        """The group whose deadlines have had the least service, of those that may run now."""
        if self._policy.max_queue_delay == 0:
            return self._queue.least_served()
        ready = [g for g in self._queue.groups.values() if g.deadline_rows and self._ready(g, now)]
        return min(ready, key=lambda group: group.served, default=None)

    def _best_effort_group(self, now: float) -> Group[T] | None:
        """The group whose best effort goes first, of those that may run now."""
        group = self._queue.least_tag()
        if group is None or self._ready(group, now):
            return group
        ready = [g for g in self._queue.groups.values()
                 if g.rows > g.deadline_rows and self._ready(g, now)]  # fmt: skip
        return ready[0] if ready else None

    def charge(self, batch: Batch[T]) -> None:
        """Keep the balance between the two kinds while both wait."""
        queue = self._queue
        if not queue.deadline_rows or queue.deadline_rows == queue.rows:
            self._balance = 0.0
            return
        unit = batch.predicted / batch.rows
        for entry, start, stop in batch.parts:
            self._balance += (stop - start) * (unit if entry.best_effort else -unit)

    def _ready(self, group: Group[T], now: float) -> bool:
        return self._policy.max_queue_delay == 0 or self.ready_at(group) <= now

    def ready_at(self, group: Group[T]) -> float:
        """When a free slot may take this group: after ``max_queue_delay``, or once it is full."""
        if group.rows >= self._estimates.max_batch_size:
            return -math.inf
        oldest = min(entry.arrival for entry in group.entries())
        ready = oldest + self._policy.max_queue_delay
        if not group.deadline_rows:
            return ready
        first = nearest(group.deadlines, 1)[0]
        seconds = (
            self._estimates.seconds(group.rows, group.row_elements) * self._estimates.cost.margin
        )
        return min(ready, first.due - seconds)
