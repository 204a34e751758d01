"""Spans reach a receiver of OTLP over HTTP, with the right parents, links and times."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from inference_service.service import Service
from inference_service.settings import Settings
from inference_service.tracing.settings import TracingSettings
from tests import onnx_models
from tests.tools import need_package

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[Any]]]:
    """The URL of a collector, and the spans that have come."""
    need_package("opentelemetry.sdk")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["content-type"] == "application/x-protobuf"
            body = self.rfile.read(int(self.headers["content-length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", spans
    server.shutdown()
    server.server_close()


async def ask(
    folder: Path, url: str, headers: list[dict[str, str]], sample: float = 1.0, *, scrape: str = ""
) -> list[httpx.Response]:
    """Requests side by side; the service has ended, and so has sent its spans, afterwards.

    ``scrape`` adds the answer of /metrics in this format.
    """
    onnx_models.save(onnx_models.heavy(), folder / "heavy" / "1" / "model.onnx")
    tracing = TracingSettings(endpoint=url, sample=sample)
    service = Service(Settings(models=folder, tracing=tracing))
    body = {"instances": [[1.0] * 2048]}
    async with service.lifespan():
        await service.loaded()
        transport = httpx.ASGITransport(service.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            path = "/v1/models/heavy:predict"
            sent = [client.post(path, json=body, headers=given) for given in headers]
            answers = list(await asyncio.gather(*sent))
            if scrape:
                answers.append(await client.get("/metrics", headers={"Accept": scrape}))
            return answers


async def test_a_request_has_spans_in_the_trace_of_its_sender(
    tmp_path: Path, receiver: tuple[str, list[Any]]
) -> None:
    url, spans = receiver
    (answer,) = await ask(tmp_path, url, [{"traceparent": PARENT, "X-Request-Id": "r-1"}])
    assert answer.status_code == 200
    by_name = {span.name: span for span in spans}
    assert set(by_name) == {"tfserving inference", "decode", "queue", "compute", "encode", "batch"}
    own = by_name["tfserving inference"]
    assert own.trace_id.hex() == PARENT.split("-")[1]
    assert own.parent_span_id.hex() == PARENT.split("-")[2]
    assert answer.headers["traceparent"] == f"00-{own.trace_id.hex()}-{own.span_id.hex()}-01"
    told = {one.key: one.value for one in own.attributes}
    assert told["inference.model"].string_value == "heavy"
    assert told["inference.outcome"].string_value == "ok"
    assert told["inference.request_id"].string_value == "r-1"
    parts = [by_name[name] for name in ("decode", "queue", "compute", "encode")]
    for part in parts:
        assert (part.trace_id, part.parent_span_id) == (own.trace_id, own.span_id)
    times = [own.start_time_unix_nano]
    for part in parts:
        times += [part.start_time_unix_nano, part.end_time_unix_nano]
    assert times == sorted(times)
    assert times[-1] == own.end_time_unix_nano


async def test_a_batch_and_its_requests_are_linked(
    tmp_path: Path, receiver: tuple[str, list[Any]]
) -> None:
    url, spans = receiver
    await ask(tmp_path, url, [{}] * 4)
    own = [span for span in spans if span.name == "tfserving inference"]
    batches = [span for span in spans if span.name == "batch"]
    assert len({span.trace_id for span in [*own, *batches]}) == 4 + len(batches)
    linked = [link.span_id for batch in batches for link in batch.links]
    assert sorted(linked) == sorted(span.span_id for span in own)
    for compute in (span for span in spans if span.name == "compute"):
        (link,) = compute.links
        (batch,) = [span for span in batches if span.span_id == link.span_id]
        assert compute.parent_span_id in {one.span_id for one in batch.links}


async def test_the_decision_of_the_sender_is_kept(
    tmp_path: Path, receiver: tuple[str, list[Any]]
) -> None:
    url, spans = receiver
    b3 = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1"
    answers = await ask(
        tmp_path, url, [{"traceparent": PARENT[:-1] + "0"}, {"b3": b3}, {}], sample=0
    )
    (own,) = [span for span in spans if span.name == "tfserving inference"]
    assert own.trace_id.hex() == b3.split("-", maxsplit=1)[0]
    assert answers[1].headers["b3"] == f"{own.trace_id.hex()}-{own.span_id.hex()}-1"
    assert answers[0].headers["traceparent"].endswith("-00")


async def test_openmetrics_names_the_traces_of_durations_as_exemplars(
    tmp_path: Path, receiver: tuple[str, list[Any]]
) -> None:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    url, spans = receiver
    form = "application/openmetrics-text; version=1.0.0"
    *_, page = await ask(tmp_path, url, [{}] * 3, scrape=form)
    traces = {span.trace_id.hex() for span in spans if span.name == "tfserving inference"}
    parsed: Any = text_string_to_metric_families
    families = {family.name: family for family in parsed(page.text)}
    for part in ("request", "queue", "compute"):
        lower = 0.0
        found = []
        for sample in families[f"inference_{part}_duration_seconds"].samples:
            if not sample.name.endswith("_bucket"):
                continue
            upper = float(sample.labels["le"])
            if sample.exemplar is not None:
                assert lower <= sample.exemplar.value <= upper
                assert sample.exemplar.timestamp
                found.append(sample.exemplar.labels["trace_id"])
            lower = upper
        assert found, part
        assert set(found) <= traces


@pytest.mark.parametrize(
    ("form", "sample"), [("text/plain", 1.0), ("application/openmetrics-text; version=1.0.0", 0.0)]
)
async def test_there_are_no_exemplars_in_the_text_format_nor_of_traces_that_are_not_kept(
    tmp_path: Path, receiver: tuple[str, list[Any]], form: str, sample: float
) -> None:
    url, _ = receiver
    *_, page = await ask(tmp_path, url, [{}], sample, scrape=form)
    assert "inference_request_duration_seconds_bucket" in page.text
    assert "trace_id" not in page.text


def test_without_an_endpoint_nothing_of_it_is_imported(tmp_path: Path) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "doubler" / "1" / "model.onnx")
    program = (
        "import sys, pathlib\nfrom inference_service.service import Service\n"
        "from inference_service.settings import Settings\n"
        f"Service(Settings(models=pathlib.Path({str(tmp_path)!r})))\n"
        "assert 'inference_service.tracing.spans' not in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.sdk')]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
