"""What a decision of the scheduler costs: the choice of what to run, accepting, and forming.

    python benchmarks/decisions.py

Medians in microseconds. "choose" is the decision itself (which group, what size is promised, hold or
not), "form" takes the rows out of the queue, "submit" accepts a request.
"""

import statistics
import time

from inference_service.core.scheduling.cost import CostModel
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.scheduling.scheduler import Scheduler

POINTS = [(b, 0.004 + 0.0002 * b) for b in (1, 2, 4, 8, 16, 32, 64)]
LARGEST = 64


def measure(queued: int, clients: int, deadlines: bool, repeats: int) -> list[float]:
    choose, form, submit = [], [], []
    for _ in range(repeats):
        scheduler = Scheduler(BatchPolicy(LARGEST, default_deadline=100.0), CostModel(POINTS))
        scheduler.submit(0, key=0, rows=1, now=0.0)
        (running,) = scheduler.poll(0.0, slots=1)
        deadline = 100.0 if deadlines else float("inf")
        begun = time.perf_counter()
        for i in range(queued):
            scheduler.submit(i, key=0, rows=1, now=0.0, client=i % clients, deadline=deadline)
        accepted = time.perf_counter()
        scheduler.completed(running, 0.004, 0.004)
        ready = time.perf_counter()
        scheduler.candidate(0.004)
        chosen = time.perf_counter()
        (batch,) = scheduler.poll(0.004, slots=1)
        formed = time.perf_counter()
        submit.append((accepted - begun) / queued)
        choose.append(chosen - ready)
        form.append((formed - chosen) / batch.rows)
    return [statistics.median(times) * 1e6 for times in (choose, submit, form)]


def main() -> None:
    print("| queued | clients | deadlines | choose µs | submit µs / request | form µs / row |")
    print("|---|---|---|---|---|---|")
    for queued in (16, 100, 5000):
        for clients in (1, 16):
            for deadlines in (False, True):
                repeats = 20 if queued > 1000 else 200
                choose, submit, form = measure(queued, clients, deadlines, repeats)
                yes = "yes" if deadlines else "no"
                print(
                    f"| {queued} | {clients} | {yes} | {choose:.1f} | {submit:.1f} | {form:.1f} |"
                )


if __name__ == "__main__":
    main()
