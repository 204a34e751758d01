"""Counters and histograms that are counted up for every request.

prometheus_client's own take a lock for every number, half a dozen of them for a histogram: together
6 % of a small request. Here only the event loop's thread counts, so an addition is enough; what is
counted is handed to prometheus_client when metrics are scraped (`Collector`).
"""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString


class Count:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Count up."""
        self.value += amount


class Distribution:
    """One series of a histogram: how many observations up to each bound, and their sum."""

    __slots__ = ("_bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.exemplars: dict[int, Exemplar] = {}
        """By bucket: the latest observation of a request whose trace is kept."""

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def exemplify(self, value: float, trace_id: str) -> None:
        """Name the trace of an observation that was counted."""
        exemplar = Exemplar({"trace_id": trace_id}, value, round(time.time(), 3))
        self.exemplars[bisect_left(self._bounds, value)] = exemplar

    def observe_all(self, values: Sequence[float]) -> None:
        """Count several observations."""
        bounds, counts = self._bounds, self.counts
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self.sum += sum(values)


class Counter(Collector):
    """Series by the values of their labels. ``name`` is without ``_total``."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry
    ) -> None:
        self._family = name, text, labels
        self._series: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def labels(self, *values: str) -> Count:
        """The series with these values; made when it is asked for first."""
        return self._series.setdefault(values, Count())

    def describe(self) -> Iterator[Metric]:
        """The name alone, for the registry."""
        name, text, labels = self._family
        yield CounterMetricFamily(name, text, labels=labels)

    def collect(self) -> Iterator[Metric]:
        """The series as they stand."""
        name, text, labels = self._family
        family = CounterMetricFamily(name, text, labels=labels)
        for values, series in list(self._series.items()):
            family.add_metric(values, series.value)
        yield family


class Histogram(Collector):
    """The same for distributions over ``buckets``, whose bounds belong to them."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        registry: CollectorRegistry,
        buckets: Sequence[float],
    ) -> None:
        self._family = name, text, labels
        self._bounds = tuple(float(bound) for bound in buckets)
        self._series: dict[tuple[str, ...], Distribution] = {}
        registry.register(self)

    def labels(self, *values: str) -> Distribution:
        """The series with these values; made when it is asked for first."""
        return self._series.setdefault(values, Distribution(self._bounds))

    def describe(self) -> Iterator[Metric]:
        """The name alone, for the registry."""
        name, text, labels = self._family
        yield HistogramMetricFamily(name, text, labels=labels)

    def collect(self) -> Iterator[Metric]:
        """The series as they stand."""
        name, text, labels = self._family
        family = HistogramMetricFamily(name, text, labels=labels)
        bounds = (*self._bounds, float("inf"))
        names = [floatToGoString(bound) for bound in bounds]  # type: ignore[no-untyped-call]
        for values, series in list(self._series.items()):
            total = 0
            buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
            for place, (bound, count) in enumerate(zip(names, list(series.counts), strict=True)):
                total += count
                exemplar = series.exemplars.get(place)
                told = (bound, float(total))
                buckets.append(told if exemplar is None else (*told, exemplar))
            family.add_metric(values, buckets, series.sum)
        yield family
