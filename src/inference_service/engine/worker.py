"""One model version's batch loop: carries out what the batcher decides."""

import asyncio
import math
from collections.abc import Callable, Hashable
from itertools import count

from inference_service.core.assembly import take
from inference_service.core.batcher import Batch, Batcher, Expired
from inference_service.core.errors import DeadlineExceeded, ModelNotReady, Overloaded
from inference_service.core.requests import InferenceRequest, InferenceResponse, Timing
from inference_service.core.tensors import BatchMode, Tensors
from inference_service.engine.interfaces import (
    BatchRecord,
    ModelInfo,
    Observer,
    Runner,
    RunResult,
)
from inference_service.engine.reply import Reply

_SMOOTHING = 0.1
_SHORTEST_ALARM = 0.001  # seconds; uvloop rounds what is below half of it to nothing


class Worker:
    """Feeds one runner from one queue.

    Submitting marks the queue dirty; the dispatch runs after all callbacks that are ready in this
    loop iteration, so requests that are already readable join the batch for free.
    """

    def __init__(
        self,
        info: ModelInfo,
        runner: Runner,
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        self.info = info
        self._runner = runner
        self._observer = observer
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._batcher: Batcher[Reply] = Batcher(info.policy)
        self._free = runner.slots
        self._dirty = False
        self._alarm: asyncio.TimerHandle | None = None
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._unique = count()
        self._seconds_per_row = 0.0

    @property
    def queue_rows(self) -> int:
        """Rows that wait for a slot."""
        return self._batcher.rows

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Queue the request and wait for its answer; cancelling withdraws it."""
        if self._draining:
            raise ModelNotReady(f"model {self.info.ref} is being unloaded")
        rows = self.info.signature.check(request.inputs, request.outputs)
        now = self._clock()
        if request.deadline <= now:
            raise DeadlineExceeded("the deadline passed before the request could be queued")
        reply = Reply(request.inputs, request.outputs, rows, self._loop)
        try:
            ticket = self._batcher.submit(
                reply, key=self._key(request), rows=rows, now=now, deadline=request.deadline
            )
        except Overloaded as full:
            full.retry_after = self._drain_seconds()
            raise
        self._idle.clear()
        self._mark_dirty()
        try:
            outputs, timing = await reply.wait()
        except asyncio.CancelledError:
            self._batcher.finish(ticket)
            self._check_idle()
            raise
        finally:
            reply.inputs = {}  # the ticket may outlive the request
        return InferenceResponse(self.info.ref, outputs, timing)

    async def drain(self) -> None:
        """Admit nothing more and wait until all that was admitted has ended."""
        self._draining = True
        self._check_idle()
        await self._idle.wait()

    async def aclose(self) -> None:
        """Free the runner. Call it after `drain`."""
        if self._alarm is not None:
            self._alarm.cancel()
        await self._runner.aclose()

    def _key(self, request: InferenceRequest) -> Hashable:
        """What must be equal for two requests to share a run: the outputs and the row's shape."""
        signature = self.info.signature
        if signature.mode is BatchMode.WHOLE:
            return next(self._unique)
        if signature.has_fixed_rows:
            return request.outputs
        return request.outputs, tuple(
            request.inputs[spec.name].shape[1:] for spec in signature.inputs
        )

    def _drain_seconds(self) -> float:
        """How long the queue as it stands will take."""
        return self._batcher.rows * self._seconds_per_row / self._runner.slots

    def _mark_dirty(self) -> None:
        if not self._dirty:
            self._dirty = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._dirty = False
        now = self._clock()
        for decision in self._batcher.poll(now, slots=self._free):
            if isinstance(decision, Expired):
                decision.ticket.item.fail(self._expired(decision, now))
            else:
                self._start(decision, now)
        self._set_alarm()
        self._check_idle()

    def _expired(self, decision: Expired[Reply], now: float) -> DeadlineExceeded:
        where = "in the queue, it was not run" if decision.waited else "while it was being run"
        return DeadlineExceeded(
            f"the deadline passed after {now - decision.ticket.arrival:.3f} s {where}"
        )

    def _start(self, batch: Batch[Reply], now: float) -> None:
        self._free -= 1
        parts = [self._rows_of(part.ticket.item, part.start, part.stop, part.ticket.rows)
                 for part in batch.parts]  # fmt: skip

        def done(result: RunResult) -> None:
            self._completed(batch, result, now)

        self._runner.start(parts, batch.parts[0].ticket.item.outputs, done)

    def _rows_of(self, reply: Reply, start: int, stop: int, rows: int) -> Tensors:
        return reply.inputs if stop - start == rows else take(reply.inputs, start, stop)

    def _completed(self, batch: Batch[Reply], result: RunResult, started: float) -> None:
        self._free += 1
        for part, outcome in zip(batch.parts, result.outcomes, strict=True):
            timing = Timing(
                queue=started - part.ticket.arrival, compute=result.seconds, batch_rows=batch.rows
            )
            part.ticket.item.deliver(part.start, part.rows, outcome, timing)
            if part.ticket.item.settled:  # after a failure its other chunks need not run any more
                self._batcher.finish(part.ticket)
        per_row = result.seconds / batch.rows
        self._seconds_per_row += _SMOOTHING * (per_row - self._seconds_per_row)
        self._observer.batched(
            BatchRecord(
                model=self.info.ref,
                rows=batch.rows,
                requests=len(batch.parts),
                reason=batch.reason,
                seconds=result.seconds,
                runs=result.runs,
            )
        )
        self._mark_dirty()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        wake = self._batcher.wake_at(slots=self._free)
        if wake != math.inf:
            # Not call_at: uvloop's own clock has milliseconds and is read once per iteration.
            delay = max(wake - self._clock(), _SHORTEST_ALARM)
            self._alarm = self._loop.call_later(delay, self._mark_dirty)

    def _check_idle(self) -> None:
        if self._batcher.rows == 0 and self._free == self._runner.slots:
            self._idle.set()
