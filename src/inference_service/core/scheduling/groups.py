"""The parts of the queue: flows, lanes, lists by deadline, and the groups that may share a batch.

Heaps are lazy: a record that no longer matches its owner's tag is dropped or corrected when it
comes up.
"""

import heapq
import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from itertools import count
from operator import attrgetter
from typing import Generic, TypeVar

from inference_service.core.scheduling.entries import Entry

T = TypeVar("T")

_COMPACT_AT = 64
_sequence = count()
_due = attrgetter("due")


class Flow:
    """The unit of fair share: what one client has queued in one class, of one key or of rare ones.

    ``finish`` is the tag at which all of its work has been served, in seconds of virtual time.
    """

    __slots__ = ("finish", "rows", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.finish = 0.0
        self.rows = 0


class Lane(Generic[T]):
    """The entries of a flow within a group, first in first out. The ended stay until met.

    In a ``large`` lane are requests larger than a batch. They are charged for the rows that ran:
    charged for a whole batch when only a few rows were left of one, they would expire.
    """

    __slots__ = ("entries", "flow", "key", "large", "tag")

    def __init__(self, key: Hashable, flow: Flow, *, large: bool) -> None:
        self.key = key
        self.flow = flow
        self.large = large
        self.entries: deque[Entry[T]] = deque()
        self.tag = -1.0  # of its record in the group's heap; -1: it has none

    def head(self) -> Entry[T] | None:
        """The first entry that waits."""
        entries = self.entries
        while entries and not entries[0].left:
            entries.popleft()
        return entries[0] if entries else None


class DeadlineList(Generic[T]):
    """Entries of one class by the time ``due`` at which their next run has to end.

    Entries leave at both ends: the nearest are dropped or run, the latest are run in an overload.
    """

    __slots__ = ("_records", "_start")

    def __init__(self) -> None:
        self._records: list[tuple[float, int, Entry[T]]] = []
        self._start = 0

    def add(self, entry: Entry[T]) -> None:
        """At its place; as a rule that is the end."""
        records, record = self._records, (entry.due, next(_sequence), entry)
        if not records or records[-1] <= record:
            records.append(record)
        else:
            insort(records, record, lo=self._start)

    def trim(self) -> None:
        """Forget what has left at both ends."""
        records, start = self._records, self._start
        while len(records) > start and not _waits(records[-1]):
            records.pop()
        while start < len(records) and not _waits(records[start]):
            start += 1
        if start > _COMPACT_AT and 2 * start > len(records):
            del records[:start]
            start = 0
        self._start = start

    def nearest(self, most: int, after: float = -math.inf) -> list[Entry[T]]:
        """Up to so many entries, the nearest first, of those that are due after this time."""
        records, first = self._records, self._start
        if after > -math.inf:
            first = bisect_left(records, (after, 0), lo=first)
        found: list[Entry[T]] = []
        while first < len(records) and len(found) < most:
            stop = first + most - len(found)
            found += [e for due, _, e in records[first:stop] if e.left and e.due == due]
            first = stop
        return found

    def latest(self, most: int) -> list[Entry[T]]:
        """Up to so many entries, the latest first."""
        records, stop = self._records, len(self._records)
        found: list[Entry[T]] = []
        while stop > self._start and len(found) < most:
            first = max(stop - most + len(found), self._start)
            found += [e for due, _, e in records[first:stop][::-1] if e.left and e.due == due]
            stop = first
        return found


def _waits(record: tuple[float, int, Entry[T]]) -> bool:
    """Whether the record is still true: a large request is due at another time after each run."""
    return record[2].left > 0 and record[0] == record[2].due


def nearest(lists: Sequence[DeadlineList[T]], most: int) -> list[Entry[T]]:
    """Up to so many entries of all lists, the nearest deadline first."""
    found = [entry for listed in lists for entry in listed.nearest(most)]
    if len(lists) > 1:
        found.sort(key=_due)
        del found[most:]
    return found


class Group(Generic[T]):
    """The entries of one key. Only these may meet in a run.

    ``rows`` are all that wait, ``deadline_rows`` those with a deadline. ``served`` is the tag of
    its runs for deadlines, ``work`` its share of the queue's seconds.
    """

    __slots__ = (
        "deadline_rows", "deadlines", "has_lengths", "key", "lanes", "length", "row_elements",
        "rows", "served", "tag", "tags", "work",
    )  # fmt: skip

    def __init__(self, key: Hashable, row_elements: int, *, has_lengths: bool) -> None:
        self.key = key
        self.row_elements = row_elements
        self.has_lengths = has_lengths
        self.length = 1
        """A padded length that was seen in it: for estimates, where rows have lengths."""
        self.rows = 0
        self.deadline_rows = 0
        self.work = 0.0
        self.served = 0.0
        self.lanes: dict[Hashable, Lane[T]] = {}
        self.tags: list[tuple[float, int, Lane[T]]] = []
        self.tag = -1.0  # of its record in the queue's heap; -1: it has none
        self.deadlines: tuple[DeadlineList[T], ...] = ()

    def head_lane(self) -> Lane[T] | None:
        """The lane whose head has the least tag."""
        tags = self.tags
        while tags:
            tag, _, lane = tags[0]
            head = lane.head() if lane.tag == tag else None
            if head is None:
                heapq.heappop(tags)
                if lane.tag == tag:
                    lane.tag = -1.0
                    del self.lanes[lane.key]
            elif (
                first := max(head.order_key, lane.flow.finish) if lane.large else head.order_key
            ) == tag:
                return lane
            else:
                lane.tag = first
                heapq.heapreplace(tags, (first, next(_sequence), lane))
        return None

    def second_tag(self) -> float:
        """A tag that all lanes but the first have at least; inf without others."""
        tags = self.tags
        second = tags[1][0] if len(tags) > 1 else math.inf
        return min(second, tags[2][0]) if len(tags) > 2 else second

    def entries(self) -> Iterator[Entry[T]]:
        """All that wait: those with deadlines, then lane by lane."""
        for listed in self.deadlines if self.deadline_rows else ():
            yield from listed.latest(self.deadline_rows)
        for lane in self.lanes.values():
            for entry in lane.entries:
                if entry.left:
                    yield entry
