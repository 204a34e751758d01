"""uvicorn with our way of leaving: not ready first, then drain, then exit 0."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import socket
from types import FrameType
from typing import Any, Protocol

import uvicorn
from starlette.types import ASGIApp

from inference_service.acceptor import Acceptor
from inference_service.listener import ignore_attempts, listen
from inference_service.repository_watch import NoWatch
from inference_service.security.setup import Security
from inference_service.security.tls import HSTS
from inference_service.settings import Settings
from inference_service.web.application import Application
from inference_service.web.health import Health
from inference_service.web.http1.connection import HttpConnection
from inference_service.web.http1.front.connection import FrontConnection
from inference_service.web.http1.front.desk import Desk
from inference_service.web.http1.limits import ConnectionLimits

_SETTLE = 0.25  # seconds for handshakes and requests that are on their way when leaving begins
_FIRST_REQUEST = 2.0  # seconds for the first request of a connection that has brought none yet
_CHECK_EVERY = 1.0  # seconds
_CLOSE = (b"connection", b"close")


def _nothing() -> None:
    """What a host does that has nothing to do when leaving begins."""


def _stream_protocol() -> Any:
    """The class for WebSockets; "auto", which then finds none, without the extra ``audio``."""
    try:
        from inference_service.web.websocket import StreamConnection
    except ModuleNotFoundError:
        return "auto"
    return StreamConnection


def _desk(service: "Served", limits: ConnectionLimits) -> Desk | None:
    """The shortcut for hot requests; None where every request has to pass the application."""
    settings, application = service.settings, service.asgi
    if not (settings.http.front and isinstance(application, Application)):
        return None
    if not application.passes_plainly or settings.telemetry.record_traffic is not None:
        return None
    if settings.log.access_sample > 0 or settings.tracing.endpoint:  # each request is told of
        return None
    read = [settings.limits.client_header.lower().encode()]
    cold = [b"origin"] * bool(settings.http.cors_origins)
    desk = Desk(application.hot_paths, limits, read=read, cold=cold)
    application.watch_hot_paths(desk.forget)
    return desk


class Served(Protocol):
    """What is served: a `Service`."""

    @property
    def asgi(self) -> ASGIApp:
        """The whole application."""

    @property
    def settings(self) -> Settings:
        """Those of the service."""

    @property
    def health(self) -> Health:
        """It is told when leaving begins."""

    @property
    def security(self) -> Security:
        """Certificates, and the sites that requests may name."""

    @property
    def watch(self) -> NoWatch:
        """Looks at the files of the repository, where they are watched."""


class DrainingServer(uvicorn.Server):
    """uvicorn for a `Service`: ``await DrainingServer(service).serve()`` in a running event loop.

    On SIGTERM, or `leave`, the service is not ready but goes on serving for ``lame_duck`` seconds.
    Load balancers then have the time to notice, and every answer asks its client to open a new
    connection, which reaches another instance. After that uvicorn stops listening and waits for the
    requests that it has accepted. SIGINT, or a second signal, skips the wait. Signals are handled
    in the main thread only, and as before once `serve` returns.
    """

    def __init__(
        self, service: Served, listener: socket | None = None, *, shared: bool = False
    ) -> None:
        """Without a listener the address of the settings is listened on at once.

        ``shared``: another process has the listener, too (systemd), and goes on listening.

        Raises InvalidSettings with the address that can't be had.
        """
        settings, security = service.settings, service.security
        limits, certificates = settings.limits, security.certificates
        super().__init__(
            uvicorn.Config(
                service.asgi,
                interface="asgi3",
                loop="auto",
                http="auto",
                ws=_stream_protocol(),
                ws_per_message_deflate=False,  # a kilobyte could be a megabyte
                ws_max_size=limits.max_message_bytes,
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                headers=[HSTS] if certificates is not None else [],
                timeout_keep_alive=settings.keep_alive,
                timeout_graceful_shutdown=max(1, round(settings.shutdown.grace_period)),
            )
        )
        self._service = service
        self._health = service.health
        self._desk: Desk | None = None
        self._listener = listener or listen(settings.host, settings.port)
        self._shared = shared
        self._admin_listener: socket | None = None
        if security.admin_port is not None:
            self._admin_listener = listen(settings.host, security.admin_port)
            security.admin_port = int(self._admin_listener.getsockname()[1])
        self._tls = (lambda: certificates.context) if certificates is not None else None
        self._lame_duck = settings.shutdown.lame_duck
        self._leaving = False
        self.on_leaving: Callable[[], None] = _nothing
        """Called once, when leaving begins, in the signal handler."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._acceptor: Acceptor | None = None
        self._admin_acceptor: Acceptor | None = None
        self._checks: asyncio.TimerHandle | None = None
        self._limits = ConnectionLimits(
            limits.max_head_bytes, limits.head_timeout, limits.stall_timeout,
            limits.max_connections, security.sites,
        )  # fmt: skip

    @property
    def port(self) -> int:
        """The one that is listened on, which the system has chosen where the settings say 0."""
        return int(self._listener.getsockname()[1])

    async def serve(self, sockets: list[socket] | None = None) -> None:
        """Run until a signal."""
        self._loop = asyncio.get_running_loop()
        with self._hangups():
            await super().serve(sockets or [self._listener])

    @contextmanager
    def _hangups(self) -> Iterator[None]:
        """SIGHUP: read again what is read at the start, and go on. In the main thread only."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGHUP, lambda *_: self.reload())
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)

    def reload(self) -> None:
        """Read keys, certificates and the like again, and look at models, as on SIGHUP.

        In threads: a file system may hang.
        """
        look = self._service.security.watcher.look
        threading.Thread(target=look, name="reload", daemon=True).start()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._service.watch.look_now)

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start the application and then accept, by an acceptor instead of uvicorn's servers."""
        await super().startup([])
        self._desk = _desk(self._service, self._limits)
        (listener,) = sockets or [self._listener]
        self._acceptor = self._accept(listener)
        if self._admin_listener is not None:
            self._admin_acceptor = self._accept(self._admin_listener)
        self._check_connections()

    def _accept(self, listener: socket) -> Acceptor:
        loop, most = asyncio.get_running_loop(), self._limits.connections
        acceptor = Acceptor(listener, self._protocol, loop, self._tls, most)
        acceptor.start()
        return acceptor

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called in the signal handler. uvicorn would also raise the signal again at the end, and
        the process would not exit with 0."""
        self._begin_leaving(sig)

    def leave(self) -> None:
        """Begin to leave as on SIGTERM; a second call skips the wait."""
        self._begin_leaving(signal.SIGTERM)

    def _begin_leaving(self, sig: int) -> None:
        if self._leaving or sig == signal.SIGINT or self._lame_duck == 0 or self._loop is None:
            self.force_exit = self.should_exit and sig == signal.SIGINT
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self._loop.call_later, self._lame_duck, self._stop)
        if not self._leaving:
            self.on_leaving()
        self._leaving = True
        self._health.leave()
        self.config.encoded_headers.append(_CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Listen no more, and let connections that were just made still bring their request.

        uvicorn closes every connection without a request at once, also one whose request is
        already on its way: its client would see a reset.
        """
        (listener,) = sockets or [self._listener]
        # At a shared listener new connections wait for the process that comes next.
        if self._shared or not ignore_attempts(listener):
            await self._stop_accepting(listener)
        await self._while(lambda: bool(self.server_state.connections), _SETTLE)
        await self._stop_accepting(listener)
        if self._admin_acceptor is not None and self._admin_listener is not None:
            await self._admin_acceptor.close()
            self._admin_listener.close()
        await self._while(self._awaits_first_request, _FIRST_REQUEST)
        grace = self.config.timeout_graceful_shutdown or 0
        ending = asyncio.get_running_loop().call_later(grace, self._fail_hot_requests)
        await super().shutdown(sockets)
        ending.cancel()
        if self._checks is not None:
            self._checks.cancel()

    async def _stop_accepting(self, listener: socket) -> None:
        """Closing a listener resets the connections that wait at it: they are taken first."""
        if self._acceptor is not None:
            await self._acceptor.close()
        listener.close()

    async def _while(self, condition: Callable[[], bool], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while condition() and loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    def _awaits_first_request(self) -> bool:
        """uvicorn's protocols hold their last request's cycle; a WebSocket's has no such thing."""
        return any(
            getattr(connection, "cycle", connection) is None
            for connection in self.server_state.connections
        )

    def _protocol(self) -> asyncio.Protocol:
        state = self.lifespan.state
        if self._desk is not None:
            return FrontConnection(self._desk, self._limits, self.config, self.server_state, state)
        return HttpConnection(self._limits, self.config, self.server_state, state)

    def _fail_hot_requests(self) -> None:
        """uvicorn cancels the tasks of requests; hot ones have none."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, FrontConnection):
                connection.fail_all()

    def _check_connections(self) -> None:
        """One timer for all connections."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self.server_state.connections):
            if isinstance(connection, HttpConnection):
                connection.check(now, leaving=self._leaving)
            elif hasattr(connection, "check"):  # a WebSocket
                connection.check()
        self._checks = loop.call_later(_CHECK_EVERY, self._check_connections)

    def _stop(self) -> None:
        self.should_exit = True
