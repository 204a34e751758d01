"""What it costs to count a request for all observers of the service: Prometheus, the statistics of
the protocol, the outcomes that a rollout watches.

    python benchmarks/metrics.py

Microseconds of a thread for each request, with its share of a batch; the best of several repeats.
"""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from inference_service.core.requests import ModelRef
from inference_service.core.scheduling.entries import Release
from inference_service.engine.interfaces import (
    AnsweredRequests,
    BatchRecord,
    Observer,
    RequestRecord,
)
from inference_service.telemetry.prometheus import PrometheusObserver
from inference_service.telemetry.rollouts import OutcomeObserver
from inference_service.telemetry.statistics import Observers, StatisticsObserver

REF = ModelRef("m", 1)
ONE = RequestRecord("m", "1", "oip", "ok", 0.020, 0.004, 0.010, 1, 0.0002, 0.0003)


def batch(requests: int) -> BatchRecord:
    """Whose rows are padded, as the dearest are."""
    return BatchRecord(REF, requests, requests, Release.SLOT_FREE, 0.001, 1, padding=0.1)


def together(requests: int) -> AnsweredRequests:
    """That are answered at the same time, by the shortcut past ASGI."""
    parts = [[part] * requests for part in (0.020, 0.004, 0.010)]
    return AnsweredRequests(
        "m", "1", "oip", *parts, [1] * requests, [0.0002] * requests, [0.0003] * requests
    )


def observers() -> Observer:
    """All that count when a service runs."""
    registry = CollectorRegistry()
    return Observers(
        [PrometheusObserver(registry), StatisticsObserver(), OutcomeObserver(registry)]
    )


def best(call: Callable[[], object], repeats: int = 25, calls: int = 1000) -> float:
    """Seconds of one call."""
    found = 1.0
    for _ in range(repeats):
        begun = time.thread_time()
        for _ in range(calls):
            call()
        found = min(found, (time.thread_time() - begun) / calls)
    return found


def costs() -> dict[str, float]:
    """Seconds for each request, by how many are answered at the same time."""
    observer, run = observers(), batch(1)
    found = {"one": best(lambda: (observer.finished(ONE), observer.batched(run)))}
    for requests in (2, 8):
        told = together(requests), batch(requests)

        def call(answered: AnsweredRequests = told[0], run: BatchRecord = told[1]) -> None:
            observer.answered(answered)
            observer.batched(run)

        found[f"{requests} answered together"] = best(call) / requests
    return found


if __name__ == "__main__":
    for way, seconds in costs().items():
        print(f"{way:<20} {seconds * 1e6:.2f} us")
