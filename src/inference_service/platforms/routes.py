"""Paths of SageMaker, Vertex AI and Spring's actuator."""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from inference_service.core.errors import ModelNotReady, ShuttingDown
from inference_service.platforms.discovery import Standing
from inference_service.platforms.settings import PlatformSettings
from inference_service.web.health import Health

_ACTUATOR = "application/vnd.spring-boot.actuator.v3+json"
"""https://docs.spring.io/spring-boot/api/rest/actuator/health.html"""
_UP, _OUT = {"status": "UP"}, {"status": "OUT_OF_SERVICE"}


def prediction_paths(settings: PlatformSettings, environment: Mapping[str, str]) -> list[str]:
    """Paths that are to be answered as ``POST /predict`` is."""
    paths = ["/invocations"] if settings.sagemaker else []
    if settings.vertex and (route := environment.get("AIP_PREDICT_ROUTE")):
        paths.append(_path(route))
    return paths


def health_paths(settings: PlatformSettings, environment: Mapping[str, str]) -> list[str]:
    """Paths that are to be answered as ``GET /v2/health/ready`` is."""
    paths = ["/ping"] if settings.sagemaker else []
    if settings.vertex and (route := environment.get("AIP_HEALTH_ROUTE")):
        paths.append(_path(route))
    return paths


def _path(route: str) -> str:
    return "/" + route.strip("/")


def standing_of(health: Health) -> Standing:
    """What clients should think of the service."""
    try:
        health.check()
    except ShuttingDown:
        return Standing.LEAVING
    except ModelNotReady:
        return Standing.STARTING
    return Standing.UP


def router(
    settings: PlatformSettings,
    health: Health,
    info: Callable[[], dict[str, Any]],
    environment: Mapping[str, str],
) -> APIRouter:
    """Health of all platforms; ``info`` is the content of ``/actuator/info``."""
    routes = APIRouter(tags=["Platforms"])

    def ready() -> JSONResponse:
        health.check()
        return JSONResponse({})

    for path in health_paths(settings, environment):
        routes.add_api_route(path, ready, include_in_schema=False)
    if settings.actuator:
        _add_actuator(routes, health, info)
    return routes


def _add_actuator(routes: APIRouter, health: Health, info: Callable[[], dict[str, Any]]) -> None:
    def told(content: dict[str, Any], status: int = 200) -> JSONResponse:
        return JSONResponse(content, status, media_type=_ACTUATOR)

    def readiness() -> JSONResponse:
        up = standing_of(health) is Standing.UP
        return told(_UP if up else _OUT, 200 if up else 503)

    def whole() -> JSONResponse:
        up = standing_of(health) is Standing.UP
        ready = _UP if up else _OUT
        components = {"livenessState": _UP, "readinessState": ready}
        groups = ["liveness", "readiness"]
        return told({**ready, "components": components, "groups": groups}, 200 if up else 503)

    def links() -> JSONResponse:
        paths = {"self": "", "health": "/health", "info": "/info"}
        return told(
            {"_links": {n: {"href": f"/actuator{p}", "templated": False} for n, p in paths.items()}}
        )

    for path, answer in (
        ("/actuator", links),
        ("/actuator/health", whole),
        ("/actuator/health/liveness", lambda: told(_UP)),
        ("/actuator/health/readiness", readiness),
        ("/actuator/info", lambda: told(info())),
    ):
        routes.add_api_route(path, answer, include_in_schema=False)
