"""What browsers are told of the service's own pages: what may run in them and what may frame them.

https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
"""

import base64
import hashlib
import re
from functools import lru_cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_INLINE = {
    kind: re.compile(rb"<" + kind + rb"(?![^>]*\bsrc=)[^>]*>(.*?)</" + kind + rb">", re.DOTALL)
    for kind in (b"script", b"style")
}
_FIXED = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"permissions-policy",
        b"camera=(self), geolocation=(), microphone=(self), payment=(), usb=()",
    ),
)


@lru_cache(16)
def content_policy(page: bytes) -> bytes:
    """The Content-Security-Policy (CSP Level 3) of a page: what is in it runs, and nothing else.

    Its inline scripts and styles are named by their hashes, so no other can be put into it. The
    pages are the service's own and quote nothing of a request. ``blob:`` is for pictures and sound
    that are tried on the home page; the API page sets style attributes and shows pictures by
    ``data:``.
    """
    hashes = {
        kind: b"".join(b" " + _hash(text) for text in _INLINE[kind].findall(page))
        for kind in _INLINE
    }
    return (
        b"default-src 'none'; script-src 'self'%b; worker-src 'self'; "
        b"style-src 'self'%b; style-src-attr 'unsafe-inline'; img-src 'self' data: blob:; "
        b"media-src 'self' data: blob:; connect-src 'self'; font-src 'self' data:; "
        b"object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ) % (hashes[b"script"], hashes[b"style"])


def _hash(text: bytes) -> bytes:
    return b"'sha256-%b'" % base64.b64encode(hashlib.sha256(text).digest())


class PageSecurity:
    """ASGI middleware: these headers on answers that are HTML, which come in one piece."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        held: Message | None = None

        async def secured(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and _is_page(message):
                held = message
                return
            if held is not None:
                start, held = held, None
                policy = content_policy(message.get("body", b""))
                own = [*_FIXED, (b"content-security-policy", policy)]
                await send({**start, "headers": [*start.get("headers", ()), *own]})
            await send(message)

        await self._app(scope, receive, secured)


def _is_page(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/html")
        for name, value in start.get("headers", ())
    )
