"""A WebSocket's frames are parsed in turns of the event loop, and its messages come in order."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from inference_service.web.http1.limits import PIECE
from inference_service.web.websocket import READ_AHEAD, StreamConnection
from tests.web.wire import Transport

_OPENING = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_EMPTY_PONG = b"\x8a\x80\0\0\0\0"
_TURNS = 10_000


def message(data: bytes) -> bytes:
    """A masked binary frame; the mask is 0."""
    length = (
        bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    )
    return b"\x82" + length + b"\0\0\0\0" + data


class Stream:
    """An application that takes messages as it is let."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.ended = False
        self.may = asyncio.Event()
        config = uvicorn.Config(self.app, interface="asgi3", ws_ping_interval=None)
        config.load()
        self.transport = Transport()
        self.connection = StreamConnection(config, ServerState(), {})
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)
        self.connection.data_received(_OPENING)

    async def app(self, _: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await self.may.wait()
            given = await receive()
            if given["type"] != "websocket.receive":
                self.ended = True
                return
            self.got.append(given["bytes"])

    async def until(self, done: Any) -> None:
        for _ in range(_TURNS):
            if done():
                return
            await asyncio.sleep(0)
        raise AssertionError("it does not come to that")


async def test_frames_are_parsed_in_turns() -> None:
    stream = Stream()
    await stream.until(lambda: stream.transport.sent)
    stream.may.set()
    turns = 16
    stream.connection.data_received(_EMPTY_PONG * (turns * PIECE // 6) + message(b"last"))
    assert not stream.transport.reading
    for _ in range(turns // 2):
        await asyncio.sleep(0)
    assert not stream.got
    await stream.until(lambda: stream.got == [b"last"])
    assert stream.transport.reading


async def test_messages_come_in_order_however_slowly_they_are_taken() -> None:
    stream = Stream()
    await stream.until(lambda: stream.transport.sent)
    sent = [bytes([n % 251]) * (n % 3_000) for n in range(2_000)]
    text = b"".join(map(message, sent)) + b"\x88\x80\0\0\0\0"
    half = len(text) // 2
    stream.connection.data_received(text[:half])
    for _ in range(400):
        await asyncio.sleep(0)
    assert not stream.transport.reading
    queue: Any = stream.connection.queue
    assert sum(len(one["bytes"]) for one in queue._queue) < READ_AHEAD + PIECE
    stream.connection.data_received(text[half:])
    stream.may.set()
    await stream.until(lambda: stream.ended)
    assert stream.got == sent


async def test_a_client_that_leaves_with_much_unparsed_is_gone() -> None:
    stream = Stream()
    await stream.until(lambda: stream.transport.sent)
    stream.may.set()
    stream.connection.data_received(_EMPTY_PONG * PIECE)
    stream.transport.lose(None)
    await stream.until(lambda: stream.ended)
