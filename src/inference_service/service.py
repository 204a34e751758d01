"""The composition root: from settings to a service that is ready to run. It imports everything."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from inference_service import routes
from inference_service._version import __version__
from inference_service.api_document import DESCRIPTION
from inference_service.core.decoding import Here
from inference_service.core.errors import ShuttingDown
from inference_service.core.in_flight import InFlight, Limits
from inference_service.engine.budget import Budget
from inference_service.engine.engine import LocalEngine
from inference_service.engine.gate import GateRules
from inference_service.engine.manager import Manager
from inference_service.engine.rollout import Rollout, RolloutRules
from inference_service.observation import Observation
from inference_service.platforms.routes import standing_of
from inference_service.platforms.setup import registration
from inference_service.processes.decoders import ProcessDecoders, TaskPool
from inference_service.progress import Tell, watched
from inference_service.protocols.oip import routes as oip
from inference_service.repository_control import (
    ModelChanges,
    located,
    repository_control,
    repository_watch,
)
from inference_service.security.engine import GuardedEngine
from inference_service.security.setup import Security, security_of
from inference_service.settings import InvalidSettings, Settings, load_settings
from inference_service.sources import cores, version_sources
from inference_service.telemetry.rollouts import OutcomeObserver
from inference_service.web.access import AccessControl
from inference_service.web.access_document import Protection
from inference_service.web.application import Application, Running, framework
from inference_service.web.endpoint import Edge
from inference_service.web.health import Health

if TYPE_CHECKING:
    from inference_service.protocols.oip.rpc.server import GrpcServer

log = logging.getLogger(__name__)

NAME = "inference-service"
_NOT_RUNNING = "the lifespan of the service has not been entered (docs/embedding.md)"


class Service:
    """One service with its own models, queues and metrics.

    ``asgi`` is the whole ASGI application; it answers as long as `lifespan` is entered, by an ASGI
    server, by a host application or by ``async with``. A service runs once. Nothing of the
    process is changed: several services can share one, and a host's own settings stay.

    Ports: ``engine`` (inference), ``manager`` (loading), ``health``, ``in_flight``, ``registry``
    (metrics), ``security`` (access control), ``grpc`` (None: not wanted) and ``grpc_port`` (0: it
    doesn't listen).
    """

    def __init__(
        self,
        settings: Settings | None = None,
        on_loaded: "Callable[[Service], None] | None" = None,
        on_progress: Tell | None = None,
    ) -> None:
        """Models are loaded when the service starts, in the background.

        ``on_loaded`` is called when all of them are ready or have failed, ``on_progress`` after
        each, in a thread. Without settings those of the environment are used.
        Raises InvalidSettings or InvalidModel (there is nothing to serve).
        """
        settings, refresh = located(settings or load_settings())
        self.settings = settings
        self.security = security_of(settings)
        self._sources = version_sources(settings)
        if on_progress is not None:
            self._sources = watched(self._sources, on_progress)
        self._on_loaded = on_loaded
        self._started = False
        self._loading: asyncio.Task[None] | None = None

        observation = self._observation = Observation(settings)
        self.registry = observation.registry
        self.engine = LocalEngine(cores=cores(settings))
        self.manager = Manager(
            self.engine,
            observation.observer,
            time_limit=settings.runtime.load_timeout,
            ready_when=settings.health.ready_when,
            budget=_budget(settings),
            rollout=_rollout(settings, self.engine, observation.outcomes),
        )
        changes = ModelChanges(settings, self.manager, self._models_changed, refresh)
        self.watch = repository_watch(settings, changes, refresh)
        self.health = Health(self._problem, guarded=self.security.authorizer is not None)
        limits = settings.limits
        self.in_flight = InFlight(
            Limits(limits.max_in_flight_requests, limits.max_in_flight_bytes, limits.max_streams)
        )
        observation.watch(self.engine, self.in_flight)

        edge = self._edge()
        control = repository_control(settings, changes)
        server = oip.ServerInfo(NAME, __version__, observation.sums.of, control)
        self._decoders = _decoders(settings)
        edge.exchange.decoders = self._decoders or Here()
        self._pool = TaskPool(cores(settings), edge.exchange.decoders)
        app = self._application(edge, server)
        self.asgi = Application(app, _surrounding(settings, self.security))
        self.grpc = _grpc(settings, edge, self.health, server, self.security)
        self.grpc_port = 0
        self._registration = registration(settings, partial(standing_of, self.health))

    def _application(self, edge: Edge, server: oip.ServerInfo) -> FastAPI:
        settings = self.settings
        app = framework(NAME, __version__, DESCRIPTION, self.lifespan)
        app.add_middleware(Running, problem=lambda: None if self._started else _NOT_RUNNING)
        app.state.service = self
        self._routes = routes.add_predictions(
            app, settings, edge, health=self.health, server=server, pool=self._pool
        )
        routes.add_platforms(app, settings, self.health, self.engine)
        feed = self._observation.feed(
            self.engine, self.in_flight, self._problem, lambda: self.health.leaving
        )
        routes.add_pages(
            app, self.registry, self.engine, feed, settings.limits.max_body_bytes,
            self._protection(), routes.guide(settings),
        )  # fmt: skip
        return app

    @property
    def fastapi(self) -> FastAPI:
        """The FastAPI application in `asgi`: a host may add paths and middleware to it."""
        return self.asgi.fastapi

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """Load the models on entering, in the background; answer what was accepted on leaving.

        It can be passed to ``FastAPI(lifespan=…)`` as it is.
        Raises RuntimeError the second time, OSError where gRPC can't listen.
        """
        if self._started:
            raise RuntimeError("a Service runs once: make another one")
        self._started = True
        self.security.watcher.start()
        self._observation.start()
        try:
            if self.grpc is not None:
                self.grpc_port = await self.grpc.start(_address(self.settings))
            self._loading = asyncio.create_task(self._load())
            self._loading.add_done_callback(_log_failure)
            self._registration.start()
            self.watch.start()
            yield
        finally:
            await self._leave()

    async def loaded(self) -> None:
        """Return when every model is ready or has failed.

        Raises RuntimeError if the service was never started, ShuttingDown if it ended meanwhile.
        """
        if self._loading is None:
            raise RuntimeError(_NOT_RUNNING)
        await asyncio.wait({self._loading})
        if self._loading.cancelled():
            raise ShuttingDown
        self._loading.result()

    def _edge(self) -> Edge:
        observation = self._observation
        serving = observation.recorded(self.engine)
        if self.security.guards:
            serving = GuardedEngine(serving, self.security.quotas)
        limits, wire = self.settings.limits, self.settings.wire
        # With access control a client's name is that of its key, which no header can replace.
        client_header = "" if self.security.authorizer else limits.client_header.lower()
        return Edge(
            serving, self.in_flight, observation.observer, limits.max_body_bytes,
            limits.request_timeout, client_header.encode(), wire.non_finite, wire.compress_answers,
            observation.teller(),
        )  # fmt: skip

    def _protection(self) -> Protection:
        security = self.security
        certificates = bool(self.settings.security.certificates)
        return Protection(
            security.authorizer is not None, certificates, security.quotas is not None
        )

    def _problem(self) -> str | None:
        return self.manager.problem() if self._started else _NOT_RUNNING

    def _models_changed(self) -> None:
        self.asgi.replace_hot_paths(routes.hot_paths(self._routes, self.engine))

    async def _load(self) -> None:
        await self.manager.load_all(self._sources)
        self._models_changed()
        if self._on_loaded is not None:
            self._on_loaded(self)

    async def _leave(self) -> None:
        grace = self.settings.shutdown.grace_period
        self.health.leave()
        self.security.watcher.stop()
        self._observation.stop()
        await self._registration.stop()
        self.watch.stop()
        self.manager.rollout.close()
        if self._loading is not None:
            self._loading.cancel()
        if self.grpc is not None and self.grpc_port:
            await self.grpc.stop(grace)
        self.in_flight.close()
        try:
            await asyncio.wait_for(self.engine.drain(), grace)
        except TimeoutError:
            log.warning("requests were still running when the grace period ended")
        await self.engine.aclose()
        await self._observation.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._decoders is not None:
            self._decoders.close()


def create_app(
    settings: Settings | None = None,
    on_loaded: Callable[[Service], None] | None = None,
    on_progress: Tell | None = None,
) -> FastAPI:
    """The service as a FastAPI application, with its hot paths; ``app.state.service`` is it.

    Parameters and errors are those of `Service`.
    """
    return Service(settings, on_loaded, on_progress).fastapi


def _surrounding(settings: Settings, security: Security) -> list[Middleware]:
    """What each request passes before the hot paths, the outermost first.

    Access control belongs behind CORS: browsers send no credentials with a preflight.
    """
    surrounding: list[Middleware] = []
    if settings.http.cors_origins:
        surrounding.append(Middleware(CORSMiddleware, **_cors(settings)))
    if security.guards:
        surrounding.append(
            Middleware(
                AccessControl,
                authorizer=security.authorizer,
                quotas=security.quotas,
                proxies=security.proxies,
                failure=routes.failure_at,
                admin_port=lambda: security.admin_port,
            )
        )
    return surrounding


def _cors(settings: Settings) -> dict[str, Any]:
    """What pages of other origins may do: ask and read every answer, without credentials."""
    return {
        "allow_origins": settings.http.cors_origins,
        "allow_methods": ["GET", "HEAD", "POST"],
        "allow_headers": ["*"],
        "expose_headers": ["*"],
        "max_age": 3600,
    }


def _budget(settings: Settings) -> Budget | None:
    memory = settings.memory
    return None if memory.budget is None else Budget(memory.budget, frozenset(memory.pinned))


def _rollout(settings: Settings, engine: LocalEngine, outcomes: OutcomeObserver) -> Rollout:
    given = settings.rollout
    gate = GateRules(given.check_signature, given.tolerance, given.max_slowdown)
    rules = RolloutRules(gate, watch=given.watch, most_failures=given.most_failures)
    return Rollout(engine, rules, outcomes.of, outcomes.note)


def _decoders(settings: Settings) -> ProcessDecoders | None:
    """Processes for files; None: they are decoded in threads."""
    runtime = settings.runtime
    if runtime.decoder_processes:
        return ProcessDecoders(runtime.max_decoder_bytes)
    log.warning("runtime.decoder_processes is off: a body of a million JSON values stops all "
                "requests for some 50 ms, and nothing stops a decoder of files")  # fmt: skip
    return None


def _address(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.grpc.port}"


def _grpc(
    settings: Settings, edge: Edge, health: Health, server: oip.ServerInfo, security: Security
) -> "GrpcServer | None":
    """The gRPC server, where there is to be one. Raises InvalidSettings without the extra."""
    if settings.grpc.port is None:
        return None
    try:
        from inference_service.protocols.oip.rpc.access import AccessInterceptor, server_credentials
        from inference_service.protocols.oip.rpc.server import GrpcServer
    except ModuleNotFoundError as error:
        raise InvalidSettings(
            f"setting 'grpc.port': {error.name} is not installed; "
            "install the extra 'grpc', in a clone of the repository: pip install '.[grpc]'"
        ) from error
    interceptors = []
    if security.guards:
        admin = security.admin_port is None
        interceptors = [
            AccessInterceptor(security.authorizer, security.quotas, security.proxies, admin=admin)
        ]
    credentials = server_credentials(security.certificates) if security.certificates else None
    return GrpcServer(edge, health, server, interceptors, credentials)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("loading the models failed", exc_info=error)
