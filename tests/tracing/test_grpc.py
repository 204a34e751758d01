"""gRPC: request ids and traces come in metadata, and the answer's metadata tell them."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from inference_service.logs.settings import LogSettings
from inference_service.protocols.oip.rpc.messages import SERVICE, message
from inference_service.sections import GrpcSettings
from inference_service.service import Service
from inference_service.settings import Settings
from inference_service.tracing.settings import TracingSettings
from tests import onnx_models
from tests.tracing.test_spans import PARENT
from tests.tracing.test_spans import receiver as receiver  # noqa: PLC0414 - a fixture

B3 = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1"


def body(model: str = "doubler") -> bytes:
    contents = {"fp32_contents": [1, 2, 3]}
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3], "contents": contents}
    return bytes(
        message("ModelInferRequest")(model_name=model, inputs=[tensor]).SerializeToString()
    )


async def asked(
    folder: Path, calls: list[tuple[str, list[tuple[str, str]]]], **settings: Any
) -> list[tuple[str, dict[str, str]]]:
    """The status and the initial metadata of each call, with this model and these metadata."""
    onnx_models.save(onnx_models.doubler(), folder / "doubler" / "1" / "model.onnx")
    service = Service(Settings(models=folder, grpc=GrpcSettings(port=0), **settings))
    found = []
    async with service.lifespan():
        await service.loaded()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{service.grpc_port}") as channel:
            infer: Any = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            for model, metadata in calls:
                call = infer(body(model), metadata=metadata)
                told = {str(name): str(text) for name, text in await call.initial_metadata()}
                found.append(((await call.code()).name, told))
    return found


async def test_an_answer_names_its_request_and_its_span(
    tmp_path: Path, receiver: tuple[str, list[Any]]
) -> None:
    url, spans = receiver
    calls = [
        ("doubler", [("traceparent", PARENT), ("x-request-id", "mine-1")]),
        ("doubler", [("b3", B3)]),
        ("nothing", [("traceparent", PARENT), ("x-request-id", "mine-3")]),
        ("doubler", [("x-priority", "urgent"), ("x-request-id", "mine-4")]),
    ]
    answers = await asked(tmp_path, calls, tracing=TracingSettings(endpoint=url))
    assert [code for code, _ in answers] == ["OK", "OK", "NOT_FOUND", "INVALID_ARGUMENT"]
    told = [metadata for _, metadata in answers]
    own = {
        span.trace_id.hex(): span
        for span in spans
        if span.name == "grpc inference" and span.parent_span_id
    }
    first = own[PARENT.split("-")[1]]
    assert first.parent_span_id.hex() == PARENT.split("-")[2]
    assert told[0]["x-request-id"] == "mine-1"
    assert told[0]["traceparent"].split("-")[1] == PARENT.split("-")[1]
    second = own[B3.split("-", maxsplit=1)[0]]
    assert told[1]["b3"] == f"{second.trace_id.hex()}-{second.span_id.hex()}-1"
    assert told[1]["x-request-id"]
    assert [one["x-request-id"] for one in told[2:]] == ["mine-3", "mine-4"]
    outcomes = {
        one.value.string_value
        for span in spans
        for one in span.attributes
        if one.key == "inference.outcome"
    }
    assert outcomes == {"ok", "not_found", "invalid_input"}


async def test_without_logs_and_traces_an_id_comes_back_and_nothing_else(tmp_path: Path) -> None:
    calls = [("doubler", [("x-request-id", "mine"), ("traceparent", PARENT)]), ("doubler", [])]
    (_, told), (_, silent) = await asked(tmp_path, calls)
    assert told["x-request-id"] == "mine"
    assert not {"traceparent", "b3"} & set(told)
    assert "x-request-id" not in silent


async def test_the_access_log_has_the_id_and_no_payload(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        ((_, told),) = await asked(
            tmp_path, [("doubler", [("authorization", "Bearer a-secret")])],
            log=LogSettings(access_sample=1),
        )  # fmt: skip
    (line,) = [one for one in caplog.records if one.name == "inference_service.access"]
    assert line.fields["request_id"] == told["x-request-id"]  # type: ignore[attr-defined]
    assert line.fields["protocol"] == "grpc"  # type: ignore[attr-defined]
    assert "a-secret" not in caplog.text
    assert "a-secret" not in str([vars(one) for one in caplog.records])


async def test_a_stream_has_a_span_for_each_of_its_requests(
    tmp_path: Path, receiver: tuple[str, list[Any]]
) -> None:
    url, spans = receiver
    onnx_models.save(onnx_models.doubler(), tmp_path / "doubler" / "1" / "model.onnx")
    tracing = TracingSettings(endpoint=url)
    service = Service(Settings(models=tmp_path, grpc=GrpcSettings(port=0), tracing=tracing))

    async def requests() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield body()

    async with service.lifespan():
        await service.loaded()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{service.grpc_port}") as channel:
            stream: Any = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
            call = stream(requests(), metadata=[("traceparent", PARENT)])
            assert len([answer async for answer in call]) == 3
    own = [span for span in spans if span.name == "grpc inference"]
    assert {span.parent_span_id.hex() for span in own} == {PARENT.split("-")[2]}
    assert len(own) == 3
