"""What is told of single requests: the access log, traces."""

from collections.abc import Sequence
from typing import Protocol

from inference_service.serving.request import Request
from inference_service.serving.request_ids import new_id


class Teller(Protocol):
    """Tells others of single requests: a log, a tracer. Its methods never raise."""

    def begun(self, request: Request) -> None:
        """A request has come; its head is there."""

    def ended(self, request: Request) -> None:
        """It has ended. The answer isn't sent yet."""


class Tellers:
    """Tells each of several, the first one first when a request comes and last when it ends."""

    def __init__(self, tellers: Sequence[Teller]) -> None:
        self._tellers = tuple(tellers)

    def begun(self, request: Request) -> None:
        """See `Teller.begun`. A request whose client has not named it gets a name."""
        if not request.id:
            request.id = new_id()
        for teller in self._tellers:
            teller.begun(request)

    def ended(self, request: Request) -> None:
        """See `Teller.ended`."""
        for teller in reversed(self._tellers):
            teller.ended(request)
