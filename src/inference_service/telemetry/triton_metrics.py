"""Triton's names for our sums, so that dashboards made for Triton go on working.

Source: triton-inference-server/server, docs/user_guide/metrics.md. Triton's counters have no
``_total``, which prometheus_client would add to what it knows to be one: they are told as unknown.
"""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, UnknownMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from inference_service.core.statistics import Durations, ModelStatistics
from inference_service.engine.interfaces import Engine
from inference_service.telemetry.statistics import StatisticsObserver

_LABELS = ("model", "version")


def _micros(durations: Durations) -> float:
    return round(durations.seconds * 1e6)


_COUNTERS: Mapping[str, tuple[str, Callable[[ModelStatistics], float]]] = {
    "nv_inference_request_success": (
        "Number of successful inference requests", lambda sums: sums.success.count,
    ),
    "nv_inference_request_failure": (
        "Number of failed inference requests", lambda sums: sums.fail.count,
    ),
    "nv_inference_count": ("Number of inferences performed", lambda sums: sums.rows),
    "nv_inference_exec_count": ("Number of model executions performed", lambda sums: sums.runs),
    "nv_inference_request_duration_us": (
        "Cumulative inference request duration in microseconds", lambda sums: _micros(sums.success),
    ),
    "nv_inference_queue_duration_us": (
        "Cumulative inference queuing duration in microseconds", lambda sums: _micros(sums.queue),
    ),
    "nv_inference_compute_input_duration_us": (
        "Cumulative compute input duration in microseconds", lambda sums: _micros(sums.decode),
    ),
    "nv_inference_compute_infer_duration_us": (
        "Cumulative compute inference duration in microseconds",
        lambda sums: _micros(sums.compute),
    ),
    "nv_inference_compute_output_duration_us": (
        "Cumulative inference compute output duration in microseconds",
        lambda sums: _micros(sums.encode),
    ),
}  # fmt: skip
_PENDING = "nv_inference_pending_request_count"


class _TritonCollector(Collector):
    def __init__(self, engine: Engine, statistics: StatisticsObserver) -> None:
        self._engine = engine
        self._statistics = statistics

    def collect(self) -> Iterator[Metric]:
        """The sums as they stand."""
        refs = [info.ref for info in self._engine.models()]
        for name, (text, read) in _COUNTERS.items():
            family = UnknownMetricFamily(name, text, labels=_LABELS)
            for ref in refs:
                value = read(self._statistics.of(ref))
                family.add_metric([ref.name, str(ref.version)], value)
            yield family
        pending = GaugeMetricFamily(
            _PENDING, "Instantaneous number of pending requests (rows) awaiting execution",
            labels=_LABELS,
        )  # fmt: skip
        for ref, rows in self._engine.queued().items():
            pending.add_metric([ref.name, str(ref.version)], rows)
        yield pending


def add_triton_metrics(
    registry: CollectorRegistry, engine: Engine, statistics: StatisticsObserver
) -> None:
    """Expose the metrics under Triton's names, too."""
    registry.register(_TritonCollector(engine, statistics))
