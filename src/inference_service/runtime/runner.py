"""Runs batches of one session in threads: session.run releases the GIL."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from inference_service.core.assembly import assemble, split
from inference_service.core.isolation import run_isolated
from inference_service.core.tensors import BatchMode, Tensors
from inference_service.engine.interfaces import RunResult
from inference_service.runtime.session import OpenModel


class OrtRunner:
    """Assemble, run and split in one thread hop; one wake of the event loop for each batch."""

    def __init__(self, name: str, model: OpenModel, mode: BatchMode, slots: int) -> None:
        self.slots = slots
        self._model = model
        self._whole = mode is BatchMode.WHOLE
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix=f"run-{name}")

    def start(
        self, parts: Sequence[Tensors], outputs: Sequence[str], done: Callable[[RunResult], None]
    ) -> None:
        """See `Runner.start`."""
        self._pool.submit(self._run, parts, outputs, done, asyncio.get_running_loop())

    async def aclose(self) -> None:
        """See `Runner.aclose`."""
        self._pool.shutdown(wait=False)

    def _run(
        self,
        parts: Sequence[Tensors],
        outputs: Sequence[str],
        done: Callable[[RunResult], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        started = perf_counter()
        runs = 0

        def run(some: Sequence[Tensors]) -> list[Tensors]:
            nonlocal runs
            runs += 1
            answer = self._model.run(assemble(some), outputs)
            if self._whole:
                return [answer]
            return split(answer, [len(next(iter(part.values()))) for part in some])

        outcomes = run_isolated(parts, run)
        result = RunResult(outcomes, perf_counter() - started, runs)
        loop.call_soon_threadsafe(done, result)
