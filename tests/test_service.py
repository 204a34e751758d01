"""A service as an object: alone, mounted in a host's application, two in one process."""

import asyncio
import gc
import json
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from inference_service import DrainingServer, Service, Settings, create_app
from inference_service.core.errors import ShuttingDown
from inference_service.process import tuned_process
from inference_service.sections import RuntimeSettings
from tests.conftest import MODELS
from tests.support import LONGEST_WAIT, asking, running, until

PREDICT = "/v1/models/doubler:predict"
ROW = {"instances": [[1, 2, 3, 4]]}


@pytest.fixture
def settings(zoo: Path) -> Settings:
    return Settings(models=zoo / "doubler", port=0)


@asynccontextmanager
async def hosted(settings: Settings) -> AsyncIterator[tuple[FastAPI, Service]]:
    """A service under /ml of another application, which starts and stops it."""
    service = Service(settings)
    host = FastAPI(lifespan=service.lifespan)
    host.mount("/ml", service.asgi)
    async with asyncio.timeout(60), host.router.lifespan_context(host):
        await service.loaded()
        yield host, service


async def test_a_mounted_service_is_ready_and_predicts(settings: Settings) -> None:
    async with hosted(settings) as (host, _), asking(host) as client:
        assert (await client.get("/ml/v2/health/ready")).status_code == 200
        answer = await client.post(f"/ml{PREDICT}", json=ROW)
        assert answer.json() == {"predictions": [[2, 4, 6, 8]]}
        assert (await client.post(f"/ml{PREDICT}/", json=ROW)).json() == answer.json()
        assert (await client.post(PREDICT, json=ROW)).status_code == 404


async def test_the_app_of_the_one_liner_can_be_mounted_too(settings: Settings) -> None:
    app = create_app(settings)
    host = FastAPI(lifespan=app.state.service.lifespan)
    host.mount("/ml", app)
    async with asyncio.timeout(60), host.router.lifespan_context(host), asking(host) as client:
        await app.state.service.loaded()
        assert (await client.post(f"/ml{PREDICT}", json=ROW)).status_code == 200


async def test_predictions_of_a_mounted_service_take_the_hot_path(settings: Settings) -> None:
    reached: list[str] = []

    async def endpoint(scope: Any, _receive: Any, send: Any) -> None:
        reached.append(scope["path"])
        await Response("hot")(scope, _receive, send)

    async with hosted(settings) as (host, service), asking(host) as client:
        service.asgi.replace_hot_paths({PREDICT: (endpoint, {})})
        assert (await client.post(f"/ml{PREDICT}", json=ROW)).text == "hot"
    assert reached == [f"/ml{PREDICT}"]


async def test_pages_of_a_mounted_service_lead_to_it(settings: Settings) -> None:
    async with hosted(settings) as (host, _), asking(host) as client:
        document = (await client.get("/ml/openapi.json")).json()
        assert document["servers"] == [{"url": "/ml"}]
        assert f"{PREDICT}" in document["paths"]
        docs = (await client.get("/ml/docs")).text
        assert "'/ml/openapi.json'" in docs
        assert '"/ml/static-offline-docs/swagger-ui-bundle.js"' in docs
        script = await client.get("/ml/static-offline-docs/swagger-ui-bundle.js")
        assert script.status_code == 200
        home = await client.get("/ml/")
        assert home.status_code == 200
        assert 'href="docs"' in home.text
        assert (await client.get("/ml")).headers["location"] == "http://test/ml/"
        lost = (await client.get("/ml/nothing")).json()["error"]
        assert lost == "no such path: GET /ml/nothing; /ml/docs lists all paths"
        assert "doubler" not in (await client.get("/openapi.json")).text


async def test_a_prefix_of_a_proxy_is_known_like_a_mount(settings: Settings) -> None:
    service = Service(settings)
    async with running(service), asking(service.asgi, root_path="/ml") as c:
        assert (await c.post(f"/ml{PREDICT}", json=ROW)).status_code == 200
        assert (await c.post(PREDICT, json=ROW)).status_code == 200
        assert (await c.get("/ml/openapi.json")).json()["servers"] == [{"url": "/ml"}]
        assert (await c.get("/ml/")).status_code == 200


Next = Callable[[Request], Awaitable[Response]]


async def only_known(request: Request, proceed: Next) -> Response:
    if request.headers.get("authorization") != "Bearer secret":
        return Response("who are you?", 401)
    return await proceed(request)


@pytest.mark.parametrize("place", ["around the mount", "on the service's own application"])
async def test_middleware_of_a_host_is_never_skipped(place: str, settings: Settings) -> None:
    service = Service(settings)
    if place == "around the mount":
        app: Any = FastAPI(lifespan=service.lifespan)
        app.mount("", service.asgi)
        app.middleware("http")(only_known)
        ways = [app]
    else:
        service.fastapi.middleware("http")(only_known)
        ways = [service.asgi, service.fastapi]
    async with running(service):
        assert PREDICT in service.asgi.hot_paths
        for way in ways:
            async with asking(way) as client:
                assert (await client.post(PREDICT, json=ROW)).status_code == 401
                client.headers["authorization"] = "Bearer secret"
                assert (await client.post(PREDICT, json=ROW)).status_code == 200


async def test_an_error_of_added_middleware_has_the_usual_shape(settings: Settings) -> None:
    service = Service(settings)

    @service.fastapi.middleware("http")
    async def broken(_request: Request, _proceed: Next) -> Response:
        raise RuntimeError("secret")

    async with asking(service.asgi, raise_app_exceptions=False) as client:
        answer = await client.get("/models")
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error; the server's log has the details"}


async def test_without_its_lifespan_a_service_says_what_is_missing(settings: Settings) -> None:
    host = FastAPI()
    service = Service(settings)
    host.mount("/ml", service.asgi)
    expected = "the lifespan of the service has not been entered (docs/embedding.md)"
    async with asking(host) as client:
        for answer in (
            await client.post(f"/ml{PREDICT}", json=ROW),
            await client.get("/ml/models"),
        ):
            assert answer.status_code == 503
            assert answer.json() == {"error": expected}
    with pytest.raises(RuntimeError, match="lifespan"):
        await service.loaded()


async def test_a_service_runs_once(settings: Settings) -> None:
    service = Service(settings)
    async with running(service):
        pass
    with pytest.raises(RuntimeError, match="runs once"):
        async with service.lifespan():
            pass


async def test_loading_that_the_end_interrupts_is_told(settings: Settings) -> None:
    service = Service(settings)
    async with service.lifespan():
        waiting = asyncio.ensure_future(service.loaded())
        await asyncio.sleep(0)
    with pytest.raises(ShuttingDown):
        await waiting


async def test_two_services_share_a_process_and_nothing_else(settings: Settings) -> None:
    first, second = Service(settings), Service(settings)
    async with running(first) as one, running(second) as other:
        assert (await one.post(PREDICT, json=ROW)).status_code == 200
        labels = {"model": "doubler", "version": "2", "protocol": "tfserving", "outcome": "ok"}
        counts = [
            s.registry.get_sample_value("inference_requests_total", labels) for s in (first, second)
        ]
        assert counts == [1, None]
        first.in_flight.close()
        assert (await one.post(PREDICT, json=ROW)).status_code == 503
        assert (await other.post(PREDICT, json=ROW)).status_code == 200


def state_of_the_process() -> tuple[object, ...]:
    return (
        gc.get_threshold(),
        gc.get_freeze_count(),
        [list(logging.getLogger(name).filters) for name in ("", "uvicorn.error")],
        [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)],
    )


async def test_a_service_leaves_the_process_as_it_is(settings: Settings) -> None:
    before = state_of_the_process()
    async with running(Service(settings)):
        assert state_of_the_process() == before
    assert state_of_the_process() == before


def test_tuning_is_undone() -> None:
    gc.unfreeze()  # Python 3.12 starts with frozen objects
    before = state_of_the_process()
    with tuned_process() as freeze:
        freeze()
        assert gc.get_threshold() == (20_000, 20, 20)
        assert gc.get_freeze_count() > 0
        (filtered,) = logging.getLogger("uvicorn.error").filters
        assert callable(filtered)
    assert state_of_the_process() == before


async def test_the_draining_server_needs_no_command_line(settings: Settings) -> None:
    settings = settings.model_copy(
        update={"shutdown": settings.shutdown.model_copy(update={"lame_duck": 0.0})}
    )
    before = state_of_the_process()
    service = Service(settings)
    server = DrainingServer(service)
    async with asyncio.timeout(60):
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started or serving.done())
        await service.loaded()
        url = f"http://127.0.0.1:{server.port}"
        async with httpx.AsyncClient(base_url=url, timeout=LONGEST_WAIT) as client:
            assert (await client.post(PREDICT, json=ROW)).status_code == 200
        server.leave()
        await serving
    assert state_of_the_process() == before


async def test_a_stream_below_a_path_reaches_its_task() -> None:
    """The answer is an event of speech detection, in the WebSocket messages of ASGI."""
    service = Service(Settings(models=MODELS / "speech", runtime=RuntimeSettings(warm_up=False)))
    host = FastAPI()
    host.mount("/ml", service.asgi)
    pieces: list[dict[str, Any]] = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "bytes": bytes(16_000 * 4)},
        {"type": "websocket.receive", "text": '{"event": "end"}'},
    ]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if pieces:
            return pieces.pop(0)
        await until(lambda: any(message["type"] == "websocket.close" for message in sent))
        return {"type": "websocket.disconnect", "code": 1000}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket", "path": "/ml/models/speech/detect/stream", "root_path": "",
        "query_string": b"encoding=f32le&rate=16000", "headers": [], "subprotocols": [],
        "scheme": "ws", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {},
    }  # fmt: skip
    async with running(service):
        await asyncio.wait_for(host(scope, receive, send), LONGEST_WAIT)
    assert sent[0]["type"] == "websocket.accept"
    assert json.loads(sent[-2]["text"])["event"] == "end"
