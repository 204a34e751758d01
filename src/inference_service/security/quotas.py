"""How much a client may ask for: rates by GCRA, concurrency, a share of what is in flight. Pure.

The generic cell rate algorithm (ITU-T I.371, annex A) keeps one number for a client and a rate: the
time at which its bucket will be empty again. A request is admitted while that is less than the
burst away, and moves it on by its cost. Costs that are known afterwards only, such as bytes, are
charged then: the client waits before its next request instead.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from inference_service.core.errors import QuotaExceeded, clipped

MOST_CLIENTS = 10_000
"""Clients that are remembered; one that is forgotten has a full burst again."""
_LOOKED_AT = 16
"""Clients that are looked at to forget one: all may have requests in work."""
LONGEST_PAUSE = 10.0
"""Seconds that a message of a stream is held back to keep a rate."""


@dataclass(frozen=True, slots=True)
class Rate:
    """``per_second`` units, up to ``burst`` of them at once."""

    name: str
    per_second: float
    burst: float

    @property
    def window(self) -> float:
        """Seconds in which a whole burst comes back."""
        return self.burst / self.per_second


@dataclass(frozen=True, slots=True)
class Quota:
    """What each client may use. None: no bound.

    ``concurrency`` are requests, ``bytes_in_flight`` their bodies.
    """

    requests: Rate | None = None
    rows: Rate | None = None
    bytes: Rate | None = None
    concurrency: int | None = None
    bytes_in_flight: int | None = None

    @property
    def rates(self) -> tuple[Rate, ...]:
        """Those that there are."""
        return tuple(rate for rate in (self.requests, self.rows, self.bytes) if rate is not None)


@dataclass(slots=True)
class _Usage:
    """``until``: by rate, when the bucket is empty again, in the clock's seconds."""

    until: dict[str, float] = field(default_factory=dict)
    requests: int = 0
    bytes: int = 0


class Standing:
    """What is left of one rate: for the headers RateLimit and RateLimit-Policy."""

    __slots__ = ("rate", "remaining", "reset")

    def __init__(self, rate: Rate, remaining: int, reset: int) -> None:
        self.rate = rate
        self.remaining = remaining
        self.reset = reset


class Quotas:
    """The usage of every client that is known, of one `Quota`."""

    def __init__(self, quota: Quota, clock: Callable[[], float]) -> None:
        self._quota = quota
        self._clock = clock
        self._clients: OrderedDict[str, _Usage] = OrderedDict()

    @property
    def remembered(self) -> int:
        """Clients."""
        return len(self._clients)

    def enter(self, client: str, *, held: bool = True) -> "Entry":
        """A request begins. Raises QuotaExceeded; leave by `Entry.leave`.

        ``held``: its body is in memory until it is answered.
        """
        usage = self._usage(client)
        quota = self._quota
        if quota.concurrency is not None and usage.requests >= quota.concurrency:
            raise QuotaExceeded(
                f"'{clipped(client)}' has {usage.requests} requests in work, its most",
                policy="concurrency",
            )
        now = self._clock()
        for rate in quota.rates:
            cost = 1.0 if rate is quota.requests else 0.0
            wait = self._wait(usage, rate, cost, now)
            if wait > 0:
                raise QuotaExceeded(
                    f"'{clipped(client)}' has used up its {rate.name}: {rate.per_second:g} a "
                    f"second, {rate.burst:g} at once",
                    policy=rate.name,
                    retry_after=wait,
                )
        if quota.requests is not None:
            self._charge(usage, quota.requests, 1.0, now)
        usage.requests += 1
        return Entry(self, client, usage, held=held)

    def _message(self, client: str, usage: _Usage, size: int) -> float:
        """See `Entry.message`."""
        now, quota = self._clock(), self._quota
        wait, slowest = 0.0, ""
        for rate in quota.rates:
            its = self._wait(usage, rate, 1.0 if rate is quota.requests else 0.0, now)
            if its > wait:
                wait, slowest = its, rate.name
        if wait > LONGEST_PAUSE:
            raise QuotaExceeded(
                f"'{clipped(client)}' has used up its {slowest} for {wait:.0f} s",
                policy=slowest,
                retry_after=wait,
            )
        if quota.requests is not None:
            self._charge(usage, quota.requests, 1.0, now)
        if quota.bytes is not None:
            self._charge(usage, quota.bytes, float(size), now)
        return wait

    def standings(self, client: str) -> list[Standing]:
        """What is left of each rate."""
        usage, now = self._usage(client), self._clock()
        found = []
        for rate in self._quota.rates:
            used = max(0.0, usage.until.get(rate.name, now) - now)
            left = max(0, math.floor(rate.burst - used * rate.per_second + 1e-6))
            found.append(Standing(rate, left, math.ceil(used)))
        return found

    def charge_rows(self, client: str, rows: int) -> None:
        """Rows that are going to be computed. Raises QuotaExceeded while earlier ones aren't paid.

        Rows of one request may be more than the burst: they are paid for by the time after it.
        """
        rate = self._quota.rows
        if rate is None:
            return
        usage, now = self._usage(client), self._clock()
        wait = self._wait(usage, rate, min(float(rows), rate.burst), now)
        if wait > 0:
            raise QuotaExceeded(
                f"'{clipped(client)}' has used up its rows: {rate.per_second:g} a second, "
                f"{rate.burst:g} at once",
                policy=rate.name,
                retry_after=wait,
            )
        self._charge(usage, rate, float(rows), now)

    def _usage(self, client: str) -> _Usage:
        usage = self._clients.get(client)
        if usage is None:
            if len(self._clients) >= MOST_CLIENTS:
                self._forget()
            usage = self._clients[client] = _Usage()
        else:
            self._clients.move_to_end(client)
        return usage

    def _forget(self) -> None:
        """The client that was seen longest ago, but for one with requests in work."""
        for _ in range(_LOOKED_AT):
            client, usage = self._clients.popitem(last=False)
            if usage.requests == 0:
                return
            self._clients[client] = usage

    @staticmethod
    def _wait(usage: _Usage, rate: Rate, cost: float, now: float) -> float:
        """Seconds until ``cost`` units are there; cost 0: until there is no debt."""
        until = max(usage.until.get(rate.name, now), now)
        return until + cost / rate.per_second - now - rate.window - 1e-9

    @staticmethod
    def _charge(usage: _Usage, rate: Rate, cost: float, now: float) -> None:
        until = max(usage.until.get(rate.name, now), now)
        usage.until[rate.name] = until + cost / rate.per_second


class Entry:
    """A request that was admitted."""

    __slots__ = ("_bytes", "_client", "_held", "_quotas", "_usage")

    def __init__(self, quotas: Quotas, client: str, usage: _Usage, *, held: bool = True) -> None:
        self._quotas = quotas
        self._held = held
        self._client = client
        self._usage = usage
        self._bytes = 0

    def grow(self, size: int) -> None:
        """Bytes of its body have come. Raises QuotaExceeded beyond the client's share."""
        quota, usage = self._quotas._quota, self._usage
        self.check_bytes(size)
        if self._held:
            self._bytes += size
            usage.bytes += size
        if quota.bytes is not None:
            self._quotas._charge(usage, quota.bytes, float(size), self._quotas._clock())

    def check_bytes(self, size: int) -> None:
        """Raises QuotaExceeded where a body of this many bytes is beyond the client's share."""
        most = self._quotas._quota.bytes_in_flight
        if self._held and most is not None and self._usage.bytes + size > most:
            raise QuotaExceeded(
                f"'{clipped(self._client)}' has {self._usage.bytes} bytes in flight, "
                f"and may have {most}",
                policy="bytes_in_flight",
            )

    def message(self, size: int) -> float:
        """A message of a stream has come, which counts as a request. Seconds to wait before it is
        handed on; raises QuotaExceeded where that would be more than `LONGEST_PAUSE`."""
        return self._quotas._message(self._client, self._usage, size)

    def another(self) -> "Entry | None":
        """Of a stream that works on several messages at once: the entry of one more, None where
        the client has as many requests in work as it may."""
        most, usage = self._quotas._quota.concurrency, self._usage
        if most is not None and usage.requests >= most:
            return None
        usage.requests += 1
        return Entry(self._quotas, self._client, usage)

    def leave(self) -> None:
        """It has been answered, or is gone."""
        self._usage.requests -= 1
        self._usage.bytes -= self._bytes
        self._bytes = 0


def rate_limit_headers(standings: list[Standing]) -> list[tuple[bytes, bytes]]:
    """RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10)."""
    if not standings:
        return []
    policies = ", ".join(
        f'"{one.rate.name}";q={math.floor(one.rate.burst)};w={math.ceil(one.rate.window)}'
        for one in standings
    )
    limits = ", ".join(f'"{one.rate.name}";r={one.remaining};t={one.reset}' for one in standings)
    return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", limits.encode())]
