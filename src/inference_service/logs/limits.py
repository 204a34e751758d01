"""A limit on lines that clients can cause at any rate: they must not fill a disk."""

import logging
import time
from collections.abc import Callable

_MOST = 1024  # places in the code that are remembered


class RateLimit(logging.Filter):
    """Lets ``most`` records pass in each ``period`` seconds from one line of code.

    The first one that passes after some were left out says how many. The logger ``free`` has no
    limit.
    """

    def __init__(
        self,
        most: int = 20,
        period: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        free: str = "",
    ) -> None:
        super().__init__()
        self._most = most
        self._period = period
        self._clock = clock
        self._free = free
        self._known: dict[tuple[str, int], list[float]] = {}  # begin, passed, left out

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter.filter`."""
        if record.name == self._free:
            return True
        now, key = self._clock(), (record.pathname, record.lineno)
        state = self._known.get(key)
        if state is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            state = self._known[key] = [now, 0, 0]
        if now - state[0] >= self._period:
            if state[2]:
                record.msg = f"{record.msg} ({state[2]:.0f} more like this were left out)"
            state[:] = [now, 0, 0]
        if state[1] >= self._most:
            state[2] += 1
            return False
        state[1] += 1
        return True
