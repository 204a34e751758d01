"""A client that has closed its sending side: is it gone, or does it wait for its answer?"""

import asyncio
import socket
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_TCP_INFO = getattr(socket, "TCP_INFO", None)  # Linux
_TCP_CLOSE = 7  # linux/include/net/tcp_states.h
_LOOKS = (0.01, 0.04, 0.2)  # seconds between looks at the connection; then one a second

can_tell = _TCP_INFO is not None
"""Whether the system says what became of a connection that isn't read any more."""


class HalfClosed:
    """Aborts the transport when its client turns out to be gone, until an answer begins.

    Both kinds of client look alike until something is sent to them: a socket that is closed
    altogether answers data with a reset. "100 Continue" is data that every client of HTTP/1.1
    passes over (RFC 9110, 15.2). Clients of HTTP/1.0 are not asked, and are taken for waiting.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        running: Callable[[], RequestResponseCycle | None],
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._running = running
        cycle = running()
        if cycle is not None and not cycle.response_started:
            if cycle.scope["http_version"] == "1.1":
                transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._look(0)

    def _look(self, number: int) -> None:
        cycle = self._running()
        if self._transport.is_closing() or cycle is None or cycle.response_started:
            return  # writing the answer tells it, too
        if _is_reset(self._transport):
            self._transport.abort()
            return
        delay = _LOOKS[number] if number < len(_LOOKS) else 1.0
        self._loop.call_later(delay, self._look, number + 1)


def _is_reset(transport: asyncio.Transport) -> bool:
    connection = transport.get_extra_info("socket")
    try:
        return bool(connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] == _TCP_CLOSE)
    except OSError:
        return True
