"""Pure questions about a model's load: how long runs, the queue and a slot will take.

Nothing here changes the queue. Answers are predictions from the cost tables, without the safety
margin: that is for the choice of a deadline batch alone.
"""

from typing import Generic, TypeVar

from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.entries import Batch, Entry
from inference_service.core.scheduling.groups import Group
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.queue import Queue

T = TypeVar("T")

_MEAN_ROW_RATE = 0.1


class Estimates(Generic[T]):
    """What is known of one model's load: the queue, what runs, and what runs cost."""

    def __init__(self, policy: BatchPolicy, cost: CostModel, slots: int, queue: Queue[T]) -> None:
        self.policy = policy
        self.cost = cost
        self.slots = slots
        self.queue = queue
        self.running: list[Batch[T]] = []
        self.max_batch_size = policy.max_batch_size
        """It may grow, see `forming`."""
        self.queued_seconds = 0.0
        """Service time of everything queued, group by group."""
        self.row_seconds = 0.0
        """Mean seconds a row in the latest runs; 0: none has ended yet."""
        self._derived: dict[tuple[str, int, int], float] = {}
        self._derived_from: tuple[CostModel, int, int] = (cost, -1, 0)
        self._padded: dict[int, tuple[int, list[float]]] = {}

    @property
    def busy(self) -> bool:
        """Whether anything runs or waits. A model that is idle refuses nothing."""
        return bool(self.running) or self.queue.rows > 0

    def curve(self, row_elements: int = 0) -> list[float]:
        """S(rows) at the usual speed for all sizes up to the largest that may run."""
        table = self.cost.table(row_elements)
        most = max(self.max_batch_size, self.policy.max_growth)
        curve = table.curve
        if len(curve) <= most:
            curve = table.up_to(most)
        if not self.policy.sizes:
            return curve
        version, padded = self._padded.get(row_elements, (-1, curve))
        if version != table.version:
            padded = [curve[min(self.policy.padded(rows), most)] for rows in range(most + 1)]
            self._padded[row_elements] = table.version, padded
        return padded

    def seconds(self, rows: int, row_elements: int = 0) -> float:
        """S(rows): the expected seconds of one run, padded to an allowed batch size."""
        if self.policy.sizes:
            rows = self.policy.padded(rows)
        return self.cost.seconds(rows, row_elements)

    def work(self, rows: int, row_elements: int = 0) -> float:
        """Seconds of service that so many rows need, in as many runs as it takes."""
        full, rest = divmod(rows, self.max_batch_size)
        seconds = self.seconds(rest, row_elements) if rest else 0.0
        return seconds + full * self.seconds(self.max_batch_size, row_elements) if full else seconds

    def drain(self, rows: int, row_elements: int = 0) -> float:
        """Seconds until so many rows are done on all slots."""
        runs = -(-rows // self.max_batch_size)
        return self.work(rows, row_elements) / max(min(self.slots, runs), 1)

    def due(self, entry: Entry[T], row_elements: int = 0) -> float:
        """When the next run of an entry has to end: a request larger than a batch needs others."""
        first = self.seconds(min(entry.left, self.max_batch_size), row_elements)
        return entry.deadline - max(self.drain(entry.left, row_elements) - first, 0.0)

    def unit(self, row_elements: int = 0) -> float:
        """Seconds of service that a row is charged with in the fair queue, at the usual speed."""
        return self._known("unit", 1, row_elements)

    def default_deadline(self, rows: int = 0, row_elements: int = 0) -> float:
        """Seconds that a request without a deadline may take: 10 S(max) or 50 S(1), at least 2 s,
        and twice the service that it needs itself."""
        if self.policy.default_deadline is not None:
            return self.policy.default_deadline
        return self._known("default_deadline", rows, row_elements)

    def residual(self, now: float) -> float:
        """Seconds until a slot is free."""
        running = self.running
        if len(running) < self.slots:
            return 0.0
        return max(0.0, min([batch.started + batch.predicted for batch in running]) - now)

    def slot_ends(self, now: float) -> list[float]:
        """The times at which the slots get free; those that are free now come last."""
        ends = [max(now, batch.started + batch.predicted) for batch in self.running]
        return ends + [now] * (self.slots - len(ends))

    def wait(self, entry: Entry[T], row_elements: int, *, ahead_only: bool) -> float:
        """Seconds from a free slot until the last rows of a new best-effort entry start to run, and
        run: what all queued work takes, or less where its flow's fair share gets there sooner.

        ``ahead_only``: without its own rows.
        """
        queue, policy = self.queue, self.policy
        own = 0 if ahead_only else entry.rows
        total = (self.queued_seconds + self.work(own, row_elements)) / self.slots
        rows, weight = queue.flow_rows(entry.client, entry.key)
        others = queue.weight - weight
        if queue.deadline_rows:  # half of the service is theirs
            others += max(queue.weight, policy.weights[entry.rank])
        share = 1 + others / policy.weights[entry.rank]
        unit = self.row_seconds or self.seconds(self.max_batch_size) / self.max_batch_size
        return min(total, (rows + own) * share * unit / self.slots)

    def recount(self, group: Group[T]) -> None:
        """The rows of a group have changed: keep the queue's seconds of service."""
        work = self.work(group.rows, group.row_elements * self._length(group))
        self.queued_seconds = self.queued_seconds + work - group.work if self.queue.rows else 0.0
        group.work = work

    def started(self, batch: Batch[T]) -> None:
        """A batch runs from now on."""
        self.running.append(batch)

    def ended(self, batch: Batch[T], seconds: float) -> None:
        """It runs no more."""
        self.running.remove(batch)
        unit = seconds / batch.rows
        self.row_seconds += (_MEAN_ROW_RATE if self.row_seconds else 1.0) * (
            unit - self.row_seconds
        )

    def _known(self, what: str, rows: int, row_elements: int) -> float:
        """Derived once for each state of the costs, as it is asked for every request."""
        state = (self.cost, self.cost.version, self.max_batch_size)
        if self._derived_from != state:
            self._derived_from = state
            self._derived.clear()
        known = self._derived.get((what, rows, row_elements))
        if known is None:
            derive = self._unit if what == "unit" else self._default_deadline
            known = self._derived[what, rows, row_elements] = derive(rows, row_elements)
        return known

    def _unit(self, rows: int, row_elements: int) -> float:
        size = self.max_batch_size
        return rows * self.cost.table(row_elements).seconds(size) / size or 1e-6

    def _default_deadline(self, rows: int, row_elements: int) -> float:
        policy, cost = self.policy, self.cost
        # One base for all shapes, or rows that take longer would give way to short ones.
        base = max(
            policy.deadline_runs * cost.seconds(self.max_batch_size),
            policy.deadline_single_runs * cost.seconds(1),
            policy.least_deadline,
        )
        own = self.work(rows, row_elements) if rows else 0.0
        return min(base + 2 * own, policy.max_deadline)

    def _length(self, group: Group[T]) -> int:
        return group.length if group.has_lengths else 1
