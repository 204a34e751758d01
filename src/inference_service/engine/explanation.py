"""Why batches are what they are: a model's scheduler in numbers that people can check."""

from collections.abc import Mapping
from typing import Any

from inference_service.core.scheduling.cost import Points, knee
from inference_service.core.scheduling.tickets import OFFSETS
from inference_service.engine.interfaces import BatchRecord
from inference_service.engine.worker import Worker

REASONS = {
    "slot_free": "a slot was free and this was all that was queued",
    "full": "the largest batch was reached, or the next request would have passed it",
    "delay": "the oldest request had waited for max_queue_delay",
    "deadline": "more rows would have made a request late",
    "length": "rows of other lengths were left for a batch of their own",
    "hold": "a free slot had waited for requests that were about to come",
}


def explained(worker: Worker) -> Mapping[str, Any]:
    """The document of ``GET /v2/models/{model}/scheduler``. Times are in milliseconds."""
    scheduler = worker.scheduler
    policy = scheduler.policy
    cost = scheduler.cost
    load = scheduler.load
    now = load.seconds(policy.max_batch_size)
    return {
        "name": worker.info.name,
        "version": str(worker.info.version),
        "max_batch_size": policy.max_batch_size,
        "allowed_batch_sizes": list(policy.sizes) or None,
        "max_queue_rows": policy.max_queue_rows,
        "max_queue_delay_ms": _ms(policy.max_queue_delay),
        "default_deadline_ms": _ms(load.patience(0.0)),
        "priority_offset_ms": {
            priority.value: _ms(share * load.patience(0.0)) for priority, share in OFFSETS.items()
        },
        "queue": {
            "rows": scheduler.rows,
            "requests": load.queue.requests,
            "rows_with_deadline": load.queue.firm_rows,
            "clients": len({c for group in load.queue.groups.values() for c in group.lanes}),
            "drain_ms": _ms(load.drain(scheduler.rows)),
            "newest_first": scheduler.overloaded,
            "deadlines_are_promised": load.pressure == 0,
        },
        "running": worker.running,
        "layout": {
            "instances": worker.layouts.layout.instances,
            "threads": worker.layouts.layout.threads,
            "available": [str(layout) for layout in worker.layouts.layouts],
        },
        "cost": {
            "noise_factor": round(cost.noise, 3),
            "largest_batch_ms": _ms(now),
            "tables": [
                {"numbers_in_a_row": volume, "knee": knee(points), "table": _table(points)}
                for volume, points in cost.tables.items()
            ],
        },
        "hold": {
            "theta": scheduler.hold.theta,
            "delay_ms": _ms(scheduler.hold.delay),
            "answers_followed_by_a_request": round(scheduler.hold.echo.fraction, 3),
        },
        "recent_batches": [_batch(record) for record in reversed(worker.recent)],
    }


def _table(points: Points) -> list[dict[str, float]]:
    return [
        {"rows": rows, "ms": _ms(seconds), "rows_per_second": round(rows / seconds)}
        for rows, seconds in points
    ]


def _batch(record: BatchRecord) -> dict[str, Any]:
    return {
        "rows": record.rows,
        "requests": record.requests,
        "reason": record.reason.value,
        "because": REASONS[record.reason.value],
        "predicted_ms": _ms(record.predicted),
        "ms": _ms(record.seconds),
        "held_ms": _ms(record.held),
        "padding": round(record.padding or 0.0, 3),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 4)
