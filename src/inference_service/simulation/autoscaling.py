"""Replicas that an autoscaler starts and stops, in steps of a second.

The control laws are those of Kubernetes and KEDA; the replicas are fluid: in each second a
replica's queue grows by what arrives and shrinks by what its batches can take, requests wait for
what is queued before them, and then for their batch. That leaves out the randomness within a
second, which the simulation of single requests (`simulation.server`) has, and keeps what
autoscaling is about: minutes.

HPA: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
KEDA: https://keda.sh/docs/latest/concepts/scaling-deployments/
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random

Rate = Callable[[float], float]
"""Requests per second at a time in seconds."""

_MIN_WORK = 1e-9
_METRIC_WINDOW = 60
"""Seconds: rate(…[1m]), and the window of metrics-server is of this order."""


class Signal(Enum):
    """What the autoscaler looks at."""

    SATURATION = "saturation"  # the busy share of a replica's slots, or of its CPU
    QUEUE_TIME = "queue time"  # mean seconds that requests have waited
    IN_FLIGHT = "in flight"  # requests in a replica
    RATE = "rate"  # requests per second that come to a replica, as a share of its capacity


@dataclass(frozen=True, slots=True)
class Replica:
    """``S(b) = fixed + each * b`` seconds for a batch of b rows, ``start`` seconds to be ready.

    ``patience``: seconds of waiting beyond which admission control refuses a request.
    """

    fixed: float = 0.004
    each: float = 0.001
    max_batch: int = 32
    start: float = 20.0
    patience: float = 1.0

    @property
    def capacity(self) -> float:
        """Requests per second at full batches."""
        return self.max_batch / (self.fixed + self.each * self.max_batch)

    def batch(self, rate: float) -> float:
        """Rows in a batch at an arrival rate: what arrives while the batch before runs."""
        if rate * self.each >= 1:
            return float(self.max_batch)
        return min(self.max_batch, max(1.0, rate * self.fixed / (1 - rate * self.each)))

    def busy(self, rate: float) -> float:
        """The busy share of the time: it is 1 from ``1 / S(1)`` requests per second on."""
        batch = self.batch(rate)
        return min(1.0, rate / batch * (self.fixed + self.each * batch))

    def in_flight(self, rate: float) -> float:
        """Requests in a replica that isn't full: rate x latency (Little's law)."""
        run = self.fixed + self.each * self.batch(rate)
        return rate * run * (1 + self.busy(rate) / 2)


@dataclass(frozen=True, slots=True)
class Policy:
    """An autoscaler. Times in seconds. ``keda``: starts from zero, with ``cooldown`` back to it."""

    signal: Signal
    target: float
    least: int = 2
    most: int = 20
    period: int = 15
    tolerance: float = 0.1
    stabilization: int = 300
    keda: bool = False
    cooldown: int = 300


@dataclass(slots=True)
class Outcome:
    """What came of a trace: a weight for each latency, and what it cost."""

    latencies: list[tuple[float, float]] = field(default_factory=list)
    refused: float = 0.0
    offered: float = 0.0
    replica_seconds: float = 0.0
    most: int = 0
    changes: int = 0
    series: list[tuple[float, float, int]] = field(default_factory=list)
    """Seconds, requests per second, replicas."""

    def quantile(self, share: float) -> float:
        """The latency that this share of the answered requests is within, in seconds."""
        total = sum(weight for _, weight in self.latencies)
        seen = 0.0
        for latency, weight in sorted(self.latencies):
            seen += weight
            if seen >= share * total:
                return latency
        return 0.0

    def within(self, seconds: float) -> float:
        """The share of all offered requests that is answered in time."""
        good = sum(weight for latency, weight in self.latencies if latency <= seconds)
        return good / self.offered if self.offered else 1.0


class Autoscaler:
    """The control law of the HorizontalPodAutoscaler, with KEDA's activation where it is wanted."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._recommended: deque[tuple[int, int]] = deque()
        self._sizes: deque[tuple[int, int]] = deque()
        self._active = 0

    def decide(self, now: int, replicas: int, ready: int, total: float, demand: float) -> int:
        """The wanted number. ``total`` is the metric summed over ready replicas, ``demand`` the
        requests per second in front of them, which KEDA's activation looks at.
        """
        policy = self._policy
        if policy.keda and policy.least == 0:
            if demand > 0:
                self._active = now
            elif now - self._active >= policy.cooldown:
                return 0
            if replicas == 0:
                return 1 if demand > 0 else 0
        wanted = self._limited(now, replicas, self._proportional(replicas, ready, total))
        self._sizes.append((now, replicas))
        return max(policy.least, 1, min(policy.most, wanted))

    def _proportional(self, replicas: int, ready: int, total: float) -> int:
        policy = self._policy
        if ready == 0:
            return replicas
        ratio = total / ready / policy.target
        if abs(ratio - 1) <= policy.tolerance:
            return replicas
        if ratio > 1 and ready < replicas:
            # Replicas that start count as idle, so that they are waited for.
            ratio = total / replicas / policy.target
            return replicas if ratio <= 1 + policy.tolerance else math.ceil(ratio * replicas)
        return math.ceil(ratio * ready)

    def _limited(self, now: int, replicas: int, wanted: int) -> int:
        """Up by 100 % or 4 in 15 s, down after the stabilization by 50 % in a minute."""
        self._recommended.append((now, wanted))
        while self._recommended[0][0] < now - self._policy.stabilization:
            self._recommended.popleft()
        if wanted < replicas:
            wanted = min(replicas, max(value for _, value in self._recommended))
        while self._sizes and self._sizes[0][0] < now - 60:
            self._sizes.popleft()
        minute_ago = max((size for _, size in self._sizes), default=replicas)
        recent = min((size for at, size in self._sizes if at >= now - 15), default=replicas)
        return max(min(wanted, max(2 * recent, recent + 4)), minute_ago // 2)


def simulate(rate: Rate, seconds: int, policy: Policy, replica: Replica, seed: int = 0) -> Outcome:
    """Serve a trace. Arrivals of a second are normal with a Poisson distribution's variance."""
    random, outcome, scaler = Random(seed), Outcome(), Autoscaler(policy)
    starts = [-math.inf] * max(policy.least, 0 if policy.keda else 1)
    queued = held = 0.0  # in front of ready replicas, and while there is none
    window: deque[float] = deque(maxlen=_METRIC_WINDOW)
    for now in range(seconds):
        mean = rate(now)
        arrived = max(0.0, random.gauss(mean, math.sqrt(mean)))
        outcome.offered += arrived
        ready = sum(start + replica.start <= now for start in starts)
        outcome.replica_seconds += len(starts)
        if ready == 0:
            held += arrived
            window.append(0.0)
        else:
            queued, metric = _serve(outcome, replica, policy.signal, arrived + held, queued, ready)
            held = 0.0
            window.append(metric)
        if now % policy.period == 0 and now:
            total = sum(window) / len(window) * ready
            wanted = scaler.decide(now, len(starts), ready, total, mean)
            outcome.changes += wanted != len(starts)
            starts = starts[:wanted] + [float(now)] * (wanted - len(starts))
            outcome.most = max(outcome.most, wanted)
            outcome.series.append((float(now), mean, wanted))
    outcome.refused += held
    return outcome


def _serve(  # noqa: PLR0917
    outcome: Outcome, replica: Replica, signal: Signal, arrived: float, queued: float, ready: int
) -> tuple[float, float]:
    """One second: what is queued after it, and the metric of a replica."""
    capacity = ready * replica.capacity
    room = max(0.0, capacity * (1 + replica.patience) - queued)
    taken = min(arrived, room)
    outcome.refused += arrived - taken
    after = max(0.0, queued + taken - capacity)
    each = min(replica.capacity, (queued + taken) / ready)
    batch = replica.batch(each)
    run = replica.fixed + replica.each * batch
    busy = replica.busy(each)
    # For the batch that runs when it comes (half of it on average), then its own.
    waits = (queued + after) / 2 / capacity + busy * run / 2
    if taken > 0:
        outcome.latencies.append((waits + run, taken))
    metric = {
        Signal.SATURATION: 1.0 if after > _MIN_WORK else busy,
        Signal.QUEUE_TIME: waits,
        Signal.IN_FLIGHT: each * (waits + run),
        Signal.RATE: arrived / ready / replica.capacity,
    }[signal]
    return after, metric


def diurnal(low: float, high: float, day: float) -> Rate:
    """From ``low`` to ``high`` requests per second and back in ``day`` seconds."""
    return lambda now: low + (high - low) * (1 - math.cos(2 * math.pi * now / day)) / 2


def bursty(low: float, high: float, every: float, length: float) -> Rate:
    """``low``, and ``high`` for ``length`` of ``every`` seconds, at once."""
    return lambda now: high if now % every >= every - length else low


def idle_then(rate: float, idle: float) -> Rate:
    """Nothing for ``idle`` seconds, then ``rate``."""
    return lambda now: 0.0 if now < idle else rate


def compare(
    rates: dict[str, Rate], seconds: int, policies: Sequence[Policy], replica: Replica
) -> list[tuple[str, Policy, Outcome]]:
    """Every policy on every trace."""
    return [
        (name, policy, simulate(rate, seconds, policy, replica))
        for name, rate in rates.items()
        for policy in policies
    ]
