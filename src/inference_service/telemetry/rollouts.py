"""How requests of each version have ended, and what has become of loads."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inference_service.core.regression import Outcomes
from inference_service.core.requests import ModelRef
from inference_service.engine.interfaces import (
    AnsweredRequests,
    BatchRecord,
    LoadRecord,
    RequestRecord,
)
from inference_service.engine.shadow import Comparison
from inference_service.telemetry.series import Counter

_FAILURES = frozenset({"execution_failed", "internal_error"})
"""Outcomes that are the model's fault; bad input, overload and deadlines are not."""


class _ShadowCollector(Collector):
    """What the comparisons of shadow traffic have found, read when it is asked for."""

    def __init__(self, comparisons: Callable[[], Mapping[ModelRef, Comparison]]) -> None:
        self._comparisons = comparisons

    def collect(self) -> Iterator[Metric]:
        """The counters as they stand."""
        outcomes = CounterMetricFamily(
            "inference_shadow_answers",
            "Copies of requests to a shadow version, by the comparison of the answers",
            labels=("model", "version", "outcome"),
        )
        seconds = CounterMetricFamily(
            "inference_shadow_compute_seconds",
            "Compute of the compared answers, of the version that was asked and of its shadow",
            labels=("model", "version", "of"),
        )
        largest = GaugeMetricFamily(
            "inference_shadow_difference",
            "Largest absolute difference of an output to that of the version that was asked",
            labels=("model", "version"),
        )
        for ref, sums in self._comparisons().items():
            key = [ref.name, str(ref.version)]
            outcomes.add_metric([*key, "equal"], sums.compared - sums.different)
            outcomes.add_metric([*key, "different"], sums.different)
            outcomes.add_metric([*key, "failed"], sums.failed)
            outcomes.add_metric([*key, "dropped"], sums.dropped)
            seconds.add_metric([*key, "asked"], sums.seconds)
            seconds.add_metric([*key, "shadow"], sums.shadow_seconds)
            largest.add_metric(key, sums.difference)
        yield outcomes
        yield seconds
        yield largest


def watch_shadows(
    registry: CollectorRegistry, comparisons: Callable[[], Mapping[ModelRef, Comparison]]
) -> None:
    """Add the metrics of shadow traffic."""
    registry.register(_ShadowCollector(comparisons))


class OutcomeObserver:
    """Counts, for the rollback of a version that fails more often than the one before."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._outcomes: dict[tuple[str, str], list[int]] = {}
        self._loads = Counter(
            "inference_model_loads",
            "Versions that were loaded, have failed (or were refused), or were rolled back",
            ("model", "version", "outcome"),
            registry=registry,
        )

    def of(self, name: str, version: int) -> Outcomes:
        """Those of a version so far."""
        return Outcomes(*self._outcomes.get((name, str(version)), (0, 0)))

    def note(self, name: str, version: int, outcome: str) -> None:
        """A load has ended so."""
        self._loads.labels(name, str(version), outcome).inc()

    def loaded(self, record: LoadRecord) -> None:
        """See `Observer.loaded`. What was loaded may be refused yet: `note` tells the end."""

    def rejected(self, model: str, reason: str) -> None:
        """See `Observer.rejected`."""

    def batched(self, record: BatchRecord) -> None:
        """See `Observer.batched`."""

    def finished(self, record: RequestRecord) -> None:
        """See `Observer.finished`."""
        ok = record.outcome == "ok"
        if ok or record.outcome in _FAILURES:
            self._count(record.model, record.version, 1, int(not ok))

    def answered(self, requests: AnsweredRequests) -> None:
        """See `Observer.answered`."""
        self._count(requests.model, requests.version, len(requests.seconds), 0)

    def _count(self, model: str, version: str, requests: int, failures: int) -> None:
        sums = self._outcomes.get((model, version))
        if sums is None:
            sums = self._outcomes[model, version] = [0, 0]
        sums[0] += requests
        sums[1] += failures

    def violated(self, model: ModelRef) -> None:
        """See `Observer.violated`."""
