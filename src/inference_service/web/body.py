"""What the headers say, and the body within its limits."""

import asyncio
import math
from collections.abc import Callable

from starlette.types import Message, Receive, Scope

from inference_service.core.errors import (
    BodyTimeout,
    InvalidInput,
    TooLarge,
    UnsupportedContent,
)
from inference_service.core.in_flight import Permit
from inference_service.core.scheduling.entries import Priority
from inference_service.core.tensors import NonFinite
from inference_service.serving.codec import Head
from inference_service.serving.request_ids import HEADER as REQUEST_ID_HEADER
from inference_service.serving.request_ids import read_id
from inference_service.web.compression import check_encoding
from inference_service.web.watches import Begun, ClientDisconnected

TIMEOUT_HEADER = "X-Request-Timeout"
PRIORITY_HEADER = "X-Priority"
NON_FINITE_HEADER = "X-Non-Finite"
JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
TRACE_HEADERS = (
    b"traceparent", b"tracestate", b"b3", b"x-b3-traceid", b"x-b3-spanid", b"x-b3-sampled",
    b"x-b3-flags",
)  # fmt: skip
"""Headers of distributed tracing: W3C Trace Context, and B3 in one header or in several."""
LONGEST_TRACE_HEADER = 512

BINARY = b"application/octet-stream"
PLAIN = b"text/plain"
_JOIN_OFF_LOOP_FROM = 2**20
"""Bytes: from here on `bytes.join` lets other threads run while it copies."""
_MOST_DIGITS = 18
_LONGEST_CLIENT = 256  # bytes of a client's name that are looked at
# curl's default, which TensorFlow Serving's own examples rely on, counts as JSON.
_JSON_TYPES = frozenset(
    {b"", b"application/json", b"text/json", b"application/x-www-form-urlencoded"}
)


def read_head(
    scope: Scope, client_header: bytes = b"", non_finite: NonFinite = NonFinite.NULL
) -> Head:
    """One pass over the headers. Raises InvalidInput.

    The client is what ``client_header`` names, and its address otherwise.
    """
    head = Head(non_finite=non_finite)
    for name, value in scope["headers"]:
        take = _HEADERS.get(name)
        if take is not None:
            take(head, value)
        if name == client_header:
            head.client = value[:_LONGEST_CLIENT].decode("latin-1")
    if not head.client and (address := scope.get("client")):
        head.client = address[0]
    return head


def _length(head: Head, value: bytes) -> None:
    if not value.isdigit() or len(value) > _MOST_DIGITS:
        raise InvalidInput(f"header Content-Length is not a number: {value.decode('latin-1')!r}")
    head.length = int(value)


def _content_type(head: Head, value: bytes) -> None:
    if value in _JSON_TYPES:
        head.content_type = value
    else:
        head.content_type = value.split(b";", 1)[0].strip().lower()
        head.full_type = value


def _content_encoding(head: Head, value: bytes) -> None:
    head.content_encoding = value.strip().lower()


def _accept_encoding(head: Head, value: bytes) -> None:
    head.accept_encoding = value


def _timeout(head: Head, value: bytes) -> None:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not (0 < seconds < math.inf):
        raise InvalidInput(
            f"header {TIMEOUT_HEADER}: expected seconds as a positive number such as 0.25, "
            f"got {value.decode('latin-1')!r}"
        )
    head.timeout = seconds


def _priority(head: Head, value: bytes) -> None:
    text = value.decode("latin-1").strip().lower()
    try:
        head.priority = Priority(text)
    except ValueError:
        known = ", ".join(f"'{priority}'" for priority in Priority)
        raise InvalidInput(f"header {PRIORITY_HEADER}: expected {known}, got {text!r}") from None


def _non_finite(head: Head, value: bytes) -> None:
    text = value.decode("latin-1").strip().lower()
    try:
        head.non_finite = NonFinite(text)
    except ValueError:
        known = ", ".join(f"'{choice}'" for choice in NonFinite)
        raise InvalidInput(f"header {NON_FINITE_HEADER}: expected {known}, got {text!r}") from None


def _json_length(head: Head, value: bytes) -> None:
    if not value.isdigit() or len(value) > _MOST_DIGITS:
        raise InvalidInput(
            f"header {JSON_LENGTH_HEADER}: expected a number of bytes, "
            f"got {value.decode('latin-1')!r}"
        )
    head.json_length = int(value)


def _request_id(head: Head, value: bytes) -> None:
    head.request_id = read_id(value)


def _of_trace(name: bytes) -> Callable[[Head, bytes], None]:
    def take(head: Head, value: bytes) -> None:
        if len(value) <= LONGEST_TRACE_HEADER:
            head.trace = {**(head.trace or {}), name: value}

    return take


_HEADERS: dict[bytes, Callable[[Head, bytes], None]] = {
    b"content-length": _length,
    b"content-type": _content_type,
    b"content-encoding": _content_encoding,
    b"accept-encoding": _accept_encoding,
    TIMEOUT_HEADER.lower().encode(): _timeout,
    PRIORITY_HEADER.lower().encode(): _priority,
    NON_FINITE_HEADER.lower().encode(): _non_finite,
    JSON_LENGTH_HEADER.lower().encode(): _json_length,
    REQUEST_ID_HEADER.lower().encode(): _request_id,
    **{name: _of_trace(name) for name in TRACE_HEADERS},
}


def check_encoded(head: Head) -> None:
    """Raises UnsupportedContent for an encoding that isn't undone here."""
    if head.content_encoding:
        check_encoding(head.content_encoding.decode("latin-1"))


def is_json(content_type: bytes) -> bool:
    """Whether the body may be JSON."""
    return content_type in _JSON_TYPES or content_type.endswith(b"+json")


def check_content(head: Head, *, binary: bool = False) -> None:
    """Raises UnsupportedContent unless the body may be JSON, or ``binary`` tensors behind it."""
    content_type = head.content_type
    check_encoded(head)
    # So JavaScript's fetch calls a string, and aiohttp calls bytes, unless told otherwise;
    # TensorFlow Serving and Triton don't look.
    if is_json(content_type) or content_type in {PLAIN, BINARY}:
        return
    or_binary = " or 'application/octet-stream'" if binary else ""
    raise UnsupportedContent(
        f"Content-Type is '{content_type.decode('latin-1')}', "
        f"expected 'application/json'{or_binary}"
    )


def check_length(length: int | None, limit: int) -> None:
    """Raises TooLarge before anything is read."""
    if length is not None and length > limit:
        raise TooLarge(f"the body has {length} bytes, the limit is {limit}")


async def read_body(receive: Receive, limit: int, permit: Permit, seconds: float) -> bytes:
    """The whole body, however it is cut.

    Raises TooLarge as soon as the limit is passed, BodyTimeout, Overloaded, ClientDisconnected.
    """
    first = Begun(receive())
    body = _Body(limit, permit)
    if first.done and not body.take(first.result):  # as a rule: it needs no timeout
        return body.chunks[0]
    try:
        async with asyncio.timeout(seconds):
            more = first.done or body.take(await first)
            while more:
                more = body.take(await receive())
    except TimeoutError:
        text = f"only {body.size} bytes of the body arrived within {seconds:g} s"
        raise BodyTimeout(text) from None
    if body.size < _JOIN_OFF_LOOP_FROM:
        return b"".join(body.chunks)
    return await asyncio.to_thread(b"".join, body.chunks)


class _Body:
    """The pieces that have come."""

    __slots__ = ("_limit", "_permit", "chunks", "size")

    def __init__(self, limit: int, permit: Permit) -> None:
        self.chunks: list[bytes] = []
        self.size = 0
        self._limit = limit
        self._permit = permit

    def take(self, message: Message) -> bool:
        """Add a piece; whether there is more to come."""
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        chunk: bytes = message.get("body", b"")
        self.chunks.append(chunk)
        self.size += len(chunk)
        check_length(self.size, self._limit)
        self._permit.grow(len(chunk))
        return bool(message.get("more_body", False))
