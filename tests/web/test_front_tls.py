"""Encrypted connections take the shortcut, too: a real server, and bytes over TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from inference_service.server import DrainingServer
from inference_service.service import Service
from inference_service.settings import Settings
from tests.security.authority import Authority
from tests.support import until
from tests.web.test_front import few
from tests.web.test_front_behaviour import BODY, COLD, HOT, statuses

__all__ = ["few"]  # a fixture

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def encrypted(models: Path, folder: Path) -> AsyncIterator[tuple[DrainingServer, Streams]]:
    """A server with a certificate, and a connection to it."""
    authority = Authority(folder)
    certificate, key = authority.sign("localhost", "server")
    tls = {"certificate": certificate, "key": key}
    settings = Settings.model_validate({"models": models, "port": 0, "security": {"tls": tls}})
    service = Service(settings)
    server = DrainingServer(service)
    serving = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        await service.loaded()
        context = ssl.create_default_context(cafile=authority.file)
        async with asyncio.timeout(30):
            streams = await asyncio.open_connection("localhost", server.port, ssl=context)
        yield server, streams
        streams[1].close()
    finally:
        server.leave()
        async with asyncio.timeout(30):
            await serving


async def answers(reader: asyncio.StreamReader, count: int) -> bytes:
    found = b""
    async with asyncio.timeout(30):
        while len(statuses(found)) < count or not found.endswith(b"}"):
            found += await reader.read(65536)
    return found


async def test_hot_requests_over_tls_take_the_shortcut(few: Path, tmp_path: Path) -> None:
    async with encrypted(few, tmp_path) as (server, (reader, writer)):
        assert server._desk is not None
        writer.write(HOT)
        first = await answers(reader, 1)
        assert b"strict-transport-security: max-age=31536000\r\n" in first
        assert first.endswith(b'{"predictions":[[2.0,4.0,6.0,8.0]]}')
        writer.write(HOT + COLD + HOT)
        assert statuses(await answers(reader, 3)) == 3 * [b"200"]
        assert server._desk.begun == 2  # what follows another request in a read goes with that


async def test_a_body_in_several_tls_records_is_put_together(few: Path, tmp_path: Path) -> None:
    async with encrypted(few, tmp_path) as (server, (reader, writer)):
        assert server._desk is not None
        place = HOT.index(BODY)
        for piece in (HOT[:10], HOT[10:place], HOT[place : place + 5], HOT[place + 5 :]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        assert statuses(await answers(reader, 1)) == [b"200"]
