"""Which tickets of a group make the next batch."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Generic, TypeVar

from inference_service.core.scheduling.lengths import cheapest_cut, quantised
from inference_service.core.scheduling.load import Load, hopeless
from inference_service.core.scheduling.promises import assigned
from inference_service.core.scheduling.queue import Group
from inference_service.core.scheduling.standby import Seconds, all_in_time, largest_in_time, soonest
from inference_service.core.scheduling.taking import Taker
from inference_service.core.scheduling.tickets import Batch, Expired, Part, Release, Ticket

T = TypeVar("T")

Decisions = list[Batch[T] | Expired[T]]


@dataclass(frozen=True, slots=True)
class _Start(Generic[T]):
    """A run of a group that is about to start, with careful costs.

    ``ends`` are the times at which the slots get free.
    """

    group: Group[T]
    now: float
    ends: list[float]
    seconds: Seconds
    decisions: Decisions[T]

    def end(self, rows: int) -> float:
        """When it is over with so many rows."""
        return self.now + self.seconds(rows)


class Former(Generic[T]):
    """Chooses what a free slot takes out of the queue."""

    def __init__(self, load: Load[T]) -> None:
        self._load = load
        self._take = Taker(load)
        self._largest = load.policy.max_batch_size

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
        if load.queue.standby and load.queue.standing_by(group):
            latest = now + load.promises.slack(load.ends(now))
            return self._decided_now(group, latest, now, decisions)
        return self._plain(group, now)

    def _plain(self, group: Group[T], now: float) -> Batch[T]:
        """As much as fits, whoever is next."""
        load, take, largest = self._load, self._take, self._largest
        reason = Release.DELAY if load.policy.max_queue_delay > 0 else Release.SLOT_FREE
        chosen = self._cut(group) if group.has_lengths else None
        if chosen is not None:
            chosen.sort(key=lambda ticket: ticket.urgency)
            return take.batch(group, take.in_order(group, chosen, largest), now, Release.LENGTH)
        if group.rows <= largest:
            parts = take.everything(group)
            if group.size == largest:
                reason = Release.FULL
            return take.batch(group, parts, now, reason)
        return take.batch(group, take.in_turn(group, largest), now, Release.FULL)

    def _pressed(self, group: Group[T], now: float, decisions: Decisions[T]) -> Batch[T] | None:
        """The first planned batch, and as many more rows as the plan can bear.

        A plan that can't be kept any more counts no more, but who brought no deadline of its own is
        only late.
        """
        load = self._load
        promises = load.promises
        ends = load.ends(now)
        first = promises.batches[0]
        if promises.late(ends) and first.firm:
            return self._decided_now(group, math.inf, now, decisions)
        start = _Start(group, now, ends, self._careful(first.volume), decisions)
        standby = load.queue.standing_by(group)
        size = first.rows
        if not group.has_lengths:
            latest = start.end(size) + promises.slack(ends)
            size, due = largest_in_time(
                standby, self._largest, latest, now, start.seconds, rows=size
            )
            left = sum(ticket.left for ticket in standby) - (size - first.rows)
            size = self._filled(start, size, group.rows - left, due)
        members = list(first.members.items())
        parts = [self._take.part(group, member, rows, first) for member, rows in members]
        return self._started(start, size, group.by_deadline(), standby, parts)

    def _decided_now(
        self, group: Group[T], latest: float, now: float, decisions: Decisions[T]
    ) -> Batch[T] | None:
        """A run for those with deadlines, the nearest first; others fill it up.

        All are kept if all can be in time; otherwise the run is the largest that is in time for its
        members, up to ``latest``, and whom it leaves no chance is given up. A plan without end
        (``latest``) has failed: then its promises count no more than the others.
        """
        load = self._load
        tickets = group.by_deadline()
        volume = group.volume
        if group.has_lengths:
            chosen = self._cut(group)
            kept = set() if chosen is None else set(chosen)
            tickets = [ticket for ticket in tickets if ticket in kept] or tickets
            volume *= quantised(max(ticket.length for ticket in tickets))
        start = _Start(group, now, load.ends(now), self._careful(volume), decisions)
        lost = self._lost(start, tickets, latest)
        if len(lost) == len(tickets):
            return self._doubtful(start, tickets, volume)
        if lost:
            decisions.extend(self._take.given_up(ticket) for ticket in lost)
            tickets = [ticket for ticket in tickets if ticket.queued]
        most = group.rows
        found = all_in_time(tickets, self._largest, start.ends, start.seconds)
        if found is not None:
            size, slack = found
            due = min(start.end(size) + slack, latest)
        else:
            size, due = largest_in_time(tickets, self._largest, latest, now, start.seconds)
            most = size + group.rows - sum(ticket.left for ticket in tickets)
        if size == 0:
            return self._doubtful(start, tickets, volume)
        if not group.has_lengths:
            size = self._filled(start, size, most, due)
        losers = [ticket for ticket in tickets if ticket.standby or latest == math.inf]
        return self._started(start, size, tickets, losers, [])

    def _lost(self, start: "_Start[T]", tickets: list[Ticket[T]], latest: float) -> list[Ticket[T]]:
        """Those who take several runs, all of which would be needed in less time than there is.

        Who was promised something is none of them, as long as the plan holds (``latest``).
        """
        return [
            ticket
            for ticket in tickets
            if ticket.left > self._largest
            and (latest == math.inf or not ticket.planned)
            and soonest(ticket.left, self._largest, start.ends, start.seconds) > ticket.deadline
        ]

    def _started(
        self,
        start: "_Start[T]",
        size: int,
        tickets: list[Ticket[T]],
        losers: list[Ticket[T]],
        parts: list[Part[T]],
    ) -> Batch[T]:
        """``parts`` and others up to ``size`` rows.

        Of ``tickets``, those with the nearest deadlines that it can meet, then whoever is next.
        Those of ``losers`` who have no chance any more are given up.
        """
        take, group, end = self._take, start.group, start.end(size)
        after = min(assigned(start.ends, end)) + start.seconds(1)
        self._give_up(losers, min(end, after), start.decisions)
        room = size - sum(part.rows for part in parts)
        early = False
        if room > 0 and group.rows:
            members = [ticket for ticket in tickets if ticket.queued]
            early = bool(members) and members[0].deadline < end  # another slot's
            members = [ticket for ticket in members if ticket.deadline >= end]
            fits = next((i for i, ticket in enumerate(members) if take.size(ticket, room)), 0)
            parts += take.in_order(group, members[fits:], room)
            room = size - sum(part.rows for part in parts)
        if room > 0 and group.rows and not group.has_lengths and not early:
            parts += take.in_turn(group, room)
        reason = Release.DEADLINE if group.rows else Release.SLOT_FREE
        reason = Release.FULL if size >= self._largest else reason
        batch = take.batch(group, parts, start.now, reason)
        self._give_up(losers, after, start.decisions)
        return batch

    def _careful(self, volume: int) -> Seconds:
        """Careful seconds of runs of such rows."""
        load = self._load
        return lambda rows: load.careful(load.seconds(rows, volume))

    def _filled(self, start: "_Start[T]", size: int, most: int, due: float) -> int:
        """From ``size`` to ``most`` rows: as many as end by ``due``."""
        more = range(size + 1, min(most, self._largest) + 1)
        return size + bisect_right(more, due, key=start.end)

    def _doubtful(
        self, start: "_Start[T]", tickets: list[Ticket[T]], volume: int
    ) -> Batch[T] | None:
        """Nobody is surely in time: who may be, with luck, is tried alone; the others have lost."""
        load, now = self._load, start.now
        hopeful = [ticket for ticket in tickets if not hopeless(load, ticket, volume, now)]
        kept = set(hopeful)
        start.decisions.extend(self._take.given_up(t) for t in tickets if t not in kept)
        if not hopeful:
            return None
        parts = self._take.in_order(start.group, hopeful[-1:], self._largest)
        return self._take.batch(start.group, parts, now, Release.DEADLINE)

    def _give_up(self, tickets: list[Ticket[T]], end: float, decisions: Decisions[T]) -> None:
        """No run that is still to start ends before ``end``: who can't wait so long has lost."""
        for ticket in tickets:
            if ticket.deadline >= end:
                break
            if ticket.queued:
                decisions.append(self._take.given_up(ticket))

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
        return [t for t in group.tickets() if low <= quantised(t.length) <= high]
