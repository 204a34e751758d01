"""The head of a request: what RFC 9112 asks of it, and an offered upgrade taken out. Pure."""

import re
from collections.abc import Iterable, Sequence

from inference_service.security.hosts import Sites
from inference_service.web.http1.refusal import Refused

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case."""

_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
_VERSIONS = frozenset({"1.0", "1.1"})
_OFFERS = frozenset({b"upgrade", b"http2-settings"})
_LINE = 4  # bytes of a header line besides its name and value


def check_head(version: str, url: bytes, headers: Headers, known_host: bytes, limit: int) -> bytes:
    """The Host. Raises Refused for what RFC 9112 forbids (2.3, 3.2, 6.1) and for a large head.

    ``known_host`` has been found right before.
    """
    if version not in _VERSIONS:
        raise Refused(505, f"HTTP/{version} is not spoken here, but HTTP/1.1 and HTTP/1.0")
    hosts, size = [], len(url)
    for name, value in headers:
        size += len(name) + len(value) + _LINE
        if name == b"host":
            hosts.append(value)
        elif name == b"transfer-encoding":
            _check_transfer(version, value)
    if size > limit:
        raise too_large(limit)
    if len(hosts) != 1:
        if hosts or version != "1.0":
            raise Refused(400, f"expected one Host header, got {len(hosts)}")
        return known_host
    if hosts[0] != known_host and not is_host(hosts[0]):
        raise Refused(400, "the Host header is not a host")
    return hosts[0]


def _check_transfer(version: str, value: bytes) -> None:
    """RFC 9112, 6.1. An empty value says nothing."""
    if version == "1.0":
        raise Refused(400, "HTTP/1.0 has no Transfer-Encoding")
    if value.strip().lower() not in {b"chunked", b""}:
        raise Refused(
            501,
            "Transfer-Encoding: expected 'chunked'; send compressed bodies with Content-Encoding",
        )


def check_site(sites: Sites | None, method: bytes, host: bytes, headers: Headers) -> None:
    """Raises Refused for another host's request and for one that another site's page sends."""
    if sites is None:
        return
    stream = method == b"GET" and offered_upgrade(headers) == b"websocket"
    fault = sites.fault(method, host, headers, stream=stream)
    if fault is not None:
        raise Refused(*fault)


def is_host(value: bytes) -> bool:
    """Whether it may stand in a Host header (RFC 9110, 7.2)."""
    return _HOST.fullmatch(value) is not None


def too_large(limit: int) -> Refused:
    """The refusal of a head of more than ``limit`` bytes."""
    return Refused(431, f"the head is larger than {limit} bytes")


def offered_upgrade(headers: Headers) -> bytes | None:
    """The protocol that a client offers, whatever number of Connection headers say so."""
    tokens: set[bytes] = set()
    upgrade = None
    for name, value in headers:
        if name == b"connection":
            tokens.update(_tokens(value.lower()))
        elif name == b"upgrade":
            upgrade = value.strip().lower()
    return upgrade if b"upgrade" in tokens else None


def accepted_upgrade(method: bytes, headers: Headers) -> bytes | None:
    """The offered protocol, unless it is a WebSocket that this request can't open (RFC 6455, 4.1):
    one with another method than GET, or with a body, is answered as HTTP."""
    body = any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in headers
    )
    return offered_upgrade(headers) if method == b"GET" and not body else None


def head_without_upgrade(method: bytes, url: bytes, version: str, headers: Headers) -> bytes:
    """The head as the client would have sent it without the offer."""
    lines = [b"%s %s HTTP/%s" % (method, url, version.encode())]
    for name, value in headers:
        kept = value
        if name == b"connection":
            kept = b", ".join(one for one in _tokens(value) if one.lower() not in _OFFERS)
        if name not in _OFFERS and (kept or name != b"connection"):
            lines.append(b"%s: %s" % (name, kept))
    return b"\r\n".join([*lines, b"", b""])


def _tokens(value: bytes) -> Iterable[bytes]:
    return (token.strip() for token in value.split(b","))
