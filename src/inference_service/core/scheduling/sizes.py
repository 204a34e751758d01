"""How many rows one run should have: the full size, the split, and the growth of max_batch_size.

All three avoid sizes that the cost table calls slow, so all three keep the rule of `cost`: bad news
is believed only if it was measured live, and every now and then it is tried again.
"""

from typing import Any

from inference_service.core.scheduling.cost import CostTable
from inference_service.core.scheduling.estimates import Estimates


class Sizes:
    """Sizes of one model's runs."""

    def __init__(self, estimates: Estimates[Any]) -> None:
        self._estimates = estimates
        self._policy = estimates.policy
        self._decisions = 0
        self._full_runs = 0
        self._probes = 0
        self._known: dict[int, tuple[int, int, float]] = {}
        self._splits: dict[tuple[int, int], tuple[int, int]] = {}

    def limit(self, queued: int, row_elements: int) -> int:
        """The most rows that a run should take of this many."""
        estimates = self._estimates
        self._decisions += 1
        if queued < 2:
            return queued
        if queued >= estimates.max_batch_size:
            return self._grown(queued, row_elements) or self.full(row_elements)
        if self._decisions % self._policy.retry_every == 0:
            return queued
        return self._split(queued, row_elements)

    def full(self, row_elements: int) -> int:
        """The size of a run with a backlog: max_batch_size, or one that runs more rows a second."""
        most = self._estimates.max_batch_size
        if self._decisions % self._policy.retry_every == 0:
            return most
        return self._best(row_elements)[0]

    def _best(self, row_elements: int) -> tuple[int, float]:
        """The full size, and the most rows per second at any size up to max_batch_size."""
        most = self._estimates.max_batch_size
        table = self._estimates.cost.table(row_elements)
        known = self._known.get(row_elements)
        if known is not None and known[0] == table.version:
            return known[1], known[2]
        points = [p for p in table.points if p[0] <= most]
        size, rate = max(((rows, rows / seconds) for rows, seconds in points),
                         key=lambda found: found[1], default=(most, 0.0))  # fmt: skip
        slow = table.believed(most) and rate * table.least(most) > self._policy.full_gain * most
        found = size if slow and not self._policy.sizes else most
        self._known[row_elements] = table.version, found, rate
        return found, rate

    def _split(self, queued: int, row_elements: int) -> int:
        """The rows of the first run where two runs together take much less than one."""
        table = self._estimates.cost.table(row_elements)
        gain = self._policy.split_gain
        # Two runs have no more rows per second than the best size: mostly nothing is to be gained.
        if queued >= gain * self._best(row_elements)[1] * table.seconds(queued):
            return queued
        if self._policy.sizes or not table.believed(queued):
            return queued
        return self._best_split(table, queued)

    def _best_split(self, table: CostTable, queued: int) -> int:
        least, chosen = self._policy.split_gain * table.least(queued), queued
        for rows, seconds in table.points:
            if rows >= queued:
                break
            rest = table.seconds(queued - rows)
            if seconds + rest < least:
                # The part with more rows per second goes first.
                first = rows * rest >= (queued - rows) * seconds
                least, chosen = seconds + rest, rows if first else queued - rows
        return chosen

    def _grown(self, queued: int, row_elements: int) -> int:
        """Twice max_batch_size now and then, to learn whether it should grow; 0: not now."""
        estimates, policy = self._estimates, self._policy
        larger = 2 * estimates.max_batch_size
        if larger > policy.max_growth or queued < larger:
            return 0
        table = estimates.cost.table(row_elements)
        if table.seconds(larger) > policy.long_run:
            return 0
        if table.believed(larger) and self._probes:
            now, then = table.seconds(estimates.max_batch_size), table.least(larger)
            if 2 * now > policy.growth_gain * then:
                estimates.grow(larger)
                self._known.clear()
                self._probes = 0
                return larger
        self._full_runs += 1
        if self._full_runs % (policy.probe_every if self._probes < 2 else policy.probe_seldom):
            return 0
        self._probes += 1
        return larger
