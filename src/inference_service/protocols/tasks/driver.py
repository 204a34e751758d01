"""Runs tasks: their steps in a pool of threads, their inferences on the engine."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeVar

from inference_service.core.decoding import counted
from inference_service.core.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelNotReady,
    NotFound,
    Path,
)
from inference_service.core.requests import (
    InferenceRequest,
    InferenceResponse,
    ModelRef,
    Timing,
)
from inference_service.core.scheduling.entries import Priority
from inference_service.core.tasks import Inference, Payload, Steps, Task
from inference_service.core.tensors import Tensors
from inference_service.engine.awaiting import infer
from inference_service.engine.interfaces import Engine, ModelHandle
from inference_service.processes.decoders import TaskPool
from inference_service.protocols.tasks.codec import Asked
from inference_service.protocols.tasks.holding import Holding, Share
from inference_service.serving.request import Request

_T = TypeVar("_T")
_INLINE_BELOW = 256 * 1024  # bytes of JSON or of a form that are taken apart on the loop
_SOONER = {
    Priority.LOW: Priority.NORMAL,
    Priority.NORMAL: Priority.HIGH,
    Priority.HIGH: Priority.HIGH,
}
"""What has begun is finished before others begin: under overload, half-done work is lost work."""


@dataclass(slots=True)
class Conversation:
    """One request's way through the engine, for all of its payloads, and how it went.

    The request is told: ``decode`` is the time until the first inference, ``encode`` that after the
    last, ``timing`` that of the payload that took the longest; each of its inferences counts.
    """

    engine: Engine
    request: Request
    pool: TaskPool
    queue: float = 0.0
    compute: float = 0.0
    batch: int = 0
    _holding: Holding = field(init=False)

    def __post_init__(self) -> None:
        # Some wait for a thread, so that none waits for work.
        self._holding = Holding(self.request.permit, 2 * self.pool.threads)

    async def taken_apart(self, read: Callable[..., _T], body: bytes, *arguments: Any) -> _T:
        """What ``read`` makes of the body, in a thread if there is much of it."""
        if len(body) < _INLINE_BELOW:
            return read(body, *arguments)
        return await self.in_pool(read, body, *arguments)

    async def results(self, task: Task, asked: Asked, parameters: Any) -> list[Any]:
        """A result for each payload. What is wrong with one of them is told with its place."""
        return await all_of([
            self._result(task, payload, place, parameters)
            for payload, place in zip(asked.payloads, asked.places, strict=True)
        ])  # fmt: skip

    async def _result(self, task: Task, payload: Payload, place: Path, parameters: Any) -> Any:
        data = payload.data
        size = len(data) if isinstance(data, bytes | str) else 0
        inline = size < task.inline_below
        try:
            steps = task.run(payload, parameters)
            share = self._holding.begin() if inline else await self._holding.turn()
            return await self._driven(steps, share, inline=inline, quick=inline or task.quick_steps)
        except InvalidInput as error:
            if error.path and error.path[0] in task.parameters.model_fields:
                raise
            raise error.within(*place) from None

    async def drive(self, steps: Steps, *, inline: bool, quick: bool) -> Any:
        """What the steps return. ``inline``: the first of them is quick to do; ``quick``: the rest.

        Raises what they raise, and what the engine does.
        """
        return await self._driven(steps, self._holding.begin(), inline=inline, quick=quick)

    async def _driven(self, steps: Steps, share: Share, *, inline: bool, quick: bool) -> Any:
        try:
            return await self._to_the_end(steps, share, inline=inline, quick=quick)
        finally:
            share.end()

    async def _to_the_end(self, steps: Steps, share: Share, *, inline: bool, quick: bool) -> Any:
        request = self.request
        queue = compute = 0.0
        begun = perf_counter()
        ended, value = await self._advance(steps, None, share, inline=inline)
        request.decode = max(request.decode, perf_counter() - begun)
        priority = request.head.priority
        while not ended:
            share.waits(value)
            responses = await all_of([self._infer(one, priority) for one in value])
            priority = _SOONER[priority]
            for response in responses:
                request.rows += response.rows
            queue += max(response.timing.queue for response in responses)
            compute += max(response.timing.compute for response in responses)
            if queue + compute >= self.queue + self.compute:
                self.queue, self.compute = queue, compute
                self.batch = max(response.timing.batch_rows for response in responses)
            request.timing = Timing(self.queue, self.compute, self.batch)
            begun = perf_counter()
            outputs = [response.outputs for response in responses]
            ended, value = await self._advance(steps, outputs, share, inline=quick)
        request.encode = max(request.encode, perf_counter() - begun)
        return value

    async def _advance(
        self, steps: Steps, outputs: Sequence[Tensors] | None, share: Share, *, inline: bool
    ) -> tuple[bool, Any]:
        if self.engine.clock() > self.request.deadline:
            raise DeadlineExceeded("the deadline passed before the request was prepared")
        if inline:
            return _next(steps, outputs)
        found: tuple[bool, Any]
        found, size = await self.in_pool(counted, _next, steps, outputs)
        share.brought(size)
        return found

    async def in_pool(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Run something in a thread, as soon as one is free. What it decodes ends with the wait."""
        loop = asyncio.get_running_loop()
        seconds = min(self.request.deadline - self.engine.clock(), self.request.limit)
        decoding = self.pool.decoders.begin(seconds)
        try:
            return await loop.run_in_executor(self.pool, decoding.run, function, *arguments)
        except asyncio.CancelledError:
            decoding.cancel()
            raise

    async def _infer(self, wanted: Inference, priority: Priority) -> InferenceResponse:
        asked = self.request
        model = self._other(wanted.model) if wanted.model else asked.model
        info = model.info
        inputs = info.transforms.preprocess(wanted.inputs)
        return await infer(
            model,
            InferenceRequest(
                info.ref, inputs, deadline=asked.deadline, client=asked.head.client,
                priority=priority, trace=asked.trace,
            ),
        )  # fmt: skip

    def _other(self, name: str) -> ModelHandle:
        """Another model that the task needs. Raises ModelNotReady where it isn't there (yet)."""
        try:
            return self.engine.resolve(ModelRef(name))
        except NotFound as error:
            raise ModelNotReady(
                f"model '{self.request.model_name}' needs the model '{name}', which isn't loaded"
            ) from error


def _next(steps: Steps, outputs: Sequence[Tensors] | None) -> tuple[bool, Any]:
    """Whether the task has ended, and its result or what it wants next."""
    try:
        return False, steps.send(outputs)  # type: ignore[arg-type] # None begins
    except StopIteration as stop:  # futures can't carry this one
        return True, stop.value


async def all_of(waits: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """All results in order, or the error of the first that fails: the others are then withdrawn."""
    if len(waits) == 1:
        return [await waits[0]]
    running = [asyncio.ensure_future(wait) for wait in waits]
    try:
        return await asyncio.gather(*running)
    except BaseException:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        raise
