"""One set of slots for all models: which model runs next on the cores that are free."""

import asyncio
import math
from collections.abc import Callable
from typing import Protocol


class Queueing(Protocol):
    """What the dispatcher knows of a model version."""

    @property
    def wants_slot(self) -> bool:
        """Whether something waits and an instance of its layout is free."""

    @property
    def cores(self) -> int:
        """How many cores its next run takes; 0: it runs on the event loop itself."""

    def expire(self, now: float) -> None:
        """Fail what has passed its deadline."""

    def urgency(self, now: float) -> float:
        """When its next batch should have run, as a time; inf: none may run now."""

    def run_next(self, now: float) -> bool:
        """Start its next batch, unless it holds that back."""

    def arm(self, now: float) -> None:
        """Set the alarm for what happens without anybody's doing."""


class Dispatcher:
    """Gives the cores to the model whose next batch is the most urgent.

    Marking a model schedules one dispatch after all callbacks that are ready in this loop
    iteration, so requests that are already readable join the batch for free. The clock is read once
    for each dispatch. A batch for which too few cores are free waits, and so do those behind it:
    otherwise a model of many threads would starve beside models of few.
    """

    def __init__(self, clock: Callable[[], float], cores: float = math.inf) -> None:
        self.clock = clock
        self._cores = cores
        self._loop: asyncio.AbstractEventLoop | None = None
        self._used = 0
        self._marked: dict[Queueing, None] = {}
        self._waiting: dict[Queueing, None] = {}

    def mark(self, model: Queueing) -> None:
        """Something has changed for this model."""
        if not self._marked:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._dispatch)
        self._marked[model] = None

    @property
    def busy(self) -> bool:
        """Whether any model runs or waits for a slot."""
        return self._used > 0 or bool(self._waiting) or bool(self._marked)

    def took(self, cores: int) -> None:
        """A run has started."""
        self._used += cores

    def gave_back(self, cores: int) -> None:
        """A run has ended."""
        self._used -= cores

    def forget(self, model: Queueing) -> None:
        """The model is gone."""
        self._waiting.pop(model, None)

    def _dispatch(self) -> None:
        now = self.clock()
        marked, self._marked = self._marked, {}
        waiting = self._waiting
        for model in marked:
            model.expire(now)
            waiting[model] = None
        ready = [model for model in waiting if model.wants_slot]
        while ready:
            chosen = ready[0] if len(ready) == 1 else min(ready, key=lambda m: m.urgency(now))
            if self._used and self._used + chosen.cores > self._cores and chosen.cores:
                break
            if not (chosen.run_next(now) and chosen.wants_slot):
                ready.remove(chosen)
        for model in [model for model in waiting if not model.wants_slot]:
            del waiting[model]
        for model in marked:
            model.arm(now)
