"""Entries in order: by start tag or deadline, and by the time at which they expire.

Sorted lists with a start index: most entries come at the end and leave at the front, which costs
less than a heap. What has left in between stays, as a stale record, until it is met.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from itertools import count, islice
from operator import attrgetter
from typing import Generic, TypeVar

from inference_service.core.scheduling.entries import Entry, EntryState

T = TypeVar("T")

_COMPACT_AT = 64
_sequence = count()
_order = attrgetter("order_key")


class EntryList(Generic[T]):
    """Entries by their ``order_key``: start tags of best effort, or deadlines of one class.

    Most come at the end. They leave at both ends: the nearest are run or dropped, the latest
    deadlines are run in an overload. A record is stale once its entry has left or has another key.
    """

    __slots__ = ("_records", "_start")

    def __init__(self) -> None:
        self._records: list[tuple[float, int, Entry[T]]] = []
        self._start = 0

    def add(self, entry: Entry[T]) -> None:
        """At its place, behind equal ones."""
        records, record = self._records, (entry.order_key, next(_sequence), entry)
        if not records or records[-1] < record:
            records.append(record)
        else:
            insort(records, record, lo=self._start)

    def first(self) -> Entry[T] | None:
        """The entry with the least key."""
        records, start, stop = self._records, self._start, len(self._records)
        while start < stop:
            key, _, entry = records[start]
            if entry.left and entry.order_key == key:
                self._start = start
                return entry
            start += 1
        self._start = start
        return None

    def trim(self) -> None:
        """Forget what has left at both ends, and in between where it is the most."""
        first, records = self.first(), self._records
        if first is None:
            records.clear()
            self._start = 0
            return
        while not (records[-1][2].left and records[-1][2].order_key == records[-1][0]):
            records.pop()
        if self._start > _COMPACT_AT and 2 * self._start > len(records):
            del records[: self._start]
            self._start = 0

    def compact(self) -> None:
        """Forget all that has left."""
        self._records = [r for r in self._records if r[2].left and r[2].order_key == r[0]]
        self._start = 0

    def __len__(self) -> int:
        """Records, with the stale ones."""
        return len(self._records) - self._start

    def __iter__(self) -> Iterator[Entry[T]]:
        """The nearest first."""
        for key, _, entry in islice(self._records, self._start, None):
            if entry.left and entry.order_key == key:
                yield entry

    def nearest(self, most: int, after: float = -math.inf) -> list[Entry[T]]:
        """Up to this many entries, the nearest first, of those whose key is at least ``after``."""
        records, first = self._records, self._start
        if after > -math.inf:
            first = bisect_left(records, (after, 0), lo=first)
        found: list[Entry[T]] = []
        while first < len(records) and len(found) < most:
            stop = first + most - len(found)
            found += [e for key, _, e in records[first:stop] if e.left and e.order_key == key]
            first = stop
        return found

    def latest(self, most: int) -> list[Entry[T]]:
        """Up to this many entries, the latest first."""
        records, stop = self._records, len(self._records)
        found: list[Entry[T]] = []
        while stop > self._start and len(found) < most:
            first = max(stop - most + len(found), self._start)
            chunk = records[first:stop]
            chunk.reverse()
            found += [e for key, _, e in chunk if e.left and e.order_key == key]
            stop = first
        return found


class Expiries(Generic[T]):
    """All requests that wait or run, by the time at which they expire. Most come at the end."""

    __slots__ = ("_records", "_start")

    def __init__(self) -> None:
        self._records: list[tuple[float, int, Entry[T]]] = []
        self._start = 0

    def add(self, entry: Entry[T]) -> None:
        """Note an entry."""
        records, record = self._records, (entry.expires_at, next(_sequence), entry)
        if not records or records[-1] < record:
            records.append(record)
        else:
            insort(records, record, lo=self._start)

    def expired(self, now: float) -> list[Entry[T]]:
        """Those that have expired and have not ended."""
        found: list[Entry[T]] = []
        while self.next() <= now:
            found.append(self._records[self._start][2])
            self._start += 1
        return found

    def next(self) -> float:
        """When the next one expires; inf: none waits or runs."""
        records, start, ended = self._records, self._start, EntryState.ENDED
        while start < len(records) and records[start][2].state is ended:
            start += 1
        self._start = start
        return records[start][0] if start < len(records) else math.inf

    def compact(self, live: int) -> None:
        """Forget what has ended once that is the most; ``live`` have not ended."""
        if not live:  # as often after each batch
            self._records.clear()
            self._start = 0
        elif len(self._records) > _COMPACT_AT + 2 * live:
            ended = EntryState.ENDED
            self._records = [r for r in self._records[self._start :] if r[2].state is not ended]
            self._start = 0


def nearest(lists: Sequence[EntryList[T]], most: int) -> list[Entry[T]]:
    """Up to this many entries of all lists, the nearest deadline first."""
    if len(lists) == 1:
        return lists[0].nearest(most)
    found = [entry for listed in lists for entry in listed.nearest(most)]
    found.sort(key=_order)
    del found[most:]
    return found
