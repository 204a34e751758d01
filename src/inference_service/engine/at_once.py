"""A request that finds its model idle is run at once, without the queue: for a lone client.

The queue, a decision and the bookkeeping of a batch cost several times what a small run does, and
they are for nothing where one request is all there is. The edge knows when that is so: it sees
whether requests come from one connection, one after the other.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Any

from inference_service.core.errors import RowsMismatch
from inference_service.core.requests import InferenceRequest, InferenceResponse, Timing
from inference_service.core.scheduling.entries import Release
from inference_service.core.scheduling.estimates import Estimates
from inference_service.core.scheduling.layout import Layout
from inference_service.core.tensors import BatchMode
from inference_service.engine.interfaces import BatchRecord, Job, ModelInfo, Runner, RunResult

_NOTED_AFTER = 0.05
"""Seconds until runs are told of; each on its own would take as long as the run."""
_LEARNED_FROM = 8
"""One run in this many tells what runs cost."""


class AtOnce:
    """Runs requests on the event loop itself. ``note`` is told of the runs, a little later."""

    def __init__(
        self, runner: Runner, estimates: Estimates[Any], note: Callable[[BatchRecord], None]
    ) -> None:
        self._runner = runner
        self._estimates = estimates
        self._note = note
        self._loop = asyncio.get_running_loop()
        self._runs: list[BatchRecord] = []
        self._count = 0

    def run(
        self, info: ModelInfo, request: InferenceRequest, layout: Layout, row_elements: int
    ) -> InferenceResponse | Exception | None:
        """The answer, or the error of the run; None: the request is one for the queue.

        Nothing else may wait or run. Raises InvalidInput.
        """
        signature, guard = info.signature, info.guard
        merges = signature.mode is BatchMode.MERGE and signature.rows.trivial
        if not (merges and info.padding.trivial and row_elements and request.deadline == math.inf):
            return None
        rows = signature.check(request.inputs, request.outputs)
        if rows > self._estimates.max_batch_size:
            return None
        if guard is not None and guard.alone(request.inputs):
            return None
        found: list[RunResult] = []
        self._runner.start(Job([request.inputs], request.outputs, layout.threads), found.append)
        result = found[0]
        outcome = result.outcomes[0]
        if isinstance(outcome, RowsMismatch):
            return None
        self._remember(info, rows, result, row_elements)
        if isinstance(outcome, Exception):
            return outcome
        return InferenceResponse(info.ref, outcome, Timing(0.0, result.seconds, rows), rows)

    def _remember(self, info: ModelInfo, rows: int, result: RunResult, elements: int) -> None:
        if not self._runs:
            self._loop.call_later(_NOTED_AFTER, self._tell)
        self._count += 1
        if self._count % _LEARNED_FROM == 0 and result.runs == 1:
            self._estimates.cost.observe(rows, result.seconds, elements)
        record = BatchRecord(
            info.ref, rows, 1, Release.SLOT_FREE, result.seconds, result.runs, result.seconds
        )
        self._runs.append(record)

    def _tell(self) -> None:
        runs, self._runs = self._runs, []
        for record in runs:
            self._note(record)
