"""A model version that was unloaded to make room, and that the next request brings back."""

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

from inference_service.core.errors import (
    DeadlineExceeded,
    InferenceServiceError,
    ModelNotReady,
    Overloaded,
)
from inference_service.core.requests import InferenceRequest, ModelRef
from inference_service.engine.interfaces import ModelHandle, ModelInfo, OnDone, Ticket

ASLEEP = "unloaded to make room for other models (memory.budget); the next request loads it"


class Successor(Protocol):
    """What answers the requests that still come to a version while it is drained."""

    def submit(self, request: InferenceRequest, on_done: OnDone) -> Ticket:
        """See `ModelHandle.submit`."""


class Gone:
    """Nothing does."""

    def __init__(self, ref: ModelRef) -> None:
        self._ref = ref

    def submit(self, request: InferenceRequest, on_done: OnDone) -> Ticket:
        """Raises ModelNotReady."""
        raise ModelNotReady(f"model {self._ref} is being unloaded")


class _Waiting:
    """A request that waits for its model; the ticket of it, from the first to the last."""

    __slots__ = ("alarm", "on_done", "request", "ticket")

    def __init__(self, request: InferenceRequest, on_done: OnDone) -> None:
        self.request = request
        self.on_done: OnDone | None = on_done
        self.alarm: asyncio.TimerHandle | None = None
        self.ticket: Ticket | None = None

    def cancel(self) -> None:
        """See `Ticket.cancel`."""
        self.on_done = None
        self._disarm()
        if self.ticket is not None:
            self.ticket.cancel()

    def end(self, error: Exception) -> None:
        """Give the error, if the request still waits."""
        on_done, self.on_done = self.on_done, None
        self._disarm()
        if on_done is not None:
            on_done(error)

    def go_on(self, model: ModelHandle) -> None:
        """The model is back."""
        self._disarm()
        if self.on_done is None:
            return
        try:
            self.ticket = model.submit(self.request, self.on_done)
        except InferenceServiceError as error:
            self.end(error)

    def _disarm(self) -> None:
        if self.alarm is not None:
            self.alarm.cancel()
            self.alarm = None


class Sleeping:
    """The handle of such a version: requests wait for it until their deadlines.

    ``seconds`` is what its load has taken before, ``wake`` begins another one (called for every
    request). How many requests wait is bounded by what may be in flight.
    """

    def __init__(
        self, info: ModelInfo, seconds: float, wake: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        self.info = info
        self.seconds = seconds
        self._wake = wake
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._became: ModelHandle | Exception | None = None  # for requests that found it before

    def refusal(self, deadline: float) -> Overloaded | None:
        """See `ModelHandle.refusal`: a load takes as long as the last one has."""
        if self._became is not None or self._clock() + self.seconds <= deadline:
            return None
        self._wake()  # for the next one
        return Overloaded(
            f"model {self.info.ref} is being loaded, which takes about {self.seconds:.1f} s",
            reason="deadline",
            retry_after=max(1.0, self.seconds),
        )

    def submit(self, request: InferenceRequest, on_done: OnDone) -> Ticket:
        """See `ModelHandle.submit`."""
        if isinstance(self._became, Exception):
            raise self._became
        if self._became is not None:
            return self._became.submit(request, on_done)
        self.info.signature.check(request.inputs, request.outputs)
        left = request.deadline - self._clock()
        if left <= 0:
            raise DeadlineExceeded("the deadline passed before the request could be queued")
        waiting = _Waiting(request, on_done)
        if left < math.inf:
            late = DeadlineExceeded("the deadline passed while the model was being loaded")
            waiting.alarm = asyncio.get_running_loop().call_later(left, waiting.end, late)
        self._waiting.append(waiting)
        self._wake()
        return waiting

    def woken(self, model: ModelHandle) -> None:
        """It is back: pass on what waits, in the order of arrival."""
        self._became = model
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.go_on(model)

    def failed(self, error: Exception) -> None:
        """It can't be loaded: end what waits."""
        self._became = error
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.end(error)
