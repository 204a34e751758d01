"""Decoding of files where it can be stopped: pipelines say what, the service says where.

A decoder of pictures or sound runs in native code for as long as its file makes it: no thread can
be stopped. A pipeline gives it to `decoded`, with plain arguments and a plain result, and a service
that has processes for it runs it there. Work in parts, such as tokenising many texts, asks between
them whether it is still wanted.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

import numpy as np

from inference_service.core.errors import DeadlineExceeded

T = TypeVar("T")

Decode = Callable[[Callable[..., Any], tuple[Any, ...]], Any]
"""Calls a function of a module with these arguments, somewhere."""

_decode: ContextVar[Decode | None] = ContextVar("decode", default=None)
_counts: ContextVar[list[int] | None] = ContextVar("counts", default=None)
_stopped: ContextVar[Callable[[], bool] | None] = ContextVar("stopped", default=None)


def check_wanted() -> None:
    """Between the parts of long work in a thread. Raises DeadlineExceeded where nothing waits for
    the whole any more."""
    stopped = _stopped.get()
    if stopped is not None and stopped():
        raise DeadlineExceeded("the deadline passed while it was being decoded")


def decoded(function: Callable[..., T], *arguments: Any) -> T:
    """What the function returns: plain values, lists and arrays; tuples may come back as lists.

    It must stand in a module, by its name. Raises what it raises of InvalidInput, DeadlineExceeded,
    and InvalidInput where it takes all memory or ends its process.
    """
    decode = _decode.get()
    found: T = function(*arguments) if decode is None else decode(function, arguments)
    counts = _counts.get()
    if counts is not None:
        counts.append(_bytes_of(found))
    return found


def counted(function: Callable[..., T], *arguments: Any) -> tuple[T, int]:
    """Call the function; and how many bytes of arrays came out of what it gave to `decoded`."""
    counts: list[int] = []
    token = _counts.set(counts)
    try:
        return function(*arguments), sum(counts)
    finally:
        _counts.reset(token)


def _bytes_of(value: Any) -> int:
    if isinstance(value, list | tuple):
        return sum(map(_bytes_of, value))
    return value.nbytes if isinstance(value, np.ndarray) else 0


def decodes_here() -> bool:
    """Whether `decoded` calls its function in this thread."""
    return _decode.get() is None


def decoding_by(decode: Decode | None, function: Callable[..., T], *arguments: Any) -> T:
    """Call the function, and let ``decode`` do what it gives to `decoded`."""
    token = _decode.set(decode)
    try:
        return function(*arguments)
    finally:
        _decode.reset(token)


def stopped_by(stopped: Callable[[], bool], function: Callable[..., T], *arguments: Any) -> T:
    """Call the function, which `check_wanted` ends once ``stopped`` says so."""
    token = _stopped.set(stopped)
    try:
        return function(*arguments)
    finally:
        _stopped.reset(token)


class Decoding(Protocol):
    """The decoding for one request."""

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call the function in this thread; what it gives to `decoded` is done elsewhere."""

    def cancel(self) -> None:
        """Nothing waits for it any more: what is being decoded is stopped. For any thread."""


class Decoders(Protocol):
    """Where files are decoded."""

    def begin(self, seconds: float) -> Decoding:
        """Decoding that ends within this many seconds."""


class Here:
    """Decoding in the thread itself, which nothing stops but `check_wanted`."""

    def __init__(self) -> None:
        self._cancelled = False

    def begin(self, seconds: float) -> "Here":
        """See `Decoders`."""
        return Here()

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """See `Decoding`."""
        found: T = stopped_by(lambda: self._cancelled, decoding_by, None, function, *arguments)
        return found

    def cancel(self) -> None:
        """See `Decoding`."""
        self._cancelled = True
