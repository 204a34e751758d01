"""One connection that may take the shortcut: which way each message goes, and answers in order.

| hot in work | parser, uvicorn's cycle | what comes next |
|---|---|---|
| none | between messages, none or complete | hot: begin it; else: the parser |
| some | between messages, `Turn` | hot: begin it; else: the parser; its cycle waits |
| any | in a message, or a cycle of its own | the parser, until its answers are out |

A whole message that begins in a piece of data is looked at here first; whatever is not hot is given
to the parser byte for byte, so nothing is read twice. A hot head whose body is incomplete is kept
for a short while, because most clients send head and body apart.
"""

import asyncio
from collections import deque
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from inference_service.core.errors import ShuttingDown
from inference_service.web.http1.connection import HttpConnection
from inference_service.web.http1.front.answers import AnswerHeads
from inference_service.web.http1.front.desk import Desk
from inference_service.web.http1.front.heads import LONGEST_HEAD, Template
from inference_service.web.http1.front.request import HotRequest
from inference_service.web.http1.front.table import HotHead
from inference_service.web.http1.limits import MOST_PIPELINED, ConnectionLimits

_END = b"\r\n\r\n"
_LARGE = 2**20
"""Bytes of a body that isn't copied to stand behind its head: that would stall all others."""
_PATIENCE = 1.0
"""Seconds without a byte of an incomplete body before the parser, and with it the ASGI way and its
bounds in time, gets what has come."""


class Turn:
    """Stands for all hot requests of a connection where uvicorn looks at the last request."""

    scope = {"http_version": "1.1"}  # noqa: RUF012 - it is read only

    def __init__(self) -> None:
        self.response_complete = True
        self.response_started = False
        self.disconnected = False
        self.keep_alive = True
        self.message_event = self

    def set(self) -> None:
        """As of an event that is not waited for."""


class FrontConnection(HttpConnection):
    """See the module."""

    def __init__(
        self,
        desk: Desk,
        limits: ConnectionLimits,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
    ) -> None:
        super().__init__(limits, config, server_state, app_state)
        self._desk = desk
        self._find = desk.heads.find
        self._template: Template[HotHead] | None = None  # of the heads that come here
        self._answer_heads = AnswerHeads(server_state)
        self.waiting: deque[HotRequest] = deque()
        """Hot requests whose answers aren't written, in their order."""
        self.address = ""
        self._turn: Any = Turn()
        self._in_message = False  # the parser is
        self._partial = bytearray()  # a hot head and some of its body
        self._missing = 0
        self._idle_since = 0.0  # once it is a hot answer that came last
        self._writing_paused = False

    # From the event loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left: nothing more is done for its requests."""
        super().connection_lost(exc)
        waiting, self.waiting = self.waiting, deque()
        self._partial.clear()
        for request in waiting:
            request.cancel()

    def pause_writing(self) -> None:
        """The client doesn't read its answers: nothing more is begun for it."""
        super().pause_writing()
        self._writing_paused = True

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        self._writing_paused = False
        if self.flow.held and not self.waiting and not self.pipeline:
            self._feed_held()

    def eof_received(self) -> bool:  # type: ignore[override]
        """See `HttpConnection`. A request whose body is cut is no request."""
        return False if self._partial else super().eof_received()

    # From the server

    def shutdown(self) -> None:
        """See `HttpToolsProtocol`. A request that is arriving is answered."""
        if self._partial:
            self._give_to_parser()
        super().shutdown()

    def check(self, now: float, *, leaving: bool = False) -> None:
        """See `HttpConnection.check`; and give up waiting for bodies and for requests."""
        if self._partial and now - self._progress_at > _PATIENCE:
            self._give_to_parser()
        if self._is_idle() and now - self._idle_since > self.timeout_keep_alive:
            self.timeout_keep_alive_handler()
        super().check(now, leaving=leaving)

    def fail_all(self) -> None:
        """The grace period of a shutdown has ended."""
        for request in self.waiting:
            if request.content is None:
                request.withdraw()
                self._desk.tell(request, ShuttingDown())
        self.send_answers()

    # From the parser

    def on_message_begin(self) -> None:
        """See `HttpConnection`."""
        self._in_message = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """See `HttpConnection`."""
        complete = self._receiving is not None
        super().on_message_complete()
        if complete:
            self._in_message = False

    def _is_idle(self) -> bool:
        """Whether the connection has nothing to do since a hot answer."""
        return self.cycle is self._turn and not (self.waiting or self._partial or self._in_message)

    # The way of a message

    def data_received(self, data: bytes) -> None:
        """Which way? The first test is for connections that have brought nothing but hot requests
        for some time."""
        if (
            self.cycle is not self._turn
            or self._in_message
            or self._ended
            or self._partial
            or self.flow.held
        ):
            super().data_received(data)
            return
        rest = self._begin_hot(data)
        if rest < len(data):
            self._progress_at = self.loop.time()
            super()._feed(data[rest:])

    def _feed(self, data: bytes) -> None:
        """From `HttpConnection`, for all that has come in."""
        if self._partial:
            self._partial += data
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = bytes(self._partial)
            self._partial.clear()
        rest = self._begin_hot(data) if self._is_between() else 0
        if rest < len(data):
            super()._feed(data[rest:])

    def _is_between(self) -> bool:
        """Whether nothing of the ASGI way is in work, and the parser at the start of a message."""
        if self._in_message or self.pipeline:
            return False
        cycle = self.cycle
        return cycle is self._turn or cycle is None or cycle.response_complete

    def _begin_hot(self, data: bytes) -> int:
        """Begin the hot requests at the start of the data. Where the rest begins, which is for the
        parser."""
        position, size, waiting = 0, len(data), self.waiting
        while position < size:
            if self._writing_paused or len(waiting) >= MOST_PIPELINED:
                self._held = data[position:]
                self.flow.hold()
                return size
            end = data.find(_END, position, position + LONGEST_HEAD)
            if end < 0:
                return position
            end += len(_END)
            head = data[position:end]
            template = self._template
            found = template.read(head) if template is not None else None
            if found is None:
                found = self._find(head) or self._learn(head)
                if found is None:
                    return position
            hot, name = found
            stop = end + hot.length
            if stop > size:
                return self._keep(data, position, stop, hot)
            lone = stop == size and not waiting
            request = self._desk.begin(self, hot, data[end:stop], lone=lone)
            if request is None:
                return position
            request.id = name
            if not waiting:
                self._start_turn()
            waiting.append(request)
            if request.at_once:
                self._desk.write((request,))
            position = stop
        return size

    def _learn(self, head: bytes) -> tuple[HotHead, str] | None:
        found = self._desk.learn(head)
        self._template = self._desk.heads.template or self._template
        return found

    def _start_turn(self) -> None:
        """A hot request is the first in work."""
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        turn = self._turn
        turn.response_complete = turn.response_started = False
        if self.cycle is not turn:
            self.cycle = self._running = turn
            self._head_since = None

    def _keep(self, data: bytes, position: int, stop: int, hot: HotHead) -> int:
        """Wait for the rest of a body, unless its time is bounded or the service is leaving."""
        if hot.timeout is not None or self._answer_heads.leaving:
            return position
        self._progress_at = self.loop.time()
        self._partial += data[position:]
        self._missing = stop - len(data)
        self._head_since = None
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        return len(data)

    def _give_to_parser(self) -> None:
        data = bytes(self._partial)
        self._partial.clear()
        super()._feed(data)

    # Answers

    def send_answers(self) -> None:
        """Write the answers that are there, in the order of the requests."""
        waiting, turn = self.waiting, self._turn
        parts: list[bytes] = []
        while waiting and (content := waiting[0].content) is not None:
            request = waiting.popleft()
            last = not waiting
            close = last and not (turn.keep_alive or self.pipeline)
            parts += self._answer_heads.render(request, content, last=last, close=close), content[0]
            request.connection = None
        if not parts:
            return
        self.server_state.total_requests += len(parts) // 2
        turn.response_started = True
        if len(parts[-1]) < _LARGE:
            self.transport.write(b"".join(parts))
        else:
            for part in parts:
                self.transport.write(part)
        if not waiting:
            self._all_answered()

    def _all_answered(self) -> None:
        turn = self._turn
        turn.response_complete = True
        if self.transport.is_closing():
            return
        if self._answer_heads.closing or not (turn.keep_alive or self.pipeline):
            self.transport.close()
        elif self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self._idle_since = self.loop.time()
            if self.flow.held and not self._writing_paused:
                self._feed_held()
