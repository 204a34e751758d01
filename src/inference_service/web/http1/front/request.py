"""A hot request in work: one object from its first byte to its answer."""

from typing import TYPE_CHECKING

from inference_service.core.requests import InferenceResponse
from inference_service.core.tensors import Tensors
from inference_service.engine.interfaces import Ticket
from inference_service.serving.codec import Encode
from inference_service.serving.quick import Writer
from inference_service.serving.request import Request
from inference_service.web.http1.front.table import HotHead

if TYPE_CHECKING:
    from inference_service.web.http1.front.connection import FrontConnection
    from inference_service.web.http1.front.desk import Desk

_NOTHING: Tensors = {}


class HotRequest(Request):
    """The exchange's request with what the front needs besides.

    ``writer`` or ``encode`` writes the answer. ``answer`` is its bytes without the head, None
    until they are there; ``status`` and ``more`` belong to its head. ``connection`` is None once
    the client has left.
    """

    __slots__ = (
        "answer", "connection", "content_type", "desk", "encode_alone", "error", "hot", "more",
        "outputs", "status", "ticket", "writer",
    )  # fmt: skip

    def __init__(self, desk: "Desk", connection: "FrontConnection", hot: HotHead) -> None:
        target = hot.target
        super().__init__(target.codec.name, target.codec, target.edge.request_timeout)
        self.desk = desk
        self.connection: FrontConnection | None = connection
        self.hot = hot
        self.writer: Writer | None = None
        self.encode_alone: Encode | None = None
        self.ticket: Ticket | None = None
        self.outputs: Tensors = _NOTHING
        self.error: Exception | None = None
        self.answer: bytes | None = None
        self.status = 200
        self.content_type = b"application/json"
        self.more: tuple[tuple[bytes, bytes], ...] = ()

    def answered(self, answer: InferenceResponse | Exception) -> None:
        """See `engine.interfaces.OnDone`: the answer is written with those of the whole batch."""
        self.ticket = None
        if isinstance(answer, Exception):
            self.error = answer
        else:
            self.outputs, self.timing, self.rows = answer.outputs, answer.timing, answer.rows
        self.desk.settle(self)

    def cancel(self) -> None:
        """The client has left."""
        self.connection = None
        ticket, self.ticket = self.ticket, None
        if ticket is not None:
            ticket.cancel()
        self.hot.target.edge.exchange.cancelled(self)
