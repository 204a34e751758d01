"""Spans of requests and batches, by OpenTelemetry. Imported only where tracing is on.

A request's span (kind server) has children for decoding, the queue, the run and encoding. Their
durations are measured; they are laid end to end before the end of the request. A batch has a span
of its own, which is linked to the requests in it, and they to it: it belongs to several traces.
"""

import time

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from inference_service.core.requests import ModelRef
from inference_service.engine.interfaces import (
    AnsweredRequests,
    BatchRecord,
    LoadRecord,
    RequestRecord,
)
from inference_service.serving.request import Request
from inference_service.tracing.context import b3, parent_of, traceparent
from inference_service.tracing.settings import TracingSettings

_FAILED = frozenset({"execution_failed", "internal_error", "deadline_exceeded", "rejected"})


class SpanTrace:
    """See `RequestTrace`; ``batches`` are the spans of the runs that had rows of the request."""

    __slots__ = ("answer_headers", "batches", "kept", "span", "trace_id")

    def __init__(self, span: Span, *, as_b3: bool) -> None:
        context = span.get_span_context()
        ids, sampled = (context.trace_id, context.span_id), bool(context.trace_flags)
        self.span = span
        self.kept = span.is_recording()
        self.trace_id = f"{context.trace_id:032x}"
        self.batches: list[SpanContext] = []
        header = (b"b3", b3(*ids, sampled=sampled))
        if not as_b3:
            header = (b"traceparent", traceparent(*ids, sampled=sampled))
        self.answer_headers: tuple[tuple[bytes, bytes], ...] = (header,)


class Spans:
    """A `Teller` of requests and an `Observer` of batches."""

    def __init__(self, settings: TracingSettings, version: str, exporter: SpanExporter) -> None:
        resource = Resource.create(
            {"service.name": "inference-service", "service.version": version}
        )
        sampler = ParentBased(TraceIdRatioBased(settings.sample))
        self._provider = TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("inference_service", version)

    def close(self) -> None:
        """Send what waits and end the exporter's thread."""
        self._provider.shutdown()

    def begun(self, request: Request) -> None:
        """See `Teller.begun`."""
        headers = request.head.trace or {}
        parent, context = parent_of(headers), None
        if parent is not None:
            flags = TraceFlags(0 if parent.sampled is False else 1)
            remote = SpanContext(parent.trace, parent.span, is_remote=True, trace_flags=flags)
            context = trace.set_span_in_context(trace.NonRecordingSpan(remote))
        start = time.time_ns() - int((time.perf_counter() - request.started) * 1e9)
        span = self._tracer.start_span(
            f"{request.protocol} inference", context, SpanKind.SERVER, start_time=start
        )
        request.trace = SpanTrace(span, as_b3=bool(headers) and b"traceparent" not in headers)

    def ended(self, request: Request) -> None:
        """See `Teller.ended`."""
        traced = request.trace
        if not isinstance(traced, SpanTrace) or not traced.kept:
            return
        span, end = traced.span, time.time_ns()
        span.set_attributes({
            "inference.model": request.model_name, "inference.version": request.version,
            "inference.protocol": request.protocol, "inference.outcome": request.outcome,
            "inference.rows": request.rows, "inference.request_id": request.id,
        })  # fmt: skip
        if request.outcome in _FAILED:
            span.set_status(Status(StatusCode.ERROR, request.outcome))
        if request.timing is not None:
            self._parts(traced, request, end)
        span.end(end)

    def _parts(self, traced: SpanTrace, request: Request, end: int) -> None:
        queue, compute, rows = request.timing or (0.0, 0.0, 0)
        context = trace.set_span_in_context(traced.span)
        links = [Link(batch) for batch in traced.batches]
        for name, seconds in (
            ("encode", request.encode), ("compute", compute), ("queue", queue),
            ("decode", request.decode),
        ):  # fmt: skip
            start = end - int(seconds * 1e9)
            attributes = {"inference.batch.rows": rows} if name == "compute" else None
            part = self._tracer.start_span(
                name, context, attributes=attributes, start_time=start,
                links=links if name == "compute" else None,
            )  # fmt: skip
            part.end(end)
            end = start

    def batched(self, record: BatchRecord) -> None:
        """See `Observer.batched`."""
        members = [one for one in record.traces if isinstance(one, SpanTrace)]
        recording = [one for one in members if one.kept]
        if not recording:
            return
        end = time.time_ns()
        links = [Link(one.span.get_span_context()) for one in recording]
        span = self._tracer.start_span(
            "batch", trace.set_span_in_context(trace.INVALID_SPAN), SpanKind.INTERNAL,
            attributes={
                "inference.model": record.model.name,
                "inference.version": str(record.model.version),
                "inference.batch.rows": record.rows, "inference.batch.requests": record.requests,
                "inference.batch.reason": record.reason.value,
            },
            links=links, start_time=end - int(record.seconds * 1e9),
        )  # fmt: skip
        for one in recording:
            one.batches.append(span.get_span_context())
        span.end(end)

    def finished(self, record: RequestRecord) -> None:
        """See `Observer.finished`; `ended` tells more."""

    def answered(self, requests: AnsweredRequests) -> None:
        """See `Observer.answered`; such requests are not traced."""

    def rejected(self, model: str, reason: str) -> None:
        """See `Observer.rejected`; `ended` tells more."""

    def loaded(self, record: LoadRecord) -> None:
        """See `Observer.loaded`; loads have no spans."""

    def violated(self, model: ModelRef) -> None:
        """See `Observer.violated`; it has no span."""


def spans_of(settings: TracingSettings, version: str) -> Spans:
    """The spans that are sent where the settings say."""
    return Spans(settings, version, OTLPSpanExporter(endpoint=settings.endpoint))
