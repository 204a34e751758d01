"""The answer to what is no request, and how a connection is closed so that it is read."""

import asyncio
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from inference_service.core.errors import OutOfMemory
from inference_service.web import errors

_LINGER = 2.0  # seconds
_TLS = b"\x16\x03"  # the record of a ClientHello (RFC 8446, 5.1)
_HTTP2 = b"PRI * HTTP/2.0\r\n"  # RFC 9113, 3.4
_WHY = b"this port speaks HTTP/1.1; gRPC has a port of its own (grpc.port)"
_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_GOAWAY = bytes([0, 0, 8 + len(_WHY), 7, *bytes(5), *bytes(4), 0, 0, 0, 13]) + _WHY


class Refused(Exception):  # noqa: N818
    """The request can't be read; what the client is told."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell it: an ASGI application."""
        content = errors.body(self.text)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(content)),
            (b"connection", b"close"),
        ]
        if self.status == 503:
            headers.append((b"retry-after", b"1"))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def unreadable(error: Exception, data: bytes) -> Refused:
    """The refusal of what the parser can't read, or what it has no memory for."""
    if isinstance(error.__context__, Refused):
        return error.__context__
    if isinstance(error.__context__, MemoryError):
        return Refused(503, str(OutOfMemory()))
    if data.startswith(_TLS):
        return Refused(400, "this is the beginning of TLS, and this port has none: take http://")
    if data.startswith(_HTTP2):
        return Refused(505, "HTTP/2 is not spoken here, but HTTP/1.1 and HTTP/1.0")
    return Refused(400, f"the request is not valid HTTP: {error}")


class LingeringClose:
    """A transport for an answer that ends a connection on which the client may still be sending.

    Closing a socket that has unread data resets the connection, and the client loses the answer.
    So the sending side is closed alone, and what comes is thrown away for a while (as nginx does).
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self.write = transport.write
        self.is_closing = transport.is_closing

    def close(self) -> None:
        """Send what is to be sent, then the end; read on for a while."""
        if not self._transport.is_closing():
            if not self._transport.can_write_eof():  # TLS ends both ways at once
                self._transport.close()
                return
            self._transport.write_eof()
            self._loop.call_later(_LINGER, self._transport.close)


def said_in_http2(data: bytes, transport: LingeringClose) -> bool:
    """Tell a client that begins with HTTP/2 to take HTTP/1.1, in its own frames, and close.

    RFC 9113: the server's preface is a SETTINGS frame (3.4), the error is HTTP_1_1_REQUIRED (7).
    """
    if not data.startswith(_HTTP2):
        return False
    transport.write(_SETTINGS + _GOAWAY)
    transport.close()
    return True


def refusal_cycle(connection: HttpToolsProtocol) -> RequestResponseCycle:
    """What uvicorn runs an application in, without a request."""
    scope: Any = {"type": "http", "method": "GET", "http_version": "1.1", "headers": []}
    transport: Any = LingeringClose(connection.transport, connection.loop)
    return RequestResponseCycle(
        scope=scope,
        transport=transport,
        flow=connection.flow,
        logger=connection.logger,
        access_logger=connection.access_logger,
        access_log=False,
        default_headers=connection.server_state.default_headers,
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=False,
        on_response=connection.on_response_complete,
    )
