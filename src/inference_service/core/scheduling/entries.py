"""The values of the scheduler: an entry of the queue with its states, and the decisions."""

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from inference_service.core.scheduling.queue import Flow

T = TypeVar("T")


class Priority(StrEnum):
    """The class of a request: its weight in the fair queue, and when an overload sheds it."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


RANK = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}
"""The index of a class in all tables by class; 0 goes first."""


class Release(StrEnum):
    """Why a batch was released: the label of ``inference_batches_total``."""

    SLOT_FREE = "slot_free"
    """A slot was free and this is all that was queued."""
    FULL = "full"
    """The batch is full: ``max_batch_size``, or a smaller size that runs more rows per second."""
    DELAY = "delay"
    """The oldest request has waited for ``max_queue_delay``."""
    DEADLINE = "deadline"
    """More rows would have made a request in it late."""
    LENGTH = "length"
    """Rows of other lengths were left for a batch of their own: padding would cost more."""
    HOLD = "hold"
    """A free slot waited for requests of clients in a closed loop."""


class EntryState(StrEnum):
    """Where an entry is between its offer and its end."""

    QUEUED = "queued"
    """All of its rows wait."""
    PARTIAL = "partial"
    """A request larger than a batch: some rows are dispatched, the others wait."""
    RUNNING = "running"
    """All of its rows are dispatched."""
    ENDED = "ended"
    """Answered, failed, dropped or cancelled. Rows that still run are of no use to anyone."""


MOVES: dict[EntryState, frozenset[EntryState]] = {
    EntryState.QUEUED: frozenset({EntryState.PARTIAL, EntryState.RUNNING, EntryState.ENDED}),
    EntryState.PARTIAL: frozenset({EntryState.PARTIAL, EntryState.RUNNING, EntryState.ENDED}),
    EntryState.RUNNING: frozenset({EntryState.ENDED}),
    EntryState.ENDED: frozenset(),
}


class Entry(Generic[T]):
    """A request, and its place in the queue.

    The first arguments describe the request: entries of one ``key`` may share a batch, ``deadline``
    is the client's own (absolute, in seconds; inf: it gave none, and the entry is *best effort*
    unless the scheduler has learned how long its client waits), ``row_elements`` chooses the cost
    table, per unit of ``length`` where rows have one (elements along the padded axis). Raises
    ValueError for a request without rows or sense.

    The rest is the scheduler's. ``expires_at`` is the deadline or the derived default. With a
    deadline ``order_key`` is when the next run of its rows is *due* (has to end): the deadline,
    less the runs that come after that one. For best effort it is the start tag in the fair queue;
    ``flow`` and ``unit``, the seconds of service that a row is charged with, are of use there
    alone. ``taken`` rows are dispatched, ``left`` rows wait (0 once it has ended), and ``done``
    rows have run.
    """

    __slots__ = (
        "arrival", "client", "deadline", "deadline_given", "done", "expires_at", "flow", "item",
        "key", "left", "length", "order_key", "rank", "row_elements", "rows", "state", "taken",
        "unit",
    )  # fmt: skip

    def __init__(
        self, item: T, key: Hashable, rows: int = 1, *, client: Hashable = None,
        priority: Priority = Priority.NORMAL, deadline: float = math.inf, row_elements: int = 0,
        length: int = 0,
    ) -> None:  # fmt: skip
        if rows < 1:
            raise ValueError("a request has at least one row")
        if math.isnan(deadline):
            raise ValueError("a deadline is a time")
        self.item = item
        self.key = key
        self.rows = self.left = rows
        self.client = client
        self.rank = RANK[priority]
        self.deadline = self.order_key = self.expires_at = deadline
        self.deadline_given = deadline < math.inf
        self.row_elements = row_elements
        self.length = length
        self.arrival = self.unit = 0.0
        self.flow: Flow | None = None
        self.taken = self.done = 0
        self.state = EntryState.QUEUED

    @property
    def ended(self) -> bool:
        """Whether it has ended, whichever way."""
        return self.state is EntryState.ENDED

    @property
    def best_effort(self) -> bool:
        """Whether it has no deadline, neither its client's nor one that was learned."""
        return self.deadline == math.inf

    def dispatch(self, rows: int) -> "Part[T]":
        """The next ``rows`` of the rows that wait, as a part of a batch."""
        start = self.taken
        self.taken = stop = start + rows
        self.left -= rows
        # Legal by `MOVES` as long as rows wait. It is done for every entry, so it is not looked up.
        self.state = EntryState.PARTIAL if self.left else EntryState.RUNNING
        return Part(self, start, stop)

    def end(self) -> None:
        """No row of it is of use any more. Raises ValueError if it has ended (`MOVES`)."""
        if EntryState.ENDED not in MOVES[self.state]:
            raise ValueError("an entry ends once")
        self.state = EntryState.ENDED
        self.left = 0


class Part(NamedTuple, Generic[T]):
    """Rows ``start`` to ``stop`` of one request within a batch."""

    entry: Entry[T]
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """Rows that it brings."""
        return self.stop - self.start


@dataclass(slots=True, eq=False)
class Batch(Generic[T]):
    """Decision: run these parts together.

    ``predicted`` is the expected cost in seconds, ``held`` how long a free slot waited for it.
    ``row_elements`` chooses the cost table; ``length`` is that of its longest row (0: rows have
    no length).
    """

    parts: tuple[Part[T], ...]
    rows: int
    reason: Release
    started: float = 0.0
    predicted: float = 0.0
    row_elements: int = 0
    held: float = 0.0
    length: int = 0


class DropReason(StrEnum):
    """Why an entry is dropped."""

    EXPIRED = "expired"
    """Its deadline, or the default deadline, has passed."""
    SHED = "shed"
    """An overload of deadlines: even a run that starts now would end after its deadline."""


class Drop(NamedTuple, Generic[T]):
    """Decision: this entry gets no answer. ``dispatched``: some of its rows were run."""

    entry: Entry[T]
    reason: DropReason
    dispatched: bool


@dataclass(slots=True)
class Decisions(Generic[T]):
    """What to do now, and when to decide again if nothing happens until then (inf: never).

    Start the runs before the drops: a first run of a large request may show that its rest can't be
    in time.
    """

    run: list[Batch[T]] = field(default_factory=list)
    drop: list[Drop[T]] = field(default_factory=list)
    wake_at: float = math.inf
