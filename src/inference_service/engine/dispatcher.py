"""One set of slots for all models: which model runs next on the cores that are free."""

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger(__name__)


class Queueing(Protocol):
    """What the dispatcher knows of a model version."""

    @property
    def wants_slot(self) -> bool:
        """Whether something waits and an instance of its layout is free."""

    @property
    def cores(self) -> int:
        """How many cores its next run takes; 0: it runs on the event loop itself."""

    @property
    def deadline(self) -> float:
        """The nearest deadline of its queued requests, as a time; inf without any."""

    def run_seconds(self) -> float:
        """The expected seconds of its next run."""

    def dispatch(self, now: float, slots: int) -> bool:
        """Drop what is late, start up to ``slots`` runs, set the alarm; whether one has started."""


@dataclass(slots=True)
class _Share:
    """Core-seconds that a model has had, in the fair queue between models."""

    served: float = 0.0


class Dispatcher:
    """Gives the cores to the model that has had the least service: start-time fair queueing.

    So a model with a light load keeps its share beside one that is overloaded. The model with the
    nearest deadline goes before it where the deadline would be missed otherwise, as long as it is
    ahead by no more than a run.

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
        self._virtual_time = 0.0
        self._shares: dict[Queueing, _Share] = {}
        self._marked: dict[Queueing, None] = {}
        self._waiting: dict[Queueing, None] = {}
        self._deciding = False
        self._after: list[Callable[[], None]] = []

    def mark(self, model: Queueing) -> None:
        """Something has changed for this model."""
        if not self._marked:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._dispatch)
        self._marked[model] = None

    def soon(self, callback: Callable[[], None]) -> None:
        """See `Engine.soon`."""
        if self._deciding:
            self._after.append(callback)
        else:
            asyncio.get_running_loop().call_soon(callback)

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
        self._shares.pop(model, None)

    def _dispatch(self) -> None:
        self._deciding = True
        try:
            self._decide()
        finally:
            self._deciding = False
            after, self._after = self._after, []
            for callback in after:
                try:
                    callback()
                except Exception:  # the others are called all the same
                    log.exception("what follows a decision has failed")

    def _decide(self) -> None:
        now = self.clock()
        marked, self._marked = self._marked, {}
        for model in marked:
            if model.wants_slot:
                self._enter(model)
            else:
                model.dispatch(now, 0)  # what is late is dropped, the alarm is set
        decided = self._fill_slots(now)
        for model in marked:
            if model in self._waiting and model not in decided:  # no core was free for it
                model.dispatch(now, 0)
        for model in [model for model in self._waiting if not model.wants_slot]:
            del self._waiting[model]

    def _fill_slots(self, now: float) -> set[Queueing]:
        """Start runs while cores are free; the models that have decided."""
        decided: set[Queueing] = set()
        ready = [model for model in self._waiting if model.wants_slot]
        while ready:
            chosen = ready[0] if len(ready) == 1 else self._next(ready, now)
            if self._used and self._used + chosen.cores > self._cores and chosen.cores:
                break
            decided.add(chosen)
            seconds = chosen.run_seconds() * max(chosen.cores, 1)
            started = chosen.dispatch(now, 1)
            if started:
                self._charge(chosen, seconds)
            if not (started and chosen.wants_slot):
                ready.remove(chosen)
        return decided

    def _enter(self, model: Queueing) -> None:
        """It has something to run again: idling saves no share up."""
        if model in self._waiting:
            return
        self._waiting[model] = None
        share = self._shares.setdefault(model, _Share())
        share.served = max(share.served, self._virtual_time)

    def _charge(self, model: Queueing, seconds: float) -> None:
        self._shares[model].served += seconds
        self._virtual_time += seconds / len(self._waiting)

    def _next(self, ready: list[Queueing], now: float) -> Queueing:
        """The model that has had the least service, or one whose deadline can't wait for that."""
        shares = self._shares
        least = min(ready, key=lambda model: (shares[model].served, model.deadline))
        urgent = min(ready, key=lambda model: model.deadline)
        if urgent is least or urgent.deadline == math.inf:
            return least
        own = urgent.run_seconds()
        late = now + least.run_seconds() + own > urgent.deadline
        near = shares[urgent].served - shares[least].served <= own * max(urgent.cores, 1)
        return urgent if late and near else least
