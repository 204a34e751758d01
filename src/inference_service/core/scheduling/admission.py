"""Admission control: a request that could not be answered in time is refused at once.

- A model that is idle refuses nothing: its cost table may be wrong, and only runs correct it.
- With a deadline: refused only if even the next run would end too late. Which of the others are
  answered is decided when a run starts (`deadlines`); to refuse more costs 10 to 16 % of all
  answers in time and starves short deadlines.
- Best effort: refused where the wait would exceed a share of the default deadline, which is larger
  for higher classes. So low is shed first, whatever the order of the queue.
"""

import math
from enum import StrEnum
from typing import Generic, TypeVar

from inference_service.core.errors import Overloaded
from inference_service.core.scheduling.entries import Entry
from inference_service.core.scheduling.estimates import Estimates

T = TypeVar("T")


class OverloadState(StrEnum):
    """Which classes of best-effort requests are refused where one client uses the whole queue."""

    NONE = "none"
    SHED_LOW = "shed_low"
    SHED_NORMAL = "shed_normal"
    SHED_ALL = "shed_all"


class Admission(Generic[T]):
    """Accepts or refuses. It changes nothing."""

    def __init__(self, estimates: Estimates[T]) -> None:
        self._estimates = estimates

    def check(self, entry: Entry[T], row_elements: int, now: float, *, large: bool) -> None:
        """Raise Overloaded where the entry is refused."""
        estimates = self._estimates
        limit, queued = estimates.policy.max_queue_rows, estimates.queue.rows
        if limit is not None and queued and queued + entry.rows > limit:
            raise Overloaded(
                f"{queued} rows are queued for this model, the limit is {limit}",
                reason="queue_full",
                retry_after=estimates.drain(queued, row_elements),
            )
        if not estimates.busy:
            return
        if entry.best_effort:
            self._check_wait(entry, row_elements, now, large=large)
        else:
            end = estimates.residual(now) + estimates.drain(entry.rows, row_elements)
            if now + end > entry.deadline:
                raise self._late(end, entry.deadline - now)

    def refusal(self, now: float, deadline: float, row_elements: int | None) -> Overloaded | None:
        """Why a request of one row, of unknown client and class, would be refused now.

        For the edge, before a body is decoded. None does not mean that it will be accepted.
        """
        if not self._estimates.busy:
            return None
        entry = Entry[None](None, _UNKNOWN, 1, now, client=_UNKNOWN, rank=0, deadline=deadline)
        if deadline < math.inf and row_elements is None:
            end = self._estimates.residual(now)
            return self._late(end, deadline - now) if now + end > deadline else None
        try:
            self.check(entry, row_elements or 0, now, large=False)  # type: ignore[arg-type]
        except Overloaded as refusal:
            return refusal if refusal.reason != "queue_full" else None
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

    def _check_wait(self, entry: Entry[T], row_elements: int, now: float, *, large: bool) -> None:
        """A request larger than a batch is judged by what is ahead of it, with its own deadline."""
        estimates = self._estimates
        bound = estimates.policy.wait_bounds[entry.rank] * (entry.expires_at - now)
        residual = estimates.residual(now)
        if residual + estimates.queued_seconds <= bound and not large:
            own = estimates.seconds(min(entry.rows, estimates.max_batch_size), row_elements)
            if residual + estimates.queued_seconds + own <= bound:
                return
        wait = residual + estimates.wait(entry, row_elements, ahead_only=large)
        if wait > bound:
            raise Overloaded(
                f"the wait would be about {wait:.3g} s, more than the {bound:.3g} s that "
                "requests without a deadline may wait",
                reason="overload",
                retry_after=wait - bound + estimates.seconds(estimates.max_batch_size),
            )

    def _late(self, seconds: float, left: float) -> Overloaded:
        estimates = self._estimates
        return Overloaded(
            f"the answer would take about {seconds:.3g} s, more than the {left:.3g} s there are",
            reason="deadline",
            retry_after=max(seconds - left, 0.0) + estimates.seconds(estimates.max_batch_size),
        )


_UNKNOWN = object()
