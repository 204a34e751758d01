"""One model version at work: carries out what its scheduler decides."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from inference_service.core.errors import (
    DeadlineExceeded,
    ModelNotReady,
    Overloaded,
    RowsMismatch,
)
from inference_service.core.requests import InferenceRequest, InferenceResponse, Timing
from inference_service.core.scheduling.judges import Judges
from inference_service.core.scheduling.layout import LayoutChoice
from inference_service.core.scheduling.lengths import padding_waste
from inference_service.core.scheduling.scheduler import Scheduler
from inference_service.core.scheduling.tickets import Batch, Expired, Ticket
from inference_service.core.tensors import BatchMode, Tensors
from inference_service.engine.audit import Auditor
from inference_service.engine.dispatcher import Dispatcher
from inference_service.engine.interfaces import (
    BatchRecord,
    Job,
    ModelInfo,
    Observer,
    Runner,
    RunResult,
)
from inference_service.engine.keys import BatchKeys
from inference_service.engine.reply import Reply
from inference_service.engine.sharing import Sharing

log = logging.getLogger(__name__)

_SHORTEST_ALARM = 0.001  # seconds; uvloop rounds what is below half of it to nothing
_REMEMBERED = 32
_PAUSE = 0.004  # seconds between two slices of a replay
_NOTHING: Tensors = {}


@dataclass(slots=True, eq=False)
class _Run:
    """A batch that is being run."""

    batch: Batch[Reply]
    job: Job
    cores: int
    layout: int
    stop: Callable[[], None] | None = None


class Worker:
    """Feeds one runner from one queue."""

    def __init__(
        self, info: ModelInfo, runner: Runner, observer: Observer, dispatcher: Dispatcher
    ) -> None:
        self.info = info
        self.recent: deque[BatchRecord] = deque(maxlen=_REMEMBERED)
        self.layouts = LayoutChoice(info.profiles)
        self.scheduler: Scheduler[Reply] = Scheduler(
            info.policy, self.layouts.cost, self.layouts.layout.instances
        )
        self._runner = runner
        self._observer = observer
        self._dispatcher = dispatcher
        self._loop = asyncio.get_running_loop()
        self._sharing = Sharing(self._infer, dispatcher.clock) if info.share_identical else None
        self._judges = Judges(self.scheduler, _SHORTEST_ALARM)
        self._thinking: asyncio.TimerHandle | None = None
        self._running: list[_Run] = []
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        self._draining = False
        self._idle = asyncio.Event()  # of interest to a drain alone
        self._keys = BatchKeys(info)
        self._apart = False  # after a violation of batch safety no request shares a run
        self._auditor: Auditor | None = None
        if info.signature.mode is BatchMode.MERGE:
            clock = dispatcher.clock
            self._auditor = Auditor(runner, clock, lambda: self._unoccupied, self.violated)

    @property
    def queue_rows(self) -> int:
        """Rows that wait for a slot."""
        return self.scheduler.rows

    @property
    def running(self) -> int:
        """Batches that run."""
        return len(self._running)

    def infer(self, request: InferenceRequest) -> Coroutine[Any, Any, InferenceResponse]:
        """Queue the request and wait for its answer; cancelling withdraws it."""
        if self._sharing is not None:
            return self._sharing.infer(request)
        return self._infer(request)

    async def _infer(self, request: InferenceRequest) -> InferenceResponse:
        if self._draining:
            raise ModelNotReady(f"model {self.info.ref} is being unloaded")
        rows = self.info.signature.check(request.inputs, request.outputs)
        guard = self.info.guard
        alone = (guard is not None and guard.alone(request.inputs)) or self._apart
        if alone and not self.info.policy.sizes:
            rows = 1  # it isn't cut
        now = self._dispatcher.clock()
        if request.deadline <= now:
            raise DeadlineExceeded("the deadline passed before the request could be queued")
        layout = self.info.signature.rows
        reply = Reply(request.inputs, request.outputs, rows, self._loop, layout, alone=alone)
        key, volume, length = self._keys.of(request, alone=alone)
        ticket = self.scheduler.submit(
            reply, key=key, rows=rows, now=now, deadline=request.deadline, client=request.client,
            priority=request.priority, volume=volume, length=length,
        )  # fmt: skip
        self._dispatcher.mark(self)
        try:
            outputs = await reply.wait()
        except asyncio.CancelledError:
            self._gone(ticket)
            self._check_idle()
            raise
        except RowsMismatch as error:
            if alone:
                raise
            self.violated(str(error))
            return await self._infer(request)
        finally:
            reply.inputs = _NOTHING  # the ticket may outlive the request
        return InferenceResponse(self.info.ref, outputs, reply.timing, rows)

    def violated(self, difference: str) -> None:
        """Rows of one run depend on each other: from now on every request runs alone."""
        if self._apart:
            return
        self._apart = True
        if self._auditor is not None:
            self._auditor.stop()
        info = self.info
        log.error("%s is batched no more: its rows are not independent: %s", info.ref, difference)
        self._observer.violated(info.ref)
        warning = f"requests are not batched any more: {difference}"
        signature = info.signature
        if not info.policy.sizes:  # a batch of one size is still filled up
            signature = replace(signature, mode=BatchMode.WHOLE)
        self.info = replace(
            info,
            signature=signature,
            safety=replace(info.safety, refuted=difference),
            warnings=(*info.warnings, warning),
        )

    def refusal(self, deadline: float) -> Overloaded | None:
        """See `Engine.refusal`."""
        volume = self._keys.fixed_volume or None
        return self.scheduler.refusal(self._dispatcher.clock(), deadline, volume)

    async def drain(self) -> None:
        """Admit nothing more and wait until all that was admitted has ended."""
        self._draining = True
        self._check_idle()
        await self._idle.wait()

    async def aclose(self) -> None:
        """Free the runner. Call it after `drain`."""
        if self._alarm is not None:
            self._alarm.cancel()
        if self._thinking is not None:
            self._thinking.cancel()
        if self._auditor is not None:
            self._auditor.stop()
        self._dispatcher.forget(self)
        await self._runner.aclose()

    @property
    def wants_slot(self) -> bool:
        """See `Queueing.wants_slot`."""
        waiting = self.scheduler.rows > 0
        return waiting and len(self._running) < self.layouts.layout.instances

    @property
    def cores(self) -> int:
        """See `Queueing.cores`."""
        return 0 if self._runner.inline else self.layouts.layout.threads

    def urgency(self, now: float) -> float:
        """See `Queueing.urgency`."""
        return self.scheduler.candidate(now)

    def expire(self, now: float) -> None:
        """See `Queueing.expire`."""
        for expired in self.scheduler.expire(now):
            self._fail(expired, now)
        self._check_idle()

    def run_next(self, now: float) -> bool:
        """See `Queueing.run_next`."""
        largest = self.info.policy.max_batch_size
        if self.layouts.consider(self.scheduler.rows / largest):
            self.scheduler.use(self.layouts.cost, self.layouts.layout.instances)
        started = False
        for decision in self.scheduler.next_batch(now):
            if isinstance(decision, Expired):
                self._fail(decision, now)
            else:
                self._start(decision)
                started = True
        self._check_idle()
        return started

    def arm(self, now: float) -> None:
        """See `Queueing.arm`. An alarm that comes too early is left: it will be set anew then."""
        free = self.layouts.layout.instances - len(self._running)
        wake = self.scheduler.wake_at(slots=free)
        if wake >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = wake
        # Not call_at: uvloop's own clock has milliseconds and is read once per iteration.
        self._alarm = self._loop.call_later(max(wake - now, _SHORTEST_ALARM), self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        self._dispatcher.mark(self)

    def _gone(self, ticket: Ticket[Reply]) -> None:
        """Nobody waits for this request any more: a run that is for nobody else is broken off."""
        self.scheduler.finish(ticket)
        for run in self._running:
            if run.stop is not None and all(part.ticket.dead for part in run.batch.parts):
                run.stop()
                run.stop = None

    def _fail(self, expired: Expired[Reply], now: float) -> None:
        ticket = expired.ticket
        waited = now - ticket.arrival
        if expired.refused:
            text = f"refused after {waited:.3f} s in the queue: it would be late after the next run"
            largest = self.info.policy.max_batch_size
            pause = self.scheduler.load.seconds(largest, self._keys.fixed_volume)
            ticket.item.fail(Overloaded(text, reason="deadline", retry_after=pause))
        else:
            ticket.item.fail(DeadlineExceeded(_too_late(expired, waited)))
        self._gone(ticket)

    def _start(self, batch: Batch[Reply]) -> None:
        cores = self.cores
        parts = [_rows_of(ticket.item, start, stop, ticket.rows)
                 for ticket, start, stop in batch.parts]  # fmt: skip
        first = batch.parts[0].ticket.item
        job = Job(parts, first.outputs, self.layouts.layout.threads, batch.length, first.alone)
        run = _Run(batch, job, cores, self.layouts.index)
        self._running.append(run)
        self._dispatcher.took(cores)

        def done(result: RunResult) -> None:
            self._completed(run, result)

        if self._apart and not first.alone:  # queued before the violation
            mismatch = RowsMismatch("it was queued to share a run")
            done(RunResult([mismatch] * len(parts), 0.0, runs=0, stopped=True))
            return
        stop = self._runner.start(job, done)
        if run in self._running:
            run.stop = stop

    def _completed(self, run: _Run, result: RunResult) -> None:
        batch = run.batch
        self._running.remove(run)
        self._dispatcher.gave_back(run.cores)
        dead = 0
        for (ticket, start, stop), outcome in zip(batch.parts, result.outcomes, strict=True):
            if ticket.dead:
                dead += stop - start
                continue
            timing = Timing(batch.started - ticket.arrival, result.seconds, batch.rows)
            ticket.item.deliver(start, stop - start, outcome, timing)
            if ticket.item.settled:  # after a failure its other chunks need not run any more
                self.scheduler.finish(ticket)
        learn = result.runs == 1 and not result.stopped and run.layout == self.layouts.index
        now = self._dispatcher.clock()
        self.scheduler.completed(batch, result.seconds, now, learn=learn)
        self._judges.completed(batch, now)
        auditor = self._auditor
        if auditor is not None and now >= auditor.due and len(batch.parts) > 1:
            rows = [stop - start for _, start, stop in batch.parts]
            auditor.take(run.job, list(result.outcomes), rows)
        if self._judges.due and self._thinking is None:
            self._thinking = self._loop.call_later(_PAUSE, self._think)
        record = BatchRecord(
            model=self.info.ref,
            rows=batch.rows,
            requests=len(batch.parts),
            reason=batch.reason,
            seconds=result.seconds,
            runs=result.runs,
            predicted=batch.predicted,
            held=batch.held,
            saved=max(batch.predicted - result.seconds, 0.0) if result.stopped else 0.0,
            wasted=result.seconds * dead / batch.rows,
            padding=None if self.info.padding.trivial else _padding(batch, self.info),
        )
        self.recent.append(record)
        self._observer.batched(record)
        self._dispatcher.mark(self)

    def _think(self) -> None:
        """Judge the holds in small slices between the event loop's other work."""
        self._judges.work()
        due = self._judges.due
        self._thinking = self._loop.call_later(_PAUSE, self._think) if due else None

    @property
    def _unoccupied(self) -> bool:
        return not self.scheduler.rows and not self._dispatcher.busy

    def _check_idle(self) -> None:
        if self._draining and not self.scheduler.rows and not self._running:
            self._idle.set()


def _too_late(expired: Expired[Reply], waited: float) -> str:
    if expired.foreseen:
        return f"after {waited:.3f} s in the queue a run would end after the deadline"
    if expired.waited:
        return f"the deadline passed after {waited:.3f} s in the queue, it was not run"
    return f"the deadline passed after {waited:.3f} s while it was being run"


def _rows_of(reply: Reply, start: int, stop: int, rows: int) -> Tensors:
    whole = stop - start == rows
    return reply.inputs if whole else reply.layout.take(reply.inputs, start, stop)


def _padding(batch: Batch[Reply], info: ModelInfo) -> float:
    """The share of a run that is padding: of rows to their common length, and of rows."""
    used = batch.rows / info.policy.padded(batch.rows)
    if batch.length:
        lengths = [ticket.length for ticket, start, stop in batch.parts for _ in range(start, stop)]
        used *= 1 - padding_waste(lengths, batch.length)
    return 1 - used
