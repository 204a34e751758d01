"""Latency and batching metrics for Prometheus. docs/metrics.md is the reference.

Children of labelled metrics are looked up once for each model version and kept: a look-up for every
request would cost more than the observation.
"""

import importlib.metadata
import platform
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from inference_service.core.requests import ModelRef
from inference_service.engine.interfaces import (
    AnsweredRequests,
    BatchRecord,
    LoadRecord,
    RequestRecord,
)
from inference_service.telemetry.series import Count, Counter, Distribution, Histogram

# One more series for each child, of no use.
disable_created_metrics()  # type: ignore[no-untyped-call]

_SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
_SHORT_SECONDS = (
    *(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.5, 1, 5),
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
    decode: Distribution
    encode: Distribution


@dataclass(frozen=True, slots=True)
class _BatchChildren:
    batches: Count
    rows: Distribution
    runs: Count
    held: Count
    predicted: Count
    seconds: Count
    padding: Distribution
    padded: Count
    cold: Count
    saved: Count
    wasted: Count


class PrometheusObserver:
    """Counts what it is told."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._add_requests(registry)
        self._add_batches(registry)
        self._add_compute(registry)
        self._add_loads(registry)
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
        self._decode = Histogram(
            "inference_decode_duration_seconds",
            "From the body to the model's tensors",
            _MODEL,
            buckets=_SHORT_SECONDS,
            registry=registry,
        )
        self._encode = Histogram(
            "inference_encode_duration_seconds",
            "From the model's outputs to the body of the answer",
            _MODEL,
            buckets=_SHORT_SECONDS,
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
        self._padding = Histogram(
            "inference_batch_padding_ratio",
            "The share of a run that was padding: of rows to one length, and of batches to a size",
            _MODEL,
            buckets=_SHARES,
            registry=registry,
        )
        self._cold = Counter(
            "inference_cold_batches",
            "Batches of a shape that had not been run before: their runs take longer",
            _MODEL,
            registry=registry,
        )
        self._violations = Counter(
            "inference_batch_safety_violations",
            "Times that rows of one run were found to depend on each other",
            _MODEL,
            registry=registry,
        )

    def _add_compute(self, registry: CollectorRegistry) -> None:
        self._predicted = Counter(
            "inference_batch_predicted_seconds",
            "What batches were expected to take, by their cost tables",
            _MODEL,
            registry=registry,
        )
        self._seconds = Counter(
            "inference_batch_seconds", "Seconds that batches have run", _MODEL, registry=registry
        )
        self._padded = Counter(
            "inference_compute_padding_seconds",
            "Compute spent on padding",
            _MODEL,
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

    def _add_loads(self, registry: CollectorRegistry) -> None:
        self._load_seconds = Gauge(
            "inference_model_load_seconds", "The latest load", _MODEL, registry=registry
        )
        self._warm_up_seconds = Gauge(
            "inference_model_warm_up_seconds",
            "The part of the latest load that was warm-up runs and measuring",
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
                self._padded.labels(model, version),
                self._cold.labels(model, version),
                self._saved.labels(model, version),
                self._wasted.labels(model, version),
            )
        children.batches.value += 1  # not `inc`: a call for each of a dozen numbers
        children.rows.observe(record.rows)
        children.runs.value += record.runs
        children.predicted.value += record.predicted
        children.seconds.value += record.seconds
        if record.padding is not None:
            children.padding.observe(record.padding)
            children.padded.value += record.padding * record.seconds
        if record.cold:
            children.cold.value += 1
        if record.held > 0:
            children.held.value += record.held
        if record.saved > 0:
            children.saved.value += record.saved
        if record.wasted > 0:
            children.wasted.value += record.wasted

    def finished(self, record: RequestRecord) -> None:
        """See `Observer.finished`."""
        key = (record.model, record.version, record.protocol, record.outcome)
        children = self._request_children.get(key) or self._children(key)
        children.requests.value += 1
        children.duration.observe(record.seconds)
        if record.queue_seconds is not None:
            children.queue.observe(record.queue_seconds)
        if record.compute_seconds is not None:
            children.compute.observe(record.compute_seconds)
            children.decode.observe(record.decode_seconds)
            children.encode.observe(record.encode_seconds)
        if record.trace_id:
            self._exemplify(children, record)

    @staticmethod
    def _exemplify(children: _RequestChildren, record: RequestRecord) -> None:
        children.duration.exemplify(record.seconds, record.trace_id)
        if record.queue_seconds is not None:
            children.queue.exemplify(record.queue_seconds, record.trace_id)
        if record.compute_seconds is not None:
            children.compute.exemplify(record.compute_seconds, record.trace_id)

    def loaded(self, record: LoadRecord) -> None:
        """See `Observer.loaded`."""
        model = record.model.name, str(record.model.version)
        self._load_seconds.labels(*model).set(record.seconds)
        self._warm_up_seconds.labels(*model).set(record.warm_up_seconds)

    def answered(self, requests: AnsweredRequests) -> None:
        """See `Observer.answered`."""
        key = (requests.model, requests.version, requests.protocol, "ok")
        children = self._request_children.get(key) or self._children(key)
        children.requests.value += len(requests.seconds)
        children.duration.observe_all(requests.seconds)
        children.queue.observe_all(requests.queue_seconds)
        children.compute.observe_all(requests.compute_seconds)
        children.decode.observe_all(requests.decode_seconds)
        children.encode.observe_all(requests.encode_seconds)

    def _children(self, key: tuple[str, str, str, str]) -> _RequestChildren:
        model = key[:2]
        children = self._request_children[key] = _RequestChildren(
            self._requests.labels(*key),
            self._duration.labels(*model),
            self._queue.labels(*model),
            self._compute.labels(*model),
            self._decode.labels(*model),
            self._encode.labels(*model),
        )
        return children

    def violated(self, model: ModelRef) -> None:
        """See `Observer.violated`."""
        self._violations.labels(model.name, str(model.version)).inc()


def process_registry(version: str) -> CollectorRegistry:
    """A registry of its own with the process's metrics and the build's."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    Info("inference_service_build", "The running service", registry=registry).info(
        {
            "version": version,
            "python": platform.python_version(),
            "onnxruntime": importlib.metadata.version("onnxruntime"),
        }
    )
    return registry


def exposition(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """The body of ``GET /metrics`` and its content type: text or OpenMetrics, as accepted."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
