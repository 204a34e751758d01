"""The batch of a free slot: work-conserving, as much as fits in fair order. Read this first.

`Former.best_effort` is the plain way: the whole group where it fits, otherwise entries by their
tags up to the full size. `Former.deadlines` starts with a choice of `deadlines` and fills it up.
What fits into a batch is never cut; a request larger than a batch gives as many rows as there is
room.
"""

import math
from bisect import bisect_right
from typing import Generic, TypeVar

from inference_service.core.scheduling import deadlines
from inference_service.core.scheduling.buckets import cheapest_cut, quantised
from inference_service.core.scheduling.entries import Batch, Entry, Part, Release
from inference_service.core.scheduling.estimates import Estimates
from inference_service.core.scheduling.groups import DeadlineList, Group, nearest
from inference_service.core.scheduling.sizes import Sizes

T = TypeVar("T")


class Former(Generic[T]):
    """Takes rows out of the queue, and keeps its counts and the charges right."""

    def __init__(self, estimates: Estimates[T]) -> None:
        self._estimates = estimates
        self._queue = estimates.queue
        self.sizes = Sizes(estimates)

    def best_effort(self, group: Group[T], now: float) -> Batch[T]:
        """As much as fits, in fair order."""
        delayed = self._estimates.policy.max_queue_delay > 0
        reason = Release.DELAY if delayed else Release.SLOT_FREE
        if group.has_lengths:
            head = self.head(group)
            bounds = self._cut(group, head) if head is not None else None
            if bounds is not None:
                parts = self._take_within(group, bounds)
                return self._batch(group, parts, now, Release.LENGTH)
        limit = self.sizes.limit(group.rows, group.row_elements)
        if limit < group.rows or limit == group.rows == self._estimates.max_batch_size:
            reason = Release.FULL
        return self._batch(group, self._fair(group, limit), now, reason)

    def choose(self, group: Group[T], now: float) -> deadlines.Choice[T]:
        """Which entries with deadlines of this group would run now."""
        estimates = self._estimates
        lists, elements = group.deadlines, group.row_elements
        if group.has_lengths:
            lists, longest = self._within_lengths(group)
            elements *= longest
        cost = estimates.cost
        run = deadlines.Run(
            now=now,
            curve=estimates.curve(elements),
            speed=cost.speed,
            margin=cost.margin,
            full=self.sizes.full(elements),
            most=estimates.max_batch_size,
            slot_ends=estimates.slot_ends(now),
            idle=not estimates.running,
        )
        return deadlines.choose(lists, run, estimates.policy)

    def deadlines(self, group: Group[T], choice: deadlines.Choice[T], now: float) -> Batch[T]:
        """The chosen entries, filled up with best-effort rows as far as they delay nothing."""
        estimates, queue = self._estimates, self._queue
        unit, most = estimates.unit(group.row_elements), estimates.max_batch_size
        parts = []
        for entry in choice.chosen:
            parts.append(queue.dispatch(group, entry, min(entry.left, most), unit))
            if entry.left:
                queue.set_due(group, entry, estimates.due(entry, group.row_elements))
        rows = sum([stop - start for _, start, stop in parts])
        if group.rows > group.deadline_rows and rows < most and not group.has_lengths:
            curve, factor = estimates.curve(group.row_elements), estimates.cost.speed
            budget = (choice.latest_end - now) / (factor * estimates.cost.margin)
            room = bisect_right(curve, budget, rows + 1, most + 1) - 1 - rows
            parts += queue.take_fair(group, room, most, unit) if room > 0 else []
        reason = Release.DEADLINE if group.deadline_rows else Release.SLOT_FREE
        reason = Release.FULL if sum(part.rows for part in parts) >= most else reason
        batch = self._batch(group, parts, now, reason)
        queue.charge_deadlines(group, batch.predicted)
        return batch

    def head(self, group: Group[T]) -> Entry[T] | None:
        """The best-effort entry that goes first, or the nearest deadline."""
        lane = group.head_lane()
        if lane is not None:
            return lane.head()
        return nearest(group.deadlines, 1)[0] if group.deadline_rows else None

    def _fair(self, group: Group[T], room: int) -> list[Part[T]]:
        """Best-effort rows in fair order. The first entry runs even if the full size is smaller."""
        most = self._estimates.max_batch_size
        lane = group.head_lane()
        head = lane.head() if lane is not None else None
        if head is not None and lane is not None and not lane.large:
            room = max(room, head.left)
        return self._queue.take_fair(group, room, most, self._estimates.unit(group.row_elements))

    def _within_lengths(self, group: Group[T]) -> tuple[tuple[DeadlineList[T], ...], int]:
        """The entries with deadlines that run with the nearest of them, and their padded length."""
        entries = nearest(group.deadlines, group.deadline_rows)
        head = entries[0]
        low, high = self._cut(group, head) or (0, math.inf)
        within: DeadlineList[T] = DeadlineList()
        longest = 0
        for entry in entries:
            length = quantised(entry.length)
            if low <= length <= high:
                within.add(entry)
                longest = max(longest, length)
        return (within,), longest

    def _take_within(self, group: Group[T], bounds: tuple[int, int]) -> list[Part[T]]:
        """Best-effort rows whose padded length is within these bounds, by their tags."""
        low, high = bounds
        unit, room = self._estimates.unit(group.row_elements), self._estimates.max_batch_size
        chosen = [e for lane in group.lanes.values() for e in lane.entries
                  if e.left and low <= quantised(e.length) <= high]  # fmt: skip
        chosen.sort(key=lambda entry: entry.order_key)
        parts: list[Part[T]] = []
        for entry in chosen:
            large = entry.lane is not None and entry.lane.large
            if entry.left > room and not large:
                break
            parts.append(self._queue.dispatch(group, entry, min(entry.left, room), unit))
            room -= parts[-1].rows
            if room == 0:
                break
        return parts

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
