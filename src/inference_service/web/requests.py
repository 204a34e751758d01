"""Requests as HTTP means them, before the framework matches paths."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference_service.web.paths import own_path


class UsualRequests:
    """ASGI middleware.

    HEAD is answered wherever GET is, with its headers and no body (RFC 9110, 9.3.2). A trailing
    slash means nothing: the same resource answers. (A redirect would have to name scheme and host,
    which behind a proxy are not the ones that the client used, and costs a second request.)
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        path = own_path(scope)
        if len(path) > 1 and path.endswith("/"):
            before = scope["path"].removesuffix(path)
            scope = {**scope, "path": before + (path.rstrip("/") or "/")}
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, without_body)
