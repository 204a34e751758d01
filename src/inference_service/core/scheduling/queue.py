"""The queue of one model version: groups that may share a batch, and in each a lane per client.

All orders are kept lazily: an entry of a heap that is no longer true is dropped or corrected when
it comes up. Nothing here knows costs or the time.
"""

import heapq
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Hashable, Iterator
from itertools import chain, count
from operator import attrgetter
from typing import Generic, TypeVar

from inference_service.core.scheduling.shares import Shares
from inference_service.core.scheduling.tickets import Ticket

T = TypeVar("T")

_COMPACT_AT = 64
_urgency = attrgetter("urgency")
_deadline = attrgetter("deadline")


def _insert(tickets: list[Ticket[T]], ticket: Ticket[T]) -> None:
    """At its place by deadline; as a rule that is the end."""
    if not tickets or tickets[-1].deadline <= ticket.deadline:
        tickets.append(ticket)
    else:
        insort(tickets, ticket, key=_deadline)


class Lane(Generic[T]):
    """One client's tickets within a group, the most urgent first. The dead stay until met."""

    __slots__ = ("client", "live", "queue", "rows")

    def __init__(self, client: Hashable) -> None:
        self.client = client
        self.queue: deque[Ticket[T]] = deque()
        self.live = 0
        self.rows = 0

    def push(self, ticket: Ticket[T]) -> None:
        """Take a ticket in at its place, behind its equals."""
        queue = self.queue
        if queue and ticket.urgency < queue[-1].urgency:
            queue.insert(bisect_right(queue, ticket.urgency, key=_urgency), ticket)
        else:
            queue.append(ticket)
        self.live += 1
        self.rows += ticket.rows

    def head(self) -> Ticket[T] | None:
        """The most urgent ticket."""
        queue = self.queue
        while queue and not queue[0].queued:
            queue.popleft()
        return queue[0] if queue else None

    def newest(self) -> Ticket[T] | None:
        """The ticket that came last."""
        queue = self.queue
        while queue and not queue[-1].queued:
            queue.pop()
        return queue[-1] if queue else None

    def forget(self) -> None:
        """A ticket somewhere in the lane is gone: sweep when the gone are the majority."""
        self.live -= 1
        if len(self.queue) > _COMPACT_AT and len(self.queue) > 2 * self.live:
            self.queue = deque(ticket for ticket in self.queue if ticket.queued)


class Group(Generic[T]):
    """The tickets of one key. Only these may meet in a run."""

    __slots__ = (
        "firm", "has_lengths", "heads", "key", "lanes", "rows", "sequence", "size", "turns",
        "volume",
    )  # fmt: skip

    def __init__(self, key: Hashable, volume: int) -> None:
        self.key = key
        self.volume = volume
        self.rows = 0
        self.size = 0
        self.has_lengths = False
        self.lanes: dict[Hashable, Lane[T]] = {}
        self.heads: list[tuple[float, int, Lane[T]]] = []
        self.turns: list[tuple[float, int, Lane[T]]] = []
        self.firm: list[Ticket[T]] = []  # the nearest deadline first; the gone stay until swept
        self.sequence = count()

    def lane(self, client: Hashable, served: float) -> Lane[T]:
        """The client's lane; ``served`` is its counter, for a lane that is new."""
        lane = self.lanes.get(client)
        if lane is not None:
            return lane
        lane = Lane(client)
        if len(self.lanes) == 1:  # the orders are needed from the second lane on
            (other,) = self.lanes.values()
            head = other.head()
            heapq.heappush(self.turns, (0.0, next(self.sequence), other))
            if head is not None:
                heapq.heappush(self.heads, (head.urgency, next(self.sequence), other))
        if self.lanes:
            heapq.heappush(self.turns, (served, next(self.sequence), lane))
        self.lanes[client] = lane
        return lane

    def head(self) -> Ticket[T] | None:
        """The most urgent ticket of all lanes."""
        if len(self.lanes) == 1:
            return next(iter(self.lanes.values())).head()
        while self.heads:
            urgency, _, lane = self.heads[0]
            head = lane.head() if self.lanes.get(lane.client) is lane else None
            if head is not None and head.urgency == urgency:
                return head
            heapq.heappop(self.heads)
            if head is not None:
                heapq.heappush(self.heads, (head.urgency, next(self.sequence), lane))
        return None

    def by_deadline(self) -> list[Ticket[T]]:
        """The tickets with deadlines of their own, the nearest first."""
        self.firm = [ticket for ticket in self.firm if ticket.queued]
        return self.firm

    def least_served(self, shares: Shares, horizon: float) -> Lane[T] | None:
        """The lane whose client has had least, among those with a head up to ``horizon``."""
        if len(self.lanes) == 1:
            return next(iter(self.lanes.values()))
        turns = self.turns
        passed: list[tuple[float, int, Lane[T]]] = []
        found = None
        while turns:
            served, order, lane = turns[0]
            head = lane.head() if self.lanes.get(lane.client) is lane else None
            if head is None:
                heapq.heappop(turns)
                continue
            now = shares.of(lane.client)
            if now > served:
                heapq.heapreplace(turns, (now, order, lane))
            elif head.urgency <= horizon:
                found = lane
                break
            else:
                passed.append(heapq.heappop(turns))
        for entry in passed:
            heapq.heappush(turns, entry)
        return found

    def tickets(self) -> Iterator[Ticket[T]]:
        """All live tickets, lane by lane."""
        queues = chain.from_iterable(lane.queue for lane in self.lanes.values())
        return (ticket for ticket in queues if ticket.queued)


class Queue(Generic[T]):
    """All groups of one model version."""

    def __init__(self) -> None:
        self.rows = 0
        self.requests = 0
        self.firm_rows = 0
        self.shares = Shares()
        self.standby: list[Ticket[T]] = []  # the nearest deadline first; the gone stay until swept
        self.groups: dict[Hashable, Group[T]] = {}
        self._heads: list[tuple[float, int, Group[T]]] = []
        self._spare: Group[T] | None = None
        self._sequence = count()

    def add(self, ticket: Ticket[T], volume: int) -> None:
        """Take a ticket in."""
        group = self.groups.get(ticket.key)
        if group is None:
            group = self._new_group(ticket, volume)
        lane = group.lanes.get(ticket.client)
        if lane is None:
            lane = group.lane(ticket.client, self.shares.enter(ticket.client))
        lane.push(ticket)
        if lane.queue[0] is ticket:
            if len(group.lanes) > 1:
                heapq.heappush(group.heads, (ticket.urgency, next(group.sequence), lane))
            if len(self.groups) > 1:
                heapq.heappush(self._heads, (ticket.urgency, next(self._sequence), group))
        if ticket.firm:
            _insert(group.firm, ticket)
            if len(group.firm) > 2 * max(self.requests, _COMPACT_AT):
                group.by_deadline()
            self.firm_rows += ticket.left
            if ticket.standby:
                _insert(self.standby, ticket)
        group.rows += ticket.left
        self.rows += ticket.left
        self.requests += 1

    def _new_group(self, ticket: Ticket[T], volume: int) -> Group[T]:
        spare, self._spare = self._spare, None
        if spare is not None and spare.key == ticket.key:
            group = spare  # the model is idle again and again: the same group serves
        else:
            group = Group(ticket.key, volume)
            group.has_lengths = ticket.length > 0
        if len(self.groups) == 1:  # the order is needed from the second group on
            (other,) = self.groups.values()
            head = other.head()
            if head is not None:
                heapq.heappush(self._heads, (head.urgency, next(self._sequence), other))
        self.groups[ticket.key] = group
        return group

    def most_urgent(self, limit: int) -> list[Group[T]]:
        """Up to ``limit`` groups, those with the most urgent heads first."""
        if len(self.groups) == 1:
            return list(self.groups.values())
        found: list[Group[T]] = []
        kept = []
        while self._heads and len(found) < limit:
            urgency, _, group = entry = heapq.heappop(self._heads)
            head = group.head() if self.groups.get(group.key) is group else None
            if head is None or group in found:
                continue
            if head.urgency == urgency:
                found.append(group)
                kept.append(entry)
            else:
                heapq.heappush(self._heads, (head.urgency, next(self._sequence), group))
        for entry in kept:
            heapq.heappush(self._heads, entry)
        return found

    def standing_by(self, group: Group[T]) -> list[Ticket[T]]:
        """The group's tickets on standby, the nearest deadline first."""
        self.standby = [ticket for ticket in self.standby if ticket.queued]
        return [ticket for ticket in self.standby if ticket.key == group.key]

    def standing_by_until(self, time: float) -> int:
        """How many tickets on standby have deadlines from ``time`` on; some may be gone."""
        return len(self.standby) - bisect_left(self.standby, time, key=_deadline)

    def take(self, group: Group[T], ticket: Ticket[T], rows: int) -> None:
        """``rows`` of this ticket, a head or a newest one, are dispatched; its rest goes last."""
        lane = group.lanes[ticket.client]
        queue = lane.queue
        ticket.taken += rows
        if ticket.taken < ticket.rows:
            queue.remove(ticket)
            if queue:
                ticket.urgency = max(ticket.urgency, queue[-1].urgency)
            queue.append(ticket)
        else:
            ticket.queued = False
            self.requests -= 1
            if queue[0] is ticket:
                queue.popleft()
                lane.live -= 1
            else:
                lane.forget()
        self._count(group, lane, ticket, rows)

    def take_all(self, group: Group[T]) -> list[Ticket[T]]:
        """Everything of a group: one lane after the other."""
        tickets = list(group.tickets())
        for ticket in tickets:
            if ticket.firm:
                self.firm_rows -= ticket.rows - ticket.taken
            ticket.queued = False
        self.requests -= len(tickets)
        self.rows -= group.rows
        group.rows = 0
        self._remove(group)
        return tickets

    def discard(self, ticket: Ticket[T]) -> None:
        """The ticket has ended while it was queued."""
        ticket.queued = False
        group = self.groups[ticket.key]
        lane = group.lanes[ticket.client]
        lane.forget()
        self.requests -= 1
        self._count(group, lane, ticket, ticket.left)

    def _count(self, group: Group[T], lane: Lane[T], ticket: Ticket[T], rows: int) -> None:
        group.rows -= rows
        lane.rows -= rows
        self.rows -= rows
        if ticket.firm:
            self.firm_rows -= rows
        if group.rows == 0:
            self._remove(group)
        elif lane.live == 0:
            del group.lanes[lane.client]
            if len(group.turns) > _COMPACT_AT and len(group.turns) > 4 * len(group.lanes):
                lanes = group.lanes
                group.turns = [t for t in group.turns if lanes.get(t[2].client) is t[2]]
                heapq.heapify(group.turns)

    def _remove(self, group: Group[T]) -> None:
        group.lanes.clear()
        del self.groups[group.key]
        if group.heads or group.turns or group.firm:
            group.heads, group.turns, group.firm = [], [], []
        if not group.has_lengths:
            self._spare = group
        if len(self._heads) > _COMPACT_AT and len(self._heads) > 4 * len(self.groups):
            groups = self.groups
            self._heads = [entry for entry in self._heads if groups.get(entry[2].key) is entry[2]]
            heapq.heapify(self._heads)
