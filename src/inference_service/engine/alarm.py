"""One timer that wakes a scheduler when it has asked for it."""

import asyncio
import math
from collections.abc import Callable

_SHORTEST = 0.001  # seconds; uvloop rounds what is below half of it to nothing


class Alarm:
    """Calls ``ring`` at the earliest of the times that it was set to since it last rang."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._at = math.inf

    def set(self, at: float, now: float) -> None:
        """Ring at ``at``. One that comes too early is left: the next decision sets it again."""
        if at >= self._at:
            return
        self.stop()
        self._at = at
        # Not call_at: uvloop's own clock has milliseconds and is read once per iteration.
        self._timer = self._loop.call_later(max(at - now, _SHORTEST), self._rings)

    def stop(self) -> None:
        """It doesn't ring any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._at = None, math.inf

    def _rings(self) -> None:
        self._timer, self._at = None, math.inf
        self._ring()
