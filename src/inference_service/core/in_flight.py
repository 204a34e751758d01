"""How much may be in flight: every request holds a permit from the door until its answer is out."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType

from inference_service.core.errors import Overloaded, ShuttingDown


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds over all models and protocols together."""

    max_requests: int
    max_bytes: int
    max_streams: int = 1_000


class InFlight:
    """Counts what is in flight and says no at the door."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._closed = False
        self.requests = 0
        self.bytes = 0
        self.streams = 0

    def close(self) -> None:
        """Admit nothing from now on."""
        self._closed = True

    def permit(self, size: int) -> "Permit":
        """A permit for a body of ``size`` bytes, to be used as a context manager.

        Raises Overloaded or ShuttingDown. A lone request is never refused for its size: the limit
        on a single body is the edge's.
        """
        if self._closed:
            raise ShuttingDown
        if self.requests >= self.limits.max_requests:
            raise _too_many(self.requests)
        if self.requests and self.bytes + size > self.limits.max_bytes:
            raise Overloaded(
                f"{self.bytes} bytes of requests are in flight, "
                f"with this one the limit of {self.limits.max_bytes} would be passed",
                reason="in_flight_bytes",
            )
        return Permit(self, size)

    def enter(self, size: int) -> None:
        """Count a request of ``size`` bytes until `leave`, without an object for it.

        Raises as `permit` does.
        """
        limits = self.limits
        if (
            self._closed
            or self.requests >= limits.max_requests
            or (self.requests and self.bytes + size > limits.max_bytes)
        ):
            self.permit(size)  # finds the words
        self.requests += 1
        self.bytes += size

    def leave(self, requests: int, size: int) -> None:
        """This many requests that have entered are over, of ``size`` bytes together."""
        self.requests -= requests
        self.bytes -= size

    def receive(self, declared: int) -> "Permit":
        """A permit for a body of ``declared`` bytes that is still to come, as a context manager.

        It counts what has come, and a request once it is `Permit.complete`: what a client declares
        takes nothing from others. Raises Overloaded or ShuttingDown, as `permit`.
        """
        self.permit(declared)
        permit = Permit(self, 0)
        permit.whole = False
        return permit

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1

    def stream(self) -> AbstractContextManager[None]:
        """A place for a stream, to be used as a context manager. Raises Overloaded, ShuttingDown.

        It is no request in flight: each of its messages waits for its turn.
        """
        if self._closed:
            raise ShuttingDown
        if self.streams >= self.limits.max_streams:
            raise Overloaded(
                f"{self.streams} streams are open, the limit is {self.limits.max_streams}",
                reason="streams",
            )
        return self._counted()


def _too_many(requests: int) -> Overloaded:
    return Overloaded(
        f"{requests} requests are in flight, which is the limit", reason="in_flight_requests"
    )


class Permit:
    """One request's share of what may be in flight; leaving the ``with`` gives it back."""

    __slots__ = ("_in_flight", "_size", "whole")

    def __init__(self, in_flight: InFlight, size: int) -> None:
        self._in_flight = in_flight
        self._size = size
        self.whole = True

    def __enter__(self) -> "Permit":
        if self.whole:
            self._in_flight.requests += 1
        self._in_flight.bytes += self._size
        return self

    def grow(self, size: int) -> None:
        """Count more of a body as it comes in, or what it becomes. Raises Overloaded."""
        in_flight = self._in_flight
        others = in_flight.bytes - self._size
        if others > 0 and in_flight.bytes + size > in_flight.limits.max_bytes:
            raise Overloaded("too many bytes of requests are in flight", reason="in_flight_bytes")
        self._size += size
        in_flight.bytes += size

    def shrink(self, size: int) -> None:
        """Take back ``size`` of the bytes that it has grown by."""
        self._size -= size
        self._in_flight.bytes -= size

    def complete(self) -> None:
        """The body has come: from now on it is a request in flight. Raises Overloaded."""
        in_flight = self._in_flight
        if in_flight.requests >= in_flight.limits.max_requests:
            raise _too_many(in_flight.requests)
        self.whole = True
        in_flight.requests += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.whole:
            self._in_flight.requests -= 1
        self._in_flight.bytes -= self._size
