"""What would a hold do? Replay the recent load through the scheduler itself, in virtual time.

The replay has as many clients as were seen at once. They come back after an answer as the recorded
ones did: the first after its delay, the others after the gaps between them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.hold import REMEMBERED, THETAS, Recent
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.scheduler import Scheduler
from inference_service.core.scheduling.tickets import Batch
from inference_service.core.scheduling.virtual import Arrival, VirtualServer

_SLICE = 16  # moments between two yields: well below a millisecond
_WARM_UP = 4  # rounds of all clients that don't count: the loop has yet to fall into step


@dataclass(frozen=True, slots=True)
class Outcome:
    """The best hold of a replay, and its mean latency and p99 in units of those without one."""

    theta: float
    mean: float
    p99: float


def replayed(
    recent: Recent, policy: BatchPolicy, cost: CostModel, slots: int
) -> Iterator[Outcome | None]:
    """Replay with every theta; yields None between slices of work, and at the end the outcome."""
    clients, firsts = recent.clients, list(recent.firsts)
    gaps = list(recent.gaps) or [0.0]  # answers went out one by one: nobody followed together
    if clients < 2 or not firsts:
        return
    found: list[tuple[float, float, float]] = []
    for theta in THETAS:
        latencies: list[float] = []
        scheduler = _replica(policy, cost, slots, theta)
        server = _closed_loop(scheduler, clients, (firsts, gaps), latencies)
        for moment, _ in enumerate(server.steps()):
            if moment % _SLICE == 0:
                yield None
        counted = sorted(latencies[_WARM_UP * clients :] or latencies)
        mean = sum(counted) / len(counted)
        found.append((mean, counted[int(0.99 * (len(counted) - 1))], theta))
    plain = found[0]
    mean, p99, theta = min(found[1:])
    yield Outcome(theta, mean / plain[0], p99 / plain[1])


def _replica(policy: BatchPolicy, cost: CostModel, slots: int, theta: float) -> Scheduler[Any]:
    """A scheduler like the one that serves, which refuses nobody."""
    endless = replace(policy, default_deadline=1e9, max_queue_rows=None)
    scheduler: Scheduler[Any] = Scheduler(endless, cost.frozen(), slots)
    scheduler.hold.theta = theta
    return scheduler


def _closed_loop(
    scheduler: Scheduler[Any],
    clients: int,
    delays: tuple[list[float], list[float]],
    latencies: list[float],
) -> VirtualServer:
    """A server whose clients come back; ``latencies`` gets those of all that were answered."""
    firsts, gaps = cycle(delays[0]), cycle(delays[1])
    left = REMEMBERED + (_WARM_UP + 2) * clients
    answered: list[float] = []  # the moment of the last answers and the next one's arrival

    def ended(arrival: Arrival) -> None:
        nonlocal left
        latencies.append(arrival.latency)
        if left <= 0:
            return
        left -= 1
        if not answered or answered[0] != server.now:
            answered[:] = [server.now, server.now + next(firsts)]
        else:
            answered[1] += next(gaps)
        server.add(Arrival(answered[1]))

    def service(batch: Batch[Any]) -> float:
        return scheduler.load.seconds(batch.rows)

    server = VirtualServer(scheduler, service, scheduler.load.slots, ended)
    start = 0.0
    for _ in range(clients):
        server.add(Arrival(start))
        start += next(gaps)
    return server
