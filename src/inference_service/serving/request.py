"""One request on its way: what it asks for, and what has become of it so far."""

import math
from time import perf_counter
from typing import Any, Protocol

from inference_service.core.in_flight import Permit
from inference_service.core.requests import Timing
from inference_service.engine.interfaces import ModelHandle, RequestRecord
from inference_service.serving.codec import Codec, Head

_SERVER_TIMING = (
    b'decode;dur=%.3f, queue;dur=%.3f, compute;dur=%.3f, batch;desc="%d rows", total;dur=%.3f'
)
_NOT_RESOLVED: Any = None


class RequestTrace(Protocol):
    """What tracing knows of a request."""

    trace_id: str
    """32 hexadecimal digits."""
    kept: bool
    """Whether the trace is recorded and sent."""
    answer_headers: tuple[tuple[bytes, bytes], ...]
    """They tell the client which trace and span its request was part of."""


class Request:
    """One request, of any transport. All times are in seconds.

    The transport sets ``head``, and before `Exchange.begin` the ``payload`` and its ``size`` in
    bytes. ``deadline`` is absolute on the engine's clock (inf: best effort), ``limit`` the seconds
    that the request may take at most. ``model`` and ``permit`` are there once the exchange has
    resolved and admitted it; ``entered`` stands for a permit without an object. The rest is what
    the record and the Server-Timing header tell; ``outcome`` is "" until the request has ended.
    """

    __slots__ = (
        "begun", "codec", "deadline", "decode", "encode", "entered", "head", "id", "limit", "model",
        "model_name", "outcome", "payload", "permit", "protocol", "rows", "size", "started",
        "timing", "trace", "version",
    )  # fmt: skip

    def __init__(self, protocol: str, codec: Codec | None, limit: float) -> None:
        self.started = perf_counter()
        self.protocol = protocol
        self.codec = codec
        self.limit = limit
        self.deadline = math.inf
        self.head: Head = _NO_HEAD
        self.payload: Any = None
        self.size = 0
        self.model: ModelHandle = _NOT_RESOLVED
        self.model_name = ""
        self.version = ""
        self.permit: Permit | None = None
        self.entered = False
        self.begun = 0.0
        """When decoding began; 0: it begins with `Exchange.begin`."""
        self.decode = 0.0
        self.encode = 0.0
        self.rows = 0
        self.timing: Timing | None = None
        self.outcome = ""
        self.id = ""
        """The client's name for it, or the service's; "": it has none."""
        self.trace: RequestTrace | None = None

    def record(self, now: float) -> RequestRecord:
        """What observers are told of it, once it has ended; ``now`` is of `time.perf_counter`."""
        queue, compute, _ = self.timing or (None, None, 0)
        trace = self.trace
        return RequestRecord(
            self.model_name, self.version, self.protocol, self.outcome, now - self.started, queue,
            compute, self.rows, self.decode, self.encode,
            trace.trace_id if trace is not None and trace.kept else "",
        )  # fmt: skip

    def server_timing(self) -> bytes:
        """https://www.w3.org/TR/server-timing/: durations in milliseconds."""
        total = (perf_counter() - self.started) * 1e3
        if self.timing is None:
            return b"total;dur=%.3f" % total
        queue, compute, rows = self.timing
        return _SERVER_TIMING % (self.decode * 1e3, queue * 1e3, compute * 1e3, rows, total)


_NO_HEAD = Head()
