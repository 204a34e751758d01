"""What the headers say, and the body within its limits."""

import asyncio
import math
from dataclasses import dataclass

from starlette.types import Receive, Scope

from inference_service.core.admission import Permit
from inference_service.core.errors import (
    BodyTimeout,
    InvalidInput,
    TooLarge,
    UnsupportedContent,
)
from inference_service.core.scheduling.tickets import Priority

TIMEOUT_HEADER = "X-Request-Timeout"
_TIMEOUT = TIMEOUT_HEADER.lower().encode()
PRIORITY_HEADER = "X-Priority"
_PRIORITY = PRIORITY_HEADER.lower().encode()
_LONGEST_CLIENT = 256  # bytes of a client's name that are looked at
# curl's default, which TensorFlow Serving's own examples rely on, counts as JSON.
_JSON_TYPES = (b"", b"application/json", b"text/json", b"application/x-www-form-urlencoded")


class ClientDisconnected(Exception):  # noqa: N818
    """The client went away; nobody waits for an answer."""


@dataclass(slots=True)
class Head:
    """The headers that an inference endpoint looks at."""

    length: int | None = None
    content_type: bytes = b""
    content_encoding: bytes = b""
    timeout: float | None = None
    priority: Priority = Priority.NORMAL
    client: str = ""


def read_head(scope: Scope, client_header: bytes = b"") -> Head:
    """One pass over the headers. Raises InvalidInput.

    The client is whoever ``client_header`` names, and its address otherwise.
    """
    head = Head()
    for name, value in scope["headers"]:
        if name == b"content-length":
            head.length = _length(value)
        elif name == b"content-type":
            head.content_type = value.split(b";", 1)[0].strip().lower()
        elif name == b"content-encoding":
            head.content_encoding = value.strip().lower()
        elif name == _TIMEOUT:
            head.timeout = _timeout(value)
        elif name == _PRIORITY:
            head.priority = _priority(value)
        if name == client_header:
            head.client = value[:_LONGEST_CLIENT].decode("latin-1")
    if not head.client and (address := scope.get("client")):
        head.client = address[0]
    return head


def _length(value: bytes) -> int:
    if not value.isdigit():
        raise InvalidInput(f"header Content-Length is not a number: {value.decode('latin-1')!r}")
    return int(value)


def _timeout(value: bytes) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not (0 < seconds < math.inf):
        raise InvalidInput(
            f"header {TIMEOUT_HEADER}: expected seconds as a positive number such as 0.25, "
            f"got {value.decode('latin-1')!r}"
        )
    return seconds


def _priority(value: bytes) -> Priority:
    text = value.decode("latin-1").strip().lower()
    try:
        return Priority(text)
    except ValueError:
        known = ", ".join(f"'{priority}'" for priority in Priority)
        raise InvalidInput(f"header {PRIORITY_HEADER}: expected {known}, got {text!r}") from None


def check_json(head: Head) -> None:
    """Raises UnsupportedContent unless the body may be JSON."""
    content_type, encoding = head.content_type, head.content_encoding
    if encoding not in (b"", b"identity"):
        raise UnsupportedContent(
            f"Content-Encoding '{encoding.decode('latin-1')}' is not supported, send plain JSON"
        )
    if content_type not in _JSON_TYPES and not content_type.endswith(b"+json"):
        raise UnsupportedContent(
            f"Content-Type is '{content_type.decode('latin-1')}', expected 'application/json'"
        )


def check_length(length: int | None, limit: int) -> None:
    """Raises TooLarge before anything is read."""
    if length is not None and length > limit:
        raise TooLarge(f"the body has {length} bytes, the limit is {limit}")


async def read_body(
    receive: Receive, head: Head, limit: int, permit: Permit, seconds: float
) -> bytes:
    """The whole body, however it is cut.

    Raises TooLarge as soon as the limit is passed, BodyTimeout, Overloaded, ClientDisconnected.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnected
                chunk: bytes = message.get("body", b"")
                size += len(chunk)
                check_length(size, limit)
                if head.length is None:
                    permit.grow(len(chunk))
                chunks.append(chunk)
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise BodyTimeout(f"only {size} bytes of the body arrived within {seconds:g} s") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
