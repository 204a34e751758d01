"""The outermost middleware: who asks, whether they may, and how much of it.

It is there only where access control, a quota, a proxy or a port for admins is configured.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from starlette._utils import get_route_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference_service.core.clients import network_of
from inference_service.core.errors import Forbidden, NotFound, QuotaExceeded, Unauthorised
from inference_service.security.authorizer import Access, Authorizer, current_access
from inference_service.security.credentials import SUBPROTOCOL, certificate_names, presented
from inference_service.security.grants import Scope as Permission
from inference_service.security.hosts import HostRule, OriginRule, Sites
from inference_service.security.proxies import TrustedProxies
from inference_service.security.quotas import Entry, Quotas, rate_limit_headers
from inference_service.security.table import Need, needed
from inference_service.web.errors import ErrorAnswer, answer

PEER_CERTIFICATE = "peer_certificate"
"""Where in the state of a connection the client's verified certificate is, as Python tells it."""

_DRAINED = 64 * 1024
"""Bytes: of a refused request, a larger body is not waited for; the connection is closed."""
_LONGEST_REASON = 123
"""Bytes of the reason of a Close (RFC 6455, 5.5)."""
_BASIC = b'Basic realm="inference-service", charset="UTF-8"'
_SAME_SITE = Sites(HostRule((), loopback=False), OriginRule(()))
"""For what a browser adds to the requests of any page: pages that CORS lets in send keys."""
_REFUSALS = (Forbidden, NotFound, QuotaExceeded, Unauthorised)

Failure = Callable[[Exception], ErrorAnswer]


def with_certificate(
    state: dict[str, Any], transport: asyncio.BaseTransport
) -> tuple[dict[str, Any], bool]:
    """The state of a connection with its client's verified certificate; whether it is encrypted."""
    secured = transport.get_extra_info("ssl_object")
    if secured is None:
        return state, False
    return {**state, PEER_CERTIFICATE: secured.getpeercert()}, True


class AccessControl:
    """ASGI application in front of another.

    ``authorizer`` None: access control is off. ``failure`` gives a path's shape of errors.
    ``admin_port``: what needs the scope admin is answered there alone, and no inference is.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        authorizer: Authorizer | None = None,
        quotas: Quotas | None = None,
        proxies: TrustedProxies | None = None,
        failure: Callable[[str], Failure] = lambda _: answer,
        admin_port: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._app = app
        self._authorizer = authorizer
        self._quotas = quotas
        self._proxies = proxies or TrustedProxies(())
        self._failure = failure
        self._admin_port = admin_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        scope = self._behind_proxies(scope)
        address = scope.get("client")
        client = network_of(address[0]) if address else ""
        try:
            access = await self._access(scope, client)
            client = access.client
            entry = self._entry(scope, client)
        except _REFUSALS as error:
            await self._refuse(scope, send, error, client)
            return
        if access.principal is not None:
            # The name that endpoints tell clients apart by: no address, no header can replace it.
            scope = {**scope, "client": (client, 0)}
        if scope["type"] == "websocket":
            send = partial(_accepting, scope, send)
            receive = partial(_permitted, access, entry, receive)
        context = current_access.set(access)
        try:
            if entry is None:
                await self._app(scope, receive, send)
            else:
                await self._counted(scope, receive, send, client, entry)
        finally:
            current_access.reset(context)
            if entry is not None:
                entry.leave()

    def _behind_proxies(self, scope: Scope) -> Scope:
        if not self._proxies or not scope.get("client"):
            return scope
        address, scheme = self._proxies.forwarded(scope["client"][0], scope["headers"])
        if address:
            scope = {**scope, "client": (address, 0)}
        if scheme:
            secure = {"http": scheme, "websocket": "wss" if scheme == "https" else "ws"}
            scope = {**scope, "scheme": secure[scope["type"]]}
        return scope

    async def _access(self, scope: Scope, client: str) -> Access:
        need = self._need(scope)
        if self._authorizer is None or need.scope is None:
            return Access(None, None, client)
        state = scope.get("state") or {}
        given = presented(
            scope["headers"],
            certificate_names(state.get(PEER_CERTIFICATE)),
            scope.get("subprotocols", ()),
        )
        if given.ambient and _of_another_site(scope):
            raise Forbidden(
                "pages of other sites may not use this browser's password or certificate: "
                "they have to send a key as 'Authorization: Bearer <key>'"
            )
        return await self._authorizer.authorize(given, need, client)

    def _need(self, scope: Scope) -> Need:
        """What it needs. Raises NotFound or Forbidden at the wrong port."""
        headers = scope["headers"]
        method = scope.get("method", "WEBSOCKET")
        if method == "OPTIONS" and any(
            name == b"access-control-request-method" for name, _ in headers
        ):
            return Need(None)  # a preflight: browsers send it without credentials (Fetch, 4.8)
        need = needed(method, get_route_path(scope))
        port = self._admin_port()
        if port is not None:
            at_admin = (scope.get("server") or (None, None))[1] == port
            if need.scope is Permission.ADMIN and not at_admin:
                raise NotFound("this is answered at the port for admins")
            if need.scope is Permission.INFER and at_admin:
                raise NotFound("this port is for admins")
        return need

    def _entry(self, scope: Scope, client: str) -> Entry | None:
        need = needed(scope.get("method", "WEBSOCKET"), get_route_path(scope))
        if self._quotas is None or need.scope is None:
            return None
        # What an admin uploads goes to the disk: it isn't in flight.
        entry = self._quotas.enter(client, held=need.scope is not Permission.ADMIN)
        try:
            entry.check_bytes(_length(scope) or 0)
        except QuotaExceeded:
            entry.leave()
            raise
        return entry

    async def _counted(
        self, scope: Scope, receive: Receive, send: Send, client: str, entry: Entry
    ) -> None:
        quotas = self._quotas

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                entry.grow(len(message.get("body", b"")))
            return message

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and quotas is not None:
                limits = rate_limit_headers(quotas.standings(client))
                message = {**message, "headers": [*message.get("headers", ()), *limits]}
            await send(message)

        await self._app(scope, received, sent)

    async def _refuse(self, scope: Scope, send: Send, error: Exception, client: str) -> None:
        reply = self._failure(scope["path"])(error)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(reply.body)),
            *((name.encode(), value.encode()) for name, value in reply.headers.items()),
        ]
        if reply.status == 401 and _is_page(scope):
            headers = [one for one in headers if one[0] != b"www-authenticate"]
            headers.append((b"www-authenticate", _BASIC))
        if isinstance(error, QuotaExceeded) and self._quotas is not None:
            headers += rate_limit_headers(self._quotas.standings(client))
        length = _length(scope)
        if length is None or length > _DRAINED:
            headers.append((b"connection", b"close"))
        kind = "http.response" if scope["type"] == "http" else "websocket.http.response"
        if kind != "http.response" and kind not in (scope.get("extensions") or {}):
            reason = str(error).encode()[:_LONGEST_REASON].decode(errors="ignore")
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
            return
        await send({"type": f"{kind}.start", "status": reply.status, "headers": headers})
        await send({"type": f"{kind}.body", "body": reply.body})


def _of_another_site(scope: Scope) -> bool:
    """Whether a page of another site sends this, and it does more than to read."""
    method, stream = scope.get("method", "GET").encode(), scope["type"] == "websocket"
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    return _SAME_SITE.fault(method, host, scope["headers"], stream=stream) is not None


async def _accepting(scope: Scope, send: Send, message: Message) -> None:
    """A browser that offered subprotocols gives up unless one of them is chosen."""
    if (
        message["type"] == "websocket.accept"
        and not message.get("subprotocol")
        and SUBPROTOCOL in scope.get("subprotocols", ())
    ):
        message = {**message, "subprotocol": SUBPROTOCOL}
    await send(message)


async def _permitted(access: Access, entry: Entry | None, receive: Receive) -> Message:
    """The next message of a stream, which counts as a request: one that comes too soon waits here,
    and its sender with it. Raises QuotaExceeded, Unauthorised and Forbidden."""
    message = await receive()
    if message["type"] == "websocket.receive":
        access.renew()
        text, data = message.get("text"), message.get("bytes")
        pause = entry.message(len(text or data or "")) if entry is not None else 0.0
        if pause > 0:
            await asyncio.sleep(pause)
    return message


def _length(scope: Scope) -> int | None:
    """Bytes of the body as far as the head tells them; None: it comes in chunks."""
    headers: Sequence[tuple[bytes, Any]] = scope["headers"]
    for name, value in headers:
        if name == b"content-length":
            return int(value[:18]) if value.isdigit() else None
        if name == b"transfer-encoding":
            return None
    return 0


def _is_page(scope: Scope) -> bool:
    return scope.get("method") == "GET" and any(
        name == b"accept" and b"text/html" in value for name, value in scope["headers"]
    )
