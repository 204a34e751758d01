"""Shadow traffic: a share of the requests also goes to another version, to compare its answers.

The client's answer comes from the version that it has asked, and waits for nothing: a copy is
submitted at low priority once the answer is there, as best effort, and at most `MOST` copies are
under way. What the shadow answers is compared and thrown away.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from inference_service.core.errors import InferenceServiceError
from inference_service.core.requests import InferenceRequest, InferenceResponse
from inference_service.core.scheduling.entries import Priority
from inference_service.core.tensors import Tensors
from inference_service.engine.interfaces import ModelHandle, OnDone, Ticket
from inference_service.engine.wrapping import WrappedModel

MOST = 32
"""Copies that are under way: their inputs and answers are held in memory."""


@dataclass(slots=True)
class Comparison:
    """Sums over all copies of one pair of versions. Times are seconds of compute.

    ``difference`` is the largest absolute one of numbers, ``different`` the answers beyond the
    tolerance, or of another shape or text.
    """

    compared: int = 0
    different: int = 0
    failed: int = 0
    dropped: int = 0
    difference: float = 0.0
    seconds: float = 0.0
    shadow_seconds: float = 0.0
    under_way: int = 0

    def __str__(self) -> str:
        if not self.compared:
            return f"shadow: nothing compared yet, {self.failed} failed"
        return (
            f"shadow: {self.different} of {self.compared} answers differ, by up to "
            f"{self.difference:.3g}; {self.failed} failed; a run takes "
            f"{self.shadow_seconds / self.compared * 1e3:.3g} ms against "
            f"{self.seconds / self.compared * 1e3:.3g} ms"
        )


class Shadowed(WrappedModel):
    """A version whose requests are mirrored to ``find()``; ``share`` in (0, 1] of them.

    ``find`` gives None where the shadow is not loaded.
    """

    def __init__(
        self, model: ModelHandle, find: Callable[[], ModelHandle | None], share: float,
        comparison: Comparison, tolerance: float = 1e-3,
    ) -> None:  # fmt: skip
        super().__init__(model)
        self._find = find
        self._share = share
        self._due = 0.0
        self.comparison = comparison
        self._tolerance = tolerance

    def submit(self, request: InferenceRequest, on_done: OnDone) -> Ticket:
        """See `ModelHandle.submit`."""
        self._due += self._share
        if self._due < 1:
            return self._model.submit(request, on_done)
        self._due -= 1

        def done(answer: InferenceResponse | Exception) -> None:
            on_done(answer)
            if not isinstance(answer, Exception):
                self._mirror(request, answer)

        return self._model.submit(request, done)

    def _mirror(self, request: InferenceRequest, answer: InferenceResponse) -> None:
        shadow, sums = self._find(), self.comparison
        if shadow is None:
            return
        if sums.under_way >= MOST:
            sums.dropped += 1
            return

        def compare(other: InferenceResponse | Exception) -> None:
            sums.under_way -= 1
            if isinstance(other, Exception):
                sums.failed += 1
            else:
                self._compare(answer, other)

        copy = request._replace(
            model=shadow.info.ref, client="shadow", priority=Priority.LOW, deadline=float("inf")
        )
        sums.under_way += 1
        try:
            shadow.submit(copy, compare)
        except InferenceServiceError:
            sums.under_way -= 1
            sums.failed += 1

    def _compare(self, answer: InferenceResponse, other: InferenceResponse) -> None:
        sums = self.comparison
        sums.compared += 1
        sums.seconds += answer.timing.compute
        sums.shadow_seconds += other.timing.compute
        equal, difference = _compared(answer.outputs, other.outputs, self._tolerance)
        sums.difference = max(sums.difference, difference)
        sums.different += not equal


def _compared(one: Tensors, other: Tensors, tolerance: float) -> tuple[bool, float]:
    """Whether the answers are equal within the tolerance, and their largest difference."""
    equal, largest = one.keys() == other.keys(), 0.0
    for name in one.keys() & other.keys():
        left, right = one[name], other[name]
        if left.shape != right.shape:
            equal = False
        elif left.dtype.kind in "fiu" and right.dtype.kind in "fiu":
            equal &= bool(np.isclose(left, right, tolerance, tolerance, equal_nan=True).all())
            apart = np.abs(np.subtract(left, right, dtype=np.float64))
            largest = max(largest, float(np.nanmax(apart, initial=0.0)))
        else:
            equal &= bool(np.array_equal(left, right))
    return equal, largest
