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
