"""Which deadlines can be promised: a plan of the runs that the accepted firm requests need.

A request with a deadline of its own is accepted only if the plan still holds with it: it would be
on time itself, and it would make nobody late who was accepted before. The plan is a list of batches
in the order of their deadlines; its times are worked out again after each run, so that accepting
the next request is a matter of looking at the last batch.
"""

import math
from collections.abc import Callable, Hashable
from typing import Any

from inference_service.core.scheduling.tickets import Ticket

Cost = Callable[[int, int], float]
"""Careful seconds of a batch: (rows, volume)."""


class Planned:
    """A batch to come: its members with their rows, and their earliest and latest deadlines.

    ``firm`` counts the members whose deadlines are their clients' own. ``stale``: the one with the
    earliest may be gone.
    """

    __slots__ = ("earliest", "firm", "key", "latest", "members", "rows", "stale", "volume")

    def __init__(self, ticket: Ticket[Any], rows: int, volume: int) -> None:
        self.key: Hashable = ticket.key
        self.firm = int(ticket.firm)
        self.stale = False
        self.members = {ticket: rows}
        self.rows = rows
        self.volume = volume
        self.earliest = ticket.due
        self.latest = ticket.due


class Promises:
    """The plan for one model version."""

    def __init__(self, max_batch_size: int, cost: Cost) -> None:
        self.batches: list[Planned] = []
        self._largest = max_batch_size
        self._cost = cost
        self._fresh = False
        self._late = 0
        self._slack = math.inf
        self._last_start = 0.0
        self._before_last: list[float] = []
        self._ends: list[float] = []
        self._base: list[float] = []

    def accept(self, ticket: Ticket[Any], volume: int, ends: list[float]) -> bool:
        """Plan the ticket in, if that can be promised.

        ``ends`` are the times at which the slots get free.
        """
        if not self._fresh or ends != self._base:
            self._work_out(ends)
        last = self.batches[-1] if self.batches else None
        if last is None or ticket.due >= last.latest:
            return self._append(ticket, volume, last)
        return self._insert(ticket, volume, ends)

    def exhausted(self, deadline: float, ends: list[float], volume: int | None) -> bool:
        """Whether no request with this deadline could be planned in, however few rows it has.

        At little cost, for before it is read: False promises nothing. ``volume`` None: its rows may
        be of any length.
        """
        if not self.batches:
            return False
        if not self._fresh or ends != self._base:
            self._work_out(ends)
        last = self.batches[-1]
        if deadline < last.latest:
            return False
        if last.rows < self._largest:
            end = self._last_start + self._cost(last.rows + 1, last.volume)
            if end <= min(last.earliest, deadline):
                return False
        own = 0.0 if volume is None else self._cost(1, volume)
        return min(self._ends) + own > deadline

    def rows_before(self, time: float) -> int:
        """Rows that a deadline at this time can't go before: those of nearer ones and firm ones."""
        return sum([batch.rows for batch in self.batches if batch.firm or batch.earliest <= time])

    def remove(self, ticket: Ticket[Any], rows: int, first: Planned | None = None) -> None:
        """``rows`` rows of the ticket need no promise any more: dispatched or given up.

        They are taken out of ``first``, and then out of the ticket's last batches: the earlier ones
        share their runs with others.
        """
        self._fresh = False
        shares = ticket.planned
        while rows > 0 and shares:
            planned = first if first is not None and first in shares else shares[-1]
            own = planned.members[ticket]
            taken = min(rows, own)
            planned.rows -= taken
            rows -= taken
            if taken < own:
                planned.members[ticket] = own - taken
                continue
            shares.remove(planned)
            del planned.members[ticket]
            planned.firm -= ticket.firm
            planned.stale = True
            if not planned.members:
                self.batches.remove(planned)

    def clear(self) -> None:
        """Nothing is queued any more."""
        for batch in self.batches:
            for ticket in batch.members:
                ticket.planned = None
        self.batches.clear()
        self._fresh = False

    def touch(self) -> None:
        """A run has started or ended: the times of the plan are old."""
        self._fresh = False

    def late(self, ends: list[float]) -> int:
        """How many planned batches are going to miss a deadline."""
        if not self._fresh or ends != self._base:
            self._work_out(ends)
        return self._late

    def slack(self, ends: list[float]) -> float:
        """Seconds by which the whole plan could start later."""
        if not self._fresh or ends != self._base:
            self._work_out(ends)
        return self._slack

    def _append(self, ticket: Ticket[Any], volume: int, last: Planned | None) -> bool:
        rows = ticket.left
        if last is not None and last.key == ticket.key and last.rows + rows <= self._largest:
            seconds = self._cost(last.rows + rows, volume)
            end = self._last_start + seconds
            if end <= min(last.earliest, ticket.due):
                last.rows += rows
                last.firm += ticket.firm
                last.latest = ticket.due
                last.members[ticket] = rows
                ticket.planned = [last]
                self._slack = min(self._slack, last.earliest - end)
                self._ends = assigned(self._before_last, end)
                return True
        before, start, ends, slack = self._before_last, self._last_start, self._ends, self._slack
        chunks = self._chunks(ticket, volume)
        for chunk in chunks:
            before, start = ends, min(ends)
            seconds = self._cost(chunk.rows, volume)
            if start + seconds > ticket.due:
                return False
            ends = assigned(ends, start + seconds)
            slack = min(slack, ticket.due - start - seconds)
        self._before_last, self._last_start, self._ends, self._slack = before, start, ends, slack
        self.batches += chunks
        ticket.planned = list(chunks)
        return True

    def _insert(self, ticket: Ticket[Any], volume: int, ends: list[float]) -> bool:
        self._work_out(ends)  # the last look may be old: batches may have become late since
        before = self._late
        batches = self.batches
        at = next(i for i, batch in enumerate(batches) if batch.latest > ticket.due)
        for planned in (batches[at], *batches[max(at - 1, 0) : at]):
            if planned.key == ticket.key and planned.rows + ticket.left <= self._largest:
                old = planned.earliest, planned.latest
                planned.rows += ticket.left
                planned.earliest = min(planned.earliest, ticket.due)
                planned.latest = max(planned.latest, ticket.due)
                self._work_out(ends)
                if self._late <= before:
                    planned.members[ticket] = ticket.left
                    planned.firm += ticket.firm
                    ticket.planned = [planned]
                    return True
                planned.rows -= ticket.left
                planned.earliest, planned.latest = old
        # Behind those that hold a nearer deadline, or else before all that hold a later one.
        behind = sum(batch.earliest <= ticket.due for batch in batches)
        for place in dict.fromkeys((max(at, behind), at)):
            new = self._chunks(ticket, volume)
            batches[place:place] = new
            self._work_out(ends)
            if self._late <= before:
                ticket.planned = list(new)
                return True
            del batches[place : place + len(new)]
        self._work_out(ends)
        return False

    def _chunks(self, ticket: Ticket[Any], volume: int) -> list[Planned]:
        """The batches of a ticket that shares none."""
        full, rest = divmod(ticket.left, self._largest)
        sizes = [self._largest] * full + ([rest] if rest else [])
        return [Planned(ticket, rows, volume) for rows in sizes]

    def _work_out(self, ends: list[float]) -> None:
        self._base = now = list(ends)
        late, slack = 0, math.inf
        costs: dict[tuple[int, int], float] = {}  # most batches are of one size
        for batch in self.batches:
            if batch.stale:
                batch.earliest = min([ticket.due for ticket in batch.members])
                batch.stale = False
            size = batch.rows, batch.volume
            seconds = costs.get(size)
            if seconds is None:
                seconds = costs[size] = self._cost(*size)
            start = now[0] if len(now) == 1 else min(now)
            end = start + seconds
            self._before_last, self._last_start = now, start
            now = [end] if len(now) == 1 else assigned(now, end)
            spare = batch.earliest - end
            if spare < 0:
                late += 1
            elif spare < slack:
                slack = spare
        self._ends, self._late, self._slack = now, late, slack
        self._fresh = True


def assigned(ends: list[float], end: float) -> list[float]:
    """The slot that is free first gets a run that ends at ``end``."""
    if len(ends) == 1:
        return [end]
    after = sorted(ends)
    after[0] = end
    return after
