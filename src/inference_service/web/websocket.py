"""One WebSocket: uvicorn's protocol class, reading ahead within a bound and noticing a disconnect.

uvicorn stops reading after each message until the application asks for the next one. While it
computes, a disconnect goes unnoticed. Here reading goes on until `READ_AHEAD` bytes
wait, so a Close or the end of the connection is seen at once; where that many wait, the system is
asked what became of the connection (`StreamConnection.check`).
"""

import asyncio
import socket
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame

from inference_service.web.watches import GONE

READ_AHEAD = 512 * 1024
"""Bytes of messages, unpacked, that may wait for the application."""

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

    def send_receive_event_to_app(self) -> None:
        """Queue a message; read on if not too much waits."""
        self._waiting += sum(map(len, self.frames))
        super().send_receive_event_to_app()
        if self._waiting < READ_AHEAD:
            self._read_on()

    async def receive(self) -> Any:
        """The next message."""
        message: Any = await super().receive()
        if message["type"] == "websocket.receive":
            text = message.get("text")
            self._waiting -= len(text.encode() if text is not None else message["bytes"])
            if self._waiting < READ_AHEAD:
                self._read_on()
        return message

    def _read_on(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

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
