"""Each block of docs/embedding.md runs, and does what the page says of it."""

import asyncio
import gc
import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from inference_service import DrainingServer, Service
from tests.conftest import ROOT
from tests.ports import free_port
from tests.support import LONGEST_WAIT, asking, until

PAGE = (ROOT / "docs" / "embedding.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PREDICT = "/v1/models/digits:predict"
BODY = {"instances": [[0.0] * 64]}


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("INFERENCE_SERVICE_RUNTIME__WARM_UP", "false")


def the_block(mark: str, port: int = 8000) -> dict[str, Any]:
    """What the first block with this mark defines."""
    text = next(block for block in BLOCKS if mark in block)
    names: dict[str, Any] = {"__name__": "block"}
    exec(compile(text.replace("8000", str(port)), "docs/embedding.md", "exec"), names)  # noqa: S102 - our own page
    return names


@asynccontextmanager
async def started(host: Any, *services: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with asyncio.timeout(60), host.router.lifespan_context(host), asking(host) as client:
        for service in services:
            await service.loaded()
        yield client


def test_each_block_has_a_test() -> None:
    assert len(BLOCKS) == 9


def test_the_ports_of_the_table_are_there() -> None:
    service = the_block(BLOCKS[0])["service"]
    ports = re.findall(r"`(?:await )?service\.(\w+)", PAGE[: PAGE.index("`create_app")])
    assert len(ports) == 12
    for port in ports:
        assert hasattr(service, port), port


@pytest.mark.parametrize(
    "mark", ["lifespan=service.lifespan)\nhost.mount", "optional: accept no request"]
)
async def test_mounted_below_a_path(mark: str) -> None:
    block = the_block(mark)
    async with started(block["host"], block["service"]) as client:
        assert (await client.post(f"/ml{PREDICT}", json=BODY)).status_code == 200
        assert (await client.get("/ml/v2/health/ready")).status_code == 200
        assert (await client.get("/ml/")).status_code == 200
        assert "'/ml/openapi.json'" in (await client.get("/ml/docs")).text
        assert (await client.get("/ml/openapi.json")).json()["servers"] == [{"url": "/ml"}]


async def test_authentication_of_the_host() -> None:
    block = the_block("async def authenticate")
    async with started(block["host"], block["service"]) as client:
        assert (await client.post(f"/ml{PREDICT}", json=BODY)).status_code == 401
        known = {"authorization": "Bearer secret"}
        assert (await client.post(f"/ml{PREDICT}", json=BODY, headers=known)).status_code == 200


async def serves(server: uvicorn.Server, service: Service, serving: Awaitable[None]) -> None:
    """The server answers a prediction, and its task ends after `leave` has been called twice."""
    task = asyncio.ensure_future(serving)
    async with asyncio.timeout(60):
        await until(lambda: server.started or task.done())
        await service.loaded()
        port = server.port if isinstance(server, DrainingServer) else server.config.port
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, timeout=LONGEST_WAIT) as client:
            assert (await client.post(PREDICT, json=BODY)).status_code == 200
        if isinstance(server, DrainingServer):
            server.leave()
            server.leave()
        server.should_exit = True
        await task


async def test_own_uvicorn() -> None:
    block = the_block("uvicorn.Config(service.asgi", free_port())
    await serves(block["server"], block["service"], block["server"].serve())


async def test_the_draining_server() -> None:
    block = the_block("server = DrainingServer(service)\n\nif", 0)
    await serves(block["server"], block["service"], block["server"].serve())


async def test_the_tuned_process() -> None:
    block = the_block("tuned_process() as freeze", 0)
    made: asyncio.Future[tuple[DrainingServer, Service]] = asyncio.Future()

    def serving(service: Service) -> DrainingServer:
        made.set_result((DrainingServer(service), service))
        return made.result()[0]

    block["DrainingServer"] = serving
    thresholds = gc.get_threshold()
    task = asyncio.ensure_future(block["main"]())
    server, service = await asyncio.wait_for(made, 60)
    await serves(server, service, task)
    assert gc.get_threshold() == thresholds


async def test_two_services() -> None:
    block = the_block("flights = Service")
    async with started(block["host"], block["digits"], block["flights"]) as client:
        assert (await client.post(f"/digits{PREDICT}", json=BODY)).status_code == 200
        names = [model["name"] for model in (await client.get("/flights/models")).json()["models"]]
        assert names == ["flight-delay"]


async def test_the_test() -> None:
    await the_block("async def test_digits")["test_digits"]()
