"""From a load and a latency objective to a configuration: the numbers behind ``tune``."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from inference_service.simulation.server import Arrival
from inference_service.simulation.study import Model, Result, ours, run_arrivals


@dataclass(frozen=True, slots=True)
class Advice:
    """What was found. ``replicas`` is how many of these servers the load needs."""

    model: Model
    result: Result
    replicas: int
    met: bool


def advise(model: Model, load: Sequence[Arrival], slo: float, most: int = 64) -> Advice:
    """The largest batch and the fewest replicas with which the p99 is within ``slo`` seconds.

    Where the load is spread over k replicas each gets every k-th request. Of the bounds that meet
    the objective the one with the lowest p99 is advised. With ``most`` replicas and still no
    success, the best that was found is returned with ``met`` False.
    """
    sizes = [rows for rows, _ in model.points]
    best: Advice | None = None
    for replicas in _counts(most):
        share = [replace(a, ended=float("nan"), outcome="") for a in load[::replicas]]
        for size in sizes:
            bounded = Model(model.name, [p for p in model.points if p[0] <= size], size)
            fresh = [replace(arrival) for arrival in share]
            result = run_arrivals("tune", ours(bounded), bounded, fresh)
            advice = Advice(bounded, result, replicas, result.p99 <= slo)
            if best is None or _better(advice, best):
                best = advice
        if best is not None and best.met:
            return best
    if best is None:
        raise ValueError("there is no load")
    return best


def _better(advice: Advice, best: Advice) -> bool:
    if advice.met and best.met:
        return advice.model.largest >= best.model.largest
    return advice.met or (not best.met and advice.result.p99 < best.result.p99)


def _counts(most: int) -> list[int]:
    counts, count = [], 1
    while count <= most:
        counts.append(count)
        count += max(1, count // 4)
    return counts
