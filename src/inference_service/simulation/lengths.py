"""Rows of unlike length: what the length cut saves against batches in the order of arrival."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inference_service.core.scheduling.buckets import quantised
from inference_service.core.scheduling.entries import Batch
from inference_service.simulation.arrivals import poisson
from inference_service.simulation.rivals import Fifo
from inference_service.simulation.server import Arrival, Batching
from inference_service.simulation.study import OURS, Model, Result, ours, run_arrivals

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
    cost = model.cost

    def run(name: str, policy: Batching, padded_to: Callable[[int], int]) -> Padded:
        used = computed = 0

        def service(batch: Batch[Any]) -> float:
            nonlocal used, computed
            own = [part.entry.item.length for part in batch.parts]
            padded = padded_to(max(own))
            used += sum(own)
            computed += padded * batch.rows
            return cost(max(1, round(batch.rows * padded / usual)))

        load = [
            Arrival(time, length=length, row_elements=1)
            for time, length in zip(times, lengths, strict=True)
        ]
        result = run_arrivals(name, policy, model, load, service)
        return Padded(result, 1 - used / computed)

    return (
        run(OURS, ours(model, row_elements=usual), quantised),
        run(Fifo.name, Fifo(model.largest, cost), lambda longest: longest),
    )
