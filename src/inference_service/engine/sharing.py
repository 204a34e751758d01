"""In-flight sharing: identical requests that wait or run at the same time are computed once.

Opt-in for each model. Nothing is kept after the answer, so nothing can be stale.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from inference_service.core.errors import DeadlineExceeded
from inference_service.core.requests import InferenceRequest, InferenceResponse

Infer = Callable[[InferenceRequest], Awaitable[InferenceResponse]]


@dataclass(slots=True)
class _Shared:
    """A computation and how many wait for it."""

    task: asyncio.Future[InferenceResponse]
    deadline: float
    waiting: int = 0


class Sharing:
    """Attaches a request to the computation of an identical one that is under way."""

    def __init__(self, infer: Infer, clock: Callable[[], float]) -> None:
        self._infer = infer
        self._clock = clock
        self._under_way: dict[bytes, _Shared] = {}

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """The answer to the request, or to its twin.

        A request joins only a computation that may take as long as the request itself has. It gives
        up at its own deadline; the computation is withdrawn when no request waits for it any more.
        """
        key = digest(request)
        shared = self._under_way.get(key)
        if shared is None or shared.deadline < request.deadline:
            task = asyncio.ensure_future(self._infer(request))
            shared = self._under_way[key] = _Shared(task, request.deadline)
            task.add_done_callback(lambda _: self._forget(key, task))
        shared.waiting += 1
        left = request.deadline - self._clock()
        try:
            async with asyncio.timeout(left if shared.deadline > request.deadline else None):
                return await asyncio.shield(shared.task)
        except TimeoutError:
            raise DeadlineExceeded(
                "the deadline passed while an identical request was being computed"
            ) from None
        finally:
            shared.waiting -= 1
            if shared.waiting == 0 and not shared.task.done():
                self._forget(key, shared.task)
                shared.task.cancel()

    def _forget(self, key: bytes, task: asyncio.Future[InferenceResponse]) -> None:
        shared = self._under_way.get(key)
        if shared is not None and shared.task is task:
            del self._under_way[key]
        if task.done() and not task.cancelled():
            task.exception()  # looked at: its waiters may all have gone


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
