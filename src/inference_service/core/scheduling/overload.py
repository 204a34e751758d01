"""How to spend an overload: which batch size gives the most answers in time.

When more comes than can be answered, accepting whoever comes first fills the next batch with the
requests that have the least time left, and a batch must be small to be in time for them. Leaving
the first ones out makes room for a larger batch of later ones, and more are answered in all.
"""

import math
from collections.abc import Callable

_MEMORY = 256  # requests over which rates and patience are averaged
_ENOUGH = 16  # requests after which the averages are acted on
_MARGIN = 1.05


class Offered:
    """The offered load: rows per second and the patience of those who gave deadlines, smoothed."""

    __slots__ = ("_gap", "_last", "_patience", "_rows", "firm")

    def __init__(self) -> None:
        self._gap = 0.0
        self._rows = 1.0
        self._last = -math.inf
        self._patience = 0.0
        self.firm = 0

    def observe(self, rows: int, now: float, patience: float) -> None:
        """A request has come, accepted or not."""
        self.firm += 1
        share = 1 / min(self.firm, _MEMORY)
        gap = now - self._last
        if gap != math.inf:
            self._gap += share * (gap - self._gap)
        self._last = now
        self._rows += share * (rows - self._rows)
        self._patience += share * (patience - self._patience)

    @property
    def patience(self) -> float:
        """Seconds that clients give us on average."""
        return self._patience

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self._rows / self._gap if self._gap > 0 else math.inf

    @property
    def known(self) -> bool:
        """Whether enough has been seen to act on."""
        return self.firm >= _ENOUGH


def target(rate: float, patience: float, largest: int, seconds: Callable[[int], float]) -> float:
    """Seconds that must remain at the start of a run, so that the run can be a large one.

    0 where everything can be answered in time as it comes. ``rate`` is for one slot.

    Without leaving anyone out, a request may have to wait for a whole run before its own, so the
    batch b has 2 * S(b) <= patience. With it, the b rows of a batch come in the
    ``patience - S(b)`` seconds before it starts: at most ``rate * (patience - S(b))``.
    """
    if not 0 < rate < math.inf:
        return 0.0
    fitting = [b for b in _sizes(largest) if 2 * seconds(b) <= patience]
    best, chosen = max(((b / seconds(b), seconds(b)) for b in fitting), default=(0.0, 0.0))
    if rate <= _MARGIN * best:
        return 0.0
    for b in _sizes(largest):
        cost = seconds(b)
        answered = min(float(b), rate * (patience - cost))
        if answered / cost > best * _MARGIN:
            best, chosen = answered / cost, cost
    return chosen


def _sizes(largest: int) -> list[int]:
    """Sizes a few per cent apart."""
    sizes, size = [], 1
    while size < largest:
        sizes.append(size)
        size += max(1, size // 8)
    return [*sizes, largest]
