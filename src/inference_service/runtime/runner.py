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

INLINE_BELOW = 200e-6
"""Seconds. A hop to a thread and back costs about as much, and more under the GIL's contention."""
_SLOW = 5 * INLINE_BELOW
_SLOW_RUNS = 8  # in a row; a single slow one is a thread that lost its core


class OrtRunner:
    """Assemble, run and split in one thread hop; one wake of the event loop for each batch.

    With ``inline`` the run happens on the event loop's own thread: for models whose largest batch
    costs less than the hop. It stops doing so for good once its runs take much longer than that.
    """

    def __init__(
        self, name: str, model: OpenModel, mode: BatchMode, slots: int, *, inline: bool = False
    ) -> None:
        self.slots = slots
        self.inline = inline
        self._slow_runs = 0
        self._model = model
        self._whole = mode is BatchMode.WHOLE
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix=f"run-{name}")

    def start(
        self, parts: Sequence[Tensors], outputs: Sequence[str], done: Callable[[RunResult], None]
    ) -> None:
        """See `Runner.start`."""
        if self.inline:
            result = self._run(parts, outputs)
            self._slow_runs = self._slow_runs + 1 if result.seconds > _SLOW else 0
            self.inline = self._slow_runs < _SLOW_RUNS
            done(result)
            return
        loop = asyncio.get_running_loop()

        def hop() -> None:
            result = self._run(parts, outputs)
            loop.call_soon_threadsafe(done, result)

        self._pool.submit(hop)

    async def aclose(self) -> None:
        """See `Runner.aclose`."""
        self._pool.shutdown(wait=False)

    def _run(self, parts: Sequence[Tensors], outputs: Sequence[str]) -> RunResult:
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
        return RunResult(outcomes, perf_counter() - started, runs)
