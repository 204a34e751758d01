"""Runs batches of one model in threads: session.run releases the GIL."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Protocol, TypeAlias, TypeVar

from inference_service.core.assembly import assemble, split
from inference_service.core.errors import (
    InferenceServiceError,
    InvalidInput,
    OutOfMemory,
    RowsMismatch,
    RunStopped,
    Unavailable,
    found_no_memory,
)
from inference_service.core.isolation import run_isolated
from inference_service.core.padding import Padding
from inference_service.core.rows import RowLayout
from inference_service.core.tensors import Array, BatchMode, Tensors
from inference_service.engine.interfaces import Audit, Job, Outcome, ProcessState, RunResult
from inference_service.runtime.comparison import audited
from inference_service.runtime.memory import Trimmer
from inference_service.runtime.stopping import Stop

log = logging.getLogger(__name__)

INLINE_BELOW = 200e-6
"""Seconds. A hop to a thread and back costs about as much, and more under the GIL's contention."""
_SLOW = 5 * INLINE_BELOW
_SLOW_RUNS = 8  # in a row; a single slow one is a thread that lost its core


R = TypeVar("R", bound="OrtRunner")


class Model(Protocol):
    """What runs: a session in this process, or one in another."""

    def run(
        self, inputs: Tensors, outputs: Sequence[str] = (), stop: Stop | None = None
    ) -> dict[str, Array]:
        """See `OpenModel.run`."""

    def trim(self, inputs: Tensors) -> None:
        """See `OpenModel.trim`."""


Move: TypeAlias = Callable[
    [Mapping[int, Model], int, Trimmer | None], tuple[Mapping[int, Model], Callable[[], None]]
]
"""Sessions by threads, runs at the same time and trimmer, to models and what ends them."""


@dataclass(frozen=True, slots=True)
class Shaping:
    """How rows become a run: where they are, how they are padded, and which mode holds."""

    mode: BatchMode = BatchMode.MERGE
    rows: RowLayout = field(default_factory=RowLayout)
    padding: Padding = field(default_factory=Padding)


def _nothing() -> None:
    """Breaks nothing off: the run is over."""


def _none() -> ProcessState | None:
    """It runs in this process."""
    return None


class OrtRunner:
    """Assemble, run and split in one thread hop; one wake of the event loop for each batch.

    ``models`` are sessions of the same file by their number of intra-op threads. With ``inline``
    the run happens on the event loop's own thread: for models whose largest batch costs less than
    the hop, and whose costs follow from the shapes of their inputs. It stops doing so for good once
    its runs take much longer than that. ``trimmer`` gives memory back after outliers, ``close`` is
    called at the end.
    """

    def __init__(
        self,
        name: str,
        models: Mapping[int, Model],
        shaping: Shaping,
        instances: int,
        *,
        inline: bool = False,
        trimmer: Trimmer | None = None,
        close: Callable[[], None] = _nothing,
    ) -> None:
        self.inline = inline
        self.memory_bytes = 0
        self.process: Callable[[], ProcessState | None] = _none
        """See `Runner.process`."""
        self.bounded = False
        """Whether it is proven that what a run costs follows from the shapes of its inputs."""
        self._name = name
        self._shaping = shaping
        self._slow_runs = 0
        self._models = dict(models)
        self._trimmer = trimmer
        self._close = close
        self._instances = instances
        self._pool = ThreadPoolExecutor(instances, thread_name_prefix=f"run-{name}")
        # Its thread starts with the first audit; a run never waits for one.
        self._audits = ThreadPoolExecutor(1, thread_name_prefix=f"audit-{name}")

    def watch(self, changed: Callable[[], None]) -> None:
        """See `Runner.watch`: it has no process that may be lost."""

    def start(self, job: Job, done: Callable[[RunResult], None]) -> Callable[[], None]:
        """See `Runner.start`."""
        model = self._model(job)
        if self.inline and not job.alone:
            result = self._result(model, job, None)
            self._slow_runs = self._slow_runs + 1 if result.seconds > _SLOW else 0
            self.inline = self._slow_runs < _SLOW_RUNS
            done(result)
            return _nothing
        loop = asyncio.get_running_loop()
        stop = Stop()

        def hop() -> None:
            if stop.is_set and not started:
                return  # it was refused
            result = self._result(model, job, stop)
            loop.call_soon_threadsafe(done, result)
            if self._trimmer is not None:
                self._trimmer.after_run(model)

        started = True
        try:
            self._pool.submit(hop)
        except RuntimeError as error:  # no thread can be started; it may have been queued
            log.error("%s: a run can't be started: %s", self._name, error)
            started = False
            stop.set()
            none: list[Outcome] = [OutOfMemory()] * len(job.parts)
            done(RunResult(none, 0.0, 0, stopped=True))
        return stop.set

    def compare(self, audit: Audit, done: Callable[[str], None]) -> None:
        """See `Runner.compare`."""
        loop, model = asyncio.get_running_loop(), self._model(audit.job)

        def hop() -> None:
            run = partial(self._alone, model, audit.job, None)
            try:
                found = audited(audit, self._shaping.rows, run)
            except InferenceServiceError as error:
                found = (
                    ""
                    if isinstance(error, Unavailable)
                    else f"a row that ran among others fails alone: {error}"
                )
            loop.call_soon_threadsafe(done, found)

        self._audits.submit(hop)

    async def aclose(self) -> None:
        """See `Runner.aclose`."""
        self.shut_down()

    def shut_down(self) -> None:
        """End the threads; runs in progress go on to their end.

        The sessions are freed with the last run: what refers to a runner refers to itself as well,
        and the garbage collector, which frees such things, hardly ever looks.
        """
        self._pool.shutdown(wait=False)
        self._audits.shutdown(wait=False)
        self._models.clear()
        self._close()

    def moved(self, move: "Move", kind: type[R]) -> R:
        """The same, of another kind, with models elsewhere; this one is shut down.

        ``move`` is given the sessions, how many runs there are at the same time, and the trimmer.
        """
        models, close = move(self._models, self._instances, self._trimmer)
        self.shut_down()
        runner = kind(self._name, models, self._shaping, self._instances, close=close)
        runner.memory_bytes = self.memory_bytes
        return runner

    def _model(self, job: Job) -> Model:
        model = self._models.get(job.threads)
        return next(iter(self._models.values())) if model is None else model

    def _result(self, model: Model, job: Job, stop: Stop | None) -> RunResult:
        """There is one whatever happens: without, the requests of the run would wait for ever."""
        try:
            return self._run(model, job, stop)
        except Exception as error:
            log.exception("%s: a run failed outside of the model", self._name)
            failed: list[Outcome] = [error] * len(job.parts)
            return RunResult(failed, 0.0, 0, stopped=True)

    def _run(self, model: Model, job: Job, stop: Stop | None) -> RunResult:
        started = perf_counter()
        attempts: list[Exception | None] = []

        def run(some: Sequence[Tensors]) -> list[Tensors]:
            try:
                found: list[Tensors]
                if job.alone or self._shaping.mode is BatchMode.WHOLE:
                    found = [self._alone(model, job, stop, some[0])]
                else:
                    found = self._together(model, job, stop, some)
            except Exception as error:
                attempts.append(error)
                if found_no_memory(error) and self._trimmer is not None:
                    self._trimmer.trim(model)  # what the next attempt may take
                raise
            attempts.append(None)
            return found

        try:
            outcomes = run_isolated(job.parts, run)
            _check_guilty(attempts, outcomes)
        except RunStopped as stopped:
            nothing = [stopped] * len(job.parts)
            return RunResult(nothing, perf_counter() - started, len(attempts), stopped=True)
        except Unavailable as error:  # it has no process, or has lost it
            refused: list[Outcome] = [error] * len(job.parts)
            return RunResult(refused, perf_counter() - started, len(attempts), stopped=True)
        except RowsMismatch as mismatch:
            outcomes = [mismatch] * len(job.parts)
        return RunResult(outcomes, perf_counter() - started, len(attempts))

    def _alone(self, model: Model, job: Job, stop: Stop | None, part: Tensors) -> Tensors:
        """One request as it is; only a batch that is too small for the graph is filled up."""
        padding, layout = self._shaping.padding, self._shaping.rows
        if self._shaping.mode is BatchMode.MERGE and (found := layout.disagreement(part)):
            try:
                return model.run(part, job.outputs, stop)
            except InvalidInput as error:
                message = f"inputs differ in their number of rows ({found}): {error}"
                raise InvalidInput(message) from None
        if not padding.sizes:
            return model.run(part, job.outputs, stop)
        count = layout.rows(part)
        size = padding.size(count)
        if size == count:
            return model.run(part, job.outputs, stop)
        filled = layout.filled(part, count, size)
        return layout.cut(model.run(filled, job.outputs, stop), count, size)

    def _together(
        self, model: Model, job: Job, stop: Stop | None, parts: Sequence[Tensors]
    ) -> list[Tensors]:
        """The rows of all parts in one run. Raises RowsMismatch."""
        padding, layout, mode = self._shaping.padding, self._shaping.rows, self._shaping.mode
        if mode is BatchMode.SPLIT:  # one row, so the answer is that row's, whatever its shape
            return [model.run(parts[0], job.outputs, stop)]
        if layout.trivial and padding.trivial:  # the common case
            counts = [len(next(iter(part.values()))) for part in parts]
            return split(model.run(assemble(parts), job.outputs, stop), counts)
        counts = [layout.rows(part) for part in parts]
        count = sum(counts)
        size = padding.size(count)
        inputs = layout.assemble(padding.lengthened(parts, job.length))
        if size != count:
            inputs = layout.filled(inputs, count, size)
        outputs: Tensors = model.run(inputs, job.outputs, stop)
        if size != count:
            outputs = layout.cut(outputs, count, size)
        return padding.shortened(layout.split(outputs, counts), parts, job.length)


def _check_guilty(attempts: Sequence[Exception | None], outcomes: Sequence[object]) -> None:
    """Raises RowsMismatch where requests failed together, but none of them alone."""
    first = attempts[0]
    if first is None or any(isinstance(outcome, Exception) for outcome in outcomes):
        return
    if not found_no_memory(first):
        raise RowsMismatch(f"requests that run one by one fail together: {first}") from first
