"""What becomes of one queued request: its answer in pieces, and one call back at the end."""

import logging
from collections.abc import Callable

from inference_service.core.errors import InferenceServiceError
from inference_service.core.requests import InferenceRequest, InferenceResponse, ModelRef, Timing
from inference_service.core.rows import RowLayout
from inference_service.core.scheduling.entries import Entry
from inference_service.core.tensors import Tensors
from inference_service.engine.interfaces import OnDone, Outcome, Ticket

log = logging.getLogger(__name__)

Answer = InferenceResponse | Exception
_NO_TIME = Timing(0.0, 0.0, 0)
_NOTHING: Tensors = {}


class Reply:
    """Collects the outcomes of all chunks of a request, in any order, and settles once.

    It is the request's `Ticket`, too: a cancel and an answer may come in the same tick, in either
    order, and the first one counts.
    """

    __slots__ = (
        "_answers", "_chunks", "_missing", "alone", "entry", "inputs", "layout", "on_done",
        "outputs", "request", "result", "rows", "second", "settled", "timing",
    )  # fmt: skip

    def __init__(
        self, request: InferenceRequest, on_done: OnDone, answers: "Answers", rows: int,
        layout: RowLayout, *, alone: bool,
    ) -> None:  # fmt: skip
        self.request = request
        self.inputs = request.inputs
        self.outputs = request.outputs
        self.layout = layout
        self.on_done: OnDone | None = on_done
        self.entry: Entry[Reply] | None = None
        self.second: Ticket | None = None
        """The request has been queued again, alone."""
        self._answers = answers
        self.rows = rows
        self.alone = alone
        self.settled = False
        self.result: Outcome = _NOTHING
        self.timing = _NO_TIME
        # The rows and outputs of each piece, for an answer that comes in pieces.
        self._chunks: dict[int, tuple[int, Tensors]] | None = None
        self._missing = rows

    def cancel(self) -> None:
        """Withdraw the request: ``on_done`` is not called any more."""
        if self.second is not None:
            self.second.cancel()
        if self.on_done is None:
            return
        self.on_done = None
        if not self.settled:
            self.settled = True
            self._answers.withdraw(self)
        self.inputs, self.entry = _NOTHING, None  # the entry may outlive the request

    def deliver(self, start: int, rows: int, outputs: Tensors, timing: Timing) -> None:
        """The answer to rows ``start`` to ``start + rows``."""
        if self.settled:
            return
        self._missing -= rows
        if self._missing == 0 and self._chunks is None:
            self.timing = timing
            self.settled = True
            self.result = outputs
            self._answers.settled.append(self)
            return
        known = self.timing
        self.timing = Timing(
            queue=known.queue or timing.queue,
            compute=known.compute + timing.compute,
            batch_rows=max(known.batch_rows, timing.batch_rows),
        )
        chunks = self._chunks = self._chunks or {}
        chunks[start] = rows, outputs
        if self._missing == 0:
            counts, parts = zip(*(chunks[i] for i in sorted(chunks)), strict=True)
            try:
                self._settle(self.layout.join(parts, counts))
            except (InferenceServiceError, MemoryError) as error:
                self.fail(error)

    def fail(self, error: Exception) -> None:
        """No answer will come."""
        if not self.settled:
            self._settle(error)

    def _settle(self, result: Outcome) -> None:
        self.settled = True
        self.result = result
        self._answers.settled.append(self)


class Answers:
    """The replies that have settled, until their call backs.

    Those come at the end of what the worker does, never in the middle of its bookkeeping: a call
    back may submit the next request, or cancel another.
    """

    def __init__(
        self, withdraw: Callable[[Reply], None], again: Callable[[Reply, Exception], bool]
    ) -> None:
        """``withdraw`` takes a reply that is cancelled out of the queue. ``again`` is told each
        error; true: the request has been queued again."""
        self.withdraw = withdraw
        self.settled: list[Reply] = []
        self._again = again

    def call_back(self, model: ModelRef) -> None:
        """Hand the answers over, those of this version."""
        while self.settled:
            settled, self.settled = self.settled, []
            for reply in settled:
                on_done, result = reply.on_done, reply.result
                if on_done is None:  # cancelled since
                    continue
                reply.inputs, reply.entry = _NOTHING, None
                if not isinstance(result, Exception):
                    answer: Answer = InferenceResponse(model, result, reply.timing, reply.rows)
                else:
                    error = self._error(reply, result)
                    if error is None:
                        continue
                    answer = error
                reply.on_done = None
                try:
                    on_done(answer)
                except Exception:  # the answers to the rest of the batch must go out
                    log.exception("the answer to a request could not be handed over")

    def _error(self, reply: Reply, error: Exception) -> Exception | None:
        """The error that a request ends with; None: it has been queued again."""
        try:
            return None if self._again(reply, error) else error
        except InferenceServiceError as refused:
            return refused
