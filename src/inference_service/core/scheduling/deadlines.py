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
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import accumulate, chain
from typing import Generic, TypeVar

from inference_service.core.scheduling.entries import Entry
from inference_service.core.scheduling.groups import DeadlineList, nearest
from inference_service.core.scheduling.policy import BatchPolicy

T = TypeVar("T")


class Feasibility(Enum):
    """What the next runs can do for the entries with deadlines."""

    ALL_IN_TIME = auto()
    """Every one of them, as far as was looked ahead."""
    SOME_IN_TIME = auto()
    """The chosen ones, the others are left for later or lost."""
    DOUBTFUL = auto()
    """None with the safety margin: the chosen one may be, or is a probe of an idle model."""
    NONE = auto()
    """None: all are dropped."""


@dataclass(frozen=True, slots=True)
class Run:
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
    idle: bool
    """Nothing runs: then something must, for the table may be wrong."""

    def end(self, rows: int) -> float:
        """When it is over, without the margin."""
        return self.now + self.curve[rows] * self.speed


@dataclass(slots=True)
class Choice(Generic[T]):
    """``chosen`` entries with ``rows`` rows in all; other rows may join up to ``latest_end``."""

    feasibility: Feasibility
    chosen: list[Entry[T]] = field(default_factory=list)
    rows: int = 0
    latest_end: float = math.inf
    lost: list[Entry[T]] = field(default_factory=list)


def choose(lists: Sequence[DeadlineList[T]], run: Run, policy: BatchPolicy) -> Choice[T]:
    """What runs now, out of one list for each class, the highest first."""
    lost = _late_after(lists, run, run.now, set())
    horizon = policy.look_ahead * run.most
    ahead = nearest(lists, len(lost) + horizon)[len(lost) :]
    choice = _all_in_time(ahead, run, policy.look_ahead)
    if choice is None:
        choice = _most_in_time(lists, run, policy.safe_end)
    kept = {*choice.lost, *choice.chosen}
    choice.lost += [entry for entry in lost if entry not in kept]
    if choice.feasibility is Feasibility.SOME_IN_TIME:
        kept.update(choice.lost)
        ends = list(run.slot_ends)
        ends.remove(min(ends))
        choice.lost += _late_after(lists, run, min([*ends, run.end(choice.rows)]), kept)
    return choice


def _late_after(
    lists: Sequence[DeadlineList[T]], run: Run, start: float, kept: set[Entry[T]]
) -> list[Entry[T]]:
    """Of the nearest deadlines, those that even a run from ``start`` would answer too late."""
    lost: list[Entry[T]] = []
    known = 0
    while True:
        entries = nearest(lists, 2 * known + run.most)[known:]
        for entry in entries:
            if entry in kept:
                continue
            if start + run.curve[min(entry.left, run.most)] * run.speed <= entry.due:
                return lost
            lost.append(entry)
        if not entries:
            return lost
        known += len(entries)


def _all_in_time(entries: list[Entry[T]], run: Run, look_ahead: int) -> Choice[T] | None:
    """The first of the runs that are in time for all of these, the nearest first; None: not all.

    Also None without entries. A later end of the first run delays all others as much, so that it
    may take as long as the tightest of them allows.
    """
    curve, factor, most = run.curve, run.speed * run.margin, run.most
    totals = list(accumulate([min(entry.left, most) for entry in entries]))
    ends, start = list(run.slot_ends), run.now
    first: Choice[T] | None = None
    index, done, slack = 0, 0, math.inf
    for _ in range(look_ahead):
        if index == len(entries):
            break
        due = entries[index].due
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
            first = Choice(Feasibility.ALL_IN_TIME, entries[:stop], rows, end)
        ends.remove(min(ends))
        ends.append(end)
        index, done, start = stop, totals[stop - 1], min(ends)
    if first is not None:
        first.latest_end += slack
    return first


def _most_in_time(lists: Sequence[DeadlineList[T]], run: Run, safe_end: float) -> Choice[T]:
    """The set in time with the most rows per second, of the latest deadlines class by class.

    The largest set is not it where costs have knees: 33 rows may take twice as long as 32.
    """
    now, curve, factor, most = run.now, run.curve, run.speed * run.margin, run.most
    members: list[Entry[T]] = []
    choice = Choice[T](Feasibility.SOME_IN_TIME)
    rows, due, best, size = 0, math.inf, 0.0, 0
    for entry in chain.from_iterable(listed.latest(most) for listed in lists):
        own = min(entry.left, most)
        if run.end(own) > entry.due:
            choice.lost.append(entry)
            continue
        if rows and rows + own > run.full:
            break
        members.append(entry)
        rows += own
        due = min(due, entry.due)
        seconds = curve[rows] * factor
        if now + seconds <= due:
            if rows >= best * seconds:
                best, size = rows / seconds, len(members)
                choice.rows, choice.latest_end = rows, due
        elif now + seconds / 2 > due:
            break  # much too late: costs do not fall so far with more rows
    if not size:
        _doubtful(choice, members, run)
        return choice
    choice.chosen = _safest(lists, members[:size], now + safe_end * curve[choice.rows] * factor)
    choice.latest_end = min(choice.latest_end, *(entry.due for entry in choice.chosen))
    return choice


def _safest(
    lists: Sequence[DeadlineList[T]], members: list[Entry[T]], safe: float
) -> list[Entry[T]]:
    """As many rows of each class, of the nearest deadlines that are after ``safe``.

    The latest deadlines can wait for a later run. So what a burst leaves behind is answered after
    it; taken latest first, it would be lost (+5 % goodput).
    """
    chosen: list[Entry[T]] = []
    for rank, listed in enumerate(lists):
        own = [entry for entry in members if entry.rank == rank] if len(lists) > 1 else members
        rows = sum([entry.left for entry in own])
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


def _doubtful(choice: Choice[T], members: list[Entry[T]], run: Run) -> None:
    """None is in time with the margin. The latest runs alone where it may be in time without it, or
    where nothing runs: a table that says no to everything would never be corrected."""
    if not members and run.idle and choice.lost:
        members = [choice.lost.pop(0)]
    choice.chosen = members[:1]
    choice.feasibility = Feasibility.DOUBTFUL if members else Feasibility.NONE
    choice.rows = sum(min(entry.left, run.most) for entry in choice.chosen)
    choice.latest_end = run.now
