"""An inference request through HTTP: what this transport adds to the `Exchange`.

The endpoints are plain ASGI callables: FastAPI declares them (paths, models, examples), so the
OpenAPI page is exact, but its dependency solving, exit stacks and response validation are not run
for them. docs/performance.md has the numbers.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

from starlette.types import Receive, Scope, Send

from inference_service.core.charset import as_utf8
from inference_service.core.errors import ModelNotFound, ShuttingDown, UnsupportedContent
from inference_service.core.in_flight import InFlight, Permit
from inference_service.core.requests import ModelRef
from inference_service.core.tensors import NonFinite
from inference_service.engine.interfaces import Engine, ModelInfo, Observer
from inference_service.serving.codec import DECODE_OFF_LOOP_FROM, Codec, Content, Head
from inference_service.serving.exchange import Exchange
from inference_service.serving.request import Request
from inference_service.serving.tellers import Teller
from inference_service.web.body import BINARY, check_content, check_length, read_body, read_head
from inference_service.web.compression import (
    COMPRESS_FROM,
    compressed,
    decompressed,
    wanted,
)
from inference_service.web.errors import ErrorAnswer, answer, outcome
from inference_service.web.watches import COMMENT, ClientDisconnected, DisconnectWatch, Rounds

EVENTS = b"text/event-stream; charset=utf-8"
_EVENT_COMMENT = b":\n\n"  # https://html.spec.whatwg.org/multipage/server-sent-events.html
_PLAIN = (b"", b"identity")
_MARK = b"\xef"  # byte order marks begin with it or with what is more; JSON never does
_COMPRESS_OFF_LOOP_FROM = 16 * 1024
"""Bytes. More is done in a thread: it would stall the loop for too long."""

ChooseModel = Callable[[dict[str, Any]], ModelRef | None]
"""Which model a request is for, from its path parameters; None: the body says it."""

Check = Callable[[Head, ModelInfo | None, Mapping[str, Any]], None]
"""Looks at a request before its body is read, with its path parameters. Raises ClientError."""


def task_hint(info: ModelInfo | None) -> str:
    """Where files and texts go that have been sent to a path for tensors; "" for no such path."""
    task = next(iter(info.tasks), None) if info is not None else None
    if info is None or task is None:
        return ""
    return f"; /models/{info.name}/{task} takes what the task '{task}' is about as it is"


def check_json(head: Head, info: ModelInfo | None = None, *_: Any) -> None:
    """The `Check` of bodies of JSON."""
    _check_content(head, info, binary=False)


def check_tensors(head: Head, info: ModelInfo | None = None, *_: Any) -> None:
    """The `Check` of bodies of JSON, with or without binary tensors behind it."""
    _check_content(head, info, binary=True)


def _check_content(head: Head, info: ModelInfo | None, *, binary: bool) -> None:
    try:
        check_content(head, binary=binary)
    except UnsupportedContent as error:
        raise UnsupportedContent(f"{error}{task_hint(info)}") from None


@dataclass(frozen=True, slots=True)
class HttpBinding:
    """How a protocol uses HTTP: where the model's name is, which bodies it takes, how it tells
    errors.

    ``named_in`` finds the model in the body, where ``choose`` returns None.
    """

    choose: ChooseModel
    check: Check = check_json
    failure: Callable[[Exception], ErrorAnswer] = answer
    named_in: Callable[[bytes], ModelRef] | None = None


class Reply:
    """The answer to one request: whole, or begun with `event` before the end of it is known.

    Once it has begun, a failure is told as the last event: the status has been sent.
    """

    __slots__ = ("_request", "_send", "_state", "begun")

    def __init__(self, send: Send, request: Request, state: dict[str, Any] | None = None) -> None:
        self._send = send
        self._request = request
        self._state = state
        self.begun = False

    async def event(self, data: bytes) -> None:
        """Send a server-sent event of this data, which has no line breaks."""
        if not self.begun:
            self.begun = True
            if self._state is not None:
                self._state[COMMENT] = _EVENT_COMMENT
            head = [(b"content-type", EVENTS), *self._named(), (b"cache-control", b"no-store")]
            head.append((b"x-accel-buffering", b"no"))  # nginx would hold the events back
            await self._send({"type": "http.response.start", "status": 200, "headers": head})
        body = b"data: %s\n\n" % data
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self, status: int, content: Content, headers: Mapping[str, str]) -> None:
        """All of the answer, or the rest of what has begun: of a failure as an event."""
        body, content_type, more = content
        if not self.begun:
            head = [
                (b"content-type", content_type),
                (b"content-length", b"%d" % len(body)),
                (b"server-timing", self._request.server_timing()),
                *self._named(),
                *more,
                *((name.encode(), value.encode()) for name, value in headers.items()),
            ]
            await self._send({"type": "http.response.start", "status": status, "headers": head})
        elif status != 200:
            body = b"data: %s\n\n" % body
        await self._send({"type": "http.response.body", "body": body})

    def _named(self) -> list[tuple[bytes, bytes]]:
        """Headers that tell the request's name and trace."""
        request = self._request
        headers = [(b"x-request-id", request.id.encode())] if request.id else []
        return [*headers, *request.trace.answer_headers] if request.trace else headers


class TaskRequest(NamedTuple):
    """A whole request for a task, its model found."""

    request: Request
    body: bytes
    path_params: Mapping[str, Any]
    query: bytes
    reply: Reply

    @property
    def info(self) -> ModelInfo:
        """The model that is asked."""
        return self.request.model.info

    @property
    def head(self) -> Head:
        """What its headers say."""
        return self.request.head


Converse = Callable[[TaskRequest], Coroutine[Any, Any, Content]]
"""Answers a request with as many inferences as it needs, and notes in it how it went.

Where it has sent events, it returns the rest of the answer.
"""


@dataclass(frozen=True, slots=True)
class Edge:
    """What all endpoints share."""

    engine: Engine
    in_flight: InFlight
    observer: Observer
    max_body_bytes: int
    request_timeout: float
    client_header: bytes = b""
    non_finite: NonFinite = NonFinite.NULL
    compress_answers: bool = True
    teller: Teller | None = None
    exchange: Exchange = field(init=False)

    def __post_init__(self) -> None:
        exchange = Exchange(
            self.engine, self.in_flight, self.observer, self.request_timeout, outcome,
            teller=self.teller,
        )  # fmt: skip
        object.__setattr__(self, "exchange", exchange)


class _Endpoint(ABC):
    """An ASGI callable: head, permit, body, and what a subclass makes of it."""

    def __init__(
        self, edge: Edge, binding: HttpBinding, protocol: str, codec: Codec | None = None
    ) -> None:
        self._edge = edge
        self._codec = codec
        self._binding = binding
        self._protocol = protocol
        self._rounds = Rounds()

    @abstractmethod
    async def _answered(
        self, request: Request, scope: Scope, receive: Receive, reply: Reply
    ) -> Content:
        """The answer to a whole request, resolved and admitted, or the rest of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = self._edge.exchange
        request = exchange.open(self._protocol, self._codec)
        reply = Reply(send, request, scope.get("state"))
        headers: dict[str, str] = {}
        status = 200
        try:
            await self._received(scope, receive, request)
            content = await self._answered(request, scope, receive, reply)
            accept = request.head.accept_encoding
            if accept and len(content.body) >= COMPRESS_FROM and not reply.begun:
                content = await self._packed(content, accept)
        except ClientDisconnected:
            exchange.cancelled(request)
            return
        except asyncio.CancelledError:  # the grace period of a shutdown has ended
            error = ShuttingDown()
            exchange.fail(request, error)
            told = self._binding.failure(error)
            await reply.end(told.status, Content(told.body), told.headers)
            raise
        # The edge of the service: whatever happened, the client gets an answer.
        except Exception as error:
            exchange.fail(request, error)
            told = self._binding.failure(error)
            status, content, headers = told.status, Content(told.body), dict(told.headers)
            if status in {408, 413}:  # the rest of the body is not read
                headers["connection"] = "close"
        await reply.end(status, content, headers)

    async def _received(self, scope: Scope, receive: Receive, request: Request) -> None:
        """Read the request: then it is resolved and admitted, and holds its permit and payload."""
        edge, binding, exchange = self._edge, self._binding, self._edge.exchange
        head = read_head(scope, edge.client_header, edge.non_finite)
        exchange.arrive(request, head)
        path_params = scope.get("path_params", {})
        ref = binding.choose(path_params)
        if ref is not None:
            exchange.resolve(request, ref, head.client)
        binding.check(head, None if ref is None else request.model.info, path_params)
        if head.length is not None:
            check_length(head.length, edge.max_body_bytes)
        exchange.admit(request, head)
        permit = exchange.receive(request, head.length or 0)
        body = await read_body(receive, edge.max_body_bytes, permit, request.limit)
        permit.complete()
        request.begun = perf_counter()
        if head.content_encoding not in _PLAIN:
            body = await self._unpacked(body, head, permit)
        if self._codec is not None and (head.full_type or body[:1] >= _MARK):
            body = await self._as_utf8(body, head)
        if ref is None:
            exchange.resolve(request, await self._named_in(body), head.client)
            exchange.check_load(request)
        request.payload, request.size = body, len(body)

    async def _as_utf8(self, body: bytes, head: Head) -> bytes:
        if head.content_type == BINARY or head.json_length is not None:
            return body
        if len(body) < DECODE_OFF_LOOP_FROM:
            return as_utf8(body, head.full_type)
        return await asyncio.to_thread(as_utf8, body, head.full_type)

    async def _unpacked(self, body: bytes, head: Head, permit: Permit) -> bytes:
        encoding, limit = head.content_encoding.decode("latin-1"), self._edge.max_body_bytes
        body = await asyncio.to_thread(decompressed, body, encoding, limit)
        permit.grow(len(body))
        return body

    async def _named_in(self, body: bytes) -> ModelRef:
        named_in = self._binding.named_in
        if named_in is None:  # a binding has one or the other
            raise ModelNotFound("the request names no model")
        if len(body) < DECODE_OFF_LOOP_FROM:
            return named_in(body)
        return await asyncio.to_thread(named_in, body)

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


class InferenceEndpoint(_Endpoint):
    """A request is one inference: a codec reads it and writes the answer."""

    def __init__(self, edge: Edge, binding: HttpBinding, codec: Codec) -> None:
        super().__init__(edge, binding, codec.name, codec)
        self.codec = codec

    @property
    def edge(self) -> Edge:
        """What it shares with all endpoints."""
        return self._edge

    @property
    def binding(self) -> HttpBinding:
        """How it uses HTTP."""
        return self._binding

    async def _answered(
        self, request: Request, scope: Scope, receive: Receive, reply: Reply
    ) -> Content:
        with DisconnectWatch(self._rounds, receive):
            return await self._edge.exchange.answer(request)


class TaskEndpoint(_Endpoint):
    """A request is a conversation with models: as many inferences as it needs."""

    def __init__(self, edge: Edge, binding: HttpBinding, protocol: str, converse: Converse) -> None:
        super().__init__(edge, binding, protocol)
        self._converse = converse

    async def _answered(
        self, request: Request, scope: Scope, receive: Receive, reply: Reply
    ) -> Content:
        asked = TaskRequest(
            request, request.payload, scope["path_params"], scope["query_string"], reply
        )
        request.payload = None
        with DisconnectWatch(self._rounds, receive):
            return await self._edge.exchange.converse(request, self._converse(asked))
