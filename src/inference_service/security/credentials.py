"""What a request presents to say which client it is from. Pure."""

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from inference_service.core.errors import Unauthorised

LONGEST = 8192
"""Bytes of a key or token."""
SUBPROTOCOL = "inference-service"
SUBPROTOCOL_KEY = "inference-service.key."
"""A browser's WebSocket can't send headers; it offers these two subprotocols instead."""


class Presented(NamedTuple):
    """``secret``: a key or token; "" is none. ``certificate``: names in a verified one.

    ``ambient``: a browser adds it to requests of any page, so the page's origin counts.
    """

    secret: str = ""
    certificate: Sequence[str] = ()
    ambient: bool = False


def presented(
    headers: Iterable[tuple[bytes, bytes]],
    certificate: Sequence[str] = (),
    subprotocols: Iterable[str] = (),
) -> Presented:
    """The credentials of a head, names in lower case.

    ``Authorization: Bearer`` (OpenAI's clients, tokens), ``X-API-Key``, ``Authorization: Basic``
    with the key as password (browsers, RFC 7617), or a subprotocol of a WebSocket.
    Raises Unauthorised for several different ones and for what can't be read.
    """
    secrets: set[str] = set()
    ambient = False
    for name, value in headers:
        if name == b"x-api-key":
            secrets.add(_text(value))
        elif name == b"authorization":
            scheme, _, rest = value.strip().partition(b" ")
            if scheme.lower() == b"bearer":
                secrets.add(_text(rest))
            elif scheme.lower() == b"basic":
                secrets.add(_password(rest))
                ambient = True
            else:
                raise Unauthorised("Authorization: expected 'Bearer <key or token>'")
    secrets.update(
        one.removeprefix(SUBPROTOCOL_KEY) for one in subprotocols if one.startswith(SUBPROTOCOL_KEY)
    )
    if len(secrets) > 1:
        raise Unauthorised("the request carries several different keys")
    secret = secrets.pop() if secrets else ""
    if not secret and certificate:
        ambient = True
    return Presented(secret, certificate, ambient)


def _text(value: bytes) -> str:
    if len(value) > LONGEST:
        raise Unauthorised(f"a key or token has more than {LONGEST} bytes")
    return value.strip().decode("latin-1")


def _password(value: bytes) -> str:
    try:
        decoded = base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise Unauthorised("Authorization: Basic is not base64") from None
    return _text(decoded.partition(b":")[2])


def certificate_names(certificate: "dict[str, object] | None") -> tuple[str, ...]:
    """The names in a verified certificate as Python's ``getpeercert`` tells it: those of
    subjectAltName first (URI, DNS, email), and then the common name."""
    if not certificate:
        return ()
    alternative = [
        str(value)
        for kind, value in certificate.get("subjectAltName", ())  # type: ignore[attr-defined]
        if kind in {"URI", "DNS", "email"}
    ]
    common = [
        str(value)
        for parts in certificate.get("subject", ())  # type: ignore[attr-defined]
        for kind, value in parts
        if kind == "commonName"
    ]
    return (*alternative, *common)
