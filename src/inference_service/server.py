"""uvicorn with our way of leaving: not ready first, then drain, then exit 0."""

import asyncio
import contextlib
import logging
import signal
import time
from socket import (
    AI_PASSIVE,
    IPPROTO_TCP,
    SOCK_STREAM,
    TCP_NODELAY,
    create_server,
    getaddrinfo,
    socket,
)
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from inference_service.settings import InvalidSettings, Settings
from inference_service.web.health import Health

_SETTLE = 0.25  # seconds for requests that are on their way when listening ends
_CLOSE = (b"connection", b"close")
_REFUSED_STREAM = "ASGI callable returned without completing handshake."


def _is_news(record: logging.LogRecord) -> bool:
    """uvicorn takes a WebSocket that was answered with an HTTP error for one without an answer."""
    return record.msg != _REFUSED_STREAM


logging.getLogger("uvicorn.error").addFilter(_is_news)


def listen(host: str, port: int) -> socket:
    """A listening socket. Raises InvalidSettings with the address that can't be had."""
    try:
        family, _, _, _, address = getaddrinfo(host, port, type=SOCK_STREAM, flags=AI_PASSIVE)[0]
        listener = create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise InvalidSettings(f"can't listen on {host}:{port}: {error.strerror}") from error
    # Connections inherit it. uvloop sets it on each, asyncio's own loop doesn't; without it the
    # second packet of an answer waits for the first one's acknowledgement: up to 40 ms.
    listener.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    return listener


class Server(uvicorn.Server):
    """On SIGTERM the service is not ready but goes on serving for ``lame_duck`` seconds.

    Load balancers then have the time to notice, and every answer asks its client to open a new
    connection, which reaches somebody else. After that uvicorn stops listening and waits for the
    requests that it has accepted. SIGINT, or a second signal, skips the wait.
    """

    def __init__(self, app: ASGIApp, settings: Settings, health: Health, listener: socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                loop="auto",
                http="auto",
                ws="auto",
                ws_max_size=settings.limits.max_message_bytes,
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=settings.keep_alive,
                timeout_graceful_shutdown=max(1, round(settings.shutdown.grace_period)),
            )
        )
        self._health = health
        self._listener = listener
        self._lame_duck = settings.shutdown.lame_duck
        self._leaving = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket] | None = None) -> None:
        """Run until a signal."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets or [self._listener])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called in the signal handler. uvicorn would also raise the signal again at the end, and
        the process would not exit with 0."""
        if self._leaving or sig == signal.SIGINT or self._lame_duck == 0 or self._loop is None:
            self.force_exit = self.should_exit and sig == signal.SIGINT
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self._loop.call_later, self._lame_duck, self._stop)
        self._leaving = True
        self._health.leave()
        self.config.encoded_headers.append(_CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Listen no more, and let connections that were just made still bring their request.

        uvicorn closes every connection without a request at once, also one whose request is
        already on its way: its client would see a reset.
        """
        for listener in sockets or []:
            await self._close(listener)
        until = time.monotonic() + _SETTLE
        while self.server_state.connections and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)

    async def _close(self, listener: socket) -> None:
        """Stop listening, but take the connections that the kernel has made already.

        Closing a listening socket resets them. A second descriptor keeps it open until the event
        loop has let go of it and the last of them is taken.
        """
        waiting = listener.dup()
        for server in self.servers:
            server.close()
        taken = []
        with waiting:
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    taken.append(waiting.accept()[0])
        for connection in taken:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def _stop(self) -> None:
        self.should_exit = True
