"""One HTTP/1.1 connection: uvicorn's protocol class with the rules and bounds that it leaves out.

- An ``Upgrade`` that isn't to a WebSocket is ignored, as RFC 9110, 7.8 allows: stock Java clients
  and ``curl --http2`` offer h2c with every first request. llhttp takes all that follows such a head
  for another protocol, so the head is parsed again without the offer.
- ``Host`` as RFC 9112, 3.2 wants it; no ``Transfer-Encoding`` in HTTP/1.0; versions 1.0 and 1.1.
- Heads are bounded in bytes and time, bodies and answers that make no progress in time, pipelines
  in requests. What can't be parsed is answered in its place, after the requests before it.
- A client that closes its sending side only (``nc -N``) gets its answer.

Bounds in time are checked by `HttpConnection.check`, which the server calls about once a second.
"""

import asyncio
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from inference_service.web.access import with_certificate
from inference_service.web.http1.half_close import HalfClosed, can_tell
from inference_service.web.http1.head import (
    accepted_upgrade,
    check_head,
    check_site,
    head_without_upgrade,
    too_large,
)
from inference_service.web.http1.limits import (
    MOST_PIPELINED,
    PIECE,
    ConnectionLimits,
    Flow,
    Framing,
    Unsent,
)
from inference_service.web.http1.refusal import (
    LingeringClose,
    Refused,
    refusal_cycle,
    said_in_http2,
    unreadable,
)


class HttpConnection(HttpToolsProtocol):
    """See the module."""

    flow: Flow

    def __init__(
        self,
        limits: ConnectionLimits,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._limits = limits
        self._head_since: float | None = None  # when an incomplete head began, or the connection
        self._framing = Framing()
        self._receiving: RequestResponseCycle | None = None  # whose body is incomplete
        self._progress_at = 0.0
        self._unsent = Unsent()
        self._ignoring_upgrade = False
        self._running: RequestResponseCycle | None = None  # uvicorn's ``cycle`` is the last one
        self._ended = False  # what still comes is not read
        self._half_closed = self._encrypted = False
        self._held = b""  # received, to be parsed when the pipeline is shorter
        self._host = b""  # the last one that was found right

    # From the event loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless there are too many connections."""
        super().connection_made(transport)
        self.app_state, self._encrypted = with_certificate(self.app_state, transport)
        self.flow = Flow(transport)
        self._lingering: Any = LingeringClose(transport, self.loop)
        self._head_since = self._progress_at = self.loop.time()
        if len(self.connections) > self._limits.connections:
            self._refuse(Refused(503, f"{self._limits.connections} connections are open"))

    def data_received(self, data: bytes) -> None:
        """Parse, or keep for later."""
        self._unset_keepalive_if_required()
        self._progress_at = self.loop.time()
        if self._ended:
            return
        if self.flow.held:  # the transport may deliver once more after it was paused
            self._held += data
            return
        self._feed(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. Whether to go on, for the answers that it still waits for.

        Clients that are gone look alike: see `HalfClosed`.
        """
        last = self.cycle
        done = last is None or last.response_complete
        if done or self._receiving is not None or self._held or not can_tell or self._encrypted:
            return False
        if not self._half_closed:
            self._half_closed = True
            last.keep_alive = False
            self._end()
            HalfClosed(self.transport, self.loop, lambda: self._running)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered; those behind it are not started any more."""
        super().connection_lost(exc)
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()

    # From the server

    def check(self, now: float, *, leaving: bool = False) -> None:
        """Give up on what has taken too long. ``now`` is the loop's time."""
        limits = self._limits
        stall = limits.stall(leaving=leaving)
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            if self._unsent.stalled(unsent, now, stall):
                self.transport.abort()
        elif self._ended:
            return
        elif self.flow.read_paused:  # it isn't the client that makes no progress
            self._progress_at = now
            if self._head_since is not None:
                self._head_since = now
        elif self._head_since is not None:
            if now - self._head_since > limits.head_timeout:
                self._give_up_on_head()
        elif self._receiving is not None and now - self._progress_at > stall:
            self._refuse(Refused(408, f"nothing of the body came for {stall:g} s"))

    def _give_up_on_head(self) -> None:
        if self.cycle is None and self._framing.nothing:
            self.transport.close()
        else:
            self._refuse(Refused(408, "the head of the request took too long"))

    # From the parser

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._head_since = self._progress_at
        self._framing.head_began()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of a head; what follows a body (trailers) says nothing that is used here."""
        if self._receiving is None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, or queue it. Raises Refused."""
        self._head_since = None
        self._host = check_head(
            self.parser.get_http_version(),
            self.url,
            self.headers,
            self._host,
            self._limits.head_bytes,
        )
        check_site(self._limits.sites, self.parser.get_method(), self._host, self.headers)
        if self.parser.should_upgrade() and not self._should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise Refused(405, "CONNECT is for proxies")
            self._ignoring_upgrade = True
            return
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self._receiving = self.cycle

    def on_body(self, body: bytes) -> None:
        """Some of a body."""
        self._framing.body_came()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request has come in full."""
        if self._receiving is None:  # an upgrade
            return
        super().on_message_complete()
        self._receiving.transport = self.transport
        if not self._receiving.keep_alive:
            self._end()
        self._receiving = None

    def on_response_complete(self) -> None:
        """Start the next request of the pipeline, and read on where that was held back."""
        super().on_response_complete()
        if self.flow.held and len(self.pipeline) <= MOST_PIPELINED // 2:
            self._feed_held()

    # Parsing

    def _feed_held(self) -> None:
        held, self._held = self._held, b""
        self.flow.held = False
        if not self._ended and not self.transport.is_closing():
            self.flow.resume_reading()
            self._feed(held)

    def _feed(self, data: bytes) -> None:
        parsed = 0
        while parsed < len(data) and len(self.pipeline) < MOST_PIPELINED and not self._ended:
            self._parse(data[parsed : parsed + PIECE])
            parsed += PIECE
        if len(self.pipeline) >= MOST_PIPELINED and not self._ended:
            self._held = data[parsed:]
            self.flow.hold()

    def _parse(self, piece: bytes) -> None:
        self._framing.parse()
        pending = [piece]
        while pending:
            data = pending.pop()
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if not self._ignoring_upgrade:
                    self._ended = True  # it is the WebSocket's now
                    self.handle_websocket_upgrade()
                    return
                pending += [data[upgrade.args[0] :], self._begin_without_upgrade()]
            except httptools.HttpParserError as error:
                if self.cycle is not None or not said_in_http2(piece, self._lingering):
                    self._refuse(unreadable(error, piece))
                self._end()
                return
        framing, receiving = self._framing, self._receiving is not None
        framing.parsed(len(piece), in_head=self._head_since is not None, in_body=receiving)
        if framing.size > self._limits.head_bytes:
            self._refuse(too_large(self._limits.head_bytes))
        if self._receiving is not None:
            self._receiving.transport = self._lingering

    def _begin_without_upgrade(self) -> bytes:
        """A parser that knows nothing of the offer, and what it is to parse first."""
        version, method = self.parser.get_http_version(), self.parser.get_method()
        self._ignoring_upgrade = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        return head_without_upgrade(method, self.url, version, self.headers)

    def _get_upgrade(self) -> bytes | None:
        return accepted_upgrade(self.parser.get_method(), self.headers)

    # Endings

    def _end(self) -> None:
        """Read nothing more from this connection; what is in work is answered."""
        self._ended = True
        self._held = b""
        self._head_since = None

    def _refuse(self, refused: Refused) -> None:
        """Answer in the place of a request that can't be read, then close."""
        cut, self._receiving = self._receiving, None
        self._end()
        if cut is not None and self.pipeline and self.pipeline[0][0] is cut:
            self.pipeline.popleft()  # it hasn't been started: this is the answer to it
        elif cut is not None:
            if cut.response_started:  # answered before its body had come
                self.transport.close()
                return
            cut.disconnected = True
            cut.message_event.set()
            self.cycle.response_complete = True
        waiting = self.cycle is not None and not self.cycle.response_complete
        self.cycle = refusal_cycle(self)
        if waiting:
            self.pipeline.appendleft((self.cycle, cast("Any", refused)))
        else:
            self._start_asgi_task(self.cycle, refused)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)
