"""One model version at work: carries out what its scheduler decides."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from inference_service.core.clients import network_of
from inference_service.core.errors import (
    DeadlineExceeded,
    Overloaded,
    RowsMismatch,
)
from inference_service.core.requests import InferenceRequest, InferenceResponse, Timing
from inference_service.core.scheduling.buckets import padding_waste
from inference_service.core.scheduling.entries import Batch, Drop, DropReason, Entry, EntryState
from inference_service.core.scheduling.layout import LayoutChoice
from inference_service.core.scheduling.scheduler import Scheduler
from inference_service.core.tensors import BatchMode, Tensors
from inference_service.engine.absence import Absence
from inference_service.engine.alarm import Alarm
from inference_service.engine.at_once import AtOnce
from inference_service.engine.audit import Auditor, batched_no_more
from inference_service.engine.dispatcher import Dispatcher
from inference_service.engine.interfaces import (
    BatchRecord,
    Job,
    ModelInfo,
    Observer,
    OnDone,
    Runner,
    RunResult,
    Ticket,
)
from inference_service.engine.keys import BatchKeys
from inference_service.engine.reply import Answers, Reply
from inference_service.engine.shapes import Shapes
from inference_service.engine.sharing import Sharing, Submit
from inference_service.engine.sleeping import Gone, Successor

log = logging.getLogger(__name__)

_REMEMBERED = 32


@dataclass(slots=True, eq=False)
class _Run:
    """A batch that is being run."""

    batch: Batch[Reply]
    job: Job
    cores: int
    layout: int
    stop: Callable[[], None] | None = None
    starting: bool = True
    """The decision that starts it is being carried out."""


class Worker:
    """Feeds one runner from one queue."""

    def __init__(
        self, info: ModelInfo, runner: Runner, observer: Observer, dispatcher: Dispatcher
    ) -> None:
        self.info = info
        self.recent: deque[BatchRecord] = deque(maxlen=_REMEMBERED)
        self.layouts = LayoutChoice(info.profiles, info.policy)
        self.scheduler: Scheduler[Reply] = Scheduler(
            info.policy, self.layouts.cost, self.layouts.layout.instances
        )
        self._runner, self.process = runner, runner.process
        self._observer = observer
        self._dispatcher = dispatcher
        self.used_at, self.memory_bytes = 0.0, runner.memory_bytes  # when a run has last ended
        self._absence = Absence(info.name, runner, self._process_changed)
        self.successor: Successor = Gone(info.ref)  # for requests that come during the drain
        self.submit: Submit = self._submit
        """See `ModelHandle.submit`."""
        if info.share_identical:
            self.submit = Sharing(self._submit, dispatcher.clock).submit
        self._answers = Answers(self._withdraw, self._again)
        self._running: list[_Run] = []
        self._alarm = Alarm(lambda: dispatcher.mark(self))
        self._draining = False
        self._idle = asyncio.Event()  # of interest to a drain alone
        self._keys = BatchKeys(info)
        self._shapes = _warm_shapes(self.layouts, self._keys)
        self._apart = False  # after a violation of batch safety no request shares a run
        self._at_once = AtOnce(runner, self.scheduler.estimates, self._note)
        self._auditor: Auditor | None = None
        if info.signature.mode is BatchMode.MERGE:
            self._auditor = Auditor(runner, dispatcher.clock, self._unoccupied, self.violated)

    def answer_at_once(self, request: InferenceRequest) -> InferenceResponse | Exception | None:
        """Run a lone request here and now: see `AtOnce`. None: submit it. Raises InvalidInput."""
        occupied = self.scheduler.requests or self._dispatcher.busy or self._draining
        if occupied or self._apart or not self._runner.inline or self.info.share_identical:
            return None
        self.used_at = self._dispatcher.clock()
        return self._at_once.run(self.info, request, self.layouts.layout, self._keys.row_elements)

    @property
    def queue_rows(self) -> int:
        """Rows that wait for a slot."""
        return self.scheduler.rows

    @property
    def running(self) -> int:
        """Batches that run."""
        return len(self._running)

    def _submit(self, request: InferenceRequest, on_done: OnDone) -> Ticket:
        info = self.info
        if self._draining:
            return self.successor.submit(request, on_done)
        rows = info.signature.check(request.inputs, request.outputs)
        alone = (info.guard is not None and info.guard.alone(request.inputs)) or self._apart
        if alone and not info.policy.sizes:
            rows = 1  # it isn't cut
        now = self._dispatcher.clock()
        if request.deadline <= now:
            raise DeadlineExceeded("the deadline passed before the request could be queued")
        reply = Reply(request, on_done, self._answers, rows, info.signature.rows, alone=alone)
        key, row_elements, length = self._keys.of(request, alone=alone)
        entry = Entry(
            reply, key, rows, client=network_of(request.client),
            priority=request.priority,
            deadline=request.deadline, row_elements=row_elements, length=length,
        )  # fmt: skip
        self.scheduler.offer(entry, now)
        reply.entry = entry
        self._dispatcher.mark(self)
        return reply

    def _withdraw(self, reply: Reply) -> None:
        """It is cancelled."""
        if reply.entry is not None:
            self.scheduler.abandoned(reply.entry, self._dispatcher.clock())
            self._finish(reply.entry)
        self._check_idle()

    def _again(self, reply: Reply, error: Exception) -> bool:
        """Whether it is run again, alone, as rows were mixed up. Raises what `submit` raises."""
        if reply.alone or reply.on_done is None or not isinstance(error, RowsMismatch):
            return False
        self.violated(str(error))
        reply.second = self._submit(reply.request, reply.on_done)
        return True

    def violated(self, difference: str) -> None:
        """Rows of one run depend on each other: from now on every request runs alone."""
        if self._apart:
            return
        self._apart = True
        if self._auditor is not None:
            self._auditor.stop()
        ref = self.info.ref
        log.error("%s is batched no more: its rows are not independent: %s", ref, difference)
        self._observer.violated(ref)
        self.info = batched_no_more(self.info, difference)

    def refusal(self, deadline: float) -> Overloaded | None:
        """See `Engine.refusal`."""
        if deadline == math.inf:
            return None  # best effort is judged once, when it is queued and its client is known
        row_elements = self._keys.row_elements or None
        return self.scheduler.refusal(self._dispatcher.clock(), deadline, row_elements)

    async def drain(self) -> None:
        """Admit nothing more and wait until all that was admitted has ended."""
        self._draining = True
        self._check_idle()
        await self._idle.wait()

    async def aclose(self) -> None:
        """Free the runner. Call it after `drain`."""
        self._alarm.stop()
        if self._auditor is not None:
            self._auditor.stop()
        self._dispatcher.forget(self)
        await self._runner.aclose()

    @property
    def wants_slot(self) -> bool:
        """See `Queueing.wants_slot`."""
        waits = self.scheduler.rows > 0 and not self._absence.on
        return waits and len(self._running) < self.layouts.layout.instances

    @property
    def cores(self) -> int:
        """See `Queueing.cores`."""
        return 0 if self._runner.inline else self.layouts.layout.threads

    @property
    def deadline(self) -> float:
        """See `Queueing.deadline`."""
        return self.scheduler.nearest_deadline()

    def run_seconds(self) -> float:
        """See `Queueing.run_seconds`."""
        return self.scheduler.run_seconds()

    def dispatch(self, now: float, slots: int) -> bool:
        """See `Queueing.dispatch`."""
        scheduler = self.scheduler
        if slots and self.layouts.consider(scheduler.rows, scheduler.max_batch_size):
            scheduler.use(self.layouts.cost, self.layouts.layout.instances)
        if self._absence.on:
            slots = 0
            for entry in self._absence.refuse(scheduler, now):
                self._finish(entry)
        decisions = scheduler.decide(now, slots)
        for batch in decisions.run:
            self._start(batch)
        for drop in decisions.drop:
            self._drop(drop, now)
        self._alarm.set(decisions.wake_at, now)
        self._check_idle()
        if self._answers.settled:
            self._answers.call_back(self.info.ref)
        return bool(decisions.run)

    def _finish(self, entry: Entry[Reply]) -> None:
        """The request has ended: a run that serves no other request is stopped."""
        self.scheduler.finish(entry)
        for run in self._running:
            if run.stop is not None and all(part.entry.ended for part in run.batch.parts):
                run.stop()
                run.stop = None

    def _drop(self, drop: Drop[Reply], now: float) -> None:
        entry = drop.entry
        waited = now - entry.arrival
        if drop.reason is DropReason.SHED:
            text = f"shed after {waited:.3f} s in the queue: the next run would end too late for it"
            entry.item.fail(self.scheduler.refused_late(entry, text, now))
            return  # a run that may have started for it goes on: it tells what runs cost
        where = "while it was being run" if drop.dispatched else "in the queue, it was not run"
        entry.item.fail(DeadlineExceeded(f"the deadline passed after {waited:.3f} s {where}"))
        self._finish(entry)

    def _process_changed(self) -> None:
        """It is lost, or there is one again: what runs waits for that, and takes no core."""
        for run in self._running if self._absence.on else ():
            self._dispatcher.gave_back(run.cores)
            run.cores = 0
        self._dispatcher.mark(self)

    def _start(self, batch: Batch[Reply]) -> None:
        first = batch.parts[0].entry.item
        job = Job(
            _parts_of(batch), first.outputs, self.layouts.layout.threads, batch.length, first.alone
        )
        run = _Run(batch, job, self.cores, self.layouts.index)
        self._running.append(run)
        self._dispatcher.took(run.cores)
        done = partial(self._completed, run)
        if self._apart and not first.alone:  # queued before the violation
            mismatch = RowsMismatch("it was queued to share a run")
            done(RunResult([mismatch] * len(batch.parts), 0.0, runs=0, stopped=True))
            return
        run.stop = self._runner.start(job, done)
        run.starting = False

    def _completed(self, run: _Run, result: RunResult) -> None:
        batch = run.batch
        self._running.remove(run)
        self._dispatcher.gave_back(run.cores)
        ended_before, ended = 0, EntryState.ENDED
        started, seconds, rows = batch.started, result.seconds, batch.rows
        for (entry, start, stop), outcome in zip(batch.parts, result.outcomes, strict=True):
            if entry.state is ended:
                ended_before += stop - start
            elif isinstance(outcome, Exception):  # its other rows need not run any more
                entry.item.fail(outcome)
                self.scheduler.finish(entry)
            else:
                timing = Timing(started - entry.arrival, seconds, rows)
                entry.item.deliver(start, stop - start, outcome, timing)
        learn = result.runs == 1 and not result.stopped and run.layout == self.layouts.index
        now = self.used_at = self._dispatcher.clock()
        self.scheduler.ended(batch, result.seconds, now, learn=learn)
        auditor = self._auditor
        if auditor is not None and now >= auditor.due and len(batch.parts) > 1:
            counts = [stop - start for _, start, stop in batch.parts]
            auditor.take(run.job, list(result.outcomes), counts)
        padded = self.info.policy.padded(batch.rows)
        cold = self._shapes.is_new(padded, batch.row_elements, batch.length)
        self._note(_record(batch, result, self.info, cold=cold, ended_before=ended_before))
        self._answers.call_back(self.info.ref)
        if not run.starting:  # else the decision goes on by itself
            self._dispatcher.mark(self)

    def _unoccupied(self) -> bool:
        return not self.scheduler.rows and not self._dispatcher.busy

    def _note(self, record: BatchRecord) -> None:
        self.recent.append(record)
        self._observer.batched(record)

    def _check_idle(self) -> None:
        if self._draining and not self.scheduler.rows and not self._running:
            self._idle.set()


def _warm_shapes(layouts: LayoutChoice, keys: BatchKeys) -> Shapes:
    """What the model has run with before it serves."""
    return Shapes(
        (rows, keys.row_elements or elements, 0)
        for elements, points in layouts.cost.tables.items()
        for rows, _ in points
    )


def _parts_of(batch: Batch[Reply]) -> list[Tensors]:
    return [
        entry.item.inputs
        if stop - start == entry.rows
        else entry.item.layout.take(entry.item.inputs, start, stop)
        for entry, start, stop in batch.parts
    ]


def _record(
    batch: Batch[Reply], result: RunResult, info: ModelInfo, *, cold: bool, ended_before: int
) -> BatchRecord:
    """``ended_before`` of its rows had ended when the run did."""
    return BatchRecord(
        model=info.ref,
        rows=batch.rows,
        requests=len(batch.parts),
        reason=batch.reason,
        seconds=result.seconds,
        runs=result.runs,
        predicted=batch.predicted,
        held=batch.held,
        saved=max(batch.predicted - result.seconds, 0.0) if result.stopped else 0.0,
        wasted=result.seconds * ended_before / batch.rows,
        padding=None if info.padding.trivial else _padding(batch, info),
        cold=cold,
        traces=_traces(batch) if batch.parts[0].entry.item.request.trace is not None else (),
    )


def _traces(batch: Batch[Reply]) -> list[object]:
    return [part.entry.item.request.trace for part in batch.parts]


def _padding(batch: Batch[Reply], info: ModelInfo) -> float:
    """The share of a run that is padding: of rows to their common length, and of rows."""
    used = batch.rows / info.policy.padded(batch.rows)
    if batch.length:
        lengths = [entry.length for entry, start, stop in batch.parts for _ in range(start, stop)]
        used *= 1 - padding_waste(lengths, batch.length)
    return 1 - used
