"""A hot request in work: one object from its first byte to its answer."""

import math
from time import perf_counter
from typing import TYPE_CHECKING, Any

from inference_service.core.requests import InferenceResponse
from inference_service.core.tensors import Tensors
from inference_service.engine.interfaces import Ticket
from inference_service.serving.codec import Content, Encode
from inference_service.serving.quick import Writer
from inference_service.serving.request import Request
from inference_service.web.http1.front.table import HotHead

if TYPE_CHECKING:
    from inference_service.web.http1.front.connection import FrontConnection
    from inference_service.web.http1.front.desk import Desk

_NOTHING: Tensors = {}
_UNKNOWN: Any = None


class HotRequest(Request):
    """The exchange's request with what the front needs besides.

    ``writer`` or ``encode_alone`` writes the answer: ``content``, None until it is there, and its
    ``status``. ``at_once``: it has run already. ``connection`` is None once the answer is written
    or the client has left.
    """

    __slots__ = (
        "at_once", "connection", "content", "desk", "encode_alone", "error", "hot", "outputs",
        "status", "ticket", "writer",
    )  # fmt: skip

    def __init__(self, desk: "Desk", connection: "FrontConnection", hot: HotHead) -> None:
        # All in one place: a call of the constructor above takes as long as half of these.
        target = hot.target
        self.started = perf_counter()
        self.protocol = target.codec.name
        self.codec = target.codec
        self.limit = target.edge.request_timeout
        self.deadline = math.inf
        self.head = hot.head
        self.payload = None
        self.size = 0
        self.model = _UNKNOWN
        self.model_name = self.version = ""
        self.permit = None
        self.entered = False
        self.begun = self.decode = self.encode = 0.0
        self.rows = 0
        self.timing = None
        self.outcome = self.id = ""
        self.trace = None
        self.desk = desk
        self.connection: FrontConnection | None = connection
        self.hot = hot
        self.writer: Writer | None = None
        self.encode_alone: Encode | None = None
        self.ticket: Ticket | None = None
        self.outputs: Tensors = _NOTHING
        self.error: Exception | None = None
        self.content: Content | None = None
        self.status = 200
        self.at_once = False

    def answered(self, answer: InferenceResponse | Exception) -> None:
        """See `engine.interfaces.OnDone`: the answer is written with those of the whole batch."""
        self.ticket = None
        if isinstance(answer, Exception):
            self.error = answer
        else:
            _, self.outputs, self.timing, self.rows = answer
        settled = self.desk.settled
        if settled:  # as `settle` does it for all but the first
            settled.append(self)
        else:
            self.desk.settle(self)

    def withdraw(self) -> None:
        """Take it out of the queue."""
        ticket, self.ticket = self.ticket, None
        if ticket is not None:
            ticket.cancel()

    def cancel(self) -> None:
        """The client has left."""
        self.connection = None
        self.withdraw()
        self.hot.target.edge.exchange.cancelled(self)
