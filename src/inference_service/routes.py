"""All paths of the service: the protocols' routers, the metrics, the home page, the document."""

import os
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry

from inference_service import api_document
from inference_service._version import __version__
from inference_service.engine.interfaces import Engine
from inference_service.platforms import routes as platforms
from inference_service.processes.decoders import TaskPool
from inference_service.protocols.oip import routes as oip
from inference_service.protocols.oip.infer import infer_path
from inference_service.protocols.openai import routes as openai
from inference_service.protocols.predict import routes as predict
from inference_service.protocols.tasks import inference_client, rerank, transcriptions
from inference_service.protocols.tasks import openapi as tasks_openapi
from inference_service.protocols.tasks import routes as tasks
from inference_service.protocols.tei import routes as tei
from inference_service.protocols.tfserving import openapi as tfserving_openapi
from inference_service.protocols.tfserving import routes as tfserving
from inference_service.protocols.tfserving.codec import decode_predict
from inference_service.settings import InvalidSettings, Settings
from inference_service.telemetry.prometheus import exposition
from inference_service.web.access import Failure
from inference_service.web.access_document import Protection
from inference_service.web.compression import COMPRESS_FROM, compressed, wanted
from inference_service.web.document import Document
from inference_service.web.endpoint import Edge
from inference_service.web.errors import answer
from inference_service.web.examples import add_examples
from inference_service.web.guide import Guide, GuideError, add_guide
from inference_service.web.health import Health
from inference_service.web.home_page import add_home_page
from inference_service.web.hot_paths import Target, resolve
from inference_service.web.stats import StatsFeed, add_stats

_OPENAI_PATHS = frozenset({"/v1/embeddings", "/embeddings", "/v1/audio/transcriptions"})


def add_predictions(
    app: FastAPI,
    settings: Settings,
    edge: Edge,
    *,
    health: Health,
    server: oip.ServerInfo,
    pool: TaskPool,
) -> list[APIRoute]:
    """The paths of all protocols; returns the routes that hot paths may lead to.

    ``pool`` decodes pictures and sound.
    """
    routers = (
        predict.router(
            edge,
            settings.default_model,
            predict.Envelope(decode_predict, tfserving.call),
            platforms.prediction_paths(settings.platforms, os.environ),
        ),
        tfserving.router(edge),
        oip.router(edge, health, server),
        openai.router(edge),
        tei.router(edge, __version__, health),
        transcriptions.router(edge, pool, openai.failure, openai.FAILURES),
        rerank.router(edge, pool, tei.failure, tei.FAILURES),
        inference_client.router(edge, pool),
        tasks.router(edge, pool, settings.limits.stream_idle_timeout),
    )
    for router in routers:
        app.include_router(router)
    return [route for router in routers for route in router.routes if isinstance(route, APIRoute)]


def add_platforms(app: FastAPI, settings: Settings, health: Health, engine: Engine) -> None:
    """Paths that single platforms ask for, where they are wanted."""

    def info() -> dict[str, Any]:
        models = [{"name": found.name, "version": found.version} for found in engine.models()]
        return {"build": {"name": app.title, "version": __version__}, "models": models}

    app.include_router(platforms.router(settings.platforms, health, info, os.environ))


def add_pages(  # noqa: PLR0917
    app: FastAPI,
    registry: CollectorRegistry,
    engine: Engine,
    feed: StatsFeed,
    max_body_bytes: int,
    protection: Protection,
    guide: Guide | None,
) -> None:
    """GET /metrics and /stats, the home page and examples, the document of the loaded models, and
    the guide where there is one."""

    @app.get("/metrics", tags=["Metrics"], response_class=Response)
    def metrics(request: Request) -> Response:
        """Latency and batching metrics for Prometheus."""
        asked = request.headers
        content, content_type = exposition(registry, asked.get("accept", ""))
        headers = {"vary": "Accept, Accept-Encoding"}
        encoding = wanted(asked.get("accept-encoding", "").encode())
        if encoding and len(content) >= COMPRESS_FROM:
            content, headers["content-encoding"] = compressed(content, encoding), encoding
        return Response(content, 200, headers, content_type)

    add_stats(app, feed)
    add_home_page(app, has_guide=guide is not None)
    if guide is not None:
        add_guide(app, guide)
    add_examples(app, engine)
    app.openapi = partial(  # type: ignore[method-assign]
        api_document.build, app, engine, max_body_bytes, protection
    )
    document = Document(app.openapi, engine.models)
    app.router.routes[:] = [
        route for route in app.router.routes if getattr(route, "path", "") != app.openapi_url
    ]
    app.add_route(str(app.openapi_url), document.answer, include_in_schema=False)


def guide(settings: Settings) -> Guide | None:
    """The documentation as pages, where it is to be served. Raises InvalidSettings."""
    if settings.http.guide is None:
        return None
    try:
        return Guide(settings.http.guide)
    except GuideError as error:
        raise InvalidSettings(f"setting 'http.guide': {error}") from error


def failure_at(path: str) -> Failure:
    """How errors of a path are written: OpenAI's have a shape of their own."""
    return openai.failure if path.rstrip("/") in _OPENAI_PATHS else answer


def hot_paths(routes: list[APIRoute], engine: Engine) -> dict[str, Target]:
    """The endpoints behind the paths that clients are going to use over and over."""
    paths = {"/predict", "/v1/embeddings", "/embed", "/v1/audio/transcriptions"}
    for info in engine.models():
        paths.add(tfserving_openapi.predict_path(info.name))
        paths.add(tfserving_openapi.predict_path(info.name, info.version))
        paths.add(infer_path(info.name))
        paths.add(infer_path(info.name, info.version))
        paths |= {tasks_openapi.task_path(info.name, task) for task in info.tasks}
    return resolve(routes, sorted(paths))
