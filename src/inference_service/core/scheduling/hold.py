"""When a free slot should wait for requests that are about to come: on evidence, never on a clock.

Clients that send their next request when they get an answer (closed loop) come back together. A
slot that takes the first of them and leaves the others for the next run wastes most of a run where
a run costs much and a row little. The evidence is what came after the last answers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

THETAS = (0.0, 0.125, 0.25, 0.5)
"""The longest hold in units of the cost of the batch that waits."""

_SMOOTHING = 0.2
_SHORTEST = 1e-4  # seconds; what is due now may still be a moment late
_CONVINCING = 0.5  # share of answers that are followed by a request
_DRIED_UP = 4.0  # typical gaps without a request: no more of them come


class Echo:
    """How many requests follow the answers, and how quickly."""

    __slots__ = (
        "_answered", "_came", "_first", "_gap", "_last", "_previous", "fraction",
    )  # fmt: skip

    def __init__(self) -> None:
        self.fraction = 0.0
        self._answered = 0
        self._came = 0
        self._last = -math.inf  # the last answers
        self._previous = -math.inf  # the last request
        self._first = 0.0  # seconds from the answers to the first request
        self._gap = 0.0  # seconds between the requests that follow

    def answered(self, requests: int, now: float) -> None:
        """So many requests have been answered now."""
        if self._answered:
            share = min(self._came / self._answered, 1.0)
            self.fraction += _SMOOTHING * (share - self.fraction)
        self._answered = requests
        self._came = 0
        self._last = now

    def came(self, now: float) -> float | None:
        """A request has come; returns its delay after the answers where it may be an echo."""
        if self._came >= self._answered:
            self._previous = now
            return None
        delay = now - self._last
        if self._came == 0:
            self._first += _SMOOTHING * (delay - self._first)
        else:
            self._gap += _SMOOTHING * (now - self._previous - self._gap)
        self._came += 1
        self._previous = now
        return delay

    def expected(self, now: float) -> tuple[int, float, float]:
        """How many are still to come, seconds until the next, and seconds between them."""
        if self.fraction < _CONVINCING:
            return 0, math.inf, math.inf
        left = round(self.fraction * self._answered) - self._came
        if left <= 0:
            return 0, math.inf, math.inf
        usual = self._first if self._came == 0 else self._gap
        since = now - (self._last if self._came == 0 else self._previous)
        if since > _DRIED_UP * usual + 1e-4:
            return 0, math.inf, math.inf
        return left, max(usual - since, 0.0), self._gap


class Hold:
    """The hold of one model's free slot: how long it has lasted and when it ends.

    ``theta`` is the longest hold in units of the cost of the batch that waits; 0: none.
    """

    __slots__ = ("echo", "since", "theta", "until")

    def __init__(self) -> None:
        self.echo = Echo()
        self.theta = 0.0
        self.since: float | None = None
        self.until = math.inf

    def waits(self, queued: int, largest: int, seconds: Callable[[int], float], now: float) -> bool:
        """Whether the slot should wait for more than the ``queued`` rows; sets ``until``."""
        since = now if self.since is None else self.since
        last = since + self.theta * seconds(queued)
        if now >= last or queued >= largest:
            return False
        outlook = Outlook(*self.echo.expected(now))
        if not outlook.requests:
            return False
        wait = worthwhile(queued, outlook, largest, seconds)
        if wait <= 0:
            return False
        self.since = since
        self.until = min(now + max(wait, _SHORTEST), last)
        return self.until > now

    def end(self, now: float) -> float:
        """The hold is over; returns how long it was."""
        held = 0.0 if self.since is None else now - self.since
        self.since, self.until = None, math.inf
        return held


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is about to come: requests, seconds until the first, seconds between them."""

    requests: int
    first: float
    gap: float


def worthwhile(
    queued: int, outlook: Outlook, largest: int, seconds: Callable[[int], float]
) -> float:
    """How long to wait for the requests to come; 0: not at all.

    Waiting for k more merges two runs into one: it saves S(q) + S(k) - S(q + k) of the slot and
    costs the time until they are there. The k with the largest gain is chosen.
    """
    most = min(outlook.requests, largest - queued)
    best, wait = 0.0, 0.0
    own = seconds(queued)
    k = most
    while k >= 1:
        until = outlook.first + (k - 1) * outlook.gap
        gain = own + seconds(k) - seconds(queued + k) - until
        if gain > best:
            best, wait = gain, until
        k = k // 2 if k > 1 else 0
    return wait
