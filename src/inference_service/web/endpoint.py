"""The one way of an inference request through HTTP, whatever its protocol.

The endpoints are plain ASGI callables: FastAPI declares them (paths, models, examples), so the
OpenAPI page is exact, but its dependency solving, exit stacks and response validation are not run
for them. docs/performance.md has the numbers.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from inference_service.core.admission import Admission
from inference_service.core.errors import ModelNotFound, ShuttingDown, Unavailable
from inference_service.core.requests import InferenceRequest, ModelRef, Timing
from inference_service.core.tensors import Signature, Tensors
from inference_service.core.versions import VERSION_FOLDER
from inference_service.engine.interfaces import Engine, Observer, RequestRecord
from inference_service.web.body import (
    ClientDisconnected,
    check_json,
    check_length,
    read_body,
    read_head,
)
from inference_service.web.disconnect import DisconnectWatch
from inference_service.web.errors import answer

_OFF_LOOP_FROM = 256 * 1024
"""Bytes. A larger body is decoded in a thread: it would stall the loop for too long."""

Encode = Callable[[Tensors], bytes]
Decode = Callable[[bytes, Signature], tuple[Tensors, Encode]]
"""A protocol: the body to tensors, and the way to write the answer to just this request."""


ChooseModel = Callable[[dict[str, Any]], ModelRef]
"""Which model a request is for, from its path parameters."""


@dataclass(frozen=True, slots=True)
class Edge:
    """What all endpoints share."""

    engine: Engine
    admission: Admission
    observer: Observer
    max_body_bytes: int
    request_timeout: float
    client_header: bytes = b""


@dataclass(slots=True)
class _Course:
    """How far a request has come: what its record and its Server-Timing header tell."""

    started: float
    model: str = ""
    version: str = ""
    decode: float = 0.0
    timing: Timing | None = None
    outcome: str = "ok"
    refusal: str = ""

    def server_timing(self) -> str:
        """https://www.w3.org/TR/server-timing/: durations in milliseconds."""
        parts = []
        if self.timing is not None:
            parts = [
                f"decode;dur={self.decode * 1e3:.3f}",
                f"queue;dur={self.timing.queue * 1e3:.3f}",
                f"compute;dur={self.timing.compute * 1e3:.3f}",
                f'batch;desc="{self.timing.batch_rows} rows"',
            ]
        return ", ".join([*parts, f"total;dur={(perf_counter() - self.started) * 1e3:.3f}"])


class InferenceEndpoint:
    """An ASGI callable: head, permit, body, decode, infer, encode; one record at the end."""

    def __init__(self, edge: Edge, protocol: str, decode: Decode, choose: ChooseModel) -> None:
        self._edge = edge
        self._protocol = protocol
        self._decode = decode
        self._choose = choose

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        course = _Course(perf_counter())
        headers: dict[str, str] = {}
        status = 200
        try:
            content = await self._infer(scope, receive, course)
        except ClientDisconnected:
            course.outcome = "cancelled"
            self._finish(course)
            return
        except asyncio.CancelledError:  # the grace period of a shutdown has ended
            course.outcome = "shutting_down"
            self._finish(course)
            reply = answer(ShuttingDown())
            await _respond(
                send, reply.status, reply.body, dict(reply.headers), course.server_timing()
            )
            raise
        # The edge of the service: whatever happened, the client gets an answer.
        except Exception as error:
            reply = answer(error)
            status, content, headers = reply.status, reply.body, dict(reply.headers)
            course.outcome = reply.outcome
            if isinstance(error, Unavailable):
                course.refusal = error.reason
            if status in {408, 413}:  # the rest of the body is not read
                headers["connection"] = "close"
        await _respond(send, status, content, headers, course.server_timing())
        self._finish(course)

    async def _infer(self, scope: Scope, receive: Receive, course: _Course) -> bytes:
        edge = self._edge
        head = read_head(scope, edge.client_header)
        info = edge.engine.describe(self._choose(scope.get("path_params", {})))
        course.model, course.version = info.name, str(info.version)
        check_json(head)
        check_length(head.length, edge.max_body_bytes)
        seconds = min(edge.request_timeout, head.timeout or edge.request_timeout)
        deadline = edge.engine.clock() + seconds if head.timeout else math.inf
        refusal = edge.engine.refusal(info.ref, deadline)
        if refusal is not None:
            raise refusal
        with edge.admission.permit(head.length or 0) as permit:
            body = await read_body(receive, head, edge.max_body_bytes, permit, seconds)
            begun = perf_counter()
            if len(body) < _OFF_LOOP_FROM:
                inputs, encode = self._decode(body, info.signature)
            else:
                inputs, encode = await asyncio.to_thread(self._decode, body, info.signature)
            del body  # it need not wait in the queue
            inputs = info.pipeline.preprocess(inputs)
            course.decode = perf_counter() - begun
            request = InferenceRequest(
                info.ref, inputs, deadline=deadline, client=head.client, priority=head.priority
            )
            with DisconnectWatch(receive):
                response = await edge.engine.infer(request)
            course.timing = response.timing
            return encode(info.pipeline.postprocess(response.outputs))

    def _finish(self, course: _Course) -> None:
        observer = self._edge.observer
        if course.refusal:
            observer.rejected(course.model, course.refusal)
        timing = course.timing
        observer.finished(
            RequestRecord(
                model=course.model,
                version=course.version,
                protocol=self._protocol,
                outcome=course.outcome,
                seconds=perf_counter() - course.started,
                queue_seconds=timing.queue if timing else None,
                compute_seconds=timing.compute if timing else None,
            )
        )


async def _respond(
    send: Send, status: int, content: bytes, headers: dict[str, str], timing: str
) -> None:
    raw = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"server-timing", timing.encode()),
        *((name.encode(), value.encode()) for name, value in headers.items()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": content})


def parse_version(text: str | None, model: str) -> ModelRef:
    """A model reference from a path. Raises ModelNotFound for a version that is no number."""
    if text is None:
        return ModelRef(model)
    if not VERSION_FOLDER.match(text):
        raise ModelNotFound(f"version '{text}' of model '{model}' is not a whole number")
    return ModelRef(model, int(text))


def lean_route(endpoint: ASGIApp) -> type[APIRoute]:
    """A route class that FastAPI documents like any other and that calls ``endpoint`` directly."""

    class LeanRoute(APIRoute):
        lean_endpoint = staticmethod(endpoint)

        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            methods = self.methods or set()
            if scope["method"] not in methods:
                raise HTTPException(405, headers={"Allow": ", ".join(sorted(methods))})
            await endpoint(scope, receive, send)

    return LeanRoute
