"""Sums over the requests and runs of one model version. Pure; times are in seconds."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Durations:
    """How many, and how long together."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.count += 1
        self.seconds += seconds


@dataclass(slots=True)
class ModelStatistics:
    """What has happened since the model was loaded.

    ``success`` and ``fail`` are whole requests; ``queue``, ``decode``, ``compute`` and ``encode``
    the parts of the successful ones. ``rows`` were answered, in ``runs`` runs; ``batches`` has the
    runs by their rows. ``last`` is the time of the last request, in seconds since 1970; 0: none.
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
