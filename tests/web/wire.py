"""Connections without sockets: bytes go in, bytes come out, on one event loop."""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn
from anyio import to_thread
from uvicorn.server import ServerState

from inference_service.web.http1.connection import HttpConnection

HIGH_WATER = 64 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TIMES = re.compile(rb"dur=[0-9.]+")
_QUEUED_ROWS = re.compile(rb'desc="[0-9]+ rows"')


class _Socket:
    """That of a client that is there."""

    def getsockopt(self, *_: int) -> bytes:
        return b"\1"

    def getsockname(self) -> tuple[str, int]:
        return "10.0.0.2", 80

    def getpeername(self) -> tuple[str, int]:
        return "10.0.0.1", 1234


class Transport(asyncio.Transport):
    """What the event loop would be for a connection. ``reads``: its client reads the answers."""

    def __init__(self) -> None:
        addresses = {"peername": ("10.0.0.1", 1234), "sockname": ("10.0.0.2", 80)}
        super().__init__({**addresses, "socket": _Socket()})
        self.protocol: Any = None
        self.sent = bytearray()
        self.unsent = 0
        self.writes = 0
        self.reads = True
        self.closing = False
        self.closed = False
        self.ended = False
        self.reading = True

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.closing:
            return
        self.writes += 1
        self.sent += data
        if not self.reads:
            before, self.unsent = self.unsent, self.unsent + len(data)
            if before <= HIGH_WATER < self.unsent:
                self.protocol.pause_writing()

    def read_all(self) -> None:
        """The client reads again."""
        self.reads = True
        over, self.unsent = self.unsent > HIGH_WATER, 0
        if over:
            self.protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.lose, None)

    def abort(self) -> None:
        self.close()

    def lose(self, error: Exception | None) -> None:
        """The connection is gone."""
        self.closing = True
        if not self.closed:
            self.closed = True
            self.protocol.connection_lost(error)


class Wire:
    """Makes connections of one kind to one application."""

    def __init__(self, app: Any, connect: Callable[..., HttpConnection]) -> None:
        self.config = uvicorn.Config(
            app, interface="asgi3", proxy_headers=False, server_header=False, ws="none",
            log_config=None, lifespan="off",
        )  # fmt: skip
        self.config.load()
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"Thu, 26 Nov 2026 12:00:00 GMT")]
        self._connect = connect

    def open(self) -> tuple[Any, Transport]:
        """A connection that a client has just made."""
        transport = Transport()
        connection = self._connect(self.config, self.state, {})
        transport.protocol = connection
        connection.connection_made(transport)
        return connection, transport

    async def ask(self, pieces: Sequence[bytes], *, shut: bool = False) -> bytes:
        """Send the pieces, each in a read of its own; everything that is answered."""
        _, transport = self.open()
        for piece in pieces:
            for _ in range(200):
                if transport.reading or transport.closing:
                    break
                await asyncio.sleep(0)
            if transport.closing:
                break
            transport.protocol.data_received(piece)
            if not (shut and piece is pieces[-1]):  # the end comes with the last piece
                await asyncio.sleep(0)
        if shut and not transport.closing and not transport.protocol.eof_received():
            transport.close()
        await self.quiet(transport)
        found = bytes(transport.sent)
        if shut:  # whether the answer had begun when the client shut its side
            found = found.replace(_CONTINUE, b"")
        if transport.closing or transport.ended:
            found += b"(closed)"
        transport.lose(None)
        while self.state.tasks:  # noqa: ASYNC110
            await asyncio.sleep(0)
        return found

    async def quiet(self, transport: Transport) -> None:
        """Nothing is in work any more, but for a request that has not come in full."""
        calm, stuck = 0, False
        while calm < (40 if stuck else 5):
            await asyncio.sleep(0)
            connection = transport.protocol
            cut = getattr(connection, "_receiving", None)
            stuck = cut is not None and connection._running is cut
            threads = to_thread.current_default_thread_limiter().borrowed_tokens
            busy = (
                threads > 0
                or len(self.state.tasks) > stuck
                or bool(getattr(connection, "waiting", ()))
            )
            calm = 0 if busy else calm + 1


def comparable(answer: bytes) -> bytes:
    """Without what differs between any two runs: durations, and the batch that was met."""
    return _QUEUED_ROWS.sub(b"rows", _TIMES.sub(b"dur", answer))
