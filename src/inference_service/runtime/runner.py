"""Runs batches of one model in threads: session.run releases the GIL."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from inference_service.core.assembly import assemble, split
from inference_service.core.errors import RunStopped
from inference_service.core.isolation import run_isolated
from inference_service.core.padding import Padding
from inference_service.core.tensors import BatchMode, Tensors
from inference_service.engine.interfaces import Job, RunResult
from inference_service.runtime.session import OpenModel, Stop

INLINE_BELOW = 200e-6
"""Seconds. A hop to a thread and back costs about as much, and more under the GIL's contention."""
_SLOW = 5 * INLINE_BELOW
_SLOW_RUNS = 8  # in a row; a single slow one is a thread that lost its core


def _nothing() -> None:
    """Breaks nothing off: the run is over."""


class OrtRunner:
    """Assemble, run and split in one thread hop; one wake of the event loop for each batch.

    ``models`` are sessions of the same file by their number of intra-op threads. With ``inline``
    the run happens on the event loop's own thread: for models whose largest batch costs less than
    the hop. It stops doing so for good once its runs take much longer than that.
    """

    def __init__(
        self,
        name: str,
        models: Mapping[int, OpenModel],
        mode: BatchMode,
        instances: int,
        *,
        padding: Padding | None = None,
        inline: bool = False,
    ) -> None:
        self.inline = inline
        self._padding = padding or Padding()
        self._slow_runs = 0
        self._models = dict(models)
        self._any = next(iter(self._models.values()))
        self._whole = mode is BatchMode.WHOLE
        self._pool = ThreadPoolExecutor(instances, thread_name_prefix=f"run-{name}")

    def start(self, job: Job, done: Callable[[RunResult], None]) -> Callable[[], None]:
        """See `Runner.start`."""
        if self.inline:
            result = self._run(job, None)
            self._slow_runs = self._slow_runs + 1 if result.seconds > _SLOW else 0
            self.inline = self._slow_runs < _SLOW_RUNS
            done(result)
            return _nothing
        loop = asyncio.get_running_loop()
        stop = Stop()

        def hop() -> None:
            result = self._run(job, stop)
            loop.call_soon_threadsafe(done, result)

        self._pool.submit(hop)
        return stop.set

    async def aclose(self) -> None:
        """See `Runner.aclose`."""
        self._pool.shutdown(wait=False)

    def _run(self, job: Job, stop: Stop | None) -> RunResult:
        started = perf_counter()
        runs = 0
        model = self._models.get(job.threads, self._any)

        def run(some: Sequence[Tensors]) -> list[Tensors]:
            nonlocal runs
            runs += 1
            if self._whole:
                return [model.run(some[0], job.outputs, stop)]
            padding = self._padding
            counts = [len(next(iter(part.values()))) for part in some]
            if padding.trivial:
                return split(model.run(assemble(some), job.outputs, stop), counts)
            padded = padding.rows(assemble(padding.lengthened(some, job.length)), sum(counts))
            answer = padding.without_rows(model.run(padded, job.outputs, stop), sum(counts))
            return padding.shortened(split(answer, counts), some, job.length)

        try:
            outcomes = run_isolated(job.parts, run)
        except RunStopped as stopped:
            nothing = [stopped] * len(job.parts)
            return RunResult(nothing, perf_counter() - started, runs, stopped=True)
        return RunResult(outcomes, perf_counter() - started, runs)
