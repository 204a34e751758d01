"""Who is answered in an overload of deadlines: decided when a run starts, not when requests come.

A promise to whoever came first would bound the run by the nearest deadline in it, and nobody knows
yet how many are about to come. So nothing is promised then: requests stand by for the next run. If
all of them can still be in time, nobody is refused; otherwise the largest run that is in time for
all its members is started, and those whom it leaves no chance are refused.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from inference_service.core.scheduling.promises import assigned
from inference_service.core.scheduling.tickets import Ticket

Seconds = Callable[[int], float]
"""Careful seconds of a run of so many rows."""


def all_in_time(
    tickets: Sequence[Ticket[Any]], largest: int, ends: list[float], seconds: Seconds
) -> tuple[int, float] | None:
    """The rows of the first of the runs that are in time for all of these, and how late it may be.

    The nearest deadline comes first in ``tickets``; ``ends`` are the times at which the slots get
    free. The second value is how many seconds longer the first run may take than it would.
    """
    first, slack = 0, math.inf
    rows, start, before, due = 0, min(ends), ends, math.inf
    for ticket in tickets:
        if rows and (rows + ticket.left > largest or start + seconds(rows + ticket.left) > due):
            first = first or rows
            slack = min(slack, due - start - seconds(rows))
            before = assigned(before, start + seconds(rows))
            rows, start = 0, min(before)
        if rows == 0:
            due = ticket.deadline
        rows += ticket.left
        if start + seconds(rows) > due:
            return None
    slack = min(slack, due - start - seconds(rows))
    return min(first or rows, largest), slack


def largest_in_time(
    tickets: Sequence[Ticket[Any]],
    largest: int,
    latest: float,
    now: float,
    seconds: Seconds,
    *,
    rows: int = 0,
) -> tuple[int, float]:
    """The rows of the largest run that is in time for all its members, and when it must have ended.

    The nearest deadline comes first in ``tickets``; the members have the latest ones. ``latest``
    bounds the run whoever is in it; ``rows`` are in it already. 0 rows where not even one of them
    can be in time.
    """
    due = latest
    for ticket in reversed(tickets):
        total = min(rows + ticket.left, largest)
        if now + seconds(total) <= min(ticket.deadline, latest):
            rows, due = total, min(ticket.deadline, latest)
        elif rows:  # without others it is too large for its deadline
            break
        if rows == largest:
            break
    return rows, due


def soonest(rows: int, largest: int, ends: list[float], seconds: Seconds) -> float:
    """When a request of so many rows is answered if nothing else is started from now on."""
    last = -math.inf
    while rows > 0:
        end = min(ends) + seconds(min(rows, largest))
        ends, last = assigned(ends, end), max(last, end)
        rows -= largest
    return last
