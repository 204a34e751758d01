"""The evidence for a closed loop: how many requests follow the answers, and how soon.

Clients that send their next request when they get an answer come back together. Requests that are
taken in together (in one turn of the event loop) count as one arrival, at the decision after them.
"""

import math
from collections.abc import Callable

from inference_service.core.scheduling.policy import BatchPolicy


class Returns:
    """The requests that follow the answers to a batch."""

    __slots__ = (
        "_answered", "_came", "_first", "_first_now", "_gap", "_last", "_latest", "_policy",
        "fraction", "size",
    )  # fmt: skip

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        self.fraction = 0.0
        """Share of the answers that a request follows, smoothed."""
        self.size = 1.0
        """Requests answered together, smoothed."""
        self._answered = 0
        self._came = 0
        self._last = -math.inf  # the time of the last answers
        self._first = 0.0  # seconds from answers to the first request, smoothed
        self._first_now = 0.0  # the same for the last answers
        self._latest = 0.0  # seconds from them to the latest request
        self._gap = 0.0  # seconds between the requests that follow, smoothed

    def answered(self, requests: int, now: float) -> None:
        """This many requests have been answered now."""
        rate = self._policy.smoothing
        if self._answered:
            share = min(self._came / self._answered, 1.0)
            self.fraction += rate * (share - self.fraction)
        if self._came > 1:
            gap = (self._latest - self._first_now) / (self._came - 1)
            self._gap += rate * (gap - self._gap)
        self.size += rate * (requests - self.size)
        self._answered, self._came, self._last = requests, 0, now

    def came(self, requests: int, now: float) -> None:
        """This many requests have arrived."""
        if self._came >= self._answered:
            return
        delay = now - self._last
        if self._came == 0:
            self._first += self._policy.smoothing * (delay - self._first)
            self._first_now = delay
        self._latest = delay
        self._came += min(requests, self._answered - self._came)

    def together(self, seconds: Callable[[int], float]) -> bool:
        """Whether they come well within one run of ``seconds(rows)``.

        Arrivals that have nothing to do with answers are spread over a whole run and more.
        """
        span = self._first + max(self.size - 1, 0) * self._gap
        return span <= self._policy.together * seconds(max(1, round(self.size)))

    def expected(self, now: float) -> tuple[int, float, float]:
        """How many are still to come, seconds until the next, and seconds between them."""
        policy = self._policy
        fraction = 1.0 if self.fraction >= policy.nearly_all else self.fraction
        left = round(fraction * self._answered) - self._came
        if self.fraction < policy.followed or left <= 0:
            return 0, math.inf, math.inf
        since = now - self._last
        usual = self._first + (self._answered - 1) * self._gap
        if since > policy.overdue * usual + policy.grace:
            return 0, math.inf, math.inf
        return left, max(self._first + self._came * self._gap - since, 0.0), self._gap


class Population:
    """How many requests are in the system: in a closed loop nearly as many all the time."""

    __slots__ = ("_ends", "_present", "clients", "seen")

    def __init__(self) -> None:
        self.seen = 0
        """Requests since the count began."""
        self.clients = 0
        """The most that were queued and running at once."""
        self._present = 0
        self._ends = 0

    def came(self, requests: int, present: int) -> None:
        """This many have arrived, and are among the ``present``."""
        self.seen += requests
        self.clients = max(self.clients, present)

    def answered(self, present: int) -> None:
        """A batch has ended; before that this many were queued or running."""
        self._present += present
        self._ends += 1

    @property
    def steady(self) -> float:
        """The mean number of requests in the system over the largest."""
        return self._present / self._ends / self.clients if self._ends and self.clients else 0.0

    def forget(self) -> None:
        """Start the count again."""
        self.seen = self.clients = self._present = self._ends = 0


def worthwhile(
    queued: int, expected: tuple[int, float, float], most: int, seconds: Callable[[int], float]
) -> float | None:
    """How long to wait for the ``expected`` requests, in seconds from now; None: not at all.

    Waiting for k more merges two runs into one: it saves S(q) + S(k) - S(q + k) of the slot and
    costs the time until they are there. The k with the largest gain is chosen.
    """
    count, first, gap = expected
    best: float = 0.0
    wait: float | None = None
    own = seconds(queued)
    k = min(count, most - queued)
    while k >= 1:
        until = first + (k - 1) * gap
        gain = own + seconds(k) - seconds(queued + k) - until
        if gain > best:
            best, wait = gain, until
        k //= 2
    return wait
