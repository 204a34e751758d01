"""Coroutines on top of callbacks: the only code that makes a future of an answer."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from inference_service.core.requests import InferenceRequest, InferenceResponse
from inference_service.engine.interfaces import ModelHandle

_T = TypeVar("_T")
_Begun = TypeVar("_Begun")


async def awaited(
    begin: Callable[[Callable[[_T | Exception], None]], _Begun], withdraw: Callable[[_Begun], None]
) -> _T:
    """Call ``begin`` with what it is to call with the answer, and wait for that.

    Raises what ``begin`` raises, and an answer that is an error. Cancelling calls ``withdraw`` with
    what ``begin`` has returned.
    """
    future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
    begun = begin(partial(_tell, future))
    try:
        return await future
    except asyncio.CancelledError:
        withdraw(begun)
        raise
    finally:
        # An error knows this frame, and the frames that know the request's body: as long as it is
        # known here in turn, nobody but the collector gives that memory back.
        del future, begun


def _tell(future: asyncio.Future[_T], answer: _T | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


async def infer(model: ModelHandle, request: InferenceRequest) -> InferenceResponse:
    """Submit the request and wait for its answer; cancelling withdraws it.

    Raises what `ModelHandle.submit` raises, and the error that it ends with.
    """
    return await awaited(partial(model.submit, request), lambda ticket: ticket.cancel())
