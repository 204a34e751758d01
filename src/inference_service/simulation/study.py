"""Run policies on loads and measure: the numbers behind ``inference-service simulate``."""

import math
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from inference_service.core.scheduling.cost import CostModel, CostTable, Points, knee
from inference_service.core.scheduling.entries import Batch
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.scheduler import Scheduler
from inference_service.simulation.arrivals import Closed, arrivals
from inference_service.simulation.server import Arrival, Batching, VirtualServer

OURS = "inference-service"

Service = Callable[[Batch[Any]], float]
"""The seconds that a batch takes."""


@dataclass(frozen=True, slots=True)
class Model:
    """A cost table with a name. ``largest`` is the batch bound for all policies."""

    name: str
    points: Points
    largest: int

    @property
    def cost(self) -> Callable[[int], float]:
        """S(rows)."""
        return CostTable(self.points).seconds

    @property
    def capacity(self) -> float:
        """Rows per second at best."""
        return max(b / self.cost(b) for b in range(1, self.largest + 1))


def affine(ratio: float, largest: int = 64, one: float = 0.004) -> Model:
    """S(b) = a + c * b with c / a = ``ratio`` and S(1) = ``one`` seconds."""
    base = one / (1 + ratio)
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64, 128, 256) if size <= largest]
    points = [(b, base + ratio * base * b) for b in sizes]
    return Model(f"S = a + c b, c/a = {ratio:g}", points, largest)


def measured(name: str, points: Points) -> Model:
    """A table from ``check --profile``, up to its knee."""
    limit = knee(points)
    return Model(name, [point for point in points if point[0] <= limit], limit)


@dataclass(frozen=True, slots=True)
class Result:
    """One policy on one load. Times in seconds; rates per second.

    ``idle`` is the share of time that the slot was idle while something waited. ``jain`` is Jain's
    index of the clients' answers (Jain, Chiu, Hawe 1984): 1 where all got as many, 1/n where one of
    n got them all.
    """

    policy: str
    mean: float
    p50: float
    p99: float
    p999: float
    answered: int
    in_time: int
    refused: int
    expired: int
    seconds: float
    batch: float
    idle: float
    jain: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answered / self.seconds if self.seconds else 0.0

    @property
    def goodput(self) -> float:
        """Answers in time per second."""
        return self.in_time / self.seconds if self.seconds else 0.0


def ours(model: Model, *, deadline: float | None = None, row_elements: int = 1) -> Scheduler[Any]:
    """The scheduler as it serves, knowing the costs from its warm-up with rows of that size.

    Without a ``deadline`` nothing is refused, as with the other policies.
    """
    policy = BatchPolicy(model.largest, default_deadline=deadline or 1e9)
    return Scheduler(policy, CostModel(model.points, row_elements, policy))


def _server(
    policy: Batching,
    model: Model,
    ended: Callable[[Arrival], None],
    service: Service | None = None,
) -> VirtualServer:
    cost = model.cost

    def usual(batch: Batch[Any]) -> float:
        return cost(batch.rows)

    return VirtualServer(policy, service or usual, 1, ended)


def run_open(
    name: str, policy: Batching, model: Model, times: Sequence[float], timeout: float = math.inf
) -> Result:
    """A policy on an open load: arrivals do not wait for answers."""
    return run_arrivals(name, policy, model, arrivals(list(times), timeout))


def run_arrivals(
    name: str,
    policy: Batching,
    model: Model,
    load: Sequence[Arrival],
    service: Service | None = None,
) -> Result:
    """A policy on these arrivals, which are changed: their ends are written into them.

    A batch takes what the model's table says, or ``service``.
    """
    ended: list[Arrival] = []
    server = _server(policy, model, ended.append, service)
    for arrival in load:
        server.add(arrival)
    server.run()
    return _result(name, server, ended, load[-1].time - load[0].time)


def run_closed(name: str, policy: Batching, model: Model, load: Closed, count: int) -> Result:
    """A policy with clients in a closed loop; the first tenth doesn't count."""
    rng = random.Random(7)
    finished: list[Arrival] = []
    group = [-1.0, 0.0]  # the moment of answers, and the spread so far

    def think() -> float:
        return rng.expovariate(1 / load.think) if load.random and load.think else load.think

    def ended(arrival: Arrival) -> None:
        finished.append(arrival)
        if len(finished) > count:
            return
        if group[0] != server.now:
            group[0], group[1] = server.now, 0.0
        else:
            group[1] += load.spread
        server.add(Arrival(server.now + think() + group[1], client=arrival.client))

    server = _server(policy, model, ended)
    for client in range(load.clients):
        server.add(Arrival(client * max(load.spread, 1e-6), client=client))
    server.run()
    counted = finished[count // 10 :]
    return _result(name, server, counted, counted[-1].ended - counted[0].ended)


def _result(name: str, server: VirtualServer, ended: list[Arrival], seconds: float) -> Result:
    answered = [arrival for arrival in ended if arrival.outcome == "ok"]
    latencies = sorted(arrival.latency for arrival in answered) or [math.nan]

    def quantile(share: float) -> float:
        return latencies[min(len(latencies) - 1, int(share * len(latencies)))]

    return Result(
        policy=name,
        mean=sum(latencies) / len(latencies),
        p50=quantile(0.5),
        p99=quantile(0.99),
        p999=quantile(0.999),
        answered=len(answered),
        in_time=sum(arrival.in_time for arrival in answered),
        refused=sum(arrival.outcome in {"refused", "shed"} for arrival in ended),
        expired=sum(arrival.outcome == "expired" for arrival in ended),
        seconds=seconds,
        batch=sum(batch.rows for batch in server.batches) / max(1, len(server.batches)),
        idle=server.idle_seconds / server.now if server.now else 0.0,
        jain=jain_index(list(Counter(arrival.client for arrival in answered).values())),
    )


def jain_index(amounts: Sequence[float]) -> float:
    """(sum x)^2 / (n sum x^2): how evenly ``amounts`` are spread; 1 where there are none."""
    squares = sum(amount * amount for amount in amounts)
    return sum(amounts) ** 2 / (len(amounts) * squares) if squares else 1.0


TIMERS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
"""The fixed timers that are tried, in units of S(1)."""


@dataclass(frozen=True, slots=True)
class Averaged:
    """One policy on several draws of one load: the means of its results."""

    policy: str
    mean: float
    p99: float
    p50: float = math.nan
    p999: float = math.nan


def averaged(results: Sequence[Result]) -> Averaged:
    """Of one draw alone a p99 is mostly luck: the draws' means tell policies apart."""
    count = len(results)
    return Averaged(
        results[0].policy,
        sum(result.mean for result in results) / count,
        sum(result.p99 for result in results) / count,
        sum(result.p50 for result in results) / count,
        sum(result.p999 for result in results) / count,
    )


def best_timer(model: Model, draws: Sequence[Sequence[float]]) -> tuple[Averaged, Averaged]:
    """The fixed timers that are best in hindsight, for the mean and for the p99; 0 is not one.

    A timer is one setting for a load: it is the same for all ``draws`` of it.
    """
    one, count = model.cost(1), len(draws)
    found = []
    for share in TIMERS:
        delay = one * share
        runs = [run_timer(model, times, delay) for times in draws]
        mean = sum(run[0] for run in runs) / count
        p99 = sum(run[1] for run in runs) / count
        found.append(Averaged(f"timer {delay * 1e3:.3g} ms", mean, p99))
    return min(found, key=lambda r: r.mean), min(found, key=lambda r: r.p99)


def run_timer(model: Model, times: Sequence[float], delay: float) -> tuple[float, float]:
    """Mean and p99 latency of a fixed timer: what its port gives in `run_open`, but sooner."""
    cost, free, first = model.cost, 0.0, 0
    latencies: list[float] = []
    while first < len(times):
        last = first + model.largest - 1
        full = times[last] if last < len(times) else math.inf
        start = max(free, min(times[first] + delay, full))
        stop = min(bisect_right(times, start, first), last + 1)
        free = start + cost(stop - first)
        latencies += [free - time for time in times[first:stop]]
        first = stop
    latencies.sort()
    return sum(latencies) / len(latencies), latencies[int(0.99 * len(latencies))]


def ideal_lockstep(model: Model, load: Closed) -> float:
    """Requests per second if all clients were answered together, in as many full runs as needed."""
    full, rest = divmod(load.clients, model.largest)
    seconds = full * model.cost(model.largest) + (model.cost(rest) if rest else 0.0)
    return load.clients / (seconds + load.think + (load.clients - 1) * load.spread)
