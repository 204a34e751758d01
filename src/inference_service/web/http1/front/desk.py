"""Begins hot requests, and writes the answers of a batch: one write for each connection.

The duties of a request are those of the `Exchange`, in its order. Two things differ from
`Exchange.begin`: what can't be decoded plainly is left to the ASGI way, which finds the words, and
the answers that settle in one turn of the event loop are encoded together.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from inference_service.core.errors import InferenceServiceError
from inference_service.core.requests import InferenceRequest
from inference_service.serving.codec import ENCODE_OFF_LOOP_FROM, Content
from inference_service.serving.quick import Writer
from inference_service.web.compression import COMPRESS_FROM, compressed, wanted
from inference_service.web.hot_paths import Target as Route
from inference_service.web.http1.front.heads import Heads
from inference_service.web.http1.front.request import HotRequest
from inference_service.web.http1.front.table import HotHead, Table

if TYPE_CHECKING:
    from inference_service.web.http1.front.connection import FrontConnection

log = logging.getLogger(__name__)

_COMPRESS_OFF_LOOP_FROM = 16 * 1024
_CLOSE = (b"connection", b"close")
_EMPTY: Any = None


class Desk:
    """What all connections of a server share.

    ``routes`` is the table of hot paths; `forget` is to be called when it has changed. ``read``
    names headers that the endpoints read besides the usual ones, ``cold`` headers whose requests
    are left to the ASGI way.
    """

    def __init__(
        self, routes: Mapping[str, Route], *, read: Iterable[bytes] = (), cold: Iterable[bytes] = ()
    ) -> None:
        self._table = Table(routes)
        self.heads: Heads[HotHead] = Heads(self._table, frozenset(read), frozenset(cold))
        self.begun = 0
        """Requests that have taken the shortcut."""
        self._settled: list[HotRequest] = []
        self._loop: asyncio.AbstractEventLoop = _EMPTY

    def forget(self) -> None:
        """The paths have changed."""
        self._table.forget()
        self.heads.forget()

    def learn(self, head: bytes) -> HotHead | None:
        """What a head means that `heads` doesn't hold; None: it is for the ASGI way."""
        try:
            return self.heads.learn(head)
        except Exception:  # the other way answers, whatever is wrong here
            log.exception("a head could not be understood")
            return None

    def begin(self, connection: "FrontConnection", hot: HotHead, body: bytes) -> HotRequest | None:
        """A whole request has come. None: it is for the ASGI way, and nothing has happened."""
        target = hot.target
        request = HotRequest(self, connection, hot)
        exchange = target.edge.exchange
        head = request.head = hot.head
        try:
            ref = target.ref()
            if ref is None and target.named_in is not None:
                ref = target.named_in(body)
            if ref is None:
                return None
            exchange.resolve(request, ref, hot.client or connection.address)
        except InferenceServiceError:
            return None
        try:
            exchange.admit(request, head)
            exchange.permit(request, len(body))
        except InferenceServiceError as error:
            self._refuse(request, error)
            return request
        request.begun = perf_counter()
        inference = self._decoded(request, body)
        if inference is None:
            if request.permit is not None:
                request.permit.__exit__(None, None, None)
            return None
        request.decode = perf_counter() - request.begun
        try:
            request.ticket = request.model.submit(inference, request.answered)
        except InferenceServiceError as error:
            self._refuse(request, error)
        return request

    def _decoded(self, request: HotRequest, body: bytes) -> InferenceRequest | None:
        """None on any doubt: the protocol's own codec decides, and finds the words."""
        hot = request.hot
        target, head, info = hot.target, hot.head, request.model.info
        quick = target.quick(info) if hot.plain else None
        client = hot.client or request.connection.address  # type: ignore[union-attr]
        found = quick(body, head) if quick is not None else None
        try:
            if found is not None:
                inputs, _, request.writer = found
                if info.transforms.before:
                    inputs = info.transforms.preprocess(inputs)
                return InferenceRequest(
                    info.ref, inputs, (), "", request.deadline, client, head.priority
                )
            codec = target.codec
            if len(body) >= codec.off_loop_from or (
                codec.heavy is not None and codec.heavy(body, info)
            ):
                return None
            call = codec.decode(body, info, head)
            inputs = info.transforms.preprocess(call.inputs)
        except Exception:  # whatever it is, it happens again on the ASGI way, where it is told
            return None
        request.encode_alone = call.encode
        deadline = request.deadline
        if call.timeout < request.limit or call.timeout < float("inf"):
            seconds = min(call.timeout, request.limit)
            deadline = min(deadline, target.edge.exchange.clock() + seconds)
        priority = call.priority or head.priority
        return InferenceRequest(info.ref, inputs, call.outputs, "", deadline, client, priority)

    def _refuse(self, request: HotRequest, error: Exception) -> None:
        request.error = error
        self.settle(request)

    # Answers

    def settle(self, request: HotRequest) -> None:
        """It has an answer, or an error. It is written in this turn of the event loop."""
        if not self._settled:
            if self._loop is _EMPTY:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._flush)
        self._settled.append(request)

    def _flush(self) -> None:
        settled, self._settled = self._settled, []
        together: dict[Writer, list[HotRequest]] = {}
        for request in settled:
            if request.connection is None:  # its client has left since
                continue
            if request.error is None and (after := request.model.info.transforms.after):
                self._postprocess(request, after)
            if request.error is not None:
                self.tell(request, request.error)
            elif _size(request) >= ENCODE_OFF_LOOP_FROM:
                self._off_loop(request)
            elif request.writer is None:
                self._encode(request)
            else:
                together.setdefault(request.writer, []).append(request)
        for writer, requests in together.items():
            self._encode_together(writer, requests)
        for request in settled:
            connection = request.connection
            if connection is not None and request.answer is not None:
                connection.send_answers()

    def _postprocess(self, request: HotRequest, _: object) -> None:
        try:
            request.outputs = request.model.info.transforms.postprocess(request.outputs)
        except Exception as error:  # of this request alone
            request.error = error

    def _encode_together(self, writer: Writer, requests: list[HotRequest]) -> None:
        if len(requests) > 1:
            begun = perf_counter()
            try:
                bodies = writer.together(
                    [request.outputs for request in requests],
                    [request.rows for request in requests],
                )
            except Exception:  # each is tried alone
                bodies = None
            if bodies is not None:
                each = (perf_counter() - begun) / len(requests)
                for request, body in zip(requests, bodies, strict=True):
                    request.encode = each
                    self._answered(request, Content(body, writer.content_type))
                return
        for request in requests:
            self._encode(request)

    def _encode(self, request: HotRequest) -> None:
        begun = perf_counter()
        try:
            content = _encoded(request)
        except Exception as error:  # whatever happened, the client gets an answer
            self.tell(request, error)
            return
        request.encode = perf_counter() - begun
        self._answered(request, content)

    def _off_loop(self, request: HotRequest) -> None:
        """Encode in a thread what would stall the event loop for too long."""
        begun = perf_counter()

        def done(future: "asyncio.Future[Content]") -> None:
            if request.connection is None:
                return
            request.encode = perf_counter() - begun
            try:
                self._answered(request, future.result())
            except Exception as error:  # as above
                self.tell(request, error)
            request.connection.send_answers()

        self._loop.run_in_executor(None, _encoded, request).add_done_callback(done)

    def _answered(self, request: HotRequest, content: Content) -> None:
        body, request.content_type, request.more = content
        target, accept = request.hot.target, request.hot.head.accept_encoding
        if accept and len(body) >= COMPRESS_FROM and target.edge.compress_answers:
            encoding = wanted(accept)
            if encoding:
                body = compressed(body, encoding)
                request.more = (
                    *request.more,
                    (b"content-encoding", encoding.encode()),
                    (b"vary", b"Accept-Encoding"),
                )
        target.edge.exchange.end(request, "ok")
        request.answer = body

    def tell(self, request: HotRequest, error: Exception) -> None:
        """The client is told of an error."""
        target = request.hot.target
        target.edge.exchange.fail(request, error)
        reply = target.failure(error)
        request.status, request.answer = reply.status, reply.body
        request.content_type = b"application/json"
        request.more = tuple(
            (name.encode(), value.encode()) for name, value in reply.headers.items()
        )


def _encoded(request: HotRequest) -> Content:
    writer, outputs = request.writer, request.outputs
    if writer is not None:
        body = writer.alone(outputs, request.rows)
        return Content(body, writer.content_type, writer.headers(body))
    assert request.encode_alone is not None  # noqa: S101 - it has one or the other
    encoded = request.encode_alone(outputs)
    return Content(encoded) if isinstance(encoded, bytes) else encoded


def _size(request: HotRequest) -> int:
    size = 0
    for array in request.outputs.values():
        size += array.nbytes
    return size


class AnswerHeads:
    """The heads of answers, as uvicorn writes them."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._rendered: object = None  # the list that is rendered: uvicorn makes one each second
        self._defaults = self._open = b""
        self.closing = False

    @property
    def leaving(self) -> bool:
        """Whether every answer ends its connection."""
        return _CLOSE in self._state.default_headers

    def render(self, request: HotRequest, *, last: bool, close: bool) -> bytes:
        """The head of an answer. ``last``: nothing follows it yet, so a service that is leaving
        may close the connection after it; ``close``: the connection ends with it."""
        if self._state.default_headers is not self._rendered:
            self._render_defaults()
        defaults = self._defaults if last or not self.closing else self._open
        body = request.answer or b""
        lines = b"%bcontent-type: %b\r\ncontent-length: %d\r\nserver-timing: %b\r\n" % (
            defaults, request.content_type, len(body), request.server_timing(),
        )  # fmt: skip
        for name, value in request.more:
            lines += b"%b: %b\r\n" % (name, value)
        if close and not (last and self.closing):
            lines += b"connection: close\r\n"
        return STATUS_LINE[request.status] + lines + b"\r\n"

    def _render_defaults(self) -> None:
        headers = self._rendered = self._state.default_headers
        self.closing = _CLOSE in headers
        self._defaults = b"".join([b"%b: %b\r\n" % pair for pair in headers])
        self._open = b"".join([b"%b: %b\r\n" % pair for pair in headers if pair != _CLOSE])
