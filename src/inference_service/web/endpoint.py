"""The one way of an inference request through HTTP, whatever its protocol.

The endpoints are plain ASGI callables: FastAPI declares them (paths, models, examples), so the
OpenAPI page is exact, but its dependency solving, exit stacks and response validation are not run
for them. docs/performance.md has the numbers.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import Any, NamedTuple

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from inference_service.core.admission import Admission, Permit
from inference_service.core.errors import ModelNotFound, ShuttingDown, Unavailable
from inference_service.core.requests import InferenceRequest, ModelRef, Timing
from inference_service.core.scheduling.entries import Priority
from inference_service.core.tensors import NonFinite, Tensors
from inference_service.core.versions import VERSION_FOLDER
from inference_service.engine.interfaces import Engine, ModelInfo, Observer, RequestRecord
from inference_service.web.body import (
    BINARY,
    Head,
    check_content,
    check_length,
    read_body,
    read_head,
)
from inference_service.web.charset import as_utf8
from inference_service.web.compression import (
    COMPRESS_FROM,
    compressed,
    decompressed,
    wanted,
)
from inference_service.web.errors import ErrorAnswer, answer
from inference_service.web.watches import ClientDisconnected, DisconnectWatch, Rounds

_PLAIN = (b"", b"identity")
_SERVER_TIMING = (
    b'decode;dur=%.3f, queue;dur=%.3f, compute;dur=%.3f, batch;desc="%d rows", total;dur=%.3f'
)
_MARK = b"\xef"  # byte order marks begin with it or with what is more; JSON never does
_DECODE_OFF_LOOP_FROM = 256 * 1024
_ENCODE_OFF_LOOP_FROM = 128 * 1024
_COMPRESS_OFF_LOOP_FROM = 16 * 1024
"""Bytes. More is done in a thread: it would stall the loop for too long."""


class Content(NamedTuple):
    """The body of an answer and what it is."""

    body: bytes
    type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


Encode = Callable[[Tensors], bytes | Content]
"""Writes the answer to just this request; plain bytes are JSON."""


@dataclass(slots=True)
class Call:
    """A decoded request. ``outputs`` are wanted of the model itself; none: all.

    ``timeout`` (seconds; inf: none) and ``priority`` are those of the body, beside the headers'.
    """

    inputs: Tensors
    encode: Encode
    outputs: tuple[str, ...] = ()
    timeout: float = math.inf
    priority: Priority | None = None


Decode = Callable[[bytes, ModelInfo, Head], Call]
"""The body, unpacked, to tensors. It may run in a thread. Raises InvalidInput."""

ChooseModel = Callable[[dict[str, Any]], ModelRef | None]
"""Which model a request is for, from its path parameters; None: the body says it."""


class Received(NamedTuple):
    """A whole request, its model found: what a `Converse` answers. ``deadline`` as in `Engine`."""

    body: bytes
    info: ModelInfo
    head: Head
    deadline: float
    path_params: Mapping[str, Any]
    query: bytes


Converse = Callable[[Received, "Course"], Coroutine[Any, Any, Content]]
"""Answers a request with as many inferences as it needs, and notes in the course how it went."""


def no_decode(*_: Any) -> Any:
    """The `Decode` of a protocol that converses: it is never called."""
    raise NotImplementedError


Check = Callable[[Head, ModelInfo | None, Mapping[str, Any]], None]
"""Looks at a request before its body is read, with its path parameters. Raises ClientError."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """What differs between endpoints.

    ``binary``: bodies that are not JSON are read, too. ``named_in`` finds the model in the body.
    Bodies of ``off_loop_from`` bytes and more are decoded in a thread, and ``heavy`` ones. One that
    ``converse``s does without ``decode``, and has a ``check`` of its own for the content's type.
    """

    name: str
    decode: Decode
    choose: ChooseModel
    binary: bool = False
    failure: Callable[[Exception], ErrorAnswer] = answer
    named_in: Callable[[bytes], ModelRef] | None = None
    off_loop_from: int = _DECODE_OFF_LOOP_FROM
    check: Check | None = None
    heavy: Callable[[bytes, ModelInfo], bool] | None = None
    converse: Converse | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """What all endpoints share."""

    engine: Engine
    admission: Admission
    observer: Observer
    max_body_bytes: int
    request_timeout: float
    client_header: bytes = b""
    non_finite: NonFinite = NonFinite.NULL
    compress_answers: bool = True


@dataclass(slots=True)
class Course:
    """How far a request has come: what its record and its Server-Timing header tell. Seconds."""

    started: float
    model: str = ""
    version: str = ""
    decode: float = 0.0
    encode: float = 0.0
    rows: int = 0
    timing: Timing | None = None
    outcome: str = "ok"
    refusal: str = ""

    def server_timing(self) -> bytes:
        """https://www.w3.org/TR/server-timing/: durations in milliseconds."""
        total = (perf_counter() - self.started) * 1e3
        if self.timing is None:
            return b"total;dur=%.3f" % total
        queue, compute, rows = self.timing
        return _SERVER_TIMING % (self.decode * 1e3, queue * 1e3, compute * 1e3, rows, total)


class InferenceEndpoint:
    """An ASGI callable: head, permit, body, decode, infer, encode; one record at the end."""

    def __init__(self, edge: Edge, protocol: Protocol) -> None:
        self._edge = edge
        self._protocol = protocol
        self._rounds = Rounds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        course = Course(perf_counter())
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
            reply = self._protocol.failure(ShuttingDown())
            await _respond(send, reply.status, Content(reply.body), reply.headers, course)
            raise
        # The edge of the service: whatever happened, the client gets an answer.
        except Exception as error:
            reply = self._protocol.failure(error)
            status, content, headers = reply.status, Content(reply.body), dict(reply.headers)
            course.outcome = reply.outcome
            if isinstance(error, Unavailable):
                course.refusal = error.reason
            if status in {408, 413}:  # the rest of the body is not read
                headers["connection"] = "close"
        await _respond(send, status, content, headers, course)
        self._finish(course)

    async def _infer(self, scope: Scope, receive: Receive, course: Course) -> Content:
        edge, protocol = self._edge, self._protocol
        head = read_head(scope, edge.client_header, edge.non_finite)
        ref = protocol.choose(scope.get("path_params", {}))
        info = None if ref is None else self._described(ref, course)
        if protocol.check is None:
            check_content(head, binary=protocol.binary)
        else:
            protocol.check(head, info, scope["path_params"])
        check_length(head.length, edge.max_body_bytes)
        seconds = min(edge.request_timeout, head.timeout or edge.request_timeout)
        deadline = edge.engine.clock() + seconds if head.timeout else math.inf
        self._check_load(info, deadline)
        with edge.admission.receive(head.length or 0) as permit:
            body = await read_body(receive, edge.max_body_bytes, permit, seconds)
            permit.complete()
            begun = perf_counter()
            if head.content_encoding not in _PLAIN:
                body = await self._unpacked(body, head, permit)
            if protocol.converse is None and (head.full_type or body[:1] >= _MARK):
                body = await self._as_utf8(body, head)
            if info is None:
                info = self._described(await self._named_in(body), course)
                self._check_load(info, deadline)
            if protocol.converse is not None:
                received = Received(
                    body, info, head, deadline, scope["path_params"], scope["query_string"]
                )
                with DisconnectWatch(self._rounds, receive):
                    return await protocol.converse(received, course)
            if len(body) >= protocol.off_loop_from or (
                protocol.heavy is not None and protocol.heavy(body, info)
            ):
                call = await asyncio.to_thread(protocol.decode, body, info, head)
            else:
                call = protocol.decode(body, info, head)
            del body  # it need not wait in the queue
            inputs = info.pipeline.preprocess(call.inputs)
            course.decode = perf_counter() - begun
            if call.timeout < math.inf:
                deadline = min(deadline, edge.engine.clock() + min(call.timeout, seconds))
            request = InferenceRequest(
                info.ref, inputs, call.outputs, "", deadline, head.client,
                call.priority or head.priority,
            )  # fmt: skip
            with DisconnectWatch(self._rounds, receive):
                response = await edge.engine.infer(request)
            course.timing = response.timing
            course.rows = response.rows
            begun = perf_counter()
            outputs = info.pipeline.postprocess(response.outputs)
            if _size(outputs) < _ENCODE_OFF_LOOP_FROM:
                encoded = call.encode(outputs)
            else:
                encoded = await asyncio.to_thread(call.encode, outputs)
            content = Content(encoded) if isinstance(encoded, bytes) else encoded
            course.encode = perf_counter() - begun
            if head.accept_encoding and len(content.body) >= COMPRESS_FROM:
                content = await self._packed(content, head.accept_encoding)
            return content

    async def _unpacked(self, body: bytes, head: Head, permit: Permit) -> bytes:
        encoding, limit = head.content_encoding.decode("latin-1"), self._edge.max_body_bytes
        body = await asyncio.to_thread(decompressed, body, encoding, limit)
        permit.grow(len(body))
        return body

    async def _as_utf8(self, body: bytes, head: Head) -> bytes:
        if head.content_type == BINARY or head.json_length is not None:
            return body
        if len(body) < _DECODE_OFF_LOOP_FROM:
            return as_utf8(body, head.full_type)
        return await asyncio.to_thread(as_utf8, body, head.full_type)

    def _described(self, ref: ModelRef, course: Course) -> ModelInfo:
        info = self._edge.engine.describe(ref)
        course.model, course.version = info.name, str(info.version)
        return info

    async def _named_in(self, body: bytes) -> ModelRef:
        named_in = self._protocol.named_in
        if named_in is None:  # a protocol has one or the other
            raise ModelNotFound("the request names no model")
        if len(body) < _DECODE_OFF_LOOP_FROM:
            return named_in(body)
        return await asyncio.to_thread(named_in, body)

    def _check_load(self, info: ModelInfo | None, deadline: float) -> None:
        """Refuse at once, before more is done, what can't be answered in time."""
        refusal = None if info is None else self._edge.engine.refusal(info.ref, deadline)
        if refusal is not None:
            raise refusal

    async def _packed(self, content: Content, accept: bytes) -> Content:
        encoding = wanted(accept) if self._edge.compress_answers else ""
        if not encoding:
            return content
        if len(content.body) < _COMPRESS_OFF_LOOP_FROM:
            body = compressed(content.body, encoding)
        else:
            body = await asyncio.to_thread(compressed, content.body, encoding)
        headers = (
            *content.headers,
            (b"content-encoding", encoding.encode()),
            (b"vary", b"Accept-Encoding"),
        )
        return Content(body, content.type, headers)

    def _finish(self, course: Course) -> None:
        observer = self._edge.observer
        if course.refusal:
            observer.rejected(course.model, course.refusal)
        queue, compute, _ = course.timing or (None, None, 0)
        record = RequestRecord(
            course.model, course.version, self._protocol.name, course.outcome,
            perf_counter() - course.started, queue, compute, course.rows, course.decode,
            course.encode,
        )  # fmt: skip
        observer.finished(record)


def _size(outputs: Tensors) -> int:
    size = 0
    for array in outputs.values():  # sum() of a generator takes twice as long
        size += array.nbytes
    return size


async def _respond(
    send: Send, status: int, content: Content, headers: Mapping[str, str], course: Course
) -> None:
    body, content_type, more = content
    raw = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        (b"server-timing", course.server_timing()),
    ]
    if more:
        raw += more
    if headers:
        raw += [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


@lru_cache(maxsize=1024)
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
            check = getattr(endpoint, "check", None)
            if check is not None:
                check(scope)
            if scope["method"] not in methods:
                raise HTTPException(405, headers={"Allow": ", ".join(sorted(methods))})
            await endpoint(scope, receive, send)

    return LeanRoute
