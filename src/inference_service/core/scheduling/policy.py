"""The bounds and options of one model's scheduler. Whatever is not set is derived from costs."""

import math
from dataclasses import dataclass

from inference_service.core.scheduling.tickets import OFFSETS, Priority

LEAST_DEADLINE = 2.0
"""Seconds. Shorter derived deadlines would make a pause of the machine a failure."""


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Rows are the unit: a request of 10 rows counts 10.

    ``default_deadline`` (seconds) is for requests that bring none; unset: derived from the costs.
    ``max_deadline`` caps it. ``hold`` allows a free slot to wait where that has been shown to pay.
    ``sizes`` are the only batch sizes that the model can run; smaller batches are padded up.
    """

    max_batch_size: int
    max_queue_rows: int | None = None
    max_queue_delay: float = 0.0
    default_deadline: float | None = None
    max_deadline: float = math.inf
    least_deadline: float = LEAST_DEADLINE
    hold: bool = True
    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        bounds = (self.max_batch_size, self.max_queue_rows or 1)
        if min(bounds) < 1 or self.max_queue_delay < 0:
            raise ValueError(f"a batch policy needs positive bounds: {self}")
        if self.sizes and (min(self.sizes) < 1 or list(self.sizes) != sorted(set(self.sizes))):
            raise ValueError(f"the allowed batch sizes must rise: {self.sizes}")

    def padded(self, rows: int) -> int:
        """The size at which a batch of ``rows`` rows is run."""
        return next((size for size in self.sizes if size >= rows), rows)

    def patience(self, one: float, largest: float, own: float) -> float:
        """The default deadline in seconds: 10 S(B) or 50 S(1), and twice the request's own cost."""
        if self.default_deadline is not None:
            return self.default_deadline
        derived = max(10 * largest, 50 * one, self.least_deadline) + 2 * own
        return min(derived, self.max_deadline)


def offset(priority: Priority, patience: float) -> float:
    """Seconds after its arrival at which a request of this class is as urgent as a deadline."""
    return OFFSETS[priority] * patience
