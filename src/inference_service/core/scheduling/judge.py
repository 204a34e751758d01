"""Does a hold pay? A replay proposes one, and a short trial on the live load decides.

The replay alone would not do: it knows the costs of runs, but not that runs are slower while the
event loop reads and writes requests on the same cores. The trial alone would try holds that can't
work. A hold is kept only where it answers at least 2 % more (or sooner) and the p99 is no worse;
otherwise the next look comes after twice the time, up to a minute.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from inference_service.core.scheduling.hold import FOLLOWED, REMEMBERED, STEADY, merging_pays
from inference_service.core.scheduling.scheduler import Scheduler
from inference_service.core.scheduling.shadow import Outcome, replayed
from inference_service.core.scheduling.tickets import Batch

_FIRST, _LONGEST = 1.0, 60.0  # seconds between two looks
_HOPELESS = 1.1  # times the mean latency in the replay: not worth a trial
_GAIN, _NO_WORSE = 1.02, 1.1
_EPOCHS = 3  # of each side, in turns
_COUNTED = 128  # requests of an epoch, or four rounds of all clients
_LONGEST_EPOCH = 2.0  # seconds
_OTHERS = 1.5  # times as many or as few clients: what was decided for them doesn't count
_MORE = 1.1  # times the clients that there were: it is another load, or none in a closed loop


@dataclass(slots=True)
class _Side:
    """What was measured with or without the hold."""

    requests: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def mean(self) -> float:
        return sum(self.latencies) / len(self.latencies)

    @property
    def p99(self) -> float:
        ranked = sorted(self.latencies)
        return ranked[int(0.99 * (len(ranked) - 1))]


class Trial:
    """Epochs without and with a hold, in turns. The first rounds of each don't count."""

    def __init__(self, theta: float, clients: int, now: float) -> None:
        self.theta = theta
        self.sides = (_Side(), _Side())
        self._clients = clients
        self._epoch = 0
        self._skip = 2 * clients
        self._began = now
        self._since = now
        self._count = 0

    @property
    def current(self) -> float:
        """The theta of this epoch."""
        return self.theta if self._epoch % 2 else 0.0

    def add(self, batch: Batch[Any], now: float) -> bool | None:
        """A batch has run. True or False when the trial has ended: whether the hold pays."""
        requests = len(batch.parts)
        if self._skip > 0:
            self._skip -= requests
            self._since = now
        else:
            side = self.sides[self._epoch % 2]
            self._count += requests
            side.requests += requests
            side.latencies += [now - part.ticket.arrival for part in batch.parts]
        if now - self._began > _LONGEST_EPOCH:
            return False
        if self._count >= max(_COUNTED, 4 * self._clients):
            self.sides[self._epoch % 2].seconds += now - self._since
            self._epoch += 1
            self._skip, self._count, self._began = 2 * self._clients, 0, now
            if self._epoch == 2 * _EPOCHS:
                return self.pays
        return None

    @property
    def pays(self) -> bool:
        """More answers or sooner ones, and no worse a p99."""
        plain, held = self.sides
        better = held.rate >= _GAIN * plain.rate or held.mean * _GAIN <= plain.mean
        return better and held.p99 <= _NO_WORSE * plain.p99


class HoldJudge:
    """Sets a scheduler's theta. `work` is a little of a replay, to be called while it is due."""

    def __init__(self, scheduler: Scheduler[Any]) -> None:
        self._scheduler = scheduler
        self._next = 0.0
        self._pause = _FIRST
        self._looked = 0.0
        self._known = 0  # clients at the last look
        self._replay: Iterator[Outcome | None] | None = None
        self._trial: Trial | None = None
        self._clients = 0  # that a hold is on or on trial for
        self._now = 0.0

    @property
    def due(self) -> bool:
        """Whether `work` has something to do."""
        return self._replay is not None

    @property
    def engaged(self) -> bool:
        """Whether a hold is on or on trial."""
        return self._trial is not None or self._scheduler.hold.theta > 0

    def completed(self, batch: Batch[Any], now: float) -> None:
        """A batch has run: goes on with a trial, or begins a look if it is time for one."""
        self._now = now
        hold = self._scheduler.hold
        if self.engaged and not self._same_clients(len(batch.parts) + self._scheduler.requests):
            self._set(0.0)
            self._next = now + _FIRST
            return
        if self._trial is not None:
            verdict = self._trial.add(batch, now)
            hold.theta = self._trial.current
            if verdict is not None:
                self._decide(self._trial.theta if verdict else 0.0, now)
            return
        if self._replay is None and hold.recent.seen >= REMEMBERED // 2:
            if now >= self._looked + _FIRST and self._other_clients(hold.recent.clients):
                self._pause, self._next = _FIRST, now
            if now >= self._next:
                self._look(now)

    def work(self) -> None:
        """A slice of the replay; at its end a trial may begin."""
        if self._replay is None:
            return
        outcome = next(self._replay, Outcome(0.0, 1.0, 1.0))
        if outcome is None:
            return
        self._replay = None
        hold = self._scheduler.hold
        if outcome.theta > 0 and outcome.mean <= _HOPELESS:
            self._clients = hold.recent.clients
            self._trial = Trial(outcome.theta, self._clients, self._now)
            hold.theta = hold.delay = 0.0
        else:
            self._decide(0.0, self._now)
        hold.recent.forget()

    def _other_clients(self, clients: int) -> bool:
        return not self._known / _OTHERS <= clients <= self._known * _OTHERS

    def _same_clients(self, present: int) -> bool:
        """Whether the hold is on, or on trial, for those who are there now."""
        recent = self._scheduler.hold.recent
        trying = self._trial is not None and recent.seen >= REMEMBERED // 2
        return present <= _MORE * self._clients and not (trying and recent.steady < STEADY)

    def _look(self, now: float) -> None:
        scheduler = self._scheduler
        load, recent = scheduler.load, scheduler.hold.recent
        self._next = now + self._pause
        self._looked, self._known = now, recent.clients
        echo = scheduler.hold.echo
        closed = echo.fraction > FOLLOWED and recent.steady > STEADY and recent.clients > 1
        promising = closed and echo.together(load.seconds)
        if not (promising and scheduler.policy.hold and merging_pays(load.seconds)):
            # Clients that are in step take longer to come back together: that is no reason to stop.
            if scheduler.hold.theta > 0 and not closed:
                self._decide(0.0, now)
            recent.forget()
            return
        self._replay = replayed(recent, scheduler.policy, scheduler.cost, load.slots)

    def _decide(self, theta: float, now: float) -> None:
        self._set(theta)
        self._pause = min(2 * self._pause, _LONGEST)
        self._next = now + self._pause

    def _set(self, theta: float) -> None:
        hold = self._scheduler.hold
        self._trial = None
        hold.theta = theta
        hold.recent.forget()
