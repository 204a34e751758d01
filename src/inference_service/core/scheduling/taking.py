"""How tickets leave the queue: whole groups, in turns between clients, or one by one."""

import math
from typing import Generic, TypeVar

from inference_service.core.scheduling.lengths import quantised
from inference_service.core.scheduling.load import Load
from inference_service.core.scheduling.promises import Planned
from inference_service.core.scheduling.queue import Group
from inference_service.core.scheduling.tickets import Batch, Expired, Part, Release, Ticket

T = TypeVar("T")


class Taker(Generic[T]):
    """Takes rows out of the queue and keeps its counts, the shares and the promises right."""

    def __init__(self, load: Load[T]) -> None:
        self._load = load
        self._largest = load.policy.max_batch_size

    def batch(self, group: Group[T], parts: list[Part[T]], now: float, reason: Release) -> Batch[T]:
        """These parts as a decision."""
        rows = sum([stop - start for _, start, stop in parts])
        length, volume = 0, group.volume
        if group.has_lengths:
            length = max(ticket.length for ticket, _, _ in parts)
            volume *= quantised(length)
        predicted = self._load.seconds(rows, volume)
        return Batch(tuple(parts), rows, reason, now, predicted, volume, 0.0, length)

    def everything(self, group: Group[T]) -> list[Part[T]]:
        """The whole group."""
        load, shares = self._load, self._load.queue.shares
        several = len(group.lanes) > 1
        group.size = group.rows
        parts = []
        tickets = load.queue.take_all(group)
        alone = not load.queue.rows  # then nothing is left that could be promised
        for ticket in tickets:
            parts.append(Part(ticket, ticket.taken, ticket.rows))
            if ticket.planned and not alone:
                load.promises.remove(ticket, ticket.rows - ticket.taken)
            ticket.taken = ticket.rows
            if several:
                shares.spend(ticket.client, self._unit() * ticket.rows)
        if alone:
            shares.clear()
            load.promises.clear()
        return parts

    def in_turn(self, group: Group[T], room: int) -> list[Part[T]]:
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
            size = self.size(ticket, room)
            if size == 0:
                break
            if len(group.lanes) > 1:
                shares.serve(ticket.client, unit * size)
            parts.append(self.part(group, ticket, size))
            room -= size
        return parts

    def in_order(self, group: Group[T], tickets: list[Ticket[T]], room: int) -> list[Part[T]]:
        """As many of these as fit, up to the first that doesn't."""
        parts: list[Part[T]] = []
        for ticket in tickets:
            size = self.size(ticket, room)
            if size == 0:
                break
            parts.append(self.part(group, ticket, size))
            room -= size
        return parts

    def size(self, ticket: Ticket[T], room: int) -> int:
        """Rows of it for this batch: what fits into a batch is never cut."""
        left = ticket.rows - ticket.taken
        if left > self._largest:
            return min(left, room)
        return left if left <= room else 0

    def part(
        self, group: Group[T], ticket: Ticket[T], size: int, planned: Planned | None = None
    ) -> Part[T]:
        """The next ``size`` rows of a ticket; of the ``planned`` batch, if it is in one."""
        part = Part(ticket, ticket.taken, ticket.taken + size)
        if ticket.planned:
            self._load.promises.remove(ticket, size, planned)
        self._load.queue.take(group, ticket, size)
        return part

    def given_up(self, ticket: Ticket[T]) -> Expired[T]:
        """Out of the queue, as it can't be in time; the scheduler forgets the rest of it."""
        load = self._load
        load.promises.remove(ticket, ticket.left)
        load.queue.discard(ticket)
        load.turned_away()
        return Expired(ticket, ticket.taken == 0, foreseen=True)

    def _unit(self) -> float:
        """Seconds that a row counts in the shares of clients."""
        return self._load.seconds(self._largest) / self._largest or 1e-6
