"""From a model that runs in this process to the same in a process of its own."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from inference_service.core.errors import OutOfMemory, ProcessLost, RunStopped
from inference_service.core.tensors import Tensors
from inference_service.engine.interfaces import Job, Outcome, RunResult
from inference_service.runtime.memory import Trimmer
from inference_service.runtime.model_process import Opening
from inference_service.runtime.remote import ModelProcess, Patience, RemoteModel, crashed
from inference_service.runtime.runner import Model, OrtRunner
from inference_service.runtime.session import OpenModel
from inference_service.runtime.stopping import Stop


@dataclass(frozen=True, slots=True)
class Limits:
    """What the process of a model may take: memory in bytes, its runs together, and time."""

    memory: int
    runs: int = 0
    patience: Patience = field(default_factory=Patience)


def isolated(name: str, runner: OrtRunner, source: Path, limits: Limits) -> "IsolatedRunner":
    """The runner with its sessions in a process of its own; those of this process are closed.

    Raises InvalidModel where the process can't open the model, OSError where it can't be started.
    """

    def move(
        models: Mapping[int, Model], instances: int, trimmer: Trimmer | None
    ) -> tuple[Mapping[int, Model], Callable[[], None]]:
        opened = {threads: one for threads, one in models.items() if isinstance(one, OpenModel)}
        opening = Opening(
            source,
            {threads: one.options for threads, one in opened.items() if one.options is not None},
            next(iter(opened.values())).known,
            limits.memory,
            limits.runs,
            None if trimmer is None else trimmer.smallest,
            0 if trimmer is None else trimmer.usual,
        )
        # One lane more, for the audits: they run beside everything else.
        process = ModelProcess(name, opening, instances + 1, limits.patience)
        processes.append(process)
        return {threads: RemoteModel(process, threads) for threads in opened}, process.close

    processes: list[ModelProcess] = []
    moved = runner.moved(move, IsolatedRunner)
    moved.model_process = processes[0]
    moved.process = processes[0].state
    return moved


class IsolatedRunner(OrtRunner):
    """Finds the request that crashes the process: the others of its run are answered.

    When the process has ended in a run, each of its requests is run again, alone. One that crashes
    the process then as well fails, and is refused from then on, unless the system has killed the
    process for want of memory. A run that begins while there is no process waits for it.
    """

    model_process: ModelProcess

    def watch(self, changed: Callable[[], None]) -> None:
        """See `Runner.watch`."""
        loop = asyncio.get_running_loop()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(changed)

        self.model_process.changed = tell

    def _run(self, model: Model, job: Job, stop: Stop | None) -> RunResult:
        known = [self.model_process.crashes.has(part) for part in job.parts]
        if not any(known):
            return self._tried(model, job, stop)
        rest = [part for part, crashes in zip(job.parts, known, strict=True) if not crashes]
        result = (
            self._tried(model, job._replace(parts=rest), stop) if rest else RunResult([], 0.0, 0)
        )
        left = iter(result.outcomes)
        refused = crashed(self._name)
        outcomes: list[Outcome] = [refused if crashes else next(left) for crashes in known]
        return result._replace(outcomes=outcomes, stopped=True)  # no run of this size

    def _tried(self, model: Model, job: Job, stop: Stop | None) -> RunResult:
        self.model_process.wait(stop)
        result = super()._run(model, job, stop)
        if not any(isinstance(outcome, ProcessLost) for outcome in result.outcomes):
            return result
        found = [self._alone_outcome(model, job, part, stop) for part in job.parts]
        seconds = result.seconds + sum(seconds for _, seconds in found)  # not the waits
        outcomes = [outcome for outcome, _ in found]
        return RunResult(outcomes, seconds, result.runs + len(outcomes), stopped=True)

    def _alone_outcome(
        self, model: Model, job: Job, part: Tensors, stop: Stop | None
    ) -> tuple[Outcome, float]:
        """And the seconds that it took."""
        if stop is not None and stop.is_set:
            return RunStopped("every request of the run was cancelled"), 0.0
        with self.model_process.alone():
            result = super()._run(model, job._replace(parts=[part]), stop)
        (outcome,) = result.outcomes
        stopped = stop is not None and stop.is_set  # it was ended because it did not stop
        if isinstance(outcome, ProcessLost) and not stopped:
            if outcome.killed:
                return OutOfMemory(str(outcome), retry_after=outcome.retry_after), result.seconds
            return self.model_process.guilty(part), result.seconds
        return outcome, result.seconds
