"""Lean endpoints as FastAPI's routes, and what the paths of all protocols share."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from inference_service.core.errors import ModelNotFound
from inference_service.core.requests import ModelRef
from inference_service.core.versions import version_number

ModelName = Annotated[str, Path(description="name of a loaded model")]
Version = Annotated[str, Path(description="version, a whole number")]
Label = Annotated[str, Path(description="label of a version, from model.toml")]
_LONGEST = 40  # characters of a version that are repeated to its author
TaskName = Annotated[str, Path(description="what it is asked for: classify, embed, …")]


@lru_cache(maxsize=1024)
def parse_version(text: str | None, model: str) -> ModelRef:
    """A model reference from a path. Raises ModelNotFound for what is no version."""
    if text is None:
        return ModelRef(model)
    try:
        return ModelRef(model, version_number(text))
    except ValueError as error:
        shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
        raise ModelNotFound(f"version '{shown}' of model '{model}' {error}") from None


def by_path(path_params: dict[str, Any]) -> ModelRef:
    """The model, and perhaps the version, that a path names."""
    return parse_version(path_params.get("version"), path_params["model"])


def add_lean_routes(
    routes: APIRouter,
    paths: Mapping[str, Callable[..., Any]],
    endpoint: ASGIApp,
    body: Mapping[str, Any] | None = None,
    **declared: Any,
) -> None:
    """POST paths that FastAPI documents like any other and that call ``endpoint`` directly.

    The function of each path declares its parameters, and its docstring is the description; it is
    never called. ``body`` is the content of the request's body by media type, in the words of
    OpenAPI, and the rest is for `APIRouter.add_api_route`.
    """
    if body is not None:
        declared["openapi_extra"] = {"requestBody": {"required": True, "content": body}}
    for path, contract in paths.items():
        routes.add_api_route(
            path, contract, methods=["POST"], route_class_override=_lean_route(endpoint), **declared
        )


def _lean_route(endpoint: ASGIApp) -> type[APIRoute]:
    class LeanRoute(APIRoute):
        lean_endpoint = staticmethod(endpoint)

        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            methods = self.methods or set()
            check = getattr(endpoint, "check", None)
            if check is not None:
                check(scope)
            if scope["method"] not in methods:
                raise HTTPException(405, headers={"Allow": ", ".join(sorted(methods))})
            await endpoint(scope, receive, send)

    return LeanRoute
