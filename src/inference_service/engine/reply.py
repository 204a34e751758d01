"""The awaitable answer to one queued request: the only code that touches futures."""

import asyncio
from collections.abc import Awaitable, Sequence

from inference_service.core.assembly import assemble
from inference_service.core.requests import Timing
from inference_service.core.tensors import Tensors
from inference_service.engine.interfaces import Outcome

_NO_TIME = Timing(0.0, 0.0, 0)


class Reply:
    """Collects the answers to all chunks of a request, in any order, and resolves once.

    A cancel and an answer may come in the same tick, in either order: the first one counts.
    """

    __slots__ = ("_chunks", "_future", "_missing", "inputs", "outputs", "timing")

    def __init__(
        self, inputs: Tensors, outputs: Sequence[str], rows: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self._future: asyncio.Future[Tensors] = loop.create_future()
        self._chunks: dict[int, Tensors] | None = None  # of an answer that comes in pieces
        self._missing = rows
        self.timing = _NO_TIME

    @property
    def settled(self) -> bool:
        """Whether it was answered, failed or given up."""
        return self._future.done()

    def wait(self) -> Awaitable[Tensors]:
        """The outputs; then ``timing`` tells where the time went.

        Cancelling who awaits it gives the reply up.
        """
        return self._future

    def deliver(self, start: int, rows: int, outcome: Outcome, timing: Timing) -> None:
        """The outcome for rows ``start`` to ``start + rows``."""
        if self._future.done():
            return
        if isinstance(outcome, Exception):
            self.fail(outcome)
            return
        self._missing -= rows
        if self._missing == 0 and self._chunks is None:
            self.timing = timing
            self._future.set_result(outcome)
            return
        known = self.timing
        self.timing = Timing(
            queue=known.queue or timing.queue,
            compute=known.compute + timing.compute,
            batch_rows=max(known.batch_rows, timing.batch_rows),
        )
        chunks = self._chunks = self._chunks or {}
        chunks[start] = outcome
        if self._missing == 0:
            self._future.set_result(assemble([chunks[i] for i in sorted(chunks)]))

    def fail(self, error: Exception) -> None:
        """No answer will come."""
        if not self._future.done():
            self._future.set_exception(error)
