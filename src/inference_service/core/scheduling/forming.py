"""The batch of a free slot: work-conserving, as much as fits in fair order. Read this first.

`Former.best_effort` is the plain way: the whole group where it fits, otherwise entries by their
tags up to the full size. `Former.deadlines` starts with a choice of `deadlines` and fills it up.
What fits into a batch is never cut; a request larger than a batch gives as many rows as there is
room.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Generic, TypeVar

from inference_service.core.scheduling import deadlines
from inference_service.core.scheduling.buckets import cheapest_cut, quantised
from inference_service.core.scheduling.entries import Batch, Entry, Part, Release
from inference_service.core.scheduling.estimates import Estimates
from inference_service.core.scheduling.lists import EntryList, nearest
from inference_service.core.scheduling.queue import Group
from inference_service.core.scheduling.sizes import Sizes

T = TypeVar("T")


class Former(Generic[T]):
    """Takes rows out of the queue, and keeps its counts and the charges right."""

    def __init__(self, estimates: Estimates[T]) -> None:
        self._estimates = estimates
        self._queue = estimates.queue
        self._sizes = Sizes(estimates)
        self._delayed = estimates.policy.max_queue_delay > 0

    def best_effort(self, group: Group[T], now: float) -> Batch[T]:
        """As much as fits, in fair order. The first entry runs even if the full size is smaller."""
        queued, most = group.rows, self._estimates.max_batch_size
        head = group.fair.first()
        if head is not None and group.has_lengths:
            bounds = self._cut(group, head)
            if bounds is not None:
                return self._batch(group, self._take_within(group, bounds), now, Release.LENGTH)
        limit = self._sizes.limit(queued, group.row_elements)
        full = limit < queued or limit == queued == most
        reason = Release.FULL if full else Release.DELAY if self._delayed else Release.SLOT_FREE
        if head is not None:
            limit = max(limit, min(head.left, most))
        parts = self._queue.take(group, group.fair.nearest(limit), limit)
        return self._batch(group, parts, now, reason)

    def candidates(
        self, group: Group[T], now: float
    ) -> tuple[Sequence[EntryList[T]], deadlines.Run]:
        """The entries with deadlines of this group that may share a run, and the run."""
        estimates = self._estimates
        lists: Sequence[EntryList[T]] = group.deadlines
        elements = group.row_elements
        if group.has_lengths:
            lists, longest = self._within_lengths(group)
            elements *= longest
        cost = estimates.cost
        run = deadlines.Run(
            now, estimates.curve(elements), cost.speed, cost.margin, self._sizes.full(elements),
            estimates.max_batch_size, estimates.slot_ends(now),
        )  # fmt: skip
        return lists, run

    def deadlines(self, group: Group[T], choice: deadlines.Choice[T], now: float) -> Batch[T]:
        """The chosen entries, filled up with best-effort rows as far as they delay nothing."""
        estimates, queue = self._estimates, self._queue
        most, elements = estimates.max_batch_size, group.row_elements
        parts = queue.take(group, choice.chosen, choice.rows)
        for entry in choice.chosen:
            if entry.left:
                length = quantised(entry.length) if entry.length else 1
                queue.set_due(entry, estimates.due(entry, elements * length))
        rows = choice.rows
        if group.rows > group.deadline_rows and rows < most and not group.has_lengths:
            budget = (choice.latest_end - now) / (estimates.cost.speed * estimates.cost.margin)
            room = bisect_right(estimates.curve(elements), budget, rows + 1, most + 1) - 1 - rows
            if room > 0:
                parts += queue.take(group, group.fair.nearest(room), room)
        reason = Release.DEADLINE if group.deadline_rows else Release.SLOT_FREE
        batch = self._batch(group, parts, now, reason)
        if batch.rows >= most:
            batch.reason = Release.FULL
        queue.charge_deadlines(group, batch.predicted)
        return batch

    def _within_lengths(self, group: Group[T]) -> tuple[Sequence[EntryList[T]], int]:
        """The entries with deadlines that run with the nearest of them, and their padded length."""
        head = nearest(group.deadlines, 1)[0]
        low, high = self._cut(group, head) or (0, math.inf)
        lists: list[EntryList[T]] = []
        longest = 0
        for listed in group.deadlines:
            lists.append(EntryList())
            for entry in listed:
                length = quantised(entry.length)
                if low <= length <= high:
                    lists[-1].add(entry)
                    longest = max(longest, length)
        return lists, longest

    def _take_within(self, group: Group[T], bounds: tuple[int, int]) -> list[Part[T]]:
        """Best-effort rows whose padded length is within these bounds, by their tags."""
        low, high = bounds
        within = [e for e in group.fair if low <= quantised(e.length) <= high]
        return self._queue.take(group, within, self._estimates.max_batch_size)

    def _cut(self, group: Group[T], head: Entry[T]) -> tuple[int, int] | None:
        """The padded lengths that run with the head, where lengths should be parted."""
        estimates, elements = self._estimates, group.row_elements
        lengths: dict[int, int] = {}
        for entry in group.entries():
            length = quantised(entry.length)
            lengths[length] = lengths.get(length, 0) + entry.left
        return cheapest_cut(
            sorted(lengths.items()),
            quantised(head.length),
            lambda rows, length: estimates.drain(rows, elements * length),
        )

    def _batch(
        self, group: Group[T], parts: list[Part[T]], now: float, reason: Release
    ) -> Batch[T]:
        rows = sum([stop - start for _, start, stop in parts])
        length, elements = 0, group.row_elements
        if group.has_lengths:
            length = max(entry.length for entry, _, _ in parts)
            elements *= quantised(length)
        self._queue.settle(group)
        self._estimates.recount(group)
        predicted = self._estimates.seconds(rows, elements)
        return Batch(tuple(parts), rows, reason, now, predicted, elements, 0.0, length)
