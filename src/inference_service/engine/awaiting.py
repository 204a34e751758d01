"""The coroutine on top of `ModelHandle.submit`: the only code of the engine that makes a future."""

import asyncio

from inference_service.core.requests import InferenceRequest, InferenceResponse
from inference_service.engine.interfaces import ModelHandle


async def infer(model: ModelHandle, request: InferenceRequest) -> InferenceResponse:
    """Submit the request and wait for its answer; cancelling withdraws it.

    Raises what `ModelHandle.submit` raises, and the error that it ends with.
    """
    future: asyncio.Future[InferenceResponse] = asyncio.get_running_loop().create_future()

    def done(answer: InferenceResponse | Exception) -> None:
        if future.done():
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    ticket = model.submit(request, done)
    try:
        return await future
    except asyncio.CancelledError:
        ticket.cancel()
        raise
