"""Begins hot requests, and writes the answers of a batch: one write for each connection.

The duties of a request are those of the `Exchange`, in its order. Two things differ from
`Exchange.begin`: what can't be decoded plainly is left to the ASGI way, which finds the words, and
the answers that settle in one turn of the event loop are encoded, counted and written together.
"""

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from inference_service.core.errors import InferenceServiceError, Overloaded
from inference_service.core.requests import InferenceRequest
from inference_service.serving.codec import Content, encodes_off_loop
from inference_service.serving.quick import Writer
from inference_service.web.compression import COMPRESS_FROM, compressed, wanted
from inference_service.web.hot_paths import Target as Route
from inference_service.web.http1.front.heads import Heads
from inference_service.web.http1.front.refusals import Refusals
from inference_service.web.http1.front.request import HotRequest
from inference_service.web.http1.front.table import HotHead, Table
from inference_service.web.http1.limits import ConnectionLimits

if TYPE_CHECKING:
    from inference_service.web.http1.front.connection import FrontConnection

log = logging.getLogger(__name__)

_LONE_FROM = 8
"""Requests from one connection, none from others between them, after which its client is alone."""


class Desk:
    """What all connections of a server share.

    ``routes`` is the table of hot paths: `forget` is to be called when it has changed. ``limits``
    are those of the connections. ``read`` names headers that the endpoints read besides the usual
    ones, ``cold`` headers whose requests are left to the ASGI way.
    """

    def __init__(
        self,
        routes: Mapping[str, Route],
        limits: ConnectionLimits,
        *,
        read: Iterable[bytes] = (),
        cold: Iterable[bytes] = (),
    ) -> None:
        self.limits = limits
        self._table = Table(routes, limits)
        self.heads: Heads[HotHead] = Heads(
            self._table, frozenset(read), frozenset(cold), limits.head_bytes
        )
        self.begun = 0
        """Requests that have taken the shortcut."""
        self.settled: list[HotRequest] = []
        """Requests whose answers are to be written once the batch is over: see `settle`."""
        self._refusals = Refusals()
        self._last: object = None  # the connection of the last request
        self._streak = 0  # requests from it, one after the other

    def forget(self) -> None:
        """The paths have changed."""
        self._table.forget()
        self.heads.forget()

    def learn(self, head: bytes) -> tuple[HotHead, str] | None:
        """What a head means that `heads` doesn't hold (see `Heads.learn`)."""
        try:
            return self.heads.learn(head)
        except Exception:  # the other way answers, whatever is wrong here
            log.exception("a head could not be understood")
            return None

    def begin(
        self, connection: "FrontConnection", hot: HotHead, body: bytes, *, lone: bool
    ) -> HotRequest | None:
        """A whole request has come. None: it is for the ASGI way, and nothing has happened.

        ``lone``: the connection has no other request in work. If requests have come from no other
        lately, it is run at once where that is possible, and is then to be given to `write`.
        """
        request = HotRequest(self, connection, hot)
        target, client = hot.target, hot.client or connection.address
        exchange = target.edge.exchange
        if self._refusals.tell(request, client, body):
            self.begun += 1
            return request
        try:
            exchange.enter(request, target.ref or target.find_ref(body), client, len(body))
            request.begun = begun = perf_counter()
            inference = self._decoded(request, body, client)
            if inference is None:
                exchange.leave(request)
                return None
            request.decode = perf_counter() - begun
            if connection is not self._last:
                self._last, self._streak = connection, 0
            self._streak += 1
            if not (lone and self._streak > _LONE_FROM and self._run_at_once(request, inference)):
                request.ticket = request.model.submit(inference, request.answered)
        except (InferenceServiceError, MemoryError) as error:
            if request.model is None:
                return None
            request.error = error
            if isinstance(error, Overloaded):
                self._refusals.keep(request, client, error)
            self.settle(request)
        self.begun += 1
        return request

    def _run_at_once(self, request: HotRequest, inference: InferenceRequest) -> bool:
        """Whether it has run: then its outcome is known, and nothing is settled yet."""
        run = getattr(request.model, "answer_at_once", None)  # other engines may have none
        answer = run(inference) if run is not None else None
        if answer is None:
            return False
        if isinstance(answer, Exception):
            request.error = answer
        else:
            _, request.outputs, request.timing, request.rows = answer
        request.at_once = True
        return True

    def _decoded(self, request: HotRequest, body: bytes, client: str) -> InferenceRequest | None:
        """None on any doubt: the protocol's own codec decides, and finds the words."""
        hot, info = request.hot, request.model.info
        target, head = hot.target, hot.head
        quick = target.quick(info)
        try:
            found = quick(body, head) if quick is not None and hot.plain else None
            if found is None:
                return self._decoded_usually(request, body, client)
            inputs, _, request.writer = found
            if info.transforms.changes_inputs:
                inputs = info.transforms.preprocess(inputs)
        except Exception:  # whatever it is, it happens again on the ASGI way, where it is told
            return None
        return InferenceRequest(info.ref, inputs, (), "", request.deadline, client, head.priority)

    def _decoded_usually(
        self, request: HotRequest, body: bytes, client: str
    ) -> InferenceRequest | None:
        info, head, target = request.model.info, request.head, request.hot.target
        codec = target.codec
        if len(body) >= codec.off_loop_from or (
            codec.heavy is not None and codec.heavy(body, info)
        ):
            return None
        call = codec.decode(body, info, head)
        inputs = info.transforms.preprocess(call.inputs)
        request.encode_alone = call.encode
        deadline = request.deadline
        if call.timeout < math.inf:
            seconds = min(call.timeout, request.limit)
            deadline = min(deadline, target.edge.exchange.clock() + seconds)
        priority = call.priority or head.priority
        return InferenceRequest(info.ref, inputs, call.outputs, "", deadline, client, priority)

    # Answers

    def settle(self, request: HotRequest) -> None:
        """It has an answer, or an error. It is written in this turn of the event loop."""
        if not self.settled:
            request.hot.target.edge.exchange.soon(self._flush)
        self.settled.append(request)

    def _flush(self) -> None:
        settled, self.settled = self.settled, []
        self.write(settled)

    def write(self, settled: Sequence[HotRequest]) -> None:
        """Encode and write the answers to requests that have run, or have failed."""
        together: dict[Writer, list[HotRequest]] = {}
        for request in settled:
            if request.connection is None or request.content is not None:
                continue  # its client has left since, or it was refused at once
            if request.error is not None:
                self.tell(request, request.error)
            elif request.writer is not None:
                group = together.get(request.writer)
                if group is None:
                    group = together[request.writer] = []
                group.append(request)
            else:
                self._encode(request)
        for writer, requests in together.items():
            self._encode_together(writer, requests)
        for request in settled:
            connection = request.connection
            if connection is not None and connection.waiting[0].content is not None:
                connection.send_answers()

    def _encode_together(self, writer: Writer, requests: list[HotRequest]) -> None:
        contents = None
        if len(requests) > 1 and not requests[0].model.info.transforms.changes_outputs:
            begun = perf_counter()
            try:
                contents = writer.together(
                    [one.outputs for one in requests], [one.rows for one in requests]
                )
            except Exception:  # each is tried alone
                log.debug("answers are encoded one by one", exc_info=True)
        if contents is None:
            for request in requests:
                self._encode(request)
            return
        each = (perf_counter() - begun) / len(requests)
        for request, content in zip(requests, contents, strict=True):
            request.encode = each
            packs = request.head.accept_encoding and len(content.body) >= COMPRESS_FROM
            request.content = _packed(request, content) if packs else content
        self._record(requests)

    def _record(self, requests: Sequence[HotRequest]) -> None:
        """They are answered. Whatever is wrong with a record, the answers go out."""
        try:
            requests[0].hot.target.edge.exchange.answered(requests)
        except Exception:
            log.exception("answered requests could not be counted")

    def _encode(self, request: HotRequest) -> None:
        """Encode one answer: of a request without a writer, or one that can't go with others."""
        if encodes_off_loop(request.outputs):
            self._encode_off_loop(request)
            return
        begun = perf_counter()
        try:
            content = _packed(request, _encoded(request))
        except Exception as error:  # whatever happened, the client gets an answer
            self.tell(request, error)
            return
        request.encode = perf_counter() - begun
        request.content = content
        self._record((request,))

    def _encode_off_loop(self, request: HotRequest) -> None:
        """The same in a thread, for what would stall the event loop for too long."""
        begun = perf_counter()

        def work() -> Content:
            return _packed(request, _encoded(request))

        def done(future: "asyncio.Future[Content]") -> None:
            if request.connection is None:
                return
            error = future.exception()
            if error is None:
                request.encode = perf_counter() - begun
                request.content = future.result()
                self._record((request,))
            else:
                self.tell(request, error)  # type: ignore[arg-type]  # threads raise no other
            request.connection.send_answers()

        try:
            asyncio.get_running_loop().run_in_executor(None, work).add_done_callback(done)
        except RuntimeError as error:  # no thread can be started
            self.tell(request, error)

    def tell(self, request: HotRequest, error: Exception) -> None:
        """The client is told of an error."""
        target = request.hot.target
        target.edge.exchange.fail(request, error)
        reply = target.failure(error)
        more = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
        request.status = reply.status
        request.content = Content(reply.body, headers=tuple(more))


def _encoded(request: HotRequest) -> Content:
    outputs = request.model.info.transforms.postprocess(request.outputs)
    writer = request.writer
    if writer is not None:
        return writer.alone(outputs, request.rows)
    assert request.encode_alone is not None  # noqa: S101 - it has one or the other
    encoded = request.encode_alone(outputs)
    return encoded if isinstance(encoded, Content) else Content(encoded)


def _packed(request: HotRequest, content: Content) -> Content:
    """Compressed, where the client takes that and it pays."""
    accept, edge = request.head.accept_encoding, request.hot.target.edge
    if not accept or len(content.body) < COMPRESS_FROM or not edge.compress_answers:
        return content
    encoding = wanted(accept)
    if not encoding:
        return content
    headers: Sequence[tuple[bytes, bytes]] = (
        *content.headers, (b"content-encoding", encoding.encode()), (b"vary", b"Accept-Encoding"),
    )  # fmt: skip
    return Content(compressed(content.body, encoding), content.type, tuple(headers))
