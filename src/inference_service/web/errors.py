"""One table from what went wrong to a status, and one shape of error body."""

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from inference_service.core.errors import (
    BodyTimeout,
    DeadlineExceeded,
    ExecutionFailed,
    Forbidden,
    InferenceServiceError,
    InvalidInput,
    NotFound,
    OutOfMemory,
    QuotaExceeded,
    TooLarge,
    Unauthorised,
    Unavailable,
    UnsupportedContent,
    clipped,
    found_no_memory,
    render_path,
)
from inference_service.faults import said
from inference_service.web.paths import root_path

log = logging.getLogger(__name__)

# The first class that fits counts. The second column is the outcome in the metrics.
_TABLE: tuple[tuple[type[InferenceServiceError], int, str], ...] = (
    (InvalidInput, 400, "invalid_input"),
    (Unauthorised, 401, "unauthorised"),
    (Forbidden, 403, "forbidden"),
    (NotFound, 404, "not_found"),
    (BodyTimeout, 408, "body_timeout"),
    (TooLarge, 413, "too_large"),
    (UnsupportedContent, 415, "unsupported_content"),
    (ExecutionFailed, 500, "execution_failed"),
    (QuotaExceeded, 429, "quota_exceeded"),
    (Unavailable, 503, "rejected"),
    (DeadlineExceeded, 504, "deadline_exceeded"),
)
_MORE_HEADERS = {401: {"www-authenticate": "Bearer"}, 415: {"accept-encoding": "gzip, deflate"}}
_LONGEST_PATH = 300
"""Characters of a path that are told back."""
INTERNAL = "internal error; the server's log has the details"
"""The answer to an unexpected error."""


class ErrorBody(BaseModel):
    """Every error of this service."""

    error: str = Field(description="what was wrong, where, and what was expected")


_ALL: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": text}
    for status, text in {
        400: "The request is not what the model takes",
        401: "No admin's token",
        403: "Switched off",
        404: "Unknown model or version",
        408: "The body did not arrive in time",
        413: "The body is larger than the limit",
        415: "The body is of a kind that is not read here",
        500: "The model failed on this request",
        503: "Overloaded, loading or shutting down; see Retry-After",
        504: "The deadline passed",
    }.items()
}

ERRORS = {status: answer for status, answer in _ALL.items() if status not in {401, 403}}
"""What an inference endpoint may answer, for the OpenAPI document."""
ADMIN_ERRORS: dict[int | str, dict[str, Any]] = {
    status: _ALL[status] for status in (400, 401, 403, 404)
}
"""What an endpoint for admins may answer."""


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """Status, body and headers for an error, and its name in the metrics."""

    status: int
    outcome: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def answer(error: Exception) -> ErrorAnswer:
    """The answer to an error. An unexpected one is logged and answered without details."""
    error = as_told(error)
    if isinstance(error, OutOfMemory):
        log.warning("no memory was left for a request: %s", error.detail)
    for kind, status, name in _TABLE:
        if isinstance(error, kind):
            headers = {}
            if isinstance(error, Unavailable):
                headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
            headers |= _MORE_HEADERS.get(status, {})
            return ErrorAnswer(status, name, body(str(error)), headers)
    log.error("a request failed unexpectedly", exc_info=error)
    return ErrorAnswer(500, "internal_error", body(INTERNAL))


def as_told(error: Exception) -> Exception:
    """OutOfMemory in place of what Python says of a lack of memory; any other error as it is."""
    if isinstance(error, OutOfMemory) or not found_no_memory(error):
        return error
    return OutOfMemory(str(error) or type(error).__name__)


def outcome(error: Exception) -> str:
    """An error's name in the metrics."""
    error = as_told(error)
    return next((name for kind, _, name in _TABLE if isinstance(error, kind)), "internal_error")


def words(error: Exception) -> str:
    """What a client is told of an error: no details of an unexpected one."""
    error = as_told(error)
    return str(error) if isinstance(error, InferenceServiceError) else INTERNAL


def body(message: str) -> bytes:
    """``{"error": message}``."""
    return orjson.dumps({"error": message})


def install(app: FastAPI) -> None:
    """Give the framework's own errors the shape of ours."""
    app.add_exception_handler(HTTPException, _handler(_http))
    app.add_exception_handler(RequestValidationError, _handler(_validation))
    app.add_exception_handler(InferenceServiceError, _handler(_ours))
    app.add_exception_handler(Exception, _handler(_ours))
    app.router.default = _with_streams(app.router.default)


def _handler(
    respond: Callable[[Request, Exception], Response],
) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        return respond(request, error)

    return handle


def _with_streams(default: ASGIApp) -> ASGIApp:
    """What answers paths that there are not: Starlette's has no words for a WebSocket."""

    async def lost(scope: Scope, receive: Receive, send: Send) -> None:
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await default(scope, receive, send)
            return
        path = clipped(scope["path"], _LONGEST_PATH)
        text = f"no such stream: {path}; streams are at /models/MODEL/TASK/stream"
        refusal = _json(404, body(text), None)
        await WebSocket(scope, receive, send).send_denial_response(refusal)

    return lost


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for this class
    message, path = str(error.detail), clipped(request.url.path, _LONGEST_PATH)
    if error.status_code == 404:
        docs = root_path(request.scope) + "/docs"
        message = f"no such path: {request.method} {path}; {docs} lists all paths"
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        if "GET" in allowed and "HEAD" not in allowed:  # which every GET answers, too
            allowed = allowed.replace("GET", "GET, HEAD")
            error.headers = {**(error.headers or {}), "Allow": allowed}
        message = f"{path} doesn't take {request.method}, it takes {allowed}"
    return _json(error.status_code, body(message), error.headers)


def _validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    first = error.errors()[0]
    return _json(400, body(f"{render_path(tuple(first['loc']))}: {said(first)}"), None)


def _ours(_: Request, error: Exception) -> Response:
    reply = answer(error)
    return _json(reply.status, reply.body, reply.headers)


def _json(status: int, content: bytes, headers: Mapping[str, str] | None) -> Response:
    return Response(content, status, headers, media_type="application/json")
