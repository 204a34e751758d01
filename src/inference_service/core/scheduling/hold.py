"""When a free slot should wait for requests that are about to come: on evidence alone.

Clients that send their next request when they get an answer (closed loop) come back together. A
slot that takes the first of them and leaves the others for the next run wastes most of a run where
a run costs much and a row little. The evidence is what came after the last answers.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

THETAS = (0.0, 0.125, 0.25, 0.5)
"""The longest hold in units of the cost of the batch that waits."""

SHORTEST = 1e-4
"""Seconds; what is due now may still be a moment late."""

FOLLOWED, STEADY = 0.5, 0.85
"""Signs of a closed loop: the share of answers that are followed by a request, and of the most
requests in the house those that are there all the time."""

REMEMBERED = 512
"""Arrivals that the judgement of a hold looks at."""

_SMOOTHING = 0.2
_CONVINCING = 0.5  # share of answers that are followed by a request
_NEARLY_ALL = 0.85  # and with the next ones all of them
_OVERDUE = 1.5  # times the usual time to the last request: no more of them come
_GRACE = 5e-4  # seconds
_TOGETHER = 0.75  # of a run: so long may the requests take that follow answers
_MATTERS = 0.2  # of S(1)
_IN_VAIN = 3  # delays in a row that brought nobody end them


class Came(NamedTuple):
    """Requests that came at one time, and their rows together."""

    time: float
    requests: int
    rows: int


class Echo:
    """How many requests follow the answers, and how quickly.

    Requests that are taken in together (in one turn of the event loop) come at one time, that of
    the decision after them: waiting for each other costs them nothing.
    """

    __slots__ = (
        "_answered", "_came", "_first", "_first_now", "_gap", "_last", "_latest", "fraction",
        "size",
    )  # fmt: skip

    def __init__(self) -> None:
        self.fraction = 0.0
        self.size = 1.0  # requests answered together, smoothed
        self._answered = 0
        self._came = 0
        self._last = -math.inf  # the time of the last answers
        self._first = 0.0  # seconds from answers to the first request, smoothed
        self._first_now = 0.0  # the same for the last answers
        self._latest = 0.0  # seconds from them to the latest request
        self._gap = 0.0  # seconds between the requests that follow, smoothed

    def answered(self, requests: int, now: float) -> None:
        """So many requests have been answered now."""
        if self._answered:
            share = min(self._came / self._answered, 1.0)
            self.fraction += _SMOOTHING * (share - self.fraction)
        if self._came > 1:
            gap = (self._latest - self._first_now) / (self._came - 1)
            self._gap += _SMOOTHING * (gap - self._gap)
        self.size += _SMOOTHING * (requests - self.size)
        self._answered = requests
        self._came = 0
        self._last = now

    def came(self, requests: int, now: float) -> float | None:
        """So many have come; returns their delay after the answers where they may be echoes."""
        if self._came >= self._answered:
            return None
        delay = now - self._last
        if self._came == 0:
            self._first += _SMOOTHING * (delay - self._first)
            self._first_now = delay
        self._latest = delay
        self._came += min(requests, self._answered - self._came)
        return delay

    def together(self, seconds: Callable[[int], float]) -> bool:
        """Whether those that follow the answers to a run come well within such a run's ``seconds``.

        Arrivals that have nothing to do with answers are spread over a whole run and more.
        """
        span = self._first + max(self.size - 1, 0) * self._gap
        return span <= _TOGETHER * seconds(max(1, round(self.size)))

    def expected(self, now: float) -> tuple[int, float, float]:
        """How many are still to come, seconds until the next, and seconds between them."""
        fraction = 1.0 if self.fraction >= _NEARLY_ALL else self.fraction
        left = round(fraction * self._answered) - self._came
        if self.fraction < _CONVINCING or left <= 0:
            return 0, math.inf, math.inf
        since = now - self._last
        usual = self._first + (self._answered - 1) * self._gap
        if since > _OVERDUE * usual + _GRACE:
            return 0, math.inf, math.inf
        return left, max(self._first + self._came * self._gap - since, 0.0), self._gap


class Recent:
    """What the last arrivals were like: how many clients there were, and how they came back."""

    __slots__ = ("_ends", "_last", "_present", "clients", "firsts", "gaps", "seen")

    def __init__(self) -> None:
        self.firsts: deque[float] = deque(maxlen=REMEMBERED // 8)
        self.gaps: deque[float] = deque(maxlen=REMEMBERED)
        self.seen = 0
        self.clients = 0
        self._present = 0
        self._ends = 0
        self._last = 0.0

    def came(self, requests: int, now: float, delay: float | None, present: int) -> None:
        """So many have come, ``delay`` seconds after answers that they may have followed.

        ``present`` are all that are queued or run.
        """
        self.seen += requests
        self.clients = max(self.clients, present)
        if delay is not None:
            since = now - self._last
            if since >= delay:  # the first after the answers
                self.firsts.append(delay)
            else:
                self.gaps.append(since)
            self.gaps.extend([0.0] * (requests - 1))
        self._last = now

    def answered(self, present: int) -> None:
        """A batch has ended; before that so many were queued or run."""
        self._present += present
        self._ends += 1

    @property
    def steady(self) -> float:
        """The mean number of requests in the house against the largest: near 1 in a closed loop."""
        return self._present / self._ends / self.clients if self._ends and self.clients else 0.0

    def forget(self) -> None:
        """Count anew."""
        self.seen = self.clients = self._present = self._ends = 0


class Hold:
    """The hold of one model's free slot: how long it has lasted and when it ends.

    ``theta`` is the longest hold in units of the cost of the batch that waits; 0: none. ``delay``
    is that of open loads, in seconds from the arrival of the first that waits, and ``arrivals``
    are what it is judged by; None: nobody judges it.
    """

    __slots__ = (
        "_alone", "_in_vain", "arrivals", "delay", "echo", "fresh", "fresh_rows", "recent", "since",
        "theta", "until",
    )  # fmt: skip

    def __init__(self) -> None:
        self.fresh = 0  # requests that have come since the last decision
        self.fresh_rows = 0
        self.arrivals: deque[Came] | None = None
        self.delay = 0.0
        self._alone = 0  # rows that a delay began with; 0: none is on
        self._in_vain = 0
        self.echo = Echo()
        self.recent = Recent()
        self.theta = 0.0
        self.since: float | None = None
        self.until = math.inf

    def tick(self, now: float, present: int) -> None:
        """A decision is due: those that have come since the last one come now."""
        requests, self.fresh = self.fresh, 0
        if requests:
            rows, self.fresh_rows = self.fresh_rows, 0
            if self.arrivals is not None:
                self.arrivals.append(Came(now, requests, rows))
            self.recent.came(requests, now, self.echo.came(requests, now), present)

    def answered(self, requests: int, now: float, present: int) -> None:
        """So many have been answered now; ``present`` others are still queued or run."""
        self.echo.answered(requests, now)
        self.recent.answered(requests + present)

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
        if wait is None:
            return False
        self.since = since
        self.until = min(now + max(wait, SHORTEST), last)
        return self.until > now

    def lingers(self, arrival: float, rows: int, largest: int, now: float) -> bool:
        """Whether the slot waits for more than these rows, the first of which came at ``arrival``.

        Sets ``until``.
        """
        # Whoever is more urgent than those that wait already prolongs nothing.
        until = min(arrival, now if self.since is None else self.since) + self.delay
        if now >= until or rows >= largest:
            return False
        if self.since is None:
            self.since, self._alone = now, rows
        self.until = until
        return True

    def end(self, now: float, rows: int = 0) -> float:
        """The hold is over, with so many rows (0: they are gone); returns how long it was.

        Who waits in vain again and again gives up the delay: the load has changed.
        """
        if self.since is None:
            return 0.0
        held = now - self.since
        if self._alone and rows:
            self._in_vain = 0 if rows > self._alone else self._in_vain + 1
            if self._in_vain >= _IN_VAIN:
                self.delay, self._in_vain = 0.0, 0
        self.since, self.until, self._alone = None, math.inf, 0
        return held


def merging_pays(seconds: Callable[[int], float]) -> bool:
    """Whether one run of two rows saves so much against two that waiting is worth a thought."""
    one = seconds(1)
    return 2 * one - seconds(2) > _MATTERS * one


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is about to come: requests, seconds until the first, seconds between them."""

    requests: int
    first: float
    gap: float


def worthwhile(
    queued: int, outlook: Outlook, largest: int, seconds: Callable[[int], float]
) -> float | None:
    """How long to wait for the requests to come, from 0 on; None: not at all.

    Waiting for k more merges two runs into one: it saves S(q) + S(k) - S(q + k) of the slot and
    costs the time until they are there. The k with the largest gain is chosen.
    """
    most = min(outlook.requests, largest - queued)
    best: float = 0.0
    wait: float | None = None
    own = seconds(queued)
    k = most
    while k >= 1:
        until = outlook.first + (k - 1) * outlook.gap
        gain = own + seconds(k) - seconds(queued + k) - until
        if gain > best:
            best, wait = gain, until
        k = k // 2 if k > 1 else 0
    return wait
