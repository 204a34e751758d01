"""Latency and batching metrics for Prometheus. docs/metrics.md is the reference.

Children of labelled metrics are looked up once for each model version and kept: a look-up for every
request would cost more than the observation.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from inference_service.core.admission import Admission
from inference_service.core.lifecycle import State
from inference_service.core.requests import ModelRef
from inference_service.engine.interfaces import AnsweredRequests, BatchRecord, Engine, RequestRecord
from inference_service.telemetry.series import Count, Counter, Distribution, Histogram

# One more series for each child, of no use.
disable_created_metrics()  # type: ignore[no-untyped-call]

_SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
_SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_MODEL = ("model", "version")


@dataclass(frozen=True, slots=True)
class _RequestChildren:
    requests: Count
    duration: Distribution
    queue: Distribution
    compute: Distribution


@dataclass(frozen=True, slots=True)
class _BatchChildren:
    batches: Count
    rows: Distribution
    runs: Count
    held: Count
    predicted: Count
    seconds: Count
    padding: Distribution
    saved: Count
    wasted: Count


class PrometheusObserver:
    """Counts what it is told."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._add_requests(registry)
        self._add_batches(registry)
        self._request_children: dict[tuple[str, ...], _RequestChildren] = {}
        self._batch_children: dict[tuple[object, ...], _BatchChildren] = {}

    def _add_requests(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "inference_requests",
            "Requests that have ended, by outcome",
            (*_MODEL, "protocol", "outcome"),
            registry=registry,
        )
        self._duration = Histogram(
            "inference_request_duration_seconds",
            "From the first byte handed to the application to the answer",
            _MODEL,
            buckets=_SECONDS,
            registry=registry,
        )
        self._queue = Histogram(
            "inference_queue_duration_seconds",
            "From joining the queue to the start of the run",
            _MODEL,
            buckets=_SECONDS,
            registry=registry,
        )
        self._compute = Histogram(
            "inference_compute_duration_seconds",
            "The run that answered the request: assembling, ONNX Runtime, splitting",
            _MODEL,
            buckets=_SECONDS,
            registry=registry,
        )
        self._rejected = Counter(
            "inference_rejected",
            "Requests refused by admission control, by reason",
            ("model", "reason"),
            registry=registry,
        )

    def _add_batches(self, registry: CollectorRegistry) -> None:
        self._batch_rows = Histogram(
            "inference_batch_rows", "Rows in a batch", _MODEL, buckets=_ROWS, registry=registry
        )
        self._batches = Counter(
            "inference_batches",
            "Batches that have run, by the reason of their release",
            (*_MODEL, "reason"),
            registry=registry,
        )
        self._runs = Counter(
            "inference_runs",
            "ONNX Runtime runs; more than batches where failed batches were bisected",
            _MODEL,
            registry=registry,
        )
        self._held = Counter(
            "inference_hold_seconds",
            "Seconds that free slots have waited for requests that were about to come",
            _MODEL,
            registry=registry,
        )
        self._predicted = Counter(
            "inference_batch_predicted_seconds",
            "What batches were expected to take, by their cost tables",
            _MODEL,
            registry=registry,
        )
        self._seconds = Counter(
            "inference_batch_seconds", "What they took", _MODEL, registry=registry
        )
        self._padding = Histogram(
            "inference_batch_padding_ratio",
            "The share of a run that was padding: of rows to one length, and of batches to a size",
            _MODEL,
            buckets=_SHARES,
            registry=registry,
        )
        self._saved = Counter(
            "inference_compute_saved_seconds",
            "Compute that was not spent: runs stopped because all their requests were cancelled",
            _MODEL,
            registry=registry,
        )
        self._wasted = Counter(
            "inference_compute_wasted_seconds",
            "Compute spent on rows whose clients had gone or whose deadlines had passed",
            _MODEL,
            registry=registry,
        )

        self._violations = Counter(
            "inference_batch_safety_violations",
            "Times that rows of one run were found to depend on each other",
            _MODEL,
            registry=registry,
        )

    def rejected(self, model: str, reason: str) -> None:
        """See `Observer.rejected`."""
        self._rejected.labels(model, reason).inc()

    def batched(self, record: BatchRecord) -> None:
        """See `Observer.batched`."""
        key = (record.model, record.reason)
        children = self._batch_children.get(key)
        if children is None:
            model, version = record.model.name, str(record.model.version)
            children = self._batch_children[key] = _BatchChildren(
                self._batches.labels(model, version, record.reason.value),
                self._batch_rows.labels(model, version),
                self._runs.labels(model, version),
                self._held.labels(model, version),
                self._predicted.labels(model, version),
                self._seconds.labels(model, version),
                self._padding.labels(model, version),
                self._saved.labels(model, version),
                self._wasted.labels(model, version),
            )
        children.batches.inc()
        children.rows.observe(record.rows)
        children.runs.inc(record.runs)
        children.predicted.inc(record.predicted)
        children.seconds.inc(record.seconds)
        if record.padding is not None:
            children.padding.observe(record.padding)
        if record.held > 0:
            children.held.inc(record.held)
        if record.saved > 0:
            children.saved.inc(record.saved)
        if record.wasted > 0:
            children.wasted.inc(record.wasted)

    def finished(self, record: RequestRecord) -> None:
        """See `Observer.finished`."""
        key = (record.model, record.version, record.protocol, record.outcome)
        children = self._request_children.get(key) or self._children(key)
        children.requests.inc()
        children.duration.observe(record.seconds)
        if record.queue_seconds is not None:
            children.queue.observe(record.queue_seconds)
        if record.compute_seconds is not None:
            children.compute.observe(record.compute_seconds)

    def answered(self, requests: AnsweredRequests) -> None:
        """See `Observer.answered`."""
        key = (requests.model, requests.version, requests.protocol, "ok")
        children = self._request_children.get(key) or self._children(key)
        children.requests.inc(len(requests.seconds))
        children.duration.observe_all(requests.seconds)
        children.queue.observe_all(requests.queue_seconds)
        children.compute.observe_all(requests.compute_seconds)

    def _children(self, key: tuple[str, str, str, str]) -> _RequestChildren:
        model = key[:2]
        children = self._request_children[key] = _RequestChildren(
            self._requests.labels(*key),
            self._duration.labels(*model),
            self._queue.labels(*model),
            self._compute.labels(*model),
        )
        return children

    def violated(self, model: ModelRef) -> None:
        """See `Observer.violated`."""
        self._violations.labels(model.name, str(model.version)).inc()


class _StateCollector(Collector):
    """Gauges that are read when they are asked for."""

    def __init__(self, engine: Engine, admission: Admission) -> None:
        self._engine = engine
        self._admission = admission

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges as they stand."""
        yield GaugeMetricFamily(
            "inference_in_flight_requests",
            "Requests between the door and their answer",
            self._admission.requests,
        )
        yield GaugeMetricFamily("inference_streams", "Open WebSockets", self._admission.streams)
        queued = GaugeMetricFamily(
            "inference_queue_rows", "Rows that wait for a slot", labels=_MODEL
        )
        for model, rows in self._engine.queued().items():
            queued.add_metric([model.name, str(model.version)], rows)
        yield queued
        ready = GaugeMetricFamily(
            "inference_model_ready", "1 for a version that answers requests", labels=_MODEL
        )
        for status in self._engine.statuses():
            value = float(status.state is State.READY)
            ready.add_metric([status.name, str(status.version)], value)
        yield ready


class _MemoryCollector(Collector):
    def __init__(self, memory: Callable[[], Mapping[ModelRef, int]]) -> None:
        self._memory = memory

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauge as it stands."""
        family = GaugeMetricFamily(
            "inference_model_memory_bytes",
            "Memory that a loaded version takes, as estimated when it was measured",
            labels=_MODEL,
        )
        for model, size in self._memory().items():
            family.add_metric([model.name, str(model.version)], size)
        yield family


def process_registry(version: str) -> CollectorRegistry:
    """A registry of its own with the process's metrics and the build's."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    Info("inference_service_build", "The running service", registry=registry).info(
        {"version": version}
    )
    return registry


def watch_state(registry: CollectorRegistry, engine: Engine, admission: Admission) -> None:
    """Add the gauges of the engine and the door."""
    registry.register(_StateCollector(engine, admission))


def watch_memory(registry: CollectorRegistry, memory: Callable[[], Mapping[ModelRef, int]]) -> None:
    """Add the gauge of what each loaded version takes, in bytes."""
    registry.register(_MemoryCollector(memory))


def exposition(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """The body of ``GET /metrics`` and its content type: text or OpenMetrics, as accepted."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
