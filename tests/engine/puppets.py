"""A runner whose runs end when the test says so."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from inference_service.core.requests import ModelRef
from inference_service.core.tensors import Tensors
from inference_service.engine.interfaces import (
    AnsweredRequests,
    Audit,
    BatchRecord,
    Job,
    LoadRecord,
    Outcome,
    ProcessState,
    RequestRecord,
    RunResult,
)


@dataclass
class Run:
    """A run that has been started."""

    job: Job
    done: Callable[[RunResult], None]
    stopped: bool = False

    @property
    def parts(self) -> Sequence[Tensors]:
        return self.job.parts

    @property
    def outputs(self) -> Sequence[str]:
        return self.job.outputs

    @property
    def rows(self) -> list[float]:
        """The values of all rows, in the order of the batch."""
        return [float(v) for part in self.parts for v in part["x"][:, 0]]

    def answer(self, seconds: float = 0.001) -> None:
        """Double every row."""
        self.end([{"y": part["x"] * 2} for part in self.parts], seconds)

    def end(self, outcomes: Sequence[Outcome], seconds: float = 0.001) -> None:
        """End with these outcomes."""
        self.done(RunResult(outcomes, seconds))


class PuppetRunner:
    """Collects runs; the test takes the next one and answers or fails it."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.audits: list[tuple[Audit, Callable[[str], None]]] = []
        self.closed = False
        self.inline = False
        self.memory_bytes = 0
        self.own_process: ProcessState | None = None

    def process(self) -> ProcessState | None:
        return self.own_process

    def watch(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def start(self, job: Job, done: Callable[[RunResult], None]) -> Callable[[], None]:
        run = Run(job, done)
        self.runs.append(run)

        def stop() -> None:
            run.stopped = True

        return stop

    def compare(self, audit: Audit, done: Callable[[str], None]) -> None:
        self.audits.append((audit, done))

    async def aclose(self) -> None:
        self.closed = True

    def next(self) -> Run:
        return self.runs.pop(0)


class Notebook:
    """An observer that writes everything down."""

    def __init__(self) -> None:
        self.batches: list[BatchRecord] = []
        self.requests: list[RequestRecord] = []
        self.refusals: list[tuple[str, str]] = []
        self.violations: list[ModelRef] = []
        self.loads: list[LoadRecord] = []

    def rejected(self, model: str, reason: str) -> None:
        self.refusals.append((model, reason))

    def batched(self, record: BatchRecord) -> None:
        self.batches.append(record)

    def finished(self, record: RequestRecord) -> None:
        self.requests.append(record)

    def loaded(self, record: LoadRecord) -> None:
        self.loads.append(record)

    def answered(self, requests: AnsweredRequests) -> None:
        names = requests[:3]
        self.requests += [
            RequestRecord(*names, "ok", *numbers) for numbers in zip(*requests[3:], strict=True)
        ]

    def violated(self, model: ModelRef) -> None:
        self.violations.append(model)


def rows(*values: float) -> Tensors:
    """One row [value, 0] for each value."""
    return {"x": np.array([[v, 0] for v in values], np.float32)}
