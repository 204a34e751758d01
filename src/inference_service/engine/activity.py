"""What a model version is doing now, for metrics: read from its worker, at any time."""

from inference_service.core.scheduling.entries import Priority
from inference_service.engine.interfaces import Activity
from inference_service.engine.worker import Worker

_NORMAL = list(Priority).index(Priority.NORMAL)


def activity(worker: Worker, now: float) -> Activity:
    """See `Activity`. It may be called in another thread, beside the event loop's."""
    scheduler, layout = worker.scheduler, worker.layouts.layout
    estimates, policy = scheduler.estimates, scheduler.policy
    oldest = now
    for group in list(scheduler.queue.groups.values()):
        for entry in list(group.entries()):
            oldest = min(oldest, entry.arrival)
    first_start = min([batch.started for batch in list(estimates.running)], default=now)
    return Activity(
        worker.info.ref,
        worker.queue_rows,
        policy.max_queue_rows,
        max(now - oldest, 0.0),
        estimates.queued_seconds / estimates.slots,
        policy.wait_bounds[_NORMAL] * estimates.default_deadline(),
        layout.instances,
        worker.running,
        worker.cores,
        max(now - first_start, 0.0),
        scheduler.max_batch_size,
        worker.process(),
    )
