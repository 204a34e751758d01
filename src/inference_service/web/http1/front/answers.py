"""The heads of answers, as uvicorn writes them."""

from time import perf_counter

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from inference_service.serving.codec import Content
from inference_service.web.http1.front.request import HotRequest

_CLOSE = (b"connection", b"close")


class AnswerHeads:
    """The heads of one connection's answers.

    uvicorn makes a new list of headers of its own each second (the date), and when the service
    begins to leave: they are rendered once for each list.
    """

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._rendered: object = None
        self._defaults = self._open = b""
        self._ok = b""
        self.closing = False

    @property
    def leaving(self) -> bool:
        """Whether every answer ends its connection."""
        return _CLOSE in self._state.default_headers

    def render(self, request: HotRequest, content: Content, *, last: bool, close: bool) -> bytes:
        """The head of an answer. ``last``: nothing follows it yet, so a service that is leaving
        may close the connection after it; ``close``: the connection ends with it."""
        if self._state.default_headers is not self._rendered:
            self._render_defaults()
        body, content_type, more = content
        extra = b"x-request-id: %b\r\n" % request.id.encode() if request.id else b""
        if more:
            extra += b"".join([b"%b: %b\r\n" % header for header in more])
        timing = request.timing
        if timing is not None and request.status == 200 and not (close or self.closing):
            queue, compute, rows = timing
            return (
                b"%bcontent-type: %b\r\ncontent-length: %d\r\nserver-timing: decode;dur=%.3f, "
                b'queue;dur=%.3f, compute;dur=%.3f, batch;desc="%d rows", total;dur=%.3f\r\n%b\r\n'
            ) % (
                self._ok, content_type, len(body), request.decode * 1e3, queue * 1e3, compute * 1e3,
                rows, (perf_counter() - request.started) * 1e3, extra,
            )  # fmt: skip
        lines = [
            STATUS_LINE[request.status],
            self._defaults if last or not self.closing else self._open,
            b"content-type: %b\r\ncontent-length: %d\r\n" % (content_type, len(body)),
            b"server-timing: %b\r\n" % request.server_timing(),
            extra,
        ]
        if close and not (last and self.closing):
            lines.append(b"connection: close\r\n")
        return b"".join([*lines, b"\r\n"])

    def _render_defaults(self) -> None:
        headers = self._state.default_headers
        self.closing = _CLOSE in headers
        self._defaults = b"".join([b"%b: %b\r\n" % pair for pair in headers])
        self._open = b"".join([b"%b: %b\r\n" % pair for pair in headers if pair != _CLOSE])
        self._ok = STATUS_LINE[200] + self._defaults
        self._rendered = headers
