"""What a model's scheduler knows of its load: the queue, what runs, and how long both will take."""

from collections.abc import Hashable
from typing import Generic, TypeVar

from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.lengths import quantised
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.promises import Promises
from inference_service.core.scheduling.queue import Group, Queue
from inference_service.core.scheduling.tickets import Batch, Ticket

T = TypeVar("T")

CALM = 0.0625
"""Of the default deadline: a shorter wait ends an overload and is far from being refused."""

_PRESSED_FOR = 32  # runs without a refusal after which deadlines are promised again


class Load(Generic[T]):
    """The state that admission and formation share."""

    def __init__(self, policy: BatchPolicy, cost: CostModel, slots: int) -> None:
        self.policy = policy
        self.cost = cost
        self.slots = slots
        self.queue: Queue[T] = Queue()
        self.promises = Promises(policy.max_batch_size, self._careful_cost)
        self.overloaded = False
        self.pressure = 0  # runs until deadlines are promised again
        self._sheltered = False  # whether those who waited when it began are planned in
        self.last = 0.0  # predicted seconds of the last run
        self.running: list[Batch[T]] = []
        self._patience: dict[int, float] = {}
        self._patiences: dict[tuple[int, int], float] = {}
        self._calm: dict[int, tuple[int, float]] = {}

    @property
    def busy(self) -> bool:
        """Whether anything runs or waits. What is idle refuses nobody."""
        return bool(self.running) or self.queue.rows > 0

    def seconds(self, rows: int, volume: int = 0) -> float:
        """S(rows), with padding to an allowed batch size."""
        if self.policy.sizes:
            rows = self.policy.padded(rows)
        return self.cost.seconds(rows, volume)

    def careful(self, seconds: float) -> float:
        """With the noise of runs."""
        return seconds * self.cost.noise

    def drain(self, rows: int, volume: int = 0) -> float:
        """Seconds until so many rows are done."""
        full, rest = divmod(rows, self.policy.max_batch_size)
        seconds = self.seconds(rest, volume) if rest else 0.0
        if full:
            seconds += full * self.seconds(self.policy.max_batch_size, volume)
            if full + bool(rest) > 1:
                seconds /= min(self.slots, full + bool(rest))
        return seconds

    def patience(self, own: float, volume: int = 0) -> float:
        """The default deadline in seconds for a request that costs ``own`` seconds itself."""
        base = self._patience.get(volume)
        if base is None:
            largest = self.seconds(self.policy.max_batch_size, volume)
            base = self.policy.patience(self.seconds(1, volume), largest, 0.0)
            self._patience[volume] = base
        if self.policy.default_deadline is not None:
            return base
        return min(base + 2 * own, self.policy.max_deadline)

    def patience_of(self, rows: int, volume: int) -> float:
        """The default deadline in seconds for a request of so many rows."""
        known = self._patiences.get((rows, volume))
        if known is None:
            known = self.patience(self.drain(rows, volume), volume)
            self._patiences[rows, volume] = known
        return known

    def refresh(self) -> None:
        """The costs have changed."""
        self._patience.clear()
        self._patiences.clear()
        self._calm.clear()

    def calm(self, rows: int, volume: int, now: float) -> bool:
        """Whether so many rows behind what is queued are surely far from every bound.

        The answer for most requests, at a fraction of the exact one's cost. False promises nothing.
        """
        known = self._calm.get(volume)
        if known is None:
            largest = self.policy.max_batch_size
            share = self.patience(0.0, volume) * CALM / 2
            run = self.careful(self.seconds(largest, volume))
            known = (largest * int(share / run) if run > 0.0 else 0), share
            self._calm[volume] = known
        most, share = known
        return self.queue.rows + rows <= most and self.residual(now) <= share

    def residual(self, now: float) -> float:
        """Seconds until a slot is free."""
        if len(self.running) < self.slots:
            return 0.0
        return max(0.0, min([batch.started + batch.predicted for batch in self.running]) - now)

    def ends(self, now: float) -> list[float]:
        """The times at which the slots get free."""
        noise = self.cost.noise
        ends = [batch.started + batch.predicted * noise for batch in self.running]
        ends = [max(now, end) for end in ends]
        return ends if len(ends) == self.slots else ends + [now] * (self.slots - len(ends))

    def started(self, batch: Batch[T]) -> None:
        """A batch runs from now on."""
        self.running.append(batch)
        self.last = batch.predicted
        if self.pressure:
            self.pressure -= 1
        else:
            self._sheltered = False
        self.promises.touch()

    def ended(self, batch: Batch[T]) -> None:
        """It runs no more."""
        self.running.remove(batch)
        self.promises.touch()

    def watch(self, wait: float, patience: float, enter: float, leave: float) -> None:
        """Note whether the queue stands: then the newest are served first."""
        if self.overloaded:
            self.overloaded = wait > leave * patience
        else:
            self.overloaded = wait > enter * patience

    def turned_away(self) -> None:
        """Not everybody who gave a deadline can be answered in time."""
        self.pressure = _PRESSED_FOR

    def shelter(self, now: float) -> None:
        """Plan in who waits without a deadline of its own when an overload of deadlines begins.

        Else those with deadlines would go before it until it expires.
        """
        if self._sheltered or not self.pressure:
            return
        self._sheltered = True
        ends = self.ends(now)
        waiting = [
            (ticket.due, ticket.arrival, group, ticket)
            for group in self.queue.groups.values()
            for ticket in group.tickets()
            if not ticket.firm and not ticket.planned
        ]
        for _, _, group, ticket in sorted(waiting, key=lambda entry: entry[:2]):
            length = quantised(ticket.length) if ticket.length else 1
            self.plan_in(ticket, group.volume * length, ends)

    def plan_in(self, ticket: Ticket[T], volume: int, ends: list[float]) -> None:
        """Plan in who has no deadline of its own: in the order of urgency, where that can be."""
        if not self.promises.accept(ticket, volume, ends):
            ticket.due = ticket.deadline
            self.promises.accept(ticket, volume, ends)

    def greedy(self, client: Hashable) -> bool:
        """Whether a client has more than its share of the queue, where there are others."""
        own, clients = 0, set[Hashable]()
        for group in self.queue.groups.values():
            clients.update(group.lanes)
            lane = group.lanes.get(client)
            own += lane.rows if lane is not None else 0
        return len(clients) > 1 and own * len(clients) > self.queue.rows

    def pressed(self, group: Group[T], now: float) -> Group[T] | None:
        """The group that must run now instead of a batch of ``group``; None: that may run.

        A batch that takes no longer than the plan of promises can bear makes nobody late: its
        members are in time themselves, and so is everybody after it. (The ends of a list schedule
        without precedences only grow with the times at which its slots get free.)
        """
        promises = self.promises
        if not promises.batches:
            return None
        ends = self.ends(now)
        rows = min(group.rows, self.policy.max_batch_size)
        seconds = self.careful(self.seconds(rows, group.volume))
        if not promises.late(ends) and seconds <= promises.slack(ends):
            return None
        return self.queue.groups[promises.batches[0].key]

    def _careful_cost(self, rows: int, volume: int) -> float:
        return self.careful(self.seconds(rows, volume))


def hopeless(load: Load[T], ticket: Ticket[T], volume: int, now: float) -> bool:
    """Whether a promised deadline can't be met any more, not even alone.

    The last one of an idle model is tried nevertheless: the table may be wrong, and without a run
    it would never learn.
    """
    if not load.running and load.queue.requests == 1:
        return False
    alone = load.seconds(min(ticket.left, load.policy.max_batch_size), volume)
    return now + alone > ticket.deadline
