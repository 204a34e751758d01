"""Pure questions about a model's load: how long runs, the queue and a slot will take.

Nothing here changes the queue. Answers are predictions from the cost tables, without the safety
margin: that is for the choice of a deadline batch alone. What is derived from the costs is kept
until they change, as it is asked for every request.
"""

from typing import Generic, NamedTuple, TypeVar

from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.entries import Batch, Entry
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.queue import Group, Queue

T = TypeVar("T")

_MEAN_ROW_RATE = 0.1
_MOST_TERMS = 1024


class Terms(NamedTuple):
    """What best-effort requests of a number of rows are queued with. Times are in seconds.

    ``deadline``: that they have by default, from now. ``unit``: service that a row is charged with
    in the fair queue. ``work``: service that all rows need; those of one request larger than a
    batch count as 0, as it is judged by what is ahead of it alone.
    """

    deadline: float
    unit: float
    work: float


class Estimates(Generic[T]):
    """What is known of one model's load: the queue, what runs, and what runs cost."""

    def __init__(self, policy: BatchPolicy, cost: CostModel, slots: int, queue: Queue[T]) -> None:
        self.policy = policy
        self.cost = cost
        self.slots = slots
        self.queue = queue
        self.running: list[Batch[T]] = []
        self.max_batch_size = policy.max_batch_size
        """It may grow, see `sizes`."""
        self.queued_seconds = 0.0
        """Service time of everything queued, group by group."""
        self.row_seconds = 0.0
        """Mean seconds a row in the latest runs; 0: none has ended yet."""
        self._version = -1  # of the costs that these were derived from:
        self._curves: dict[int, list[float]] = {}
        self._terms: dict[tuple[int, int], Terms] = {}
        self._base = 0.0

    def use(self, cost: CostModel, slots: int) -> None:
        """Runs cost something else from now on: the layout has changed."""
        self.cost, self.slots, self._version = cost, slots, -1
        for group in self.queue.groups.values():
            self.recount(group)

    def grow(self, rows: int) -> None:
        """The largest run has this many rows from now on."""
        self.max_batch_size, self._version = rows, -1

    def curve(self, row_elements: int = 0) -> list[float]:
        """S(rows) at the usual speed for all sizes up to the largest that may run."""
        if self._version != self.cost.version:
            self._renew()
        curve = self._curves.get(row_elements)
        if curve is None:
            most = max(self.max_batch_size, self.policy.max_growth)
            curve = self.cost.table(row_elements).up_to(most)
            if self.policy.sizes:
                padded = self.policy.padded
                curve = [0.0, *(curve[min(padded(rows), most)] for rows in range(1, most + 1))]
            self._curves[row_elements] = curve
        return curve

    def seconds(self, rows: int, row_elements: int = 0) -> float:
        """S(rows): the expected seconds of one run, padded to an allowed batch size."""
        curve = self.curve(row_elements)
        if rows < len(curve):
            return curve[rows] * self.cost.speed
        return self.cost.seconds(self.policy.padded(rows), row_elements)

    def work(self, rows: int, row_elements: int = 0) -> float:
        """Seconds of service that this many rows need, in as many runs as it takes."""
        # As `curve`, which is asked twice for every request.
        curve = self._curves.get(row_elements) if self._version == self.cost.version else None
        if curve is None:
            curve = self.curve(row_elements)
        most = self.max_batch_size
        if rows < most:
            return curve[rows] * self.cost.speed
        return (rows // most * curve[most] + curve[rows % most]) * self.cost.speed

    def drain(self, rows: int, row_elements: int = 0) -> float:
        """Seconds until this many rows are done on all slots."""
        runs = -(-rows // self.max_batch_size)
        return self.work(rows, row_elements) / max(min(self.slots, runs), 1)

    def due(self, entry: Entry[T], row_elements: int = 0) -> float:
        """When the next run of an entry has to end: a request larger than a batch needs others."""
        first = self.seconds(min(entry.left, self.max_batch_size), row_elements)
        return entry.deadline - max(self.drain(entry.left, row_elements) - first, 0.0)

    def terms(self, rows: int, row_elements: int = 0) -> Terms:
        """The terms of best-effort requests of ``rows`` rows, at the usual speed."""
        if self._version != self.cost.version:
            self._renew()
        terms = self._terms.get((rows, row_elements))
        if terms is None:
            size = self.max_batch_size
            unit = self.curve(row_elements)[size] / size or 1e-6
            own = 0.0 if rows > size else self.work(rows, row_elements)
            if len(self._terms) >= _MOST_TERMS:
                self._terms.clear()
            terms = Terms(self.default_deadline(rows, row_elements), unit, own)
            self._terms[rows, row_elements] = terms
        return terms

    def default_deadline(self, rows: int = 0, row_elements: int = 0) -> float:
        """Seconds that a request without a deadline may take: 10 S(max) or 50 S(1), at least 2 s,
        and twice the service that it needs itself."""
        policy = self.policy
        if policy.default_deadline is not None:
            return policy.default_deadline
        if self._version != self.cost.version:
            self._renew()
        own = self.work(rows, row_elements) if rows else 0.0
        return min(self._base + 2 * own, policy.max_deadline)

    def residual(self, now: float) -> float:
        """Seconds until a slot is free."""
        running = self.running
        if len(running) < self.slots:
            return 0.0
        first = running[0]
        end = first.started + first.predicted
        if len(running) > 1:
            end = min([batch.started + batch.predicted for batch in running])
        return end - now if end > now else 0.0

    def slot_ends(self, now: float) -> list[float]:
        """The times at which the slots get free; those that are free now come last."""
        ends = [max(now, batch.started + batch.predicted) for batch in self.running]
        return ends + [now] * (self.slots - len(ends))

    def recount(self, group: Group[T]) -> None:
        """The rows of a group have changed: keep the queue's seconds of service."""
        elements = group.row_elements * group.length
        work = self.work(group.rows, elements)
        self.queued_seconds = self.queued_seconds + work - group.work if self.queue.rows else 0.0
        group.work = work

    def started(self, batch: Batch[T]) -> None:
        """A batch runs from now on."""
        self.running.append(batch)

    def ended(self, batch: Batch[T], seconds: float) -> None:
        """It runs no more."""
        self.running.remove(batch)
        unit = seconds / batch.rows
        rate = _MEAN_ROW_RATE if self.row_seconds else 1.0
        self.row_seconds += rate * (unit - self.row_seconds)

    def _renew(self) -> None:
        """The costs have changed: forget what was derived from them."""
        self._version = self.cost.version
        self._curves.clear()
        self._terms.clear()
        policy = self.policy
        if policy.default_deadline is None:
            # One base for all shapes, or rows that take longer would give way to short ones.
            self._base = max(
                policy.deadline_runs * self.seconds(self.max_batch_size),
                policy.deadline_single_runs * self.seconds(1),
                policy.least_deadline,
            )
