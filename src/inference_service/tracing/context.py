"""The trace that a request is part of, as its headers tell. Pure.

W3C Trace Context (https://www.w3.org/TR/trace-context/) goes before B3
(https://github.com/openzipkin/b3-propagation), whose single header goes before several ones.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACE = re.compile(rb"(?:[0-9a-f]{16}){1,2}")
_SPAN = re.compile(rb"[0-9a-f]{16}")
_SAMPLED = {b"1": True, b"true": True, b"d": True, b"0": False, b"false": False}


class Parent(NamedTuple):
    """The span that a request was sent from. ``sampled`` is the sender's decision; B3 may leave it
    open (None)."""

    trace: int
    span: int
    sampled: bool | None


def parent_of(headers: Mapping[bytes, bytes]) -> Parent | None:
    """The parent in a request's headers (names in lower case); None: no valid one."""
    found = _w3c(headers.get(b"traceparent", b""))
    if found is None and b"b3" in headers:
        found = _b3(*[*headers[b"b3"].lower().split(b"-"), b"", b""][:3])
    if found is None:
        sampled = b"d" if headers.get(b"x-b3-flags") == b"1" else headers.get(b"x-b3-sampled", b"")
        trace, span = headers.get(b"x-b3-traceid", b""), headers.get(b"x-b3-spanid", b"")
        found = _b3(trace.lower(), span.lower(), sampled.lower())
    return found


def traceparent(trace: int, span: int, *, sampled: bool) -> bytes:
    """The header of a span."""
    return b"00-%032x-%016x-%02x" % (trace, span, sampled)


def b3(trace: int, span: int, *, sampled: bool) -> bytes:
    """B3's single header of a span."""
    return b"%032x-%016x-%d" % (trace, span, sampled)


def _w3c(value: bytes) -> Parent | None:
    match = _TRACEPARENT.fullmatch(value)
    if match is None or (value[:2] == b"00" and match[4]):
        return None
    return _valid(int(match[1], 16), int(match[2], 16), sampled=bool(int(match[3], 16) & 1))


def _b3(trace: bytes, span: bytes, sampled: bytes) -> Parent | None:
    if not (_TRACE.fullmatch(trace) and _SPAN.fullmatch(span)):
        return None
    return _valid(int(trace, 16), int(span, 16), sampled=_SAMPLED.get(sampled))


def _valid(trace: int, span: int, *, sampled: bool | None) -> Parent | None:
    return Parent(trace, span, sampled) if trace and span else None
