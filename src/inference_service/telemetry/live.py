"""What the service does now, as numbers for people: pure functions over readings of its sums.

``GET /stats`` answers the totals, its event stream the difference of two readings each second.
"""

from collections.abc import Mapping, Sequence
from operator import sub
from typing import Any, NamedTuple

from inference_service.core.statistics import ModelStatistics, quantile


class ModelReading(NamedTuple):
    """The sums of a model version at one moment; ``batches`` are runs by their rows.

    ``key`` is its name and version.
    ``busy`` is the sum of its runs' seconds, ``queue`` the rows that wait, ``limit`` how many may,
    ``running`` the runs in progress.
    """

    key: tuple[str, str]
    state: str
    error: str
    requests: int
    errors: int
    rows: int
    busy: float
    batches: Mapping[int, int]
    latencies: Sequence[int]
    queue: int
    limit: int | None
    running: int


class Reading(NamedTuple):
    """The service at one moment. ``time`` is in seconds since 1970, ``clock`` is monotonic.

    ``problem`` says why the service is not ready; "" when it is.
    """

    time: float
    clock: float
    problem: str
    slots: int
    in_flight: int
    streams: int
    models: Sequence[ModelReading]


def read_model(
    status: tuple[str, str, str, str],
    sums: ModelStatistics,
    queue: int,
    limit: int | None,
    running: int,
) -> ModelReading:
    """A copy of the sums; ``status`` is name, version, state and error."""
    return ModelReading(
        status[:2],
        *status[2:],
        sums.success.count,
        sums.fail.count,
        sums.rows,
        sum(durations.seconds for durations in sums.batches.values()),
        {rows: durations.count for rows, durations in sums.batches.items()},
        tuple(sums.latencies.counts),
        queue,
        limit,
        running,
    )


def catalogue(reading: Reading) -> list[dict[str, Any]]:
    """The models with their states: what changes seldom."""
    return [
        {
            **_named(model),
            "state": model.state,
            "error": model.error,
            "queue_limit": model.limit,
        }
        for model in reading.models
    ]


def totals(reading: Reading, since: float) -> dict[str, Any]:
    """All since the start; ``since`` is that time, in seconds since 1970."""
    models = []
    for listed, model in zip(catalogue(reading), reading.models, strict=True):
        models.append(
            {
                **listed,
                "requests": model.requests,
                "errors": model.errors,
                "rows": model.rows,
                "runs": sum(model.batches.values()),
                "batch_rows": {str(rows): count for rows, count in sorted(model.batches.items())},
                "busy_seconds": round(model.busy, 6),
                **_quantiles(model.latencies),
                "queue_rows": model.queue,
                "running": model.running,
            }
        )
    return {"since": since, **_head(reading), "models": models}


def sample(before: Reading, now: Reading) -> dict[str, Any]:
    """What happened between two readings: rates are per second, latencies in milliseconds.

    ``models`` has those versions in which something happened.
    """
    seconds = max(now.clock - before.clock, 1e-6)
    known = {model.key: model for model in before.models}
    models: list[dict[str, Any]] = []
    latencies: list[int] = []
    requests = errors = queue = 0
    busy = 0.0
    for model in now.models:
        old = known.get(model.key)
        if old is None or old.requests > model.requests:  # new, or loaded once more
            old = model
        new = [*map(sub, model.latencies, old.latencies)]
        latencies = [*map(int.__add__, latencies, new)] if latencies else new
        own = _of_model(old, model, seconds, new, now.slots)
        requests += model.requests - old.requests
        errors += model.errors - old.errors
        queue += model.queue
        busy += own["busy"]
        if own["requests"] or own["errors"] or own["queue_rows"] or own["busy"]:
            models.append(own)
    return {
        **_head(now),
        "seconds": round(seconds, 3),
        "requests": round(requests / seconds, 2),
        "errors": round(errors / seconds, 2),
        **_quantiles(latencies),
        "queue_rows": queue,
        "busy": round(min(busy, now.slots), 3),
        "models": models,
    }


def _of_model(
    old: ModelReading, model: ModelReading, seconds: float, latencies: Sequence[int], slots: int
) -> dict[str, Any]:
    batches = {
        rows: count - old.batches.get(rows, 0)
        for rows, count in sorted(model.batches.items())
        if count > old.batches.get(rows, 0)
    }
    # A run counts when it has ended. One that takes longer than the interval is seen while it runs.
    busy = (model.busy - old.busy) / seconds if batches else float(model.running)
    return {
        **_named(model),
        "requests": round((model.requests - old.requests) / seconds, 2),
        "errors": round((model.errors - old.errors) / seconds, 2),
        **_quantiles(latencies),
        "batch_rows": {str(rows): count for rows, count in batches.items()},
        "queue_rows": model.queue,
        "busy": round(min(busy, slots), 3),
    }


def _head(reading: Reading) -> dict[str, Any]:
    return {
        "time": round(reading.time, 3),
        "problem": reading.problem,
        "slots": reading.slots,
        "in_flight": reading.in_flight,
        "streams": reading.streams,
    }


def _quantiles(latencies: Sequence[int]) -> dict[str, float | None]:
    found = {"p50_ms": quantile(latencies, 0.5), "p99_ms": quantile(latencies, 0.99)}
    return {name: None if s is None else round(s * 1e3, 3) for name, s in found.items()}


def _named(model: ModelReading) -> dict[str, str]:
    return dict(zip(("name", "version"), model.key, strict=True))
