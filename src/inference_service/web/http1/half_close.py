"""A client that has closed its sending side: is it gone, or does it wait for its answer?"""

import asyncio
import socket
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from inference_service.web.watches import COMMENT

_TCP_INFO = getattr(socket, "TCP_INFO", None)  # Linux
_TCP_CLOSE = 7  # linux/include/net/tcp_states.h
_LOOKS = (0.01, 0.04, 0.2)  # seconds between looks at the connection; then
_EVERY = 0.5

can_tell = _TCP_INFO is not None
"""Whether the system says what became of a connection that isn't read any more."""


class HalfClosed:
    """Aborts the transport when its client turns out to be gone.

    Both kinds of client look alike until something is sent to them: a socket that is closed
    altogether answers data with a reset. "100 Continue" is data that every client of HTTP/1.1
    passes over (RFC 9110, 15.2). Clients of HTTP/1.0 are not asked, and are taken for waiting.

    An answer that has begun tells it with its next part. Where that may be a while, as in a stream
    of events, its application names what may be sent meanwhile: see `COMMENT`.
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
        elif cycle is not None:
            self._comment(cycle)
            self._look(0)

    def _look(self, number: int) -> None:
        cycle = self._running()
        if self._transport.is_closing() or cycle is None or cycle.response_complete:
            return
        if cycle.response_started and COMMENT not in cycle.scope["state"]:
            return  # writing the answer tells it, too
        if _is_reset(self._transport):
            self._transport.abort()
            return
        if number >= len(_LOOKS):
            self._comment(cycle)  # it may have been there, and have left since
        delay = _LOOKS[number] if number < len(_LOOKS) else _EVERY
        self._loop.call_later(delay, self._look, number + 1)

    def _comment(self, cycle: RequestResponseCycle) -> None:
        comment = cycle.scope["state"].get(COMMENT)
        if comment and cycle.response_started and not self._transport.get_write_buffer_size():
            framed = b"%x\r\n%s\r\n" % (len(comment), comment)
            self._transport.write(framed if cycle.chunked_encoding else comment)


def _is_reset(transport: asyncio.Transport) -> bool:
    connection = transport.get_extra_info("socket")
    try:
        return bool(connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] == _TCP_CLOSE)
    except OSError:
        return True
