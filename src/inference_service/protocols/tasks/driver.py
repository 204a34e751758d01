"""Runs tasks: their steps in a pool of threads, their inferences on the engine."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar

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
from inference_service.engine.interfaces import Engine, ModelInfo
from inference_service.protocols.tasks.codec import Asked
from inference_service.web.endpoint import Course, Edge, Received

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
    """One request's way through the engine, for all of its payloads.

    ``decode`` is the time until the first inference, ``encode`` that after the last, in seconds.
    """

    engine: Engine
    info: ModelInfo
    pool: Executor
    deadline: float
    client: str
    priority: Priority
    rows: int = 0
    queue: float = 0.0
    compute: float = 0.0
    batch: int = 0
    decode: float = 0.0
    encode: float = 0.0

    @classmethod
    def about(cls, edge: Edge, received: Received, pool: Executor) -> "Conversation":
        """The conversation that a request begins."""
        head = received.head
        return cls(edge.engine, received.info, pool, received.deadline, head.client, head.priority)

    async def taken_apart(self, read: Callable[..., _T], body: bytes, *arguments: Any) -> _T:
        """What ``read`` makes of the body, in a thread if there is much of it."""
        if len(body) < _INLINE_BELOW:
            return read(body, *arguments)
        return await self.in_pool(read, body, *arguments)

    @property
    def timing(self) -> Timing:
        """Of the payload that took the longest; each of its inferences counts."""
        return Timing(self.queue, self.compute, self.batch)

    async def results(self, task: Task, asked: Asked, parameters: Any, course: Course) -> list[Any]:
        """A result for each payload. What is wrong with one of them is told with its place.

        The course is told how it went.
        """
        try:
            return await all_of([
                self._result(task, payload, place, parameters)
                for payload, place in zip(asked.payloads, asked.places, strict=True)
            ])  # fmt: skip
        finally:
            course.decode, course.encode = self.decode, self.encode
            course.rows, course.timing = self.rows, self.timing

    async def _result(self, task: Task, payload: Payload, place: Path, parameters: Any) -> Any:
        data = payload.data
        size = len(data) if isinstance(data, bytes | str) else 0
        inline = size < task.inline_below
        try:
            steps = task.run(payload, parameters)
            return await self.drive(steps, inline=inline, quick=inline or task.quick_steps)
        except InvalidInput as error:
            if error.path and error.path[0] in task.parameters.model_fields:
                raise
            raise error.within(*place) from None

    async def drive(self, steps: Steps, *, inline: bool, quick: bool) -> Any:
        """What the steps return. ``inline``: the first of them is quick to do; ``quick``: the rest.

        Raises what they raise, and what the engine does.
        """
        queue = compute = 0.0
        begun = perf_counter()
        ended, value = await self._advance(steps, None, inline=inline)
        self.decode = max(self.decode, perf_counter() - begun)
        priority = self.priority
        while not ended:
            responses = await all_of([self._infer(one, priority) for one in value])
            priority = _SOONER[priority]
            for response in responses:
                self.rows += response.rows
            queue += max(response.timing.queue for response in responses)
            compute += max(response.timing.compute for response in responses)
            if queue + compute >= self.queue + self.compute:
                self.queue, self.compute = queue, compute
                self.batch = max(response.timing.batch_rows for response in responses)
            begun = perf_counter()
            outputs = [response.outputs for response in responses]
            ended, value = await self._advance(steps, outputs, inline=quick)
        self.encode = max(self.encode, perf_counter() - begun)
        return value

    async def _advance(
        self, steps: Steps, outputs: Sequence[Tensors] | None, *, inline: bool
    ) -> tuple[bool, Any]:
        if self.engine.clock() > self.deadline:
            raise DeadlineExceeded("the deadline passed before the request was prepared")
        if inline:
            return _next(steps, outputs)
        return await self.in_pool(_next, steps, outputs)

    async def in_pool(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Run something in a thread, as soon as one is free."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, function, *arguments)

    async def _infer(self, wanted: Inference, priority: Priority) -> InferenceResponse:
        info = self.info
        if wanted.model:
            info = self._other(wanted.model)
        inputs = info.pipeline.preprocess(wanted.inputs)
        request = InferenceRequest(info.ref, inputs, (), "", self.deadline, self.client, priority)
        return await self.engine.infer(request)

    def _other(self, name: str) -> ModelInfo:
        """Another model that the task needs. Raises ModelNotReady where it isn't there (yet)."""
        try:
            return self.engine.describe(ModelRef(name))
        except NotFound as error:
            raise ModelNotReady(
                f"model '{self.info.name}' needs the model '{name}', which isn't loaded"
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
