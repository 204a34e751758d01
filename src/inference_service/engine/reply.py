"""The awaitable answer to one queued request: the only code that touches futures."""

import asyncio
from collections.abc import Sequence

from inference_service.core.assembly import assemble
from inference_service.core.requests import Timing
from inference_service.core.tensors import Tensors
from inference_service.engine.interfaces import Outcome


class Reply:
    """Collects the answers to all chunks of a request, in any order, and resolves once.

    A cancel and an answer may come in the same tick, in either order: the first one counts.
    """

    __slots__ = ("_chunks", "_future", "_missing", "_timing", "inputs", "outputs")

    def __init__(
        self, inputs: Tensors, outputs: Sequence[str], rows: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self._future: asyncio.Future[Tensors] = loop.create_future()
        self._chunks: dict[int, Tensors] = {}
        self._missing = rows
        self._timing = Timing(0.0, 0.0, 0)

    @property
    def settled(self) -> bool:
        """Whether it was answered, failed or given up."""
        return self._future.done()

    async def wait(self) -> tuple[Tensors, Timing]:
        """The outputs and where the time went. Cancelling the caller gives the reply up."""
        outputs = await self._future
        return outputs, self._timing

    def deliver(self, start: int, rows: int, outcome: Outcome, timing: Timing) -> None:
        """The outcome for rows ``start`` to ``start + rows``."""
        if self._future.done():
            return
        if isinstance(outcome, Exception):
            self.fail(outcome)
            return
        self._timing = Timing(
            queue=self._timing.queue or timing.queue,
            compute=self._timing.compute + timing.compute,
            batch_rows=max(self._timing.batch_rows, timing.batch_rows),
        )
        self._missing -= rows
        if self._missing == 0 and not self._chunks:
            self._future.set_result(outcome)
            return
        self._chunks[start] = outcome
        if self._missing == 0:
            self._future.set_result(assemble([self._chunks[i] for i in sorted(self._chunks)]))

    def fail(self, error: Exception) -> None:
        """No answer will come."""
        if not self._future.done():
            self._future.set_exception(error)
