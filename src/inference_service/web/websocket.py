"""One WebSocket: uvicorn's protocol class, reading ahead within a bound and noticing a disconnect.

uvicorn stops reading after each message until the application asks for the next one. While it
computes, a disconnect goes unnoticed. Here reading goes on until `READ_AHEAD` bytes
wait, so a Close or the end of the connection is seen at once; where that many wait, the system is
asked what became of the connection (`StreamConnection.check`).

Frames are parsed in Python, and one may be of six bytes: of what has come, `PIECE` bytes are parsed
in one turn of the event loop.
"""

import asyncio
import socket
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame

from inference_service.web.http1.limits import PIECE
from inference_service.web.watches import GONE

READ_AHEAD = 512 * 1024
"""Bytes of messages, unpacked, that may wait for the application."""
_EACH = 512
"""Bytes that a waiting message counts for besides its own: an empty one takes memory, too."""

_TCP_INFO = getattr(socket, "TCP_INFO", None)  # Linux
_LEFT = frozenset({7, 8})  # CLOSE (a reset), CLOSE_WAIT (the client has ended): net/tcp_states.h


class StreamConnection(WebSocketsSansIOProtocol):
    """See the module."""

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any]
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._gone = asyncio.Event()
        self.app_state = {**self.app_state, GONE: self._gone}
        self._waiting = 0
        self._unparsed = bytearray()
        self._turn: asyncio.Handle | None = None

    def data_received(self, data: bytes) -> None:
        """Parse, a piece in each turn of the event loop; nothing is read meanwhile."""
        if self._unparsed:  # the transport may deliver once more after it was paused
            self._unparsed += data
            return
        super().data_received(data[:PIECE])
        if len(data) > PIECE:
            self._unparsed += memoryview(data)[PIECE:]
            self.transport.pause_reading()
            self._turn = self.loop.call_soon(self._parse_on)

    def _parse_on(self) -> None:
        self._turn = None
        if self.transport.is_closing():
            self._unparsed.clear()
        elif not self.read_paused:  # else it goes on when the application has taken a message
            piece = bytes(self._unparsed[:PIECE])
            del self._unparsed[:PIECE]
            super().data_received(piece)
            self._read_more()

    def _read_more(self) -> None:
        """Go on with what has come, else with what will."""
        if self.read_paused or self._turn is not None or self.transport.is_closing():
            return
        if self._unparsed:
            self.transport.pause_reading()  # uvicorn may have resumed it
            self._turn = self.loop.call_soon(self._parse_on)
        else:
            self.transport.resume_reading()

    def send_receive_event_to_app(self) -> None:
        """Queue a message; read on if not too much waits."""
        self._waiting += sum(map(len, self.frames)) + _EACH
        super().send_receive_event_to_app()
        if self._waiting < READ_AHEAD:
            self._read_on()

    async def receive(self) -> Any:
        """The next message."""
        message: Any = await super().receive()
        if message["type"] == "websocket.receive":
            text = message.get("text")
            size = len(text.encode() if text is not None else message["bytes"])
            self._waiting -= size + _EACH
            if self._waiting < READ_AHEAD:
                self._read_on()
        return message

    def _read_on(self) -> None:
        if self.read_paused or self._unparsed:
            self.read_paused = False
            self._read_more()

    def handle_close(self, event: Frame) -> None:
        """The client says goodbye."""
        self._gone.set()
        super().handle_close(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._gone.set()
        super().connection_lost(exc)

    def check(self) -> None:
        """Look whether a client that isn't read from has left."""
        if self.read_paused and _TCP_INFO is not None and not self.transport.is_closing():
            connection = self.transport.get_extra_info("socket")
            state = connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0]
            if state in _LEFT:
                self.transport.abort()
