"""uvicorn with our way of leaving: not ready first, then drain, then exit 0."""

import asyncio
import signal
from types import FrameType

import uvicorn
from fastapi import FastAPI

from inference_service.settings import Settings
from inference_service.web.health import Health

_CLOSE = (b"connection", b"close")


class Server(uvicorn.Server):
    """On SIGTERM the service is not ready but goes on serving for ``lame_duck`` seconds.

    Load balancers then have the time to notice, and every answer asks its client to open a new
    connection, which reaches somebody else. After that uvicorn stops listening and waits for the
    requests that it has accepted. SIGINT, or a second signal, skips the wait.
    """

    def __init__(self, app: FastAPI, settings: Settings, health: Health) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                loop="auto",
                http="auto",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_keep_alive=settings.keep_alive,
                timeout_graceful_shutdown=max(1, round(settings.shutdown.grace_period)),
            )
        )
        self._health = health
        self._lame_duck = settings.shutdown.lame_duck
        self._leaving = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def bound_port(self) -> int:
        """The port that it really listens on."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    async def serve(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Run until a signal."""
        self._loop = asyncio.get_running_loop()
        await super().serve()

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

    def _stop(self) -> None:
        self.should_exit = True
