"""Sums over the requests and runs of one model version. Pure; times are in seconds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log2

_SHORTEST = 1e-5
"""Seconds; shorter ones count as this."""
_BUCKETS_PER_DOUBLING = 8
_BUCKETS = 200
"""Up to 300 s; longer ones count as this."""


@dataclass(slots=True)
class Durations:
    """How many, and how long together."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.count += 1
        self.seconds += seconds


class Latencies:
    """Durations counted in buckets, each 9 % wider than the one before: quantiles within 5 %.

    The idea is that of HdrHistogram and of Prometheus' native histograms: a fixed memory, and two
    states can be subtracted, which gives the quantiles of what came between them.
    """

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0] * _BUCKETS

    def add(self, seconds: float) -> None:
        """One more."""
        place = int(log2(seconds / _SHORTEST) * _BUCKETS_PER_DOUBLING) if seconds > 0 else 0
        self.counts[min(max(place, 0), _BUCKETS - 1)] += 1


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The duration in seconds that ``share`` of those counted were not above; None without any.

    ``counts`` are those of `Latencies`, or the differences of two states of them.
    """
    left = share * sum(counts)
    for place, count in enumerate(counts):
        if count and count >= left:
            exponent = (place + left / count) / _BUCKETS_PER_DOUBLING
            return float(_SHORTEST * 2**exponent)
        left -= count
    return None


@dataclass(slots=True)
class ModelStatistics:
    """What has happened since the model was loaded.

    ``success`` and ``fail`` are whole requests; ``queue``, ``decode``, ``compute`` and ``encode``
    the parts of the successful ones. ``rows`` were answered, in ``runs`` runs; ``batches`` has the
    runs by their rows, ``latencies`` the durations of the successful requests. ``last`` is the
    time of the last request, in seconds since 1970; 0: none.
    """

    success: Durations = field(default_factory=Durations)
    fail: Durations = field(default_factory=Durations)
    queue: Durations = field(default_factory=Durations)
    decode: Durations = field(default_factory=Durations)
    compute: Durations = field(default_factory=Durations)
    encode: Durations = field(default_factory=Durations)
    rows: int = 0
    runs: int = 0
    batches: dict[int, Durations] = field(default_factory=dict)
    latencies: Latencies = field(default_factory=Latencies)
    last: float = 0.0

    def succeeded(
        self, times: tuple[float, float, float, float, float], rows: int, requests: int = 1
    ) -> None:
        """More requests were answered: in all, in the queue, decoding, computing, encoding."""
        sums = (self.success, self.queue, self.decode, self.compute, self.encode)
        for durations, seconds in zip(sums, times, strict=True):
            durations.count += requests  # not `add`: five calls for every request
            durations.seconds += seconds
        self.rows += rows
        self.latencies.add(times[0])
