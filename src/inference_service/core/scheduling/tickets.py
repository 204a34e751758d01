"""The words of the scheduler: a request's place in the queue and what is decided about it."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Priority(StrEnum):
    """How long a request may be put off for others, in units of the default deadline."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


OFFSETS = {Priority.HIGH: 0.25, Priority.NORMAL: 1.0, Priority.LOW: 4.0}
"""Virtual deadlines: arrival plus this many default deadlines. Finite, so that nothing starves."""


class Release(StrEnum):
    """Why a batch was released: the label of ``inference_batches_total``."""

    SLOT_FREE = "slot_free"
    """A slot was free and this is all that was queued."""
    FULL = "full"
    """``max_batch_size`` is reached, or the next request would pass it."""
    DELAY = "delay"
    """The oldest request has waited for ``max_queue_delay``."""
    DEADLINE = "deadline"
    """More rows would have made a request in it late."""
    LENGTH = "length"
    """Rows of other lengths were left for a batch of their own: padding would cost more."""
    HOLD = "hold"
    """A free slot waited for requests that were about to come."""


class Ticket(Generic[T]):
    """A request's place in the queue.

    ``deadline`` is absolute. A ``firm`` one was given by the client and is a promise once the
    request is accepted, unless it is on ``standby``: then the start of a run decides. Otherwise it
    is the derived default. ``urgency`` orders the queue. ``due`` is what a promise of an answer is
    for. ``queued``: a part of it still waits.
    ``dead``: it has ended.
    """

    __slots__ = (
        "arrival", "client", "dead", "deadline", "due", "firm", "item", "key", "length", "planned",
        "queued", "rows", "standby", "taken", "urgency",
    )  # fmt: skip

    def __init__(
        self, item: T, key: Hashable, rows: int, arrival: float, client: Hashable = None
    ) -> None:
        self.item = item
        self.key = key
        self.rows = rows
        self.arrival = arrival
        self.client = client
        self.deadline = math.inf
        self.due = math.inf
        self.urgency = math.inf
        self.firm = False
        self.standby = False
        self.length = 0
        self.taken = 0
        self.dead = False
        self.queued = True
        self.planned: list[Any] | None = None

    @property
    def left(self) -> int:
        """Rows that are not dispatched yet."""
        return self.rows - self.taken


class Part(NamedTuple, Generic[T]):
    """Rows ``start`` to ``stop`` of one request within a batch."""

    ticket: Ticket[T]
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """How many rows it brings."""
        return self.stop - self.start


@dataclass(slots=True, eq=False)
class Batch(Generic[T]):
    """Decision: run these parts together.

    ``predicted`` is the expected cost in seconds, ``held`` how long a free slot waited for it,
    ``length`` that of its longest row (0: rows have no length).
    """

    parts: tuple[Part[T], ...]
    rows: int
    reason: Release
    started: float = 0.0
    predicted: float = 0.0
    volume: int = 0
    held: float = 0.0
    length: int = 0


@dataclass(frozen=True, slots=True)
class Expired(Generic[T]):
    """Decision: this request gets no answer in time.

    ``waited``: none of it was ever dispatched. ``foreseen``: its deadline has not passed yet, but a
    run would end after it.
    """

    ticket: Ticket[T]
    waited: bool
    foreseen: bool = False

    @property
    def refused(self) -> bool:
        """It stood by, and there is no room for it."""
        return self.foreseen and self.ticket.standby
