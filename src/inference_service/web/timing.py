"""A Server-Timing header on the answers that have none of their own."""

from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADER = b"server-timing"


class ServerTiming:
    """ASGI middleware: adds the total duration in milliseconds."""

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
                    message["headers"] = [*headers, (_HEADER, total.encode())]
            await send(message)

        await self._app(scope, receive, timed)
