"""Whether a free slot should wait: a hold for clients in a closed loop, a delay for open loads."""

from typing import Any

from inference_service.core.scheduling.delay import DelayJudge
from inference_service.core.scheduling.judge import HoldJudge
from inference_service.core.scheduling.scheduler import Scheduler
from inference_service.core.scheduling.tickets import Batch


class Judges:
    """Both judges of one scheduler. `work` is a little of a replay, for as long as it is due.

    ``shortest`` seconds is the shortest time that the clock's alarms know.
    """

    def __init__(self, scheduler: Scheduler[Any], shortest: float = 0.0) -> None:
        self._hold = HoldJudge(scheduler)
        self._delay = DelayJudge(scheduler, shortest)

    @property
    def due(self) -> bool:
        """Whether `work` has something to do."""
        return self._hold.due or self._delay.due

    def completed(self, batch: Batch[Any], now: float) -> None:
        """A batch has run and its requests are finished."""
        engaged = self._hold.engaged
        self._hold.completed(batch, now)
        if engaged or self._hold.engaged:
            self._delay.forget()
        else:
            self._delay.completed(batch, now)

    def work(self) -> None:
        """A slice of what is due."""
        if self._hold.due:
            self._hold.work()
        else:
            self._delay.work()
