"""In-flight sharing: identical requests that wait or run at the same time are computed once.

Opt-in for each model. Nothing is kept after the answer, so nothing can be stale.
"""

import asyncio
import hashlib
import math
from collections.abc import Callable
from functools import partial

from inference_service.core.errors import DeadlineExceeded
from inference_service.core.requests import InferenceRequest, InferenceResponse
from inference_service.engine.interfaces import OnDone, Ticket

Submit = Callable[[InferenceRequest, OnDone], Ticket]


class _Shared:
    """A computation and the requests that are attached to it."""

    __slots__ = ("attached", "deadline", "ticket")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.attached: dict[_Attached, None] = {}
        self.ticket: Ticket | None = None


class _Attached:
    """The ticket of one request."""

    __slots__ = ("_leave", "on_done", "timer")

    def __init__(self, on_done: OnDone, leave: "Callable[[_Attached], None]") -> None:
        self.on_done = on_done
        self.timer: asyncio.TimerHandle | None = None
        self._leave = leave

    def cancel(self) -> None:
        """See `Ticket.cancel`."""
        self._leave(self)

    def end(self, answer: InferenceResponse | Exception) -> None:
        """Hand the answer over."""
        if self.timer is not None:
            self.timer.cancel()
        self.on_done(answer)


class Sharing:
    """Attaches a request to the computation of an identical one that is under way."""

    def __init__(self, submit: Submit, clock: Callable[[], float]) -> None:
        self._submit = submit
        self._clock = clock
        self._under_way: dict[bytes, _Shared] = {}

    def submit(self, request: InferenceRequest, on_done: OnDone) -> Ticket:
        """The answer to the request, or to its twin. Raises what ``submit`` raises.

        A request joins only a computation that may take as long as the request itself has. It ends
        at its own deadline; the computation is withdrawn when no request is attached to it.
        """
        key = digest(request)
        shared = self._under_way.get(key)
        if shared is None or shared.deadline < request.deadline:
            shared = _Shared(request.deadline)
            shared.ticket = self._submit(request, partial(self._done, key, shared))
            self._under_way[key] = shared
        attached = _Attached(on_done, partial(self._leave, key, shared))
        shared.attached[attached] = None
        if request.deadline < shared.deadline and request.deadline < math.inf:
            left = max(request.deadline - self._clock(), 0.0)
            loop = asyncio.get_running_loop()
            attached.timer = loop.call_later(left, self._expire, key, shared, attached)
        return attached

    def _expire(self, key: bytes, shared: _Shared, attached: _Attached) -> None:
        self._leave(key, shared, attached)
        attached.end(
            DeadlineExceeded("the deadline passed while an identical request was being computed")
        )

    def _leave(self, key: bytes, shared: _Shared, attached: _Attached) -> None:
        if attached.timer is not None:
            attached.timer.cancel()
        if attached not in shared.attached:
            return
        del shared.attached[attached]
        if not shared.attached and shared.ticket is not None:
            self._forget(key, shared)
            shared.ticket.cancel()

    def _done(self, key: bytes, shared: _Shared, answer: InferenceResponse | Exception) -> None:
        self._forget(key, shared)
        attached, shared.attached = shared.attached, {}
        for one in attached:
            one.end(answer)

    def _forget(self, key: bytes, shared: _Shared) -> None:
        if self._under_way.get(key) is shared:
            del self._under_way[key]


def digest(request: InferenceRequest) -> bytes:
    """Equal for requests with equal inputs, wanted outputs and priority."""
    state = hashlib.blake2b(digest_size=16)
    state.update(repr((request.outputs, request.priority.value)).encode())
    for name in sorted(request.inputs):
        array = request.inputs[name]
        state.update(repr((name, array.dtype.str, array.shape)).encode())
        if array.dtype.hasobject:
            state.update(repr(array.tolist()).encode())
        else:
            state.update(array.tobytes())
    return state.digest()
