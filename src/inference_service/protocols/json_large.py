"""JSON with more values than can be read without stalling other requests.

A reader of JSON makes a Python object of each value, in one call that holds the interpreter's lock:
a million values take a good part of a second, in whatever thread. So a body with more than
`MOST_HERE` of them is read in another process, and only tensors come back. Arrays of numbers that
can be taken as they are (`json_quick`) are read here up to `QUICK_TO`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import simdjson

from inference_service.core.decoding import decoded, decodes_here
from inference_service.core.errors import TooLarge
from inference_service.core.room import check_room
from inference_service.core.tensors import Tensors
from inference_service.protocols.json_quick import at_most
from inference_service.protocols.json_tensors import parse, rules_for

LARGE_FROM = 128 * 1024
"""Bytes. What is shorter holds no more values than can be read at once, in some 30 ms."""
MOST_HERE = 40_000
"""Values that are read in this process."""
_BYTE_TAKES, _VALUE_TAKES = 14, 32
"""Bytes that a reader needs for each byte of a body (12 of them a buffer), and for each value."""
_BLOCK = 2**16
QUICK_TO = 8 * 2**20
"""Bytes that are read here if they are plain: simdjson takes 9 ns for each at most."""
MOST_VALUES = 2**18
"""Values of a body that is no tensors: texts, lists of tokens."""

Decode = Callable[..., tuple[Any, ...]]
"""Of a JSON value and further arguments, with ``rules``: `Tensors`, and plain values behind them.
It stands in a module, by its name."""

Quick = Callable[..., tuple[Any, ...] | None]
"""The same of the body itself; None where it isn't plain."""


def is_dense(body: bytes, *_: Any) -> bool:
    """Whether a short body holds more values than are read on the event loop."""
    return len(body) >= LARGE_FROM and body.count(b",") > MOST_HERE


def _separators(body: bytes, most: int) -> int:
    """No fewer than there are values in arrays and objects; commas of texts count as well.

    It stops at more than ``most``: the interpreter's lock is held for as long as it counts.
    """
    found = 0
    for start in range(0, len(body), _BLOCK):
        if found > most:
            break
        found += sum(body.count(one, start, start + _BLOCK) for one in (b",", b"[", b"{"))
    return found


def read(
    body: bytes,
    decode: Decode,
    *arguments: Any,
    quick: Quick | None = None,
    non_finite: bool = False,
    null: bool = False,
) -> tuple[Any, ...]:
    """What ``quick`` or else ``decode`` makes of the body, in this process or in another one.

    ``non_finite`` and ``null`` as in `json_values.Rules`. Raises InvalidInput.
    """
    if quick is not None and len(body) <= QUICK_TO:
        found = quick(body, *arguments)
        if found is not None:
            return found
        quick = None
    values = _separators(body, MOST_HERE) if len(body) >= LARGE_FROM else 0
    if values > MOST_HERE and decodes_here():
        values = _separators(body, len(body))
    check_room(_BYTE_TAKES * len(body) + _VALUE_TAKES * values)
    if values <= MOST_HERE:
        return _Way(quick, decode, arguments, non_finite, null).read(body)
    sent = tuple(bytes(one) if isinstance(one, memoryview) else one for one in arguments)
    way = _Way(quick, decode, sent, non_finite, null)
    names, arrays, *rest = decoded(_flattened, body, way)
    return dict(zip(names, arrays, strict=True)), *rest


class _Way(NamedTuple):
    """How a body is read, wherever that is."""

    quick: Quick | None
    decode: Decode
    arguments: tuple[Any, ...]
    non_finite: bool
    null: bool

    def read(self, body: bytes) -> tuple[Any, ...]:
        found = None if self.quick is None else self.quick(body, *self.arguments)
        if found is not None:
            return found
        rules = rules_for(body, non_finite=self.non_finite, null=self.null)
        return self.decode(parse(body, non_finite=self.non_finite), *self.arguments, rules=rules)


def _flattened(body: bytes, way: _Way) -> list[Any]:
    """As another process may send it: see `core.decoding.decoded`."""
    tensors: Tensors
    tensors, *rest = way.read(body)
    return [list(tensors), list(tensors.values()), *rest]


def parse_few(body: bytes) -> Any:
    """The JSON value of a body that is no tensors.

    Raises InvalidInput, and TooLarge for more than `MOST_VALUES` values.
    """
    if len(body) >= LARGE_FROM and _separators(body, MOST_VALUES) > MOST_VALUES:
        _check_few(body)
    check_room(_BYTE_TAKES * len(body))
    return parse(body)


def _check_few(body: bytes) -> None:
    """Counts values without making objects of them: commas may be those of texts.

    A body of more than `QUICK_TO` bytes is not looked into.
    """
    if len(body) > QUICK_TO:
        raise TooLarge(f"the body holds more than {MOST_VALUES} JSON values, or commas in texts")
    try:
        value: Any = simdjson.Parser().parse(body)
    except (ValueError, RuntimeError, MemoryError):
        return  # it is no JSON: the reader has the words, and stops where it fails
    if not at_most(value, MOST_VALUES):
        raise TooLarge(f"the body holds more than {MOST_VALUES} JSON values")
