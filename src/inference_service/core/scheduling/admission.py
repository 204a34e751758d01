"""Admission control: a request that could not be answered in time is refused at once.

- A model that is idle refuses nothing: its cost table may be wrong, and only runs correct it.
- With a deadline: refused if even the next run would end too late, or if those that are due before
  it and can still be in time need more runs than there is time for. A client that is refused at
  once can go elsewhere. Which of the others are answered is
  decided when a run starts (`deadlines`): to count later deadlines, too, or hopeless ones, costs 10
  to 16 % of all answers in time and starves short deadlines.
- Best effort: refused where the wait would exceed a share of the default deadline, which is larger
  for higher classes. So low is shed first, whatever the order of the queue. Requests of a client
  that hangs up earlier than that are judged as if they had deadlines (`hang_ups`).

``Retry-After`` counts the refused requests: each is told a time after those that were told before,
as if all of them came back. Told the same time, they would be refused again.
"""

import math
from enum import StrEnum
from typing import Any, Generic, TypeVar

from inference_service.core.errors import Overloaded
from inference_service.core.scheduling.entries import Entry
from inference_service.core.scheduling.estimates import Estimates
from inference_service.core.scheduling.hang_ups import HangUps

T = TypeVar("T")

_QUEUE_FULL = "queue_full"


class OverloadState(StrEnum):
    """Which classes of best-effort requests are refused where one client uses the whole queue."""

    NONE = "none"
    SHED_LOW = "shed_low"
    SHED_NORMAL = "shed_normal"
    SHED_ALL = "shed_all"


class Admission(Generic[T]):
    """Accepts or refuses."""

    def __init__(self, estimates: Estimates[T]) -> None:
        self._estimates = estimates
        self.hang_ups = HangUps()
        self.changes = 0
        """Counts all that may let in what was refused before: runs that start or end, requests
        that leave the queue. Those that come, and time, make it harder."""
        self._booked = 0.0  # until when refused requests that come back keep the model busy

    def refused(self, refusal: Overloaded, rows: int, row_elements: int, now: float) -> Overloaded:
        """The answer to a request of ``rows`` rows: to come back after all refused before.
        It is repeated for the next ones that ask for the same, or for up to a full run."""
        estimates, pause = self._estimates, refusal.retry_after
        work = estimates.terms(rows, row_elements).unit * rows * estimates.cost.speed
        seconds = work / estimates.slots
        refusal.retry_after = self.book(now, pause, seconds)
        # Refused for lack of time it may come a run after there was enough: see `_late`.
        missing = pause - estimates.seconds(estimates.max_batch_size, row_elements)
        until = math.inf if refusal.reason == _QUEUE_FULL else now + missing
        if until > now:
            refusal.repeat = _Repeat(self, until, pause, seconds)
        return refusal

    def book(self, now: float, pause: float, seconds: float) -> float:
        """When a request of ``seconds`` on all slots is to come back, in seconds from now: after
        ``pause``, and after all that were told before."""
        longest = self._estimates.policy.longest_retry
        begin = max(self._booked, now + pause)
        self._booked = min(begin, now + longest) + seconds
        return min(begin - now, longest)

    def check(self, entry: Entry[T], row_elements: int, now: float, own: float) -> None:
        """Raise Overloaded where the entry is refused. ``own`` is a best-effort entry's work.

        It changes nothing.
        """
        estimates = self._estimates
        limit, queued = estimates.policy.max_queue_rows, estimates.queue.rows
        if not queued and not estimates.running:
            return
        if limit is not None and queued and queued + entry.rows > limit:
            raise Overloaded(
                f"{queued} rows are queued for this model, the limit is {limit}",
                reason=_QUEUE_FULL,
                retry_after=estimates.drain(queued, row_elements),
            )
        if entry.deadline == math.inf:
            bound = estimates.policy.wait_bounds[entry.rank] * (entry.expires_at - now)
            residual = estimates.residual(now)
            wait = residual + (estimates.queued_seconds + own) / estimates.slots
            if wait > bound:  # it may still get there sooner than others
                self._check_share(entry, row_elements, residual, wait, bound)
        else:
            self._check_end(entry.rows, row_elements, now, entry.deadline)
            most = estimates.max_batch_size
            if entry.rows <= most < estimates.queue.deadline_rows + entry.rows:
                self._check_due(entry, row_elements, now)

    def abandoned(self, entry: Entry[T], now: float) -> None:
        """The client of an entry without a deadline of its own has gone before it was answered.

        One that gives up sooner than its request would take alone does so in any load.
        """
        age, rows = now - entry.arrival, min(entry.rows, self._estimates.max_batch_size)
        if age > self._estimates.seconds(rows, entry.row_elements):
            self.hang_ups.gave_up(entry.client, age, now)

    def learned_deadline(self, entry: Entry[T], now: float) -> float:
        """Until when the client of an entry without a deadline waits; inf: as long as it may."""
        seconds = self.hang_ups.limit(entry.client, now)
        bound = self._estimates.policy.wait_bounds[entry.rank] * (entry.expires_at - now)
        return now + seconds if seconds < bound else math.inf

    def refusal(self, now: float, deadline: float, row_elements: int | None) -> Overloaded | None:
        """Why a request with this deadline would be refused now, whatever else it is.

        For the edge, before a body is decoded: rows and client are not known, so best effort is
        judged when it is offered. None does not mean that it will be accepted.
        """
        estimates = self._estimates
        if deadline == math.inf or not (estimates.running or estimates.queue.rows):
            return None
        try:
            self._check_end(0 if row_elements is None else 1, row_elements or 0, now, deadline)
        except Overloaded as refusal:
            return refusal
        return None

    def state(self, now: float) -> OverloadState:
        """The overload that the queue is in."""
        estimates = self._estimates
        wait = estimates.residual(now) + estimates.queued_seconds / estimates.slots
        share = wait / estimates.default_deadline()
        high, normal, low = estimates.policy.wait_bounds
        if share > high:
            return OverloadState.SHED_ALL
        if share > normal:
            return OverloadState.SHED_NORMAL
        return OverloadState.SHED_LOW if share > low else OverloadState.NONE

    def _check_end(self, rows: int, row_elements: int, now: float, deadline: float) -> None:
        """The next run must end before the deadline; 0 rows: their cost is not known yet."""
        estimates = self._estimates
        seconds = estimates.residual(now)
        if rows:
            seconds += estimates.drain(rows, row_elements)
        if now + seconds <= deadline:
            return
        left = deadline - now
        text = f"the answer would take about {seconds:.3g} s, more than the {left:.3g} s there are"
        raise self._late(text, "deadline", seconds - left, row_elements)

    def _check_due(self, entry: Entry[T], row_elements: int, now: float) -> None:
        """What is due before an entry of at most one run, and it, must be in time for sure.

        Counted in full runs: a run that isn't full yet is filled by later requests.
        """
        estimates = self._estimates
        group = estimates.queue.groups.get(entry.key)
        if group is None:
            return
        most, residual = estimates.max_batch_size, estimates.residual(now)
        margin = estimates.cost.margin
        run = estimates.seconds(min(group.deadline_rows, most), row_elements) * margin
        due = group.rows_due(entry.rank, now + residual + run, entry.deadline)
        rows = due + entry.rows
        if rows <= most:
            return
        runs = -(-rows // (most * estimates.slots))
        own = runs * estimates.seconds(most, row_elements) * margin * estimates.policy.safe_end
        seconds, left = residual + own, entry.deadline - now
        if seconds <= left:
            return
        text = (
            f"{due} rows are due before it: the answer could take {seconds:.3g} s, more than the "
            f"{left:.3g} s there are"
        )
        raise self._late(text, "deadline", seconds - left, row_elements)

    def _check_share(
        self, entry: Entry[T], row_elements: int, residual: float, wait: float, bound: float
    ) -> None:
        """The wait of a best-effort entry is within the bound: what all queued work takes, which
        is ``wait``, or less where its flow's fair share gets there sooner.

        A request larger than a batch is judged by what is ahead of it alone.
        """
        estimates, queue = self._estimates, self._estimates.queue
        own = 0 if entry.rows > estimates.max_batch_size else entry.rows
        rank, (rows, weight) = entry.rank, queue.flow_rows(entry.client, entry.key)
        weights = estimates.policy.weights
        others = queue.weight - weight
        if queue.deadline_rows:  # half of the service is theirs
            others += max(queue.weight, weights[rank])
        size = estimates.max_batch_size
        unit = estimates.row_seconds or estimates.seconds(size) / size
        share = (rows + own) * (1 + others / weights[rank]) * unit
        wait = min(wait, residual + share / estimates.slots)
        if wait > bound:
            text = (
                f"the wait would be about {wait:.3g} s, more than the {bound:.3g} s that requests "
                "without a deadline may wait"
            )
            raise self._late(text, "overload", wait - bound, row_elements)

    def _late(self, text: str, reason: str, missing: float, row_elements: int) -> Overloaded:
        """The refusal of what lacks ``missing`` seconds: to come back one full run after that."""
        estimates = self._estimates
        run = estimates.seconds(estimates.max_batch_size, row_elements)
        return Overloaded(text, reason=reason, retry_after=missing + run)


class _Repeat:
    """See `errors.Repeat`: with nothing changed it holds until there is time enough.

    ``pause`` is when to come back, ``seconds`` the work of such a request on all slots.
    """

    __slots__ = ("_admission", "_changes", "_pause", "_seconds", "_until")

    def __init__(
        self, admission: Admission[Any], until: float, pause: float, seconds: float
    ) -> None:
        self._admission = admission
        self._changes = admission.changes
        self._until = until
        self._pause = pause
        self._seconds = seconds

    def again(self, now: float) -> float | None:
        """See `errors.Repeat`."""
        admission = self._admission
        if now >= self._until or admission.changes != self._changes:
            return None
        return admission.book(now, self._pause, self._seconds)
