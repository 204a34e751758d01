"""What a decision of the scheduler costs, with many deadlines, keys and clients queued.

    python benchmarks/decisions.py

Microseconds, medians. "submit" offers a request; "decision" is the whole of it: what to drop, the
choice, taking the rows out of the queue, the next alarm; "end" learns from the run.
"""

import statistics
import time
from collections.abc import Callable
from random import Random
from typing import Any

from inference_service.core.errors import Overloaded
from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.entries import Entry, Priority
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.scheduler import Scheduler

POINTS = [(b, 0.004 + 0.0002 * b) for b in (1, 2, 4, 8, 16, 32, 64)]
LARGEST = 64

Load = Callable[[int, Random], dict[str, Any]]
"""The arguments of the i-th request."""

LOADS: dict[str, tuple[int, Load]] = {
    "one client": (5000, lambda i, rng: {}),
    "16 clients": (5000, lambda i, rng: {"client": i % 16}),
    "1 000 clients": (5000, lambda i, rng: {"client": i % 1000}),
    "each its own client": (5000, lambda i, rng: {"client": i}),
    "1 000 keys": (5000, lambda i, rng: {"key": i % 1000}),
    "each its own key": (5000, lambda i, rng: {"key": i}),
    "three classes": (5000, lambda i, rng: {"priority": list(Priority)[i % 3]}),
    "equal deadlines": (5000, lambda i, rng: {"deadline": 100.0}),
    "rising deadlines": (5000, lambda i, rng: {"deadline": 100.0 + i / 1000}),
    "random deadlines": (5000, lambda i, rng: {"deadline": rng.uniform(10.0, 100.0)}),
    "random deadlines, 2 keys": (
        5000,
        lambda i, rng: {"deadline": rng.uniform(10, 100), "key": i % 2},
    ),
    "overload of deadlines": (5000, lambda i, rng: {"deadline": rng.uniform(0.02, 0.5)}),
    "deadlines and best effort": (
        5000,
        lambda i, rng: {"deadline": rng.uniform(0.02, 2.0)} if i % 2 else {},
    ),
    "one client, few queued": (16, lambda i, rng: {}),
    "random deadlines, few queued": (16, lambda i, rng: {"deadline": rng.uniform(10.0, 100.0)}),
}


def measure(queued: int, load: Load, repeats: int) -> tuple[float, float, float, float, int]:
    """Medians of submit, first decision, later decisions and end; and rows of a later batch."""
    submit, first, later, ends, rows = [], [], [], [], []
    for repeat in range(repeats):
        rng = Random(repeat)  # noqa: S311
        policy = BatchPolicy(LARGEST, default_deadline=100.0)
        scheduler: Scheduler[int] = Scheduler(policy, CostModel(POINTS, 1, policy))
        scheduler.offer(Entry(0, 0), 0.0)
        (running,) = scheduler.decide(0.0, 1).run
        requests = [{"key": 0, **load(i, rng)} for i in range(queued)]
        for start in range(0, queued, 50):  # medians of 50 leave out what disturbs some of them
            some = requests[start : start + 50]
            begun = time.perf_counter()
            for i, request in enumerate(some):
                try:
                    scheduler.offer(Entry(i, **request), 0.0)
                except Overloaded:
                    continue
            submit.append((time.perf_counter() - begun) / len(some))
        now = 0.004
        for decision in range(20):
            begun = time.perf_counter()
            scheduler.ended(running, now - running.started, now)
            ended = time.perf_counter()
            decisions = scheduler.decide(now, 1)
            found = decisions.run
            decided = time.perf_counter()
            if not found:
                break
            ends.append(ended - begun)
            (first if decision == 0 else later).append(decided - ended)
            (running,) = found
            if decision:
                rows.append(running.rows + len(decisions.drop))
            now += running.predicted
    values = [1e6 * statistics.median(v) if v else 0.0 for v in (submit, first, later, ends)]
    return (*values, round(statistics.mean(rows)) if rows else 0)  # type: ignore[return-value]


def main() -> None:
    print("| queued | load | submit | first decision | later ones | a row run or dropped | end |")
    print("|---|---|---|---|---|---|---|")
    for name, (queued, load) in LOADS.items():
        submit, first, later, end, rows = measure(queued, load, 3 if queued > 1000 else 100)
        print(
            f"| {queued} | {name} | {submit:.1f} | {first:.0f} | {later:.0f} | "
            f"{later / rows if rows else first / queued:.1f} | {end:.1f} |"
        )


if __name__ == "__main__":
    main()
