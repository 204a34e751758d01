"""The awaitable answer to one queued request: the only code that touches futures."""

import asyncio
from collections.abc import Awaitable, Sequence

from inference_service.core.errors import InferenceServiceError
from inference_service.core.requests import Timing
from inference_service.core.rows import RowLayout
from inference_service.core.tensors import Tensors
from inference_service.engine.interfaces import Outcome

_NO_TIME = Timing(0.0, 0.0, 0)


class Reply:
    """Collects the answers to all chunks of a request, in any order, and resolves once.

    A cancel and an answer may come in the same tick, in either order: the first one counts.
    """

    __slots__ = (
        "_chunks", "_future", "_missing", "alone", "inputs", "layout", "outputs", "timing",
    )  # fmt: skip

    def __init__(
        self, inputs: Tensors, outputs: Sequence[str], rows: int, loop: asyncio.AbstractEventLoop,
        layout: RowLayout, *, alone: bool = False,
    ) -> None:  # fmt: skip
        self.inputs = inputs
        self.outputs = outputs
        self.layout = layout
        self.alone = alone
        self._future: asyncio.Future[Tensors] = loop.create_future()
        # The rows and outputs of each piece, for an answer that comes in pieces.
        self._chunks: dict[int, tuple[int, Tensors]] | None = None
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
        chunks[start] = rows, outcome
        if self._missing == 0:
            counts, parts = zip(*(chunks[i] for i in sorted(chunks)), strict=True)
            try:
                self._future.set_result(self.layout.join(parts, counts))
            except InferenceServiceError as error:
                self.fail(error)

    def fail(self, error: Exception) -> None:
        """No answer will come."""
        if not self._future.done():
            self._future.set_exception(error)
