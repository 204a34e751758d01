"""The one rule: which path, and which gRPC method, needs which scope. Pure.

It is a table and no code, so that docs/security.md can show it and a test can walk every route of
the application along it. What is not in it needs the scope ``admin``.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from inference_service.security.grants import Scope


class Need(NamedTuple):
    """What a request must be permitted to do. ``scope`` None: anything, also unauthenticated."""

    scope: Scope | None


class Row(NamedTuple):
    """A line of the table. ``{}`` in ``path`` is one segment, a final ``*`` any rest.

    ``method`` is GET for HEAD as well, and WEBSOCKET for a stream.
    """

    method: str
    path: str
    scope: Scope | None


_OPEN = None

HTTP: tuple[Row, ...] = (
    Row("GET", "/v2/health/live", _OPEN),
    Row("GET", "/v2/health/ready", _OPEN),
    Row("GET", "/health", _OPEN),
    Row("GET", "/ping", _OPEN),
    Row("GET", "/actuator/health", _OPEN),
    Row("GET", "/actuator/health/*", _OPEN),
    Row("GET", "/actuator", Scope.READ),
    Row("GET", "/actuator/info", Scope.READ),
    Row("GET", "/metrics", Scope.METRICS),
    Row("GET", "/", Scope.READ),
    Row("GET", "/docs", Scope.READ),
    Row("GET", "/openapi.json", Scope.READ),
    Row("GET", "/static-offline-docs/*", Scope.READ),
    Row("GET", "/home/{}/{}", Scope.READ),
    Row("GET", "/guide", Scope.READ),
    Row("GET", "/guide/*", Scope.READ),
    Row("GET", "/stats", Scope.READ),
    Row("GET", "/models", Scope.READ),
    Row("GET", "/models/{}/examples", Scope.READ),
    Row("GET", "/models/{}/examples/{}", Scope.READ),
    Row("GET", "/info", Scope.READ),
    Row("GET", "/v1/models", Scope.READ),
    Row("GET", "/v1/models/*", Scope.READ),
    Row("GET", "/v2", Scope.READ),
    Row("GET", "/v2/models", Scope.READ),
    Row("GET", "/v2/models/*", Scope.READ),
    Row("GET", "/v2/systemsharedmemory/*", Scope.READ),
    Row("POST", "/v2/systemsharedmemory/*", Scope.READ),
    Row("GET", "/v2/cudasharedmemory/*", Scope.READ),
    Row("POST", "/v2/cudasharedmemory/*", Scope.READ),
    Row("GET", "/v2/trace/setting", Scope.READ),
    Row("POST", "/v2/trace/setting", Scope.READ),
    Row("POST", "/v2/models/{}/trace/setting", Scope.READ),
    Row("GET", "/v2/logging", Scope.READ),
    Row("POST", "/v2/logging", Scope.READ),
    Row("POST", "/v2/repository/index", Scope.READ),
    Row("POST", "/v2/repository/{}/index", Scope.READ),
    Row("POST", "/v2/repository/models/{}/load", Scope.ADMIN),
    Row("POST", "/v2/repository/models/{}/unload", Scope.ADMIN),
    Row("PUT", "/v2/repository/models/{}/versions/{}", Scope.ADMIN),
    Row("POST", "/v2/repository/models/{}/promote", Scope.ADMIN),
    Row("POST", "/v2/repository/models/{}/rollback", Scope.ADMIN),
    Row("POST", "/v2/repository/{}/models/{}/load", Scope.ADMIN),
    Row("POST", "/v2/repository/{}/models/{}/unload", Scope.ADMIN),
    Row("POST", "/v2/repository/{}/models/{}/promote", Scope.ADMIN),
    Row("POST", "/v2/repository/{}/models/{}/rollback", Scope.ADMIN),
    Row("POST", "/predict", Scope.INFER),
    Row("POST", "/invocations", Scope.INFER),
    Row("POST", "/v1/models/*", Scope.INFER),
    Row("POST", "/v2/models/{}/infer", Scope.INFER),
    Row("POST", "/v2/models/{}/versions/{}/infer", Scope.INFER),
    Row("POST", "/v1/embeddings", Scope.INFER),
    Row("POST", "/embeddings", Scope.INFER),
    Row("POST", "/embed", Scope.INFER),
    Row("POST", "/", Scope.INFER),
    Row("POST", "/tokenize", Scope.INFER),
    Row("POST", "/v1/audio/transcriptions", Scope.INFER),
    Row("POST", "/rerank", Scope.INFER),
    Row("POST", "/v1/rerank", Scope.INFER),
    Row("POST", "/hf/{}", Scope.INFER),
    Row("POST", "/models/{}/{}", Scope.INFER),
    Row("POST", "/models/{}/versions/{}/{}", Scope.INFER),
    Row("WEBSOCKET", "/models/{}/{}/stream", Scope.INFER),
)
"""Paths of HTTP. The first line that fits counts."""

_OIP = "/inference.GRPCInferenceService/"
GRPC: dict[str, Scope | None] = {
    _OIP + "ServerLive": _OPEN,
    _OIP + "ServerReady": _OPEN,
    _OIP + "ModelReady": Scope.READ,
    _OIP + "ServerMetadata": Scope.READ,
    _OIP + "ModelMetadata": Scope.READ,
    _OIP + "ModelConfig": Scope.READ,
    _OIP + "ModelStatistics": Scope.READ,
    _OIP + "ModelInfer": Scope.INFER,
    _OIP + "ModelStreamInfer": Scope.INFER,
    _OIP + "RepositoryIndex": Scope.READ,
    _OIP + "RepositoryModelLoad": Scope.ADMIN,
    _OIP + "RepositoryModelUnload": Scope.ADMIN,
    "/grpc.health.v1.Health/Check": _OPEN,
    "/grpc.health.v1.Health/List": _OPEN,
    "/grpc.health.v1.Health/Watch": _OPEN,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Scope.READ,
}
"""Methods of gRPC, by their full names."""


def needed(method: str, path: str) -> Need:
    """What a request needs. ``path`` is decoded, as the framework matches it."""
    path = path.rstrip("/") or "/"  # a trailing slash means nothing (web/requests.py)
    return _needed("GET" if method == "HEAD" else method, path)


@lru_cache(4096)
def _needed(method: str, path: str) -> Need:
    rows = [row for row in HTTP if _pattern(row.path).fullmatch(path)]
    for row in rows:
        if row.method == method:
            return Need(row.scope)
    if rows and all(row.scope is _OPEN for row in rows):
        return Need(_OPEN)  # another method of an open path: the application answers 405
    return Need(Scope.ADMIN)


def needed_by_rpc(method: str) -> Need:
    """What a gRPC call needs; ``method`` is its full name, ``/package.Service/Method``."""
    return Need(GRPC.get(method, Scope.ADMIN))


@lru_cache(256)
def _pattern(path: str) -> re.Pattern[str]:
    text = re.escape(path).replace(r"\{\}", "[^/]+")
    if text.endswith(r"\*"):
        text = text.removesuffix(r"\*") + ".+"
    return re.compile(text, re.DOTALL)
