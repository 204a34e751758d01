"""Which tickets of a group make the next batch."""

import math
from bisect import bisect_left
from typing import Generic, TypeVar

from inference_service.core.scheduling.lengths import cheapest_cut, quantised
from inference_service.core.scheduling.load import Load, hopeless
from inference_service.core.scheduling.promises import Planned
from inference_service.core.scheduling.queue import Group
from inference_service.core.scheduling.tickets import Batch, Expired, Part, Release, Ticket

T = TypeVar("T")

Decisions = list[Batch[T] | Expired[T]]


class Former(Generic[T]):
    """Takes tickets out of the queue."""

    def __init__(self, load: Load[T]) -> None:
        self._load = load

    def form(
        self, group: Group[T], now: float, decisions: Decisions[T], *, pressed: bool = False
    ) -> Batch[T] | None:
        """A batch of this group; ``pressed``: the one that the promises need now.

        Requests that can't be in time any more are noted as expired in ``decisions``; None where
        they were all.
        """
        load = self._load
        if pressed:
            return self._pressed(group, now, decisions)
        largest = load.policy.max_batch_size
        reason = Release.DELAY if load.policy.max_queue_delay > 0 else Release.SLOT_FREE
        chosen = self._cut(group) if group.has_lengths else None
        if chosen is not None:
            return self._batch(group, self._take(group, chosen, largest), now, Release.LENGTH)
        if group.rows <= largest:
            parts = self._take_all(group)
            if group.size == largest:
                reason = Release.FULL
            return self._batch(group, parts, now, reason)
        return self._batch(group, self._take_in_turn(group, largest, largest), now, Release.FULL)

    def _batch(
        self, group: Group[T], parts: list[Part[T]], now: float, reason: Release
    ) -> Batch[T]:
        rows = sum([stop - start for _, start, stop in parts])
        length, volume = 0, group.volume
        if group.has_lengths:
            length = max(ticket.length for ticket, _, _ in parts)
            volume *= quantised(length)
        predicted = self._load.seconds(rows, volume)
        return Batch(tuple(parts), rows, reason, now, predicted, volume, 0.0, length)

    def _take_all(self, group: Group[T]) -> list[Part[T]]:
        load, shares = self._load, self._load.queue.shares
        several = len(group.lanes) > 1
        group.size = group.rows
        parts = []
        for ticket in load.queue.take_all(group):
            parts.append(Part(ticket, ticket.taken, ticket.rows))
            if ticket.firm:
                load.promises.remove(ticket, ticket.rows - ticket.taken)
            ticket.taken = ticket.rows
            if several:
                shares.spend(ticket.client, self._unit() * ticket.rows)
        if not load.queue.rows:
            shares.clear()
        return parts

    def _take_in_turn(self, group: Group[T], room: int, largest: int) -> list[Part[T]]:
        """As much as fits: the least-served client first, in an overload its newest."""
        load = self._load
        shares = load.queue.shares
        unit = self._unit()
        parts: list[Part[T]] = []
        head = group.head()
        horizon = math.inf if head is None else head.urgency + load.patience(0.0, group.volume)
        while room > 0 and group.rows:
            lane = group.least_served(shares, horizon)
            ticket = None
            if lane is not None:
                ticket = lane.head()
                if load.overloaded and ticket is not None and not ticket.firm:
                    ticket = lane.newest()
            if ticket is None:
                ticket = group.head()
            if ticket is None:  # pragma: no cover - a group with rows has a head
                break
            size = self._size(ticket, room, largest)
            if size == 0:
                break
            if len(group.lanes) > 1:
                shares.serve(ticket.client, unit * size)
            parts.append(self._part(group, ticket, size))
            room -= size
        return parts

    def _pressed(self, group: Group[T], now: float, decisions: Decisions[T]) -> Batch[T] | None:
        """The first planned batch, and as many more rows as the plan can bear."""
        load = self._load
        promises = load.promises
        largest = load.policy.max_batch_size
        while (ticket := group.earliest_firm()) and hopeless(load, ticket, group.volume, now):
            decisions.append(self._given_up(group, ticket))
        if ticket is None or not promises.batches or promises.batches[0].key != group.key:
            return None
        ends = load.ends(now)
        first = promises.batches[0]
        if promises.late(ends):
            size = self._in_time(group, now, ticket.deadline)
            size = self._most_in_time(group, now, size, decisions)
            parts: list[Part[T]] = []
        else:
            size = self._within_slack(group, first.rows, promises.slack(ends))
            members = list(first.members.items())
            parts = [self._part(group, member, rows, first) for member, rows in members]
        room = size - sum(part.rows for part in parts)
        while room > 0 and (ticket := group.earliest_firm()) is not None:
            fits = self._size(ticket, room, largest)
            if fits == 0 and parts:
                break
            fits = fits or min(ticket.left, largest)
            parts.append(self._part(group, ticket, fits))
            room -= fits
        if room > 0 and group.rows:
            parts += self._take_in_turn(group, room, largest)
        if not parts:
            return None
        reason = Release.FULL if size >= largest else Release.DEADLINE
        return self._batch(group, parts, now, reason if group.rows else Release.SLOT_FREE)

    def _in_time(self, group: Group[T], now: float, deadline: float) -> int:
        """The largest batch that ends by ``deadline``; 1 where even that is doubtful."""
        load = self._load
        low, high = 1, min(group.rows, load.policy.max_batch_size)
        while low < high:
            middle = (low + high + 1) // 2
            if now + load.careful(load.seconds(middle, group.volume)) <= deadline:
                low = middle
            else:
                high = middle - 1
        return low

    def _within_slack(self, group: Group[T], planned: int, slack: float) -> int:
        """The largest batch instead of the planned one that delays the plan by no more."""
        load = self._load
        allowed = load.careful(load.seconds(planned, group.volume)) + slack
        low, high = planned, max(planned, min(group.rows, load.policy.max_batch_size))
        while low < high:
            middle = (low + high + 1) // 2
            if load.careful(load.seconds(middle, group.volume)) <= allowed:
                low = middle
            else:
                high = middle - 1
        return low

    def _most_in_time(self, group: Group[T], now: float, size: int, decisions: Decisions[T]) -> int:
        """The plan has failed: answer as many per second as can still be in time, drop the rest."""
        load = self._load
        deadlines = sorted(entry[0] for entry in group.firm if entry[2].queued)
        largest = min(load.policy.max_batch_size, group.rows)

        def end(rows: int) -> float:
            return now + load.careful(load.seconds(rows, group.volume))

        def rate(rows: int) -> float:
            in_time = len(deadlines) - bisect_left(deadlines, end(rows))
            return min(rows, in_time) / max(end(rows) - now, 1e-12)

        candidates = {size, largest, *(2**k for k in range(size.bit_length(), 16))}
        best = max((c for c in candidates if size <= c <= largest), key=rate, default=size)
        if rate(best) <= rate(size) * 1.05:
            return size
        while (ticket := group.earliest_firm()) is not None and ticket.deadline < end(best):
            decisions.append(self._given_up(group, ticket))
        return best

    def _given_up(self, group: Group[T], ticket: Ticket[T]) -> Expired[T]:
        """Out of the queue; the scheduler forgets the rest of it."""
        load = self._load
        load.promises.remove(ticket, ticket.left)
        load.queue.discard(ticket)
        return Expired(ticket, waited=ticket.taken == 0, foreseen=True)

    def _cut(self, group: Group[T]) -> list[Ticket[T]] | None:
        """The tickets of the batch that holds the most urgent, where lengths should be parted."""
        head = group.head()
        if head is None:  # pragma: no cover
            return None
        load = self._load

        def seconds(rows: int, length: int) -> float:
            return load.drain(rows, group.volume * length)

        lengths: dict[int, int] = {}
        for ticket in group.tickets():
            length = quantised(ticket.length)
            lengths[length] = lengths.get(length, 0) + ticket.left
        bounds = cheapest_cut(sorted(lengths.items()), quantised(head.length), seconds)
        if bounds is None:
            return None
        low, high = bounds
        chosen = [t for t in group.tickets() if low <= quantised(t.length) <= high]
        chosen.sort(key=lambda ticket: ticket.urgency)
        return chosen

    def _take(self, group: Group[T], tickets: list[Ticket[T]], largest: int) -> list[Part[T]]:
        parts: list[Part[T]] = []
        room = largest
        for ticket in tickets:
            size = self._size(ticket, room, largest)
            if size == 0:
                break
            parts.append(self._part(group, ticket, size))
            room -= size
        return parts

    def _size(self, ticket: Ticket[T], room: int, largest: int) -> int:
        """Rows of it for this batch: what fits into a batch is never cut."""
        left = ticket.rows - ticket.taken
        if left > largest:
            return min(left, room)
        return left if left <= room else 0

    def _part(
        self, group: Group[T], ticket: Ticket[T], size: int, planned: Planned | None = None
    ) -> Part[T]:
        part = Part(ticket, ticket.taken, ticket.taken + size)
        if ticket.firm:
            self._load.promises.remove(ticket, size, planned)
        self._load.queue.take(group, ticket, size)
        return part

    def _unit(self) -> float:
        """Seconds that a row counts in the shares of clients."""
        largest = self._load.policy.max_batch_size
        return self._load.seconds(largest) / largest or 1e-6
