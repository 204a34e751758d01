"""Sums over the requests and runs of one model version. Pure; times are in seconds."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

_SHORTEST = 1e-5
"""Seconds; shorter ones count as this."""
_BUCKETS_PER_DOUBLING = 8
_BUCKETS = 200
"""Up to 300 s; longer ones count as this."""
_UPPER = tuple(_SHORTEST * 2 ** (place / _BUCKETS_PER_DOUBLING) for place in range(1, _BUCKETS))
"""Upper bounds of all buckets but the last. To search them is quicker than a logarithm."""


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
        self.counts[bisect_right(_UPPER, seconds)] += 1

    def add_all(self, durations: Sequence[float]) -> None:
        """Several more."""
        counts = self.counts
        for seconds in durations:
            counts[bisect_right(_UPPER, seconds)] += 1


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

    ``requests`` were answered, with the sums of seconds in all and of their parts; ``success``,
    ``queue``, ``decode``, ``compute`` and ``encode`` are the same with that number. ``fail`` are
    requests without an answer. ``rows`` were answered, in ``runs`` runs; ``batches`` has the runs
    by their rows, ``latencies`` the durations of the answered requests. ``last`` is the time of the
    last request, in seconds since 1970; 0: none.
    """

    requests: int = 0
    seconds: float = 0.0
    queue_seconds: float = 0.0
    decode_seconds: float = 0.0
    compute_seconds: float = 0.0
    encode_seconds: float = 0.0
    fail: Durations = field(default_factory=Durations)
    rows: int = 0
    runs: int = 0
    batches: dict[int, Durations] = field(default_factory=dict)
    latencies: Latencies = field(default_factory=Latencies)
    last: float = 0.0

    def succeeded(self, times: tuple[float, float, float, float, float], rows: int) -> None:
        """A request was answered: seconds in all, in the queue, decoding, computing, encoding."""
        self._add(times, rows, 1)
        self.latencies.add(times[0])

    def all_succeeded(
        self, seconds: Sequence[float], parts: tuple[float, float, float, float], rows: int
    ) -> None:
        """Several requests were answered: the seconds of each, and the sums of their parts, in the
        same order; ``rows`` is a sum, too."""
        self._add((sum(seconds), *parts), rows, len(seconds))
        self.latencies.add_all(seconds)

    def _add(
        self, times: tuple[float, float, float, float, float], rows: int, requests: int
    ) -> None:
        seconds, queue, decode, compute, encode = times
        self.requests += requests
        self.seconds += seconds
        self.queue_seconds += queue
        self.decode_seconds += decode
        self.compute_seconds += compute
        self.encode_seconds += encode
        self.rows += rows

    @property
    def success(self) -> Durations:
        """The answered requests as a whole."""
        return Durations(self.requests, self.seconds)

    @property
    def queue(self) -> Durations:
        """Their time in the queue."""
        return Durations(self.requests, self.queue_seconds)

    @property
    def decode(self) -> Durations:
        """Their decoding."""
        return Durations(self.requests, self.decode_seconds)

    @property
    def compute(self) -> Durations:
        """The runs that answered them."""
        return Durations(self.requests, self.compute_seconds)

    @property
    def encode(self) -> Durations:
        """Their encoding."""
        return Durations(self.requests, self.encode_seconds)
