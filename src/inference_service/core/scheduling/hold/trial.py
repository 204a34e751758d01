"""Does a hold pay? Live trials decide: no model of the load knows how runs and clients disturb each
other on the same cores.

A trial compares a *challenger*, another limit of the hold, with the limit in use: three epochs of
each in turns, so that a load that drifts is no advantage. It wins with 2 % more answers, or sooner
ones, and no worse a p99. A limit that won is challenged again: the first that pays is not the best.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from inference_service.core.scheduling.policy import BatchPolicy


@dataclass(slots=True)
class Side:
    """What was measured with one limit."""

    requests: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def mean(self) -> float:
        """Mean latency in seconds."""
        return sum(self.latencies) / len(self.latencies)

    @property
    def p99(self) -> float:
        """Of the latency, in seconds."""
        ranked = sorted(self.latencies)
        return ranked[int(0.99 * (len(ranked) - 1))]


class Trial:
    """Epochs with ``base`` and ``challenger`` in turns. The first rounds of each don't count."""

    def __init__(
        self, base: float, challenger: float, clients: int, now: float, policy: BatchPolicy
    ) -> None:
        self.challenger = challenger
        self.clients = clients
        self._policy = policy
        self._limits = base, challenger
        self._sides = Side(), Side()
        self._epoch = 0
        self._skip = 2 * clients
        self._began = self._since = now
        self._count = 0

    @property
    def limit(self) -> float:
        """The limit of this epoch."""
        return self._limits[self._epoch % 2]

    def add(self, latencies: Sequence[float], now: float) -> bool | None:
        """A batch has ended now. True or False once the trial has: whether the challenger won."""
        requests = len(latencies)
        if self._skip > 0:
            self._skip -= requests
            self._since = now
        else:
            side = self._sides[self._epoch % 2]
            self._count += requests
            side.requests += requests
            side.latencies += latencies
        if now - self._began > self._policy.longest_epoch:
            return False
        if self._count >= max(self._policy.epoch_requests, 4 * self.clients):
            self._sides[self._epoch % 2].seconds += now - self._since
            self._epoch += 1
            self._skip, self._count, self._began = 2 * self.clients, 0, now
            if self._epoch == 2 * self._policy.trial_epochs:
                return self._won()
            if self._epoch % 2 == 0 and self._far_behind():
                return False
        return None

    def _far_behind(self) -> bool:
        """A challenger that costs much need not be tried for all epochs."""
        base, challenger = self._sides
        loss = self._policy.trial_loss
        return challenger.rate * loss < base.rate and challenger.mean > loss * base.mean

    def _won(self) -> bool:
        base, challenger = self._sides
        gain = self._policy.trial_gain
        better = challenger.rate >= gain * base.rate or challenger.mean * gain <= base.mean
        return better and challenger.p99 <= self._policy.trial_p99 * base.p99
