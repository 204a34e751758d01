"""Server-Timing and X-Request-Id on the answers that have none of their own."""

from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference_service.serving.request_ids import HEADER, read_id

_HEADER = b"server-timing"
_ID = HEADER.lower().encode()


def _request_id(scope: Scope) -> list[tuple[bytes, bytes]]:
    """The client's name for the request, as it goes back."""
    given = next((value for name, value in scope["headers"] if name == _ID), b"")
    name = read_id(given)
    return [(_ID, name.encode())] if name else []


class ServerTiming:
    """ASGI middleware: adds the total duration in milliseconds, and returns the request's id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.setdefault("headers", [])
                if not any(name == _HEADER for name, _ in headers):
                    total = f"total;dur={(perf_counter() - started) * 1e3:.3f}"
                    message["headers"] = [*headers, (_HEADER, total.encode()), *_request_id(scope)]
            await send(message)

        await self._app(scope, receive, timed)
