"""Bounds on connections, and how a connection is seen to make progress."""

from dataclasses import dataclass

from uvicorn.protocols.http.flow_control import FlowControl

from inference_service.security.hosts import Sites

MOST_PIPELINED = 64
"""Requests that wait for the answers before them; no more is read from the connection meanwhile."""

PIECE = 16 * 1024
"""Bytes that are parsed before the bounds are looked at; uvloop reads up to 256 KiB at once."""

_LEAVING_STALL = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Times are in seconds.

    ``stall_timeout``: without a byte of a body that is to come or of an answer that is to go.
    ``sites``: the hosts and pages that requests may name; None: any.
    """

    head_bytes: int = 64 * 1024
    head_timeout: float = 20.0
    stall_timeout: float = 20.0
    connections: int = 10_000
    sites: Sites | None = None

    def stall(self, *, leaving: bool) -> float:
        """The ``stall_timeout``, shorter once the service is leaving."""
        return min(self.stall_timeout, _LEAVING_STALL) if leaving else self.stall_timeout


class Unsent:
    """Bytes of answers that wait to be sent, and since when the number is the same."""

    def __init__(self) -> None:
        self._bytes = 0
        self._since = 0.0

    def stalled(self, size: int, now: float, seconds: float) -> bool:
        """Whether the same number of bytes has waited for more than ``seconds``."""
        if size != self._bytes:
            self._bytes, self._since = size, now
        return size > 0 and now - self._since > seconds


class Framing:
    """The bytes that httptools collects before it tells of them: of a long header, or of chunk
    extensions and trailers. (It joins the pieces of a header one by one, which is quadratic.)
    """

    __slots__ = ("_began", "_bodied", "size")

    def __init__(self) -> None:
        self.size = 0
        """Of an incomplete head; or of a body's framing since the last byte of the body."""
        self._began = self._bodied = False  # a head, some of a body: in the piece being parsed

    @property
    def nothing(self) -> bool:
        """Whether nothing of a head has come."""
        return not self.size and not self._began

    def parse(self) -> None:
        """A piece is going to be parsed."""
        self._began = self._bodied = False

    def head_began(self) -> None:
        """A head begins in it."""
        self.size, self._began = 0, True

    def body_came(self) -> None:
        """Some of a body is in it."""
        self._bodied = True

    def parsed(self, size: int, *, in_head: bool, in_body: bool) -> None:
        """A piece of ``size`` bytes has been, and has ended within a head or a body."""
        if not in_head and (not in_body or self._bodied):
            self.size = 0
        elif not self._began:
            self.size += size


class Flow(FlowControl):
    """uvicorn resumes reading for several reasons; not while the connection holds it back."""

    held = False

    def resume_reading(self) -> None:
        """Unless it is held."""
        if not self.held:
            super().resume_reading()

    def hold(self) -> None:
        """Read nothing until ``held`` is taken back."""
        self.held = True
        self.pause_reading()
