"""The queue of one model version: groups that may share a batch, and the fair order in them.

Order of best-effort entries: start-time fair queueing (SFQ; Goyal, Vin, Cheng 1997, doi
10.1109/90.649569). A *flow* is the work of one client, one key and one class. An entry gets its
start tag at arrival: the end of the work that its flow has queued, but not before the virtual time.
The least tag goes first. Virtual time advances by service / weight of the active flows, as it would
if all were served at once: with the tag of the last start instead, an endless series of new clients
would starve a client with a backlog.

Order of entries with deadlines: by deadline, in one list for each class.

Nothing here knows costs or the time.
"""

import heapq
from collections.abc import Hashable
from itertools import count
from typing import Generic, TypeVar

from inference_service.core.scheduling.entries import Entry, EntryState, Part
from inference_service.core.scheduling.groups import DeadlineList, Flow, Group, Lane
from inference_service.core.scheduling.policy import BatchPolicy

T = TypeVar("T")

_sequence = count()


class Queue(Generic[T]):
    """All groups of one model version, and the counts of what waits in them."""

    def __init__(self, policy: BatchPolicy) -> None:
        self.rows = 0
        self.requests = 0
        self.deadline_rows = 0
        self.weight = 0.0  # of the flows with something queued
        self.groups: dict[Hashable, Group[T]] = {}
        self._policy = policy
        self._flows: dict[Hashable, Flow] = {}
        self._most_flows = policy.known_keys
        self._virtual_time = 0.0
        self._tags: list[tuple[float, int, Group[T]]] = []
        self._served: list[tuple[float, int, Group[T]]] = []
        self._floor = 0.0  # of the groups' tags of runs for deadlines
        self._known: dict[Hashable, None] = {}  # the latest keys, the oldest first

    def add(self, entry: Entry[T], row_elements: int, unit: float, *, large: bool) -> Group[T]:
        """Take an entry in. A row of it is charged with ``unit`` seconds of service."""
        group = self.groups.get(entry.key)
        if group is None:
            group = Group(entry.key, row_elements, has_lengths=entry.length > 0)
            self.groups[entry.key] = group
        if entry.best_effort:
            self._add_best_effort(group, entry, unit, large=large)
        else:
            self._add_deadline(group, entry)
        group.rows += entry.left
        self.rows += entry.left
        self.requests += 1
        return group

    def flow_rows(self, client: Hashable, key: Hashable) -> tuple[int, float]:
        """Rows that the client has queued of this key in all classes, and the weight of these."""
        rows, weight = 0, 0.0
        shape = key if key in self._known else None
        for large in (False, True):
            for rank in range(len(self._policy.weights)):
                flow = self._flows.get((client, shape, rank, large))
                if flow is not None and flow.rows:
                    rows += flow.rows
                    weight += flow.weight
        return rows, weight

    def least_tag(self) -> Group[T] | None:
        """The group whose best-effort head goes first; None where no best effort waits."""
        tags = self._tags
        while tags:
            tag, _, group = tags[0]
            lane = group.head_lane() if group.tag == tag else None
            if lane is None:
                heapq.heappop(tags)
                if group.tag == tag:
                    group.tag = -1.0
            elif lane.tag == tag:
                return group
            else:
                group.tag = lane.tag
                heapq.heapreplace(tags, (lane.tag, next(_sequence), group))
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

    def charge_deadlines(self, group: Group[T], seconds: float) -> None:
        """A run for deadlines of this group takes so long."""
        self._floor += seconds / max(len(self.groups), 1)
        group.served += seconds
        if group.deadline_rows:
            heapq.heappush(self._served, (group.served, next(_sequence), group))

    def dispatch(self, group: Group[T], entry: Entry[T], rows: int, unit: float) -> Part[T]:
        """The next rows of an entry leave the queue for a batch."""
        lane = entry.lane
        if lane is not None:
            self._serve(lane, entry, rows, unit)
        else:
            group.deadline_rows -= rows
            self.deadline_rows -= rows
        part = entry.dispatch(rows)
        group.rows -= rows
        self.rows -= rows
        if not entry.left:
            self.requests -= 1
        return part

    def take_fair(self, group: Group[T], room: int, most: int, unit: float) -> list[Part[T]]:
        """Best-effort rows by the tags of their entries, up to the first entry that doesn't fit.

        An entry of up to ``most`` rows is never cut.
        """
        parts: list[Part[T]] = []
        rows = 0
        while rows < room and (lane := group.head_lane()) is not None:
            entries, large = lane.entries, lane.large
            # The lane goes on until the head of another one has a smaller tag.
            others = group.second_tag()
            while entries and rows < room:
                entry = entries[0]
                left = entry.left
                if not left:
                    entries.popleft()
                    continue
                if entry.order_key > others:
                    break
                taken = left if left <= room - rows else room - rows if large else 0
                if not taken:
                    break
                self._serve(lane, entry, taken, unit)
                parts.append(entry.dispatch(taken))
                rows += taken
                if large:
                    break  # it has a new tag
                self.requests -= 1
                entries.popleft()
            else:
                continue
            if large and not entry.left:
                self.requests -= 1
            if not (large or entry.order_key > others):
                break
        group.rows -= rows
        self.rows -= rows
        return parts

    def set_due(self, group: Group[T], entry: Entry[T], due: float) -> None:
        """A part of an entry with a deadline was dispatched: the rest is due at another time."""
        if due != entry.due:
            entry.due = due
            group.deadlines[entry.rank].add(entry)

    def discard(self, entry: Entry[T]) -> Group[T]:
        """The entry has ended: forget the rows that wait."""
        group, rows = self.groups[entry.key], entry.left
        if entry.lane is not None:
            self._leave_flow(entry.lane.flow, rows)
        else:
            group.deadline_rows -= rows
            self.deadline_rows -= rows
        group.rows -= rows
        self.rows -= rows
        self.requests -= 1
        entry.move(EntryState.ENDED)
        return group

    def settle(self, group: Group[T]) -> None:
        """Entries have left the group: tidy up."""
        for listed in group.deadlines:
            listed.trim()
        if not group.rows:
            del self.groups[group.key]
        if not self.groups:  # all is served: nothing is owed to a flow
            self._flows.clear()
            self._tags.clear()
            self._served.clear()
            self._virtual_time = self.weight = self._floor = 0.0

    def _add_best_effort(
        self, group: Group[T], entry: Entry[T], unit: float, *, large: bool
    ) -> None:
        lane_key = (entry.client, entry.rank, large)
        lane = group.lanes.get(lane_key)
        if lane is None:
            flow = self._flow(entry, large=large)
            lane = group.lanes[lane_key] = Lane(lane_key, flow, large=large)
        flow = lane.flow
        entry.lane = lane
        entry.order_key = start = max(flow.finish, self._virtual_time)
        if not large:
            flow.finish = start + unit * entry.left / flow.weight
        if not flow.rows:
            self.weight += flow.weight
        flow.rows += entry.left
        lane.entries.append(entry)
        if lane.tag < 0:
            lane.tag = start
            heapq.heappush(group.tags, (start, next(_sequence), lane))
            if group.tag < 0 or start < group.tag:
                group.tag = start
                heapq.heappush(self._tags, (start, next(_sequence), group))

    def _add_deadline(self, group: Group[T], entry: Entry[T]) -> None:
        if not group.deadlines:
            group.deadlines = tuple(DeadlineList() for _ in self._policy.weights)
        group.deadlines[entry.rank].add(entry)
        if not group.deadline_rows:
            group.served = max(group.served, self._floor)
            heapq.heappush(self._served, (group.served, next(_sequence), group))
        group.deadline_rows += entry.left
        self.deadline_rows += entry.left

    def _flow(self, entry: Entry[T], *, large: bool) -> Flow:
        """The flow of an entry. The keys of models that merge nothing may all differ: a key that is
        new counts for the client, or each request would be a flow of its own."""
        known = self._known
        shape = None
        if entry.key in known:
            shape = entry.key
        elif len(known) >= self._policy.known_keys:
            del known[next(iter(known))]
        known[entry.key] = None
        name = (entry.client, shape, entry.rank, large)
        flow = self._flows.get(name)
        if flow is None:
            if len(self._flows) >= self._most_flows:
                self._prune()
            weight = self._policy.weights[entry.rank] * (
                self._policy.large_weight if large else 1.0
            )
            flow = self._flows[name] = Flow(weight)
        return flow

    def _serve(self, lane: Lane[T], entry: Entry[T], rows: int, unit: float) -> None:
        """Charge rows that are about to run to the flow, and let virtual time pass."""
        flow = lane.flow
        self._virtual_time += unit * rows / self.weight
        if lane.large:
            flow.finish = max(flow.finish, entry.order_key) + unit * rows / flow.weight
            entry.order_key = flow.finish
        self._leave_flow(flow, rows)

    def _leave_flow(self, flow: Flow, rows: int) -> None:
        flow.rows -= rows
        if not flow.rows:
            self.weight -= flow.weight

    def _prune(self) -> None:
        """Forget flows that have nothing queued and owe nothing: they would start afresh anyway."""
        now = self._virtual_time
        self._flows = {
            name: flow for name, flow in self._flows.items() if flow.rows or flow.finish > now
        }
        self._most_flows = max(self._policy.known_keys, 2 * len(self._flows))
