"""Rows of unlike length: what the length cut saves against batches in the order of arrival."""

import random
from dataclasses import dataclass
from typing import Any

from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.lengths import quantised
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.scheduler import Scheduler
from inference_service.core.scheduling.tickets import Batch
from inference_service.core.scheduling.virtual import Arrival, Batching
from inference_service.simulation.arrivals import poisson
from inference_service.simulation.rivals import Fifo
from inference_service.simulation.study import OURS, Model, Result, result_of, server_for

LONGEST = 512


@dataclass(frozen=True, slots=True)
class Padded:
    """What came of a load, and the share of all that was computed that was padding."""

    result: Result
    padding: float


def lognormal_lengths(count: int, seed: int) -> list[int]:
    """Lengths like those of short texts: median 32, a tenth above 90, cut at `LONGEST`."""
    rng = random.Random(seed)
    return [min(max(round(rng.lognormvariate(3.47, 0.8)), 1), LONGEST) for _ in range(count)]


def run_lengths(model: Model, rate: float, count: int, seed: int) -> tuple[Padded, Padded]:
    """The scheduler, and a plain queue that pads each batch to its longest row.

    b rows padded to length L cost S(b L / mean length), with S of the model's table. The scheduler
    pads to the grid of lengths, the plain queue to the very length.
    """
    lengths = lognormal_lengths(count, seed)
    usual = round(sum(lengths) / count)
    times = poisson(rate, count, seed)
    costs = CostModel(model.points, usual)
    scheduler: Scheduler[Any] = Scheduler(BatchPolicy(model.largest, default_deadline=1e9), costs)
    return (
        _run(OURS, scheduler, model, _load(times, lengths), usual, grid=True),
        _run(
            "work-conserving", Fifo(model.largest, model.cost), model, _load(times, lengths),
            usual, grid=False,
        ),
    )  # fmt: skip


def _load(times: list[float], lengths: list[int]) -> list[Arrival]:
    return [
        Arrival(time, length=length, volume=1) for time, length in zip(times, lengths, strict=True)
    ]


def _run(
    name: str, policy: Batching, model: Model, load: list[Arrival], usual: int, *, grid: bool
) -> Padded:
    cost = model.cost
    used = computed = 0

    def service(batch: Batch[Any]) -> float:
        nonlocal used, computed
        lengths = [part.ticket.item.length for part in batch.parts]
        padded = quantised(max(lengths)) if grid else max(lengths)
        used += sum(lengths)
        computed += padded * batch.rows
        return cost(max(1, round(batch.rows * padded / usual)))

    ended: list[Arrival] = []
    server = server_for(policy, model, ended.append, service)
    for arrival in load:
        server.add(arrival)
    server.run()
    result = result_of(name, server, ended, load[-1].time - load[0].time)
    return Padded(result, 1 - used / computed)
