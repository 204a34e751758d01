"""The hold: a free slot that waits for clients in a closed loop, on evidence alone.

Where a run costs much and a row little, a slot that takes the first of the clients that come back
and leaves the others for the next run wastes most of a run. `evidence` has the signs of a closed
loop, `trial` finds out what a hold is worth. ``limit`` is the longest hold in units of the cost of
the batch that waits; 0: none.

A hold ends at once when more requests are in the system than there were clients: another load.
"""

import math
from collections.abc import Callable, Sequence

from inference_service.core.scheduling.hold.evidence import Population, Returns, worthwhile
from inference_service.core.scheduling.hold.trial import Trial
from inference_service.core.scheduling.policy import BatchPolicy

Seconds = Callable[[int], float]
"""S(rows) in seconds."""

_SHORTEST = 1e-4  # seconds; what is due now may still be a moment late


class Hold:
    """The hold of one model's free slot."""

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        self.limit = 0.0
        self.until = math.inf
        """When the hold that is on ends."""
        self._since: float | None = None
        self.returns = Returns(policy)
        self._population = Population()
        self._in_use = 0.0  # the limit outside of trials
        self._clients = 0  # that the hold is for
        self._trial: Trial | None = None
        self._untried: list[float] = []
        self._pause = policy.first_pause
        self._next = 0.0
        self._looked = -math.inf
        self._known = 0  # clients at the last look

    @property
    def on(self) -> bool:
        """Whether the slot waits."""
        return self._since is not None

    @property
    def on_trial(self) -> bool:
        """Whether a challenger is on trial."""
        return self._trial is not None

    def arrived(self, fresh: int, now: float, present: int) -> None:
        """``fresh`` requests came since the last decision; ``present`` are queued or running."""
        self._population.came(fresh, present)
        self.returns.came(fresh, now)

    def waits(self, queued: int, most: int, seconds: Seconds, now: float) -> bool:
        """Whether the slot waits for more than the ``queued`` rows; sets ``until``."""
        if self.limit <= 0.0 or queued >= most:
            return False
        since = now if self._since is None else self._since
        last = since + self.limit * seconds(queued)
        if now >= last:
            return False
        expected = self.returns.expected(now)
        wait = worthwhile(queued, expected, most, seconds) if expected[0] else None
        if wait is None:
            return False
        self._since = since
        self.until = min(now + max(wait, _SHORTEST), last)
        return self.until > now

    def end(self, now: float) -> float:
        """A run starts, or nothing waits any more; returns how long the hold was."""
        if self._since is None:
            return 0.0
        held = now - self._since
        self._since, self.until = None, math.inf
        return held

    def ended(self, latencies: Sequence[float], now: float, present: int, seconds: Seconds) -> None:
        """A batch has been answered; ``present`` other requests are queued or running."""
        requests = len(latencies)
        self.returns.answered(requests, now)
        self._population.answered(requests + present)
        engaged = self._trial is not None or self.limit > 0
        if engaged and not self._same_clients(requests + present):
            self._stop(now)
            return
        if self._trial is not None:
            self._go_on(self._trial, latencies, now)
        elif self._policy.hold and self._population.seen >= self._policy.evidence:
            self._look(now, seconds)

    def _same_clients(self, present: int) -> bool:
        """Whether the load is still the one that the hold, or its trial, is for."""
        population, policy = self._population, self._policy
        unsteady = (
            self._trial is not None
            and population.seen >= policy.evidence
            and population.steady < policy.unsteady
        )
        return present <= policy.more_clients * self._clients and not unsteady

    def _go_on(self, trial: Trial, latencies: Sequence[float], now: float) -> None:
        won = trial.add(latencies, now)
        self.limit = trial.limit
        if won is None:
            return
        self._trial = None
        if won:
            self._in_use = trial.challenger
            self._untried = self._challengers()
            self._pause = self._policy.first_pause
        self.limit = self._in_use
        self._population.forget()
        if not self._untried:
            self._next = now + self._pause
            self._pause = min(2 * self._pause, self._policy.longest_pause)
            self._untried = self._challengers()

    def _look(self, now: float, seconds: Seconds) -> None:
        """Start a trial where there are signs of a closed loop and it is time for one."""
        policy, population = self._policy, self._population
        clients = population.clients
        known = self._known / policy.other_clients <= clients <= self._known * policy.other_clients
        if not known and now >= self._looked + policy.first_pause:
            self._pause, self._next = policy.first_pause, now
            self._untried = self._challengers()
        if now < self._next:
            return
        self._looked, self._known = now, clients
        closed = (
            self.returns.fraction > policy.followed
            and population.steady > policy.steady
            and clients > 1
        )
        merging = 2 * seconds(1) - seconds(2) > policy.merging_gain * seconds(1)
        if closed and merging and self.returns.together(seconds):
            self._clients = clients
            self._untried = self._untried or self._challengers()
            self._trial = Trial(self._in_use, self._untried.pop(0), clients, now, policy)
            self.limit = self._trial.limit
        else:
            if self.returns.fraction <= policy.followed or population.steady < policy.unsteady:
                self.limit = self._in_use = 0.0
            self._next = now + self._pause
        population.forget()

    def _challengers(self) -> list[float]:
        return [limit for limit in (*self._policy.hold_limits, 0.0) if limit != self._in_use]

    def _stop(self, now: float) -> None:
        self._trial = None
        self.limit = self._in_use = 0.0
        self._next = now + self._policy.first_pause
        self._untried = self._challengers()
        self._population.forget()
