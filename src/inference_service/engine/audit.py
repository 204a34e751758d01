"""The third line of batch safety: now and then, a row of a run is run again, alone.

Batching is proven from the graph and tried when a model is loaded. A rule of the proof may be
wrong, and a trial may have missed what some clients send. So while nothing else is to be done, and
for at most 1 % of the time, one row of a run that several requests shared is run again alone.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import count

from inference_service.core.tensors import BatchMode
from inference_service.engine.interfaces import Audit, Job, ModelInfo, Outcome, Runner

_DELAY = 0.05  # seconds until it is tried, and tried again
_TRIES = 20
_INTERVAL = 1.0  # seconds between two audits, at least
_REPEATS = 2  # of a comparison that found a difference: batching ends where it is found each time
_SHARE = 100  # an audit of t seconds is followed by a pause of 100 t


def batched_no_more(info: ModelInfo, difference: str) -> ModelInfo:
    """What is known of a model whose rows have been found to depend on each other."""
    signature = info.signature
    if not info.policy.sizes:  # a batch of one size is still filled up
        signature = replace(signature, mode=BatchMode.WHOLE)
    return replace(
        info,
        signature=signature,
        safety=replace(info.safety, refuted=difference),
        warnings=(*info.warnings, f"requests are not batched any more: {difference}"),
    )


class Auditor:
    """Chooses runs, waits until the model is idle, and reports a difference.

    ``due`` is when the next run may be taken, on the worker's clock: all that the hot path looks
    at. ``found`` is called at most once.
    """

    def __init__(
        self, runner: Runner, clock: Callable[[], float], idle: Callable[[], bool],
        found: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._runner = runner
        self._clock = clock
        self._idle = idle
        self._found = found
        self._loop = asyncio.get_running_loop()
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None
        self._tries = 0
        self._audit: Audit | None = None
        self._stopped = False
        self.due = 0.0

    def take(self, job: Job, outcomes: list[Outcome], rows: list[int]) -> None:
        """Remember a row of this run, in turn one of the first, second … request."""
        self.due = float("inf")
        number = next(self._numbers)
        part = number % len(job.parts)
        if isinstance(outcomes[part], Exception):
            self._again(_INTERVAL)
            return
        self._audit = Audit(job, outcomes, part, number % rows[part])
        self._tries = _TRIES
        self._timer = self._loop.call_later(_DELAY, self._try)

    def stop(self) -> None:
        """No more audits."""
        self._stopped = True
        self.due = float("inf")
        self._audit = None
        if self._timer is not None:
            self._timer.cancel()

    def _try(self) -> None:
        self._timer = None
        audit = self._audit
        if audit is None:
            return
        self._tries -= 1
        if self._idle():
            started = self._clock()
            self._audit = None
            self._compare(audit, started, _REPEATS)
        elif self._tries > 0:
            self._timer = self._loop.call_later(_DELAY, self._try)
        else:
            self._audit = None
            self._again(_INTERVAL)

    def _compare(self, audit: Audit, started: float, repeats: int) -> None:
        self._runner.compare(audit, lambda text: self._done(text, audit, started, repeats))

    def _done(self, difference: str, audit: Audit, started: float, repeats: int) -> None:
        if self._stopped:
            return
        if difference and repeats:  # a disturbance of the machine is no dependence of rows
            self._compare(audit, started, repeats - 1)
        elif difference:
            self.stop()
            self._found(difference)
        else:
            self._again(max(_INTERVAL, _SHARE * (self._clock() - started)))

    def _again(self, pause: float) -> None:
        self.due = self._clock() + pause
