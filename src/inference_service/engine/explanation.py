"""Why batches are what they are: a model's scheduler in numbers that people can check."""

from collections.abc import Mapping
from typing import Any

from inference_service.core.scheduling.cost import Points, knee
from inference_service.core.scheduling.entries import Priority
from inference_service.core.scheduling.policy import BatchPolicy, constants
from inference_service.engine.interfaces import BatchRecord
from inference_service.engine.worker import Worker

REASONS = {
    "slot_free": "a slot was free and this was all that was queued",
    "full": "the batch was full: max_batch_size, or a smaller size that runs more rows per second",
    "delay": "the oldest request had waited for max_queue_delay",
    "deadline": "more rows would have made a request late",
    "length": "rows of other lengths were left for a batch of their own",
    "hold": "a free slot had waited for clients in a closed loop",
}


def explained(worker: Worker, now: float) -> Mapping[str, Any]:
    """The document of ``GET /v2/models/{model}/scheduler``. Times are in milliseconds."""
    scheduler = worker.scheduler
    policy = scheduler.policy
    cost = scheduler.cost
    return {
        "name": worker.info.name,
        "version": str(worker.info.version),
        "max_batch_size": scheduler.max_batch_size,
        "allowed_batch_sizes": list(policy.sizes) or None,
        "max_queue_rows": policy.max_queue_rows,
        "max_queue_delay_ms": _ms(policy.max_queue_delay),
        "default_deadline_ms": _ms(scheduler.estimates.default_deadline()),
        "queue": _queue(worker, now),
        "running": worker.running,
        "layout": {
            "instances": worker.layouts.layout.instances,
            "threads": worker.layouts.layout.threads,
            "available": [str(layout) for layout in worker.layouts.layouts],
        },
        "cost": {
            "speed": round(cost.speed, 3),
            "safety_margin": round(cost.margin, 3),
            "largest_batch_ms": _ms(scheduler.estimates.seconds(scheduler.max_batch_size)),
            "tables": [
                {"row_elements": elements, "knee": knee(points), "table": _table(points)}
                for elements, points in cost.tables.items()
            ],
        },
        "hold": {
            "limit": scheduler.hold.limit,
            "on_trial": scheduler.hold.on_trial,
            "answers_followed_by_a_request": round(scheduler.hold.returns.fraction, 3),
        },
        "policy": _policy(policy),
        "recent_batches": [_batch(record) for record in reversed(worker.recent)],
    }


def _queue(worker: Worker, now: float) -> dict[str, Any]:
    scheduler = worker.scheduler
    queue = scheduler.queue
    return {
        "rows": queue.rows,
        "requests": queue.requests,
        "rows_with_deadline": queue.deadline_rows,
        "groups": len(queue.groups),
        "drain_ms": _ms(scheduler.estimates.queued_seconds / scheduler.estimates.slots),
        "overload": scheduler.admission.state(now).value,
        "refused_above_ms": {
            priority.value: _ms(bound * scheduler.estimates.default_deadline())
            for priority, bound in zip(Priority, scheduler.policy.wait_bounds, strict=True)
        },
    }


def _policy(policy: BatchPolicy) -> dict[str, dict[str, Any]]:
    return {
        constant.name: {"value": constant.value, "unit": constant.unit, "reason": constant.reason}
        for constant in constants(policy)
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
