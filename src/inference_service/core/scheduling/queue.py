"""The queue of one model version: groups that may share a batch, and the order in them.

Order of best-effort entries: start-time fair queueing (SFQ; Goyal, Vin, Cheng 1997, doi
10.1109/90.649569). A *flow* is the work of one client, one key and one class. An entry gets its
start tag at arrival: the end of the work that its flow has queued, but not before the virtual time.
The least tag goes first. Virtual time advances by service / weight of the active flows, as it would
if all were served at once: with the tag of the last start instead, an endless series of new clients
would starve a client with a backlog.

Order of entries with deadlines: by deadline, in one list for each class.

Heaps are lazy: a record that no longer matches its owner's tag is dropped or corrected when it
comes up. Nothing here knows costs or the time.
"""

import heapq
import math
from collections.abc import Hashable, Iterable, Iterator
from itertools import chain, count
from typing import Generic, TypeVar

from inference_service.core.scheduling.entries import Entry, EntryState, Part
from inference_service.core.scheduling.lists import EntryList
from inference_service.core.scheduling.policy import BatchPolicy

T = TypeVar("T")

_COMPACT_AT = 64
_sequence = count()


class Flow:
    """The unit of fair share: what one client has queued in one class, of one key or of rare ones.

    ``finish`` is the tag at which all of its work has been served, in seconds of virtual time.
    Requests larger than a batch, which are cut (``large``), are in a flow of their own.
    """

    __slots__ = ("finish", "large", "rows", "weight")

    def __init__(self, weight: float, *, large: bool) -> None:
        self.weight = weight
        self.large = large
        self.finish = 0.0
        self.rows = 0


class Group(Generic[T]):
    """The entries of one key: they may share a batch.

    ``fair`` are its best-effort entries by their start tags, ``deadlines`` has a list for each
    class (none until there is an entry with a deadline). ``work`` is the seconds of service that
    its rows need, ``served`` the tag of its runs for deadlines.
    """

    __slots__ = (
        "deadline_rows", "deadlines", "fair", "has_lengths", "key", "length", "row_elements",
        "rows", "served", "shape", "tag", "work",
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
        self.fair: EntryList[T] = EntryList()
        self.shape: Hashable = None  # stands for the key in the names of flows
        self.tag = -1.0  # of its record in the queue's heap; -1: it has none
        self.deadlines: tuple[EntryList[T], ...] = ()

    def entries(self) -> Iterator[Entry[T]]:
        """All that wait: those with deadlines, then best effort."""
        return chain(*self.deadlines, self.fair)

    def rows_due(self, rank: int, low: float, high: float) -> int:
        """About how many rows with deadlines are due after ``low``, up to ``high``, and are not of
        a lower class than ``rank``."""
        records = sum([len(listed) for listed in self.deadlines])
        due = sum([listed.between(low, high) for listed in self.deadlines[: rank + 1]])
        return round(self.deadline_rows * due / records) if records else 0

    def nearest_deadline(self) -> float:
        """When its first entry is due; inf without deadlines."""
        if not self.deadline_rows:
            return math.inf
        return min([first.order_key for e in self.deadlines if (first := e.first()) is not None])


class Queue(Generic[T]):
    """All groups of one model version, and the counts of what waits in them."""

    def __init__(self, policy: BatchPolicy) -> None:
        self.rows = 0
        self.requests = 0
        self.deadline_rows = 0
        self.weight = 0.0  # of the flows with something queued
        self.groups: dict[Hashable, Group[T]] = {}
        self._policy = policy
        self._flows: dict[tuple[Hashable, Hashable], list[Flow | None]] = {}
        self._most_flows = policy.known_keys
        self._virtual_time = 0.0
        self._tags: list[tuple[float, int, Group[T]]] = []
        self._served: list[tuple[float, int, Group[T]]] = []
        self._floor = 0.0  # of the groups' tags of runs for deadlines
        self._known: dict[Hashable, None] = {}  # the latest keys, the oldest first

    def add(self, entry: Entry[T], *, large: bool) -> Group[T]:
        """Take an entry in. ``large``: it has more rows than a batch."""
        group = self.groups.get(entry.key)
        if group is None:
            group = Group(entry.key, entry.row_elements, has_lengths=entry.length > 0)
            self.groups[entry.key] = group
        rows = entry.left
        if entry.deadline == math.inf:
            self._add_best_effort(group, entry, large=large)
        else:
            self._add_deadline(group, entry)
        group.rows += rows
        self.rows += rows
        self.requests += 1
        return group

    def flow_rows(self, client: Hashable, key: Hashable) -> tuple[int, float]:
        """Rows that the client has queued of this key in all classes, and the weight of these."""
        group = self.groups.get(key)
        shape = group.shape if group is not None else key if key in self._known else None
        flows = self._flows.get((client, shape), ())
        active = [flow for flow in flows if flow is not None and flow.rows]
        return sum([flow.rows for flow in active]), sum([flow.weight for flow in active])

    def least_tag(self) -> Group[T] | None:
        """The group whose best-effort head goes first; None where no best effort waits."""
        tags = self._tags
        while tags:
            tag, _, group = tags[0]
            head = group.fair.first() if group.tag == tag else None
            if head is None:
                heapq.heappop(tags)
                if group.tag == tag:
                    group.tag = -1.0
            elif head.order_key == tag:
                return group
            else:
                group.tag = head.order_key
                heapq.heapreplace(tags, (group.tag, next(_sequence), group))
        return None

    def least_served(self) -> Group[T] | None:
        """The group with deadlines that has had the least service; None where there is none."""
        heap = self._served
        while heap:
            served, _, group = heap[0]
            if group.deadline_rows and served == group.served:
                return group
            heapq.heappop(heap)
        return None

    def take(self, group: Group[T], entries: Iterable[Entry[T]], room: int) -> list[Part[T]]:
        """The rows of these entries leave the queue for a batch, up to the first that doesn't fit.

        Only large entries are cut. Best effort is charged to its flow, and lets virtual time pass.
        """
        parts: list[Part[T]] = []
        left, deadline_rows, time, ended = room, 0, self._virtual_time, EntryState.RUNNING
        for entry in entries:
            rows, flow = entry.left, entry.flow
            if rows > left:
                if not left or (flow is not None and not flow.large):
                    break
                rows = left
            left -= rows
            if flow is None:
                deadline_rows += rows
            else:
                time += entry.unit * rows / self.weight
                flow.rows -= rows
                if not flow.rows:
                    self.weight -= flow.weight
            if rows < entry.left:
                parts.append(entry.dispatch(rows))
                if flow is not None:  # the rest goes on after what it was charged for
                    entry.order_key += entry.unit * rows / flow.weight
                    group.fair.add(entry)
                continue
            # As `Entry.dispatch`, for nearly all.
            start = entry.taken
            entry.taken, entry.left, entry.state = start + rows, 0, ended
            parts.append(Part(entry, start, start + rows))
            self.requests -= 1
        self._virtual_time = time
        group.deadline_rows -= deadline_rows
        self.deadline_rows -= deadline_rows
        group.rows -= room - left
        self.rows -= room - left
        return parts

    def charge_deadlines(self, group: Group[T], seconds: float) -> None:
        """A run for deadlines of this group takes so long."""
        self._floor += seconds / max(len(self.groups), 1)
        group.served += seconds
        if group.deadline_rows:
            heapq.heappush(self._served, (group.served, next(_sequence), group))

    def set_due(self, entry: Entry[T], due: float) -> None:
        """A part of an entry with a deadline was dispatched: the rest is due at another time."""
        if due != entry.order_key:
            entry.order_key = due
            self.groups[entry.key].deadlines[entry.rank].add(entry)

    def discard(self, entry: Entry[T]) -> Group[T]:
        """The entry has ended: forget the rows that wait. `settle` the group afterwards."""
        group, rows, flow = self.groups[entry.key], entry.left, entry.flow
        if flow is None:
            group.deadline_rows -= rows
            self.deadline_rows -= rows
        else:
            flow.rows -= rows
            if not flow.rows:
                self.weight -= flow.weight
                flow.finish = min(flow.finish, entry.order_key)  # it is not charged
        group.rows -= rows
        self.rows -= rows
        self.requests -= 1
        entry.end()
        return group

    def settle(self, group: Group[T]) -> None:
        """Entries have left the group: tidy up."""
        if not group.rows:
            del self.groups[group.key]
        else:
            for listed in group.deadlines if group.deadline_rows else ():
                listed.trim()
            group.fair.trim()
            if len(group.fair) > _COMPACT_AT + 2 * (group.rows - group.deadline_rows):
                group.fair.compact()
        if not self.groups:  # all is served: nothing is owed to a flow
            self._flows.clear()
            self._tags.clear()
            self._served.clear()
            self._virtual_time = self.weight = self._floor = 0.0

    def _add_best_effort(self, group: Group[T], entry: Entry[T], *, large: bool) -> None:
        if group.rows == group.deadline_rows:
            group.shape = self._shape(entry.key)
        flow = entry.flow = self._flow(entry, group.shape, large=large)
        start = flow.finish
        start = max(start, self._virtual_time)
        entry.order_key = start
        flow.finish = start + entry.unit * entry.left / flow.weight
        if not flow.rows:
            self.weight += flow.weight
        flow.rows += entry.left
        group.fair.add(entry)
        if group.tag < 0 or start < group.tag:
            group.tag = start
            heapq.heappush(self._tags, (start, next(_sequence), group))

    def _add_deadline(self, group: Group[T], entry: Entry[T]) -> None:
        if not group.deadlines:
            group.deadlines = tuple(EntryList() for _ in self._policy.weights)
        group.deadlines[entry.rank].add(entry)
        if not group.deadline_rows:
            group.served = max(group.served, self._floor)
            heapq.heappush(self._served, (group.served, next(_sequence), group))
        group.deadline_rows += entry.left
        self.deadline_rows += entry.left

    def _shape(self, key: Hashable) -> Hashable:
        """What stands for a key in the names of flows. The keys of models that merge nothing may
        all differ: a new key counts for the client (None), or each request would be a flow."""
        known = self._known
        if key in known:
            return key
        if len(known) >= self._policy.known_keys:
            del known[next(iter(known))]
        known[key] = None
        return None

    def _flow(self, entry: Entry[T], shape: Hashable, *, large: bool) -> Flow:
        name = (entry.client, shape)
        flows = self._flows.get(name)
        if flows is None:
            if len(self._flows) >= self._most_flows:
                self._prune()
            flows = self._flows[name] = [None] * (2 * len(self._policy.weights))
        index = 2 * entry.rank + large
        flow = flows[index]
        if flow is None:
            weight = self._policy.weights[entry.rank]
            weight *= self._policy.large_weight if large else 1.0
            flow = flows[index] = Flow(weight, large=large)
        return flow

    def _prune(self) -> None:
        """Forget flows that have nothing queued and owe nothing: they would start afresh anyway."""
        now = self._virtual_time
        self._flows = {
            name: flows
            for name, flows in self._flows.items()
            if any(flow is not None and (flow.rows or flow.finish > now) for flow in flows)
        }
        self._most_flows = max(self._policy.known_keys, 2 * len(self._flows))
