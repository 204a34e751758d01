"""Which entries with deadlines make the next run (EDF-max). Decided when a run starts.

1. Drop what would be late even alone in this run.
2. If all can be in time in the next runs, the nearest deadlines go first (EDF).
3. Otherwise the latest deadlines tell how large the run is: of the sets in time, that with the most
   rows per second. Bounded by the nearest deadline, an overload would run small batches and answer
   even less. Of the entries that are surely in time for a run of this size, the nearest go first.

The safety margin counts for the choice of the set alone: what may be in time is not dropped.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Generic, NamedTuple, TypeVar

from inference_service.core.scheduling.entries import Entry
from inference_service.core.scheduling.lists import EntryList, nearest
from inference_service.core.scheduling.policy import BatchPolicy

T = TypeVar("T")


class Run(NamedTuple):
    """The run that is to start: it takes ``curve[rows]`` seconds at the usual speed.

    ``slot_ends`` are the times at which the slots get free; one is now.
    """

    now: float
    curve: Sequence[float]
    speed: float
    margin: float
    full: int
    """The size of a run with a backlog; only a single request may be larger."""
    most: int
    """max_batch_size: a request with more rows is cut."""
    slot_ends: Sequence[float]


class Choice(NamedTuple, Generic[T]):
    """``chosen`` entries with ``rows`` rows in all; other rows may join up to ``latest_end``.

    ``all_in_time``: so are all others, in the runs that follow.
    """

    chosen: list[Entry[T]]
    rows: int
    latest_end: float
    all_in_time: bool = False


def late(lists: Sequence[EntryList[T]], run: Run, *, probe: bool) -> list[Entry[T]]:
    """Of the nearest deadlines, the entries that this run would answer too late even alone.

    ``probe``: one is kept, the latest, as a table that says no to all would never be corrected.
    """
    lost: list[Entry[T]] = []
    curve, speed, most, waits = run.curve, run.speed, run.most, False
    for listed in lists:
        for entry in listed:
            if run.now + curve[min(entry.left, most)] * speed <= entry.order_key:
                waits = True
                break
            lost.append(entry)
    if probe and lost and not waits:
        lost.remove(max(lost, key=lambda entry: entry.order_key))
    return lost


def choose(lists: Sequence[EntryList[T]], run: Run, policy: BatchPolicy) -> Choice[T]:
    """What runs now, out of one list for each class, the highest first; one has an entry."""
    lists = [listed for listed in lists if listed.first() is not None]
    entries = nearest(lists, run.most + 1)
    seconds = run.curve[run.full] * run.speed * run.margin
    later = (policy.look_ahead - 1) * seconds
    choice = _all_in_time(entries, run, 1)
    if choice is not None and entries[0].order_key >= run.now + seconds + later:
        return choice._replace(latest_end=choice.latest_end - later)  # nothing is tight
    # Where even the first run is late for some of its entries, there is no need to look further.
    if choice is not None and len(choice.chosen) < len(entries):
        choice = _all_in_time(nearest(lists, policy.look_ahead * run.most), run, policy.look_ahead)
    return choice or _most_in_time(lists, run, policy.safe_end)


def _all_in_time(entries: list[Entry[T]], run: Run, look_ahead: int) -> Choice[T] | None:
    """The first of the runs that are in time for all of these, the nearest first; None: not all.

    A later end of the first run delays all others as much, so that it may take as long as the
    tightest of them allows.
    """
    curve, factor, most = run.curve, run.speed * run.margin, run.most
    totals = list(accumulate([min(entry.left, most) for entry in entries]))
    ends, start = list(run.slot_ends), run.now
    first: Choice[T] | None = None
    index, done, slack = 0, 0, math.inf
    for _ in range(look_ahead):
        if index == len(entries):
            break
        due = entries[index].order_key
        budget = (due - start) / factor
        rows = min(
            bisect_right(curve, budget, 1, most + 1) - 1, max(run.full, totals[index] - done)
        )
        stop = bisect_right(totals, done + rows, index)
        while stop > index and curve[totals[stop - 1] - done] > budget:
            stop -= 1  # costs need not rise with the rows
        if stop == index:
            return None
        rows = totals[stop - 1] - done
        end = start + curve[rows] * factor
        slack = min(slack, due - end)
        if first is None:
            first = Choice(entries[:stop], rows, end, all_in_time=True)
        ends.remove(min(ends))
        ends.append(end)
        index, done, start = stop, totals[stop - 1], min(ends)
    return None if first is None else first._replace(latest_end=first.latest_end + slack)


def _most_in_time(lists: Sequence[EntryList[T]], run: Run, safe_end: float) -> Choice[T]:
    """The set in time with the most rows per second, of the latest deadlines class by class.

    The largest set is not it where costs have knees: 33 rows may take twice as long as 32.
    """
    now, curve, factor, most = run.now, run.curve, run.speed * run.margin, run.most
    members: list[Entry[T]] = []
    rows, due, best, size = 0, math.inf, 0.0, 0
    found = 0, math.inf
    for entry in chain.from_iterable([listed.latest(most) for listed in lists]):
        own = min(most, entry.left)
        if now + curve[own] * run.speed > entry.order_key:
            continue  # too many rows for this run
        if rows and rows + own > run.full:
            break
        members.append(entry)
        rows += own
        due = min(due, entry.order_key)
        seconds = curve[rows] * factor
        if now + seconds <= due:
            if rows >= best * seconds:
                best, size, found = rows / seconds, len(members), (rows, due)
        elif now + seconds / 2 > due:
            break  # much too late: costs do not fall so far with more rows
    if not size:
        # None is in time with the margin: the latest, which may be in time without it, or a probe.
        chosen = members[:1] or nearest(lists, 1)
        return Choice(chosen, min(chosen[0].left, most), now)
    rows, due = found
    chosen = _safest(lists, members[:size], now + safe_end * curve[rows] * factor, most)
    return Choice(chosen, rows, min(due, *[entry.order_key for entry in chosen]))


def _safest(
    lists: Sequence[EntryList[T]], members: list[Entry[T]], safe: float, most: int
) -> list[Entry[T]]:
    """As many rows of each class, of the nearest deadlines that are after ``safe``.

    The latest deadlines can wait for a later run. So what a burst leaves behind is answered after
    it; taken latest first, it would be lost (+5 % goodput).
    """
    chosen: list[Entry[T]] = []
    for listed in lists:
        rank = listed.nearest(1)[0].rank
        own = [entry for entry in members if entry.rank == rank] if len(lists) > 1 else members
        rows = sum([min(entry.left, most) for entry in own])  # larger requests are cut
        found: list[Entry[T]] = []
        for entry in listed.nearest(rows, safe) if rows else ():
            if entry.left > rows:
                break
            found.append(entry)
            rows -= entry.left
            if not rows:
                break
        chosen += found if found and not rows else own
    return chosen
