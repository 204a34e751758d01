"""The short way to an endpoint and FastAPI's way do the same."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inference_service import Service, Settings
from tests.support import asking, running


@pytest.fixture
async def service(zoo: Path) -> AsyncIterator[Service]:
    service = Service(Settings(models=zoo / "doubler"))
    async with running(service):
        yield service


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/models/doubler:predict", b'{"instances": [[1, 2, 3, 4]]}'),
        ("/v1/models/doubler/versions/1:predict", b'{"instances": [[1, 2, 3]]}'),
        ("/v1/models/doubler/versions/2:predict", b'{"inputs": [[1, 2, 3, 4]]}'),
        ("/predict", b"[1, 2, 3, 4]"),
        (
            "/v2/models/doubler/infer",
            b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}',
        ),
        ("/v2/models/doubler/versions/1/infer", b"{}"),
        ("/v1/models/doubler:predict", b'{"instances": [[1]]}'),
        ("/v1/models/doubler:predict", b"{"),
        ("/v1/models/nothing:predict", b"{}"),
    ],
)
async def test_both_ways_give_the_same_answer(service: Service, path: str, body: bytes) -> None:
    answers = []
    for hot in (True, False):
        if not hot:
            service.asgi.replace_hot_paths({})
        async with asking(service.asgi) as client:
            answer = await client.post(path, content=body)
            headers = {k: v for k, v in answer.headers.items() if k != "server-timing"}
            timing = [part.split(";")[0] for part in answer.headers["server-timing"].split(", ")]
            answers.append((answer.status_code, answer.content, headers, timing))
    assert answers[0] == answers[1]


async def test_the_paths_of_loaded_models_take_the_short_way(service: Service) -> None:
    assert sorted(service.asgi.hot_paths) == [
        "/embed",
        "/predict",
        "/v1/audio/transcriptions",
        "/v1/embeddings",
        "/v1/models/doubler/versions/1:predict",
        "/v1/models/doubler/versions/2:predict",
        "/v1/models/doubler:predict",
        "/v2/models/doubler/infer",
        "/v2/models/doubler/versions/1/infer",
        "/v2/models/doubler/versions/2/infer",
    ]
    _, parameters = service.asgi.hot_paths["/v1/models/doubler/versions/1:predict"]
    assert parameters == {"model": "doubler", "version": "1"}


async def test_a_closed_door_is_told_as_503(service: Service) -> None:
    service.in_flight.close()
    async with asking(service.asgi) as client:
        answer = await client.post("/predict", content=b"[1, 2, 3, 4]")
    assert answer.status_code == 503
    assert answer.json() == {"error": "the service is shutting down"}
    assert answer.headers["retry-after"] == "1"


async def test_an_unforeseen_error_is_told_without_details(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(service.engine, "resolve", broken)
    async with asking(service.asgi) as client:
        answer = await client.post("/predict", content=b"[1, 2, 3, 4]")
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error; the server's log has the details"}


async def test_a_client_that_hangs_up_while_it_sends_is_counted_as_cancelled(
    service: Service,
) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
    await service.asgi(scope, receive, send)
    assert sent == []
    count = service.registry.get_sample_value(
        "inference_requests_total",
        {"model": "doubler", "version": "2", "protocol": "predict", "outcome": "cancelled"},
    )
    assert count == 1


async def test_a_body_that_does_not_arrive_in_time_is_408(service: Service) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    headers = [(b"x-request-timeout", b"0.01")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers}
    await service.asgi(scope, receive, send)
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert sent[1]["body"] == b'{"error":"only 0 bytes of the body arrived within 0.01 s"}'


async def test_a_deadline_that_passes_before_the_run_is_504(service: Service) -> None:
    async with asking(service.asgi) as client:
        answer = await client.post(
            "/predict", content=b"[1, 2, 3, 4]", headers={"X-Request-Timeout": "0.000000001"}
        )
    assert answer.status_code == 504
    assert answer.json() == {"error": "the deadline passed before the request could be queued"}
