"""Loads that show one rule each: priorities, rare shapes, large requests, spells, bad warm-ups.

Each family has a truth (`truths`), a disturbance and arrivals, and is told apart by groups of its
requests. `run_family` gives what became of each group.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inference_service.core.scheduling.cost import CostModel, Points
from inference_service.core.scheduling.entries import Batch, Priority
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.scheduler import Scheduler
from inference_service.simulation.arrivals import poisson
from inference_service.simulation.server import Arrival, Batching, VirtualServer
from inference_service.simulation.truths import (
    EXACT,
    LARGEST,
    TABLES,
    Disturbance,
    Seconds,
    capacity,
    warm_up,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a group of requests; latencies in seconds, of those that were answered."""

    requests: int
    answered: float
    in_time: float
    p50: float
    p99: float
    mean: float


def outcome(arrivals: Sequence[Arrival]) -> Outcome:
    """Of these arrivals, which have ended."""
    latencies = sorted(a.latency for a in arrivals if a.outcome == "ok") or [float("nan")]
    count = max(len(arrivals), 1)
    return Outcome(
        requests=len(arrivals),
        answered=sum(a.outcome == "ok" for a in arrivals) / count,
        in_time=sum(a.in_time for a in arrivals) / count,
        p50=latencies[len(latencies) // 2],
        p99=latencies[int(0.99 * (len(latencies) - 1))],
        mean=sum(latencies) / len(latencies),
    )


def believing(points: Points, **options: Any) -> Scheduler[Any]:
    """A scheduler that believes this table."""
    policy = BatchPolicy(LARGEST, **options)
    return Scheduler(policy, CostModel(points, 1, policy))


def run_truth(
    policy: Batching,
    seconds: Seconds,
    load: Sequence[Arrival],
    disturbance: Disturbance = EXACT,
    seed: int = 7,
) -> list[Arrival]:
    """These arrivals, each with its end, where runs really take so long."""
    rng = random.Random(seed)

    def service(batch: Batch[Any]) -> float:
        return seconds(batch.rows) * disturbance.factor(server.now, rng)

    server = VirtualServer(policy, service)
    ended = [replace(arrival) for arrival in load]
    for arrival in ended:
        server.add(arrival)
    server.run()
    return ended


Group = Callable[[Arrival], bool]


@dataclass(frozen=True, slots=True)
class Family:
    """A load on a table: ``arrivals(capacity, seed)``, and the groups that are told apart."""

    name: str
    table: str
    arrivals: Callable[[float, int], list[Arrival]]
    groups: dict[str, Group]


def _merged(*loads: list[Arrival]) -> list[Arrival]:
    return sorted((a for load in loads for a in load), key=lambda arrival: arrival.time)


def _stream(rate: float, seconds: float, seed: int, **request: Any) -> list[Arrival]:
    times = poisson(rate, max(int(rate * seconds), 1), seed)
    return [Arrival(time, **request) for time in times]


def _classes(load: float) -> Callable[[float, int], list[Arrival]]:
    def arrivals(rate: float, seed: int) -> list[Arrival]:
        half = load * rate / 2
        return _merged(
            _stream(half, 6, seed, client="a", priority=Priority.HIGH),
            _stream(half, 6, seed + 1, client="a", priority=Priority.LOW),
        )

    return arrivals


_HIGH_LOW: dict[str, Group] = {
    "high": lambda a: a.priority is Priority.HIGH,
    "low": lambda a: a.priority is Priority.LOW,
}

FAMILIES = (
    Family("classes at 1.1 x capacity", "linear", _classes(1.1), _HIGH_LOW),
    Family("classes at 2 x capacity", "linear", _classes(2.0), _HIGH_LOW),
    Family("classes at 3 x capacity", "linear", _classes(3.0), _HIGH_LOW),
    Family(
        "a rare shape beside 2 x capacity of the same client",
        "weightbound",
        lambda rate, seed: _merged(
            _stream(2 * rate, 6, seed, client="a"),
            _stream(4, 6, seed + 1, client="a", key="rare"),
        ),
        {"rare": lambda a: a.key == "rare", "others": lambda a: a.key != "rare"},
    ),
    Family(
        "a polite client beside a greedy one of 3 x capacity",
        "weightbound",
        lambda rate, seed: _merged(
            _stream(3 * rate, 6, seed, client="greedy"),
            _stream(0.02 * rate, 6, seed + 1, client="polite"),
        ),
        {"polite": lambda a: a.client == "polite", "greedy": lambda a: a.client == "greedy"},
    ),
    Family(
        "large requests of 20 batches at 90 % load",
        "weightbound",
        lambda rate, seed: _merged(
            _stream(0.9 * rate, 9, seed, client="a"),
            [Arrival(time, rows=20 * LARGEST, client="a") for time in (2.0, 5.0)],
        ),
        {"large": lambda a: a.rows > 1, "small": lambda a: a.rows == 1},
    ),
    Family(
        "best effort beside 2 x capacity with deadlines",
        "weightbound",
        lambda rate, seed: _merged(
            _stream(2 * rate, 5, seed, timeout=10 * TABLES["weightbound"](1)),
            _stream(0.1 * rate, 5, seed + 1, client="b"),
        ),
        {"best effort": lambda a: a.timeout > 10, "deadlines": lambda a: a.timeout < 10},
    ),
)


def run_family(family: Family, seed: int = 1) -> dict[str, Outcome]:
    """What became of each group."""
    seconds = TABLES[family.table]
    load = family.arrivals(capacity(seconds), seed)
    ended = run_truth(believing(warm_up(seconds)), seconds, load)
    return {name: outcome([a for a in ended if of(a)]) for name, of in family.groups.items()}
