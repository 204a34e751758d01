"""The composition root: settings -> engine -> FastAPI, and the lifespan. Knows everybody."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse

from inference_service._version import __version__
from inference_service.core.admission import Admission, Limits
from inference_service.daemon import in_daemon
from inference_service.engine.engine import LocalEngine
from inference_service.engine.interfaces import Engine
from inference_service.engine.manager import Manager, VersionSource
from inference_service.progress import Tell, watched
from inference_service.protocols.oip import routes as oip
from inference_service.protocols.oip.infer import infer_path
from inference_service.protocols.oip.repository import RepositoryControl
from inference_service.protocols.openai import routes as openai
from inference_service.protocols.predict import routes as predict
from inference_service.protocols.tasks import openapi as tasks_openapi
from inference_service.protocols.tasks import rerank, transcriptions
from inference_service.protocols.tasks import routes as tasks
from inference_service.protocols.tei import routes as tei
from inference_service.protocols.tfserving import openapi as tfserving_openapi
from inference_service.protocols.tfserving import routes as tfserving
from inference_service.settings import InvalidSettings, Settings, load_settings
from inference_service.sources import cores, model_names, model_sources, version_sources
from inference_service.telemetry.prometheus import (
    PrometheusObserver,
    exposition,
    process_registry,
    watch_state,
)
from inference_service.telemetry.recorder import RecordingEngine, TrafficRecorder
from inference_service.telemetry.statistics import Observers, StatisticsObserver
from inference_service.telemetry.triton_metrics import add_triton_metrics
from inference_service.web import errors
from inference_service.web.compression import COMPRESS_FROM, compressed, wanted
from inference_service.web.document import Document
from inference_service.web.endpoint import Edge
from inference_service.web.health import Health
from inference_service.web.hot_paths import resolve
from inference_service.web.openapi import friendly
from inference_service.web.requests import PageSecurity, UsualRequests
from inference_service.web.timing import ServerTiming

if TYPE_CHECKING:
    from inference_service.protocols.oip.rpc.server import GrpcServer

log = logging.getLogger(__name__)

_HOME = files("inference_service.web").joinpath("home.html").read_text("utf-8")
_GC_THRESHOLDS = (20_000, 20, 20)
"""Python's own 700 collects every few requests, which takes 4 % of small ones; hardly anything here
is garbage that needs collecting."""

_LISTING_TIME = 5.0  # seconds for the names of a repository, which may lie on a file server

NAME = "inference-service"
DESCRIPTION = """
ONNX models as HTTP APIs with dynamic batching. Requests for one model are coalesced into one
ONNX Runtime call. Send `X-Request-Timeout` (seconds) to give a request a deadline; every answer
tells in `Server-Timing` where its time went. Errors are always `{"error": "<text>"}`.
"""


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service that its host (the command line, a test) may need."""

    settings: Settings
    engine: LocalEngine
    manager: Manager
    health: Health
    admission: Admission
    registry: CollectorRegistry


def create_app(
    settings: Settings | None = None,
    on_loaded: Callable[[Service], None] | None = None,
    on_progress: Tell | None = None,
) -> FastAPI:
    """The ASGI application. Models are loaded when it starts, in the background.

    ``on_loaded`` is called when all of them are ready or have failed, ``on_progress`` after each,
    in a thread. ``app.state.service`` is the `Service`.
    Raises InvalidSettings or InvalidModel (there is nothing to serve).
    """
    settings = settings or load_settings()
    sources = version_sources(settings)
    if on_progress is not None:
        sources = watched(sources, on_progress)
    registry = process_registry(__version__)
    sums = StatisticsObserver()
    observer = Observers([PrometheusObserver(registry), sums])
    engine = LocalEngine(cores=cores(settings))
    manager = Manager(
        engine,
        observer,
        time_limit=settings.runtime.load_timeout,
        ready_when=settings.health.ready_when,
    )
    limits = settings.limits
    admission = Admission(
        Limits(limits.max_in_flight_requests, limits.max_in_flight_bytes, limits.max_streams)
    )
    watch_state(registry, engine, admission)
    if settings.telemetry.triton_metrics:
        add_triton_metrics(registry, engine, sums)
    service = Service(settings, engine, manager, Health(manager.problem), admission, registry)
    serving: Engine = engine
    recorder = _recorder(settings)
    if recorder is not None:
        serving = RecordingEngine(engine, recorder)
    edge = Edge(
        serving, admission, observer, limits.max_body_bytes, limits.request_timeout,
        limits.client_header.lower().encode(), settings.wire.non_finite,
        settings.wire.compress_answers,
    )  # fmt: skip

    app = _application(
        settings,
        partial(
            _lifespan, service=service, sources=sources, on_loaded=on_loaded, recorder=recorder
        ),
    )
    app.state.service = service
    server = oip.Server(NAME, __version__, sums.of, _control(app, service))
    _add_routes(app, service, edge, server)
    app.state.grpc = _grpc(settings, edge, service, server)
    return app


def _application(
    settings: Settings, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]
) -> FastAPI:
    """The framework's part: the document, errors and middleware, without a path."""
    app = FastAPIOffline(
        title=NAME,
        version=__version__,
        description=DESCRIPTION,
        redoc_url=None,
        redirect_slashes=False,  # they are answered
        lifespan=lifespan,
    )
    app.state.hot_paths = {}
    errors.install(app)
    for middleware in (PageSecurity, ServerTiming, UsualRequests):
        app.add_middleware(middleware)
    if settings.http.cors_origins:
        app.add_middleware(CORSMiddleware, **_cors(settings))
    return app


def _add_routes(app: FastAPI, service: Service, edge: Edge, server: oip.Server) -> None:
    settings, engine = service.settings, service.engine
    pool = ThreadPoolExecutor(cores(settings), thread_name_prefix="task")
    prediction = (
        predict.router(edge, settings.default_model, tfserving.decode_value),
        tfserving.router(edge),
        oip.router(edge, service.health, server),
        openai.router(edge),
        tei.router(edge, __version__, service.health),
        transcriptions.router(edge, pool, openai.failure, openai.FAILURES),
        rerank.router(edge, pool, tei.failure, tei.FAILURES),
        tasks.router(edge, pool, settings.limits.stream_idle_timeout),
    )
    app.state.prediction_routes = [
        route for router in prediction for route in router.routes if isinstance(route, APIRoute)
    ]
    for router in prediction:
        app.include_router(router)

    @app.get("/metrics", tags=["Metrics"], response_class=Response)
    def metrics(request: Request) -> Response:
        """Latency and batching metrics for Prometheus."""
        asked = request.headers
        content, content_type = exposition(service.registry, asked.get("accept", ""))
        headers = {"vary": "Accept, Accept-Encoding"}
        encoding = wanted(asked.get("accept-encoding", "").encode())
        if encoding and len(content) >= COMPRESS_FROM:
            content, headers["content-encoding"] = compressed(content, encoding), encoding
        return Response(content, 200, headers, content_type)

    @app.get("/", include_in_schema=False)
    async def home() -> HTMLResponse:
        return HTMLResponse(_HOME)

    app.openapi = partial(_openapi, app, engine, edge.max_body_bytes)  # type: ignore[method-assign]
    document = Document(app.openapi, engine.models)
    app.router.routes[:] = [
        route for route in app.router.routes if getattr(route, "path", "") != app.openapi_url
    ]
    app.add_route(str(app.openapi_url), document.answer, include_in_schema=False)


def _cors(settings: Settings) -> dict[str, Any]:
    """What pages of other origins may do: ask and read every answer, without credentials."""
    return {
        "allow_origins": settings.http.cors_origins,
        "allow_methods": ["GET", "HEAD", "POST"],
        "allow_headers": ["*"],
        "expose_headers": ["*"],
        "max_age": 3600,
    }


def _grpc(
    settings: Settings, edge: Edge, service: Service, server: oip.Server
) -> "GrpcServer | None":
    """The gRPC server, where there is to be one. Raises InvalidSettings without the extra."""
    if settings.grpc.port is None:
        return None
    try:
        from inference_service.protocols.oip.rpc.server import GrpcServer
    except ModuleNotFoundError as error:
        raise InvalidSettings(
            f"setting 'grpc.port': {error.name} is not installed; "
            "install the extra 'grpc', in a clone of the repository: pip install '.[grpc]'"
        ) from error
    return GrpcServer(edge, service.health, server)


def _control(app: FastAPI, service: Service) -> RepositoryControl:
    settings, manager = service.settings, service.manager

    async def load(name: str) -> None:
        try:
            found = in_daemon(lambda: model_sources(settings, name), "scan")
            sources = await asyncio.wrap_future(found)
            await manager.load(name, sources)
        finally:
            _find_hot_paths(app, service.engine)

    async def unload(name: str) -> None:
        await manager.unload(name)
        _find_hot_paths(app, service.engine)

    listing: list[Future[Sequence[str]]] = []

    async def names() -> Sequence[str]:
        """One look for all that ask at the same time: a file server may take long."""
        if not listing or listing[0].done():
            listing[:] = [in_daemon(partial(model_names, settings), "list")]
        try:
            return await asyncio.wait_for(asyncio.wrap_future(listing[0]), _LISTING_TIME)
        except TimeoutError:
            return []

    token = settings.admin.token if settings.admin.repository else None
    return RepositoryControl(names, load, unload, token.get_secret_value() if token else None)


def _openapi(app: FastAPI, engine: Engine, max_body_bytes: int) -> dict[str, Any]:
    """FastAPI's document with a typed path for each loaded model in front."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=[
            {
                "name": tasks_openapi.TAG,
                "description": "Pictures, sound and text in, answers out: by file, form or JSON",
            },
            {
                "name": tfserving_openapi.TAG,
                "description": "The loaded models, each with its types",
            },
            {"name": tasks.TAG, "description": "What the loaded models can be asked for"},
            {"name": predict.TAG, "description": "The contract of the classic tutorial"},
            {"name": tfserving.TAG, "description": "What TensorFlow Serving's clients speak"},
            {"name": rerank.TAG, "description": "Texts ranked for a query: TEI's and Cohere's API"},
            {"name": transcriptions.TAG, "description": "Words of speech: OpenAI's API"},
            {"name": openai.TAG, "description": "Vectors of text: OpenAI's API and TEI's"},
            {"name": oip.TAG, "description": "What the clients of KServe and Triton speak"},
        ],
    )
    generic = document["paths"][tfserving_openapi.predict_path("{model}")]["post"]["responses"]
    failures = {status: answer for status, answer in generic.items() if not status.startswith("2")}
    paths = tfserving_openapi.model_paths(engine.models(), failures, max_body_bytes)
    typed = tasks_openapi.task_paths(engine.models(), failures)
    document["paths"] = {**typed, **paths, **document["paths"]}
    _drop_framework_answers(document)
    return friendly(document)


def _drop_framework_answers(document: dict[str, Any]) -> None:
    """FastAPI declares a 422 wherever there is a parameter; here that is a 400 or 404."""
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


@asynccontextmanager
async def _lifespan(
    app: FastAPI,
    *,
    service: Service,
    sources: Sequence[VersionSource],
    on_loaded: Callable[[Service], None] | None,
    recorder: TrafficRecorder | None,
) -> AsyncIterator[None]:
    async def load_models() -> None:
        await service.manager.load_all(sources)
        _find_hot_paths(app, service.engine)
        # What is loaded stays: the collector need not look at it again on every full collection.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        if on_loaded is not None:
            on_loaded(service)

    rpc: GrpcServer | None = app.state.grpc
    if rpc is not None:
        settings = service.settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        app.state.grpc_port = await rpc.start(f"{host}:{settings.grpc.port}")
    loading = asyncio.create_task(load_models())
    loading.add_done_callback(_log_failure)
    yield
    service.health.leave()
    loading.cancel()
    if rpc is not None:
        await rpc.stop(service.settings.shutdown.grace_period)
    service.admission.close()
    try:
        await asyncio.wait_for(service.engine.drain(), service.settings.shutdown.grace_period)
    except TimeoutError:
        log.warning("requests were still running when the grace period ended")
    await service.engine.aclose()
    if recorder is not None:
        recorder.flush()


def _recorder(settings: Settings) -> TrafficRecorder | None:
    telemetry = settings.telemetry
    if telemetry.record_traffic is None:
        return None
    return TrafficRecorder(telemetry.record_traffic, telemetry.record_limit)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("loading the models failed", exc_info=error)


def _find_hot_paths(app: FastAPI, engine: Engine) -> None:
    paths = resolve(app.state.prediction_routes, _prediction_paths(engine))
    settings: Settings = app.state.service.settings
    if settings.http.cors_origins:  # hot paths pass the application's middleware by
        paths = {
            path: (CORSMiddleware(endpoint, **_cors(settings)), found)
            for path, (endpoint, found) in paths.items()
        }
    app.state.hot_paths.clear()
    app.state.hot_paths.update(paths)


def _prediction_paths(engine: Engine) -> list[str]:
    """The paths that clients are going to use over and over."""
    paths = {"/predict", "/v1/embeddings", "/embed", "/v1/audio/transcriptions"}
    for info in engine.models():
        paths.add(tfserving_openapi.predict_path(info.name))
        paths.add(tfserving_openapi.predict_path(info.name, info.version))
        paths.add(infer_path(info.name))
        paths.add(infer_path(info.name, info.version))
        paths |= {tasks_openapi.task_path(info.name, task) for task in info.tasks}
    return sorted(paths)
