"""Large JSON bodies straight into arrays, without a Python object for each number.

simdjson (https://arxiv.org/abs/1902.08318) parses the body, and an array of numbers is handed over
as one buffer. This way takes what is plainly right and nothing else: on any doubt the caller goes
the usual way (`json_tensors`), which decides, and finds the words for what is wrong.
"""

import math
import threading
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import simdjson

from inference_service.core.tensors import Array, DType, Shape, Signature, Tensors, TensorSpec
from inference_service.protocols.json_values import cast

QUICK_FROM = 1024
"""Bytes. Below this the usual way is as quick."""

_LARGEST_KEPT = 2**20  # bytes; a parser keeps buffers as large as the largest body it has seen
_MOST_MEMBERS = 8  # of an object that is taken; see `QuickBody.items`
_SHORTEST = 8  # numbers in an innermost array; with less, walking the arrays costs more
_MOST_MEMBERS_LOOKED_INTO = 64  # of one whose values are counted: the same linear search
_MOST_ELEMENTS = 1024  # of an array that is taken apart, and values that are made objects of
_MOST_FOUND = 1024  # arrays that are looked for one by one
_LETTERS: dict[str, Literal["d", "i", "u"]] = {"f": "d", "i": "i", "u": "u"}
_READ_AS = {"d": np.float64, "i": np.int64, "u": np.uint64}

_parsers = threading.local()


class QuickBody:
    """A parsed body. Let go of it: its parser can't be used again while its values are alive."""

    def __init__(self, body: bytes) -> None:
        self._arrays_left = _arrays(body)
        self.value: Any = _parser(len(body)).parse(body)

    @property
    def accounted(self) -> bool:
        """Whether every array of the body was looked at: numbers were flattened unseen."""
        return self._arrays_left == 0

    def items(self, value: Any, most: int = _MOST_MEMBERS) -> dict[str, Any] | None:
        """The members of an object; None for anything else and where a key comes twice.

        None, too, for an object of more than ``most`` members: each is found by a linear search.
        """
        if not isinstance(value, simdjson.Object) or len(value) > most:
            return None
        keys = list(value.keys())
        # pysimdjson looks a key up as a C string: it ends at a zero byte.
        if len(set(keys)) != len(keys) or any("\0" in key for key in keys):
            return None
        # Not value.items(): that makes Python objects of everything inside.
        return {key: value[key] for key in keys}

    def plain(self, value: Any) -> Any:
        """A value as Python objects. None, and in doubt, where these are too many to make at once.

        What is not an array of numbers has few values: names, shapes, parameters.
        """
        if not isinstance(value, simdjson.Array | simdjson.Object):
            return value
        if not at_most(value, _MOST_ELEMENTS):
            self._arrays_left = -1
            return None
        value = value.as_list() if isinstance(value, simdjson.Array) else value.as_dict()
        try:
            self._arrays_left -= _arrays_in(value)
        except RecursionError:
            self._arrays_left = -1
        return value

    def elements(self, value: Any) -> list[Any] | None:
        """The elements of an array, whose own values are still to be looked at."""
        if not isinstance(value, simdjson.Array) or len(value) > _MOST_ELEMENTS:
            return None
        self._arrays_left -= 1
        return list(value)

    def numbers(self, value: Any, dtype: DType, shape: Shape | None) -> Array | None:
        """An array of numbers that fits the shape; None on any doubt."""
        letter = _LETTERS.get(dtype.numpy.kind)
        if letter is None or not shape or not isinstance(value, simdjson.Array):
            return None
        if len(shape) > 1 and shape[-1] is not None and shape[-1] < _SHORTEST:
            return None
        sizes = self._sizes(value, shape)
        if sizes is None:
            return None
        try:
            raw = np.frombuffer(value.as_buffer(of_type=letter), _READ_AS[letter])
        except (TypeError, ValueError):
            return None
        if raw.size == 0 or raw.size != math.prod(sizes):
            return None
        array = cast(raw, dtype)
        return None if array is None else array.reshape(sizes)

    def _sizes(self, value: Any, shape: Shape) -> tuple[int, ...] | None:
        self._arrays_left -= 1
        size = len(value)
        if shape[0] not in {None, size}:
            return None
        if len(shape) == 1:
            return (size,)
        rest: tuple[int, ...] | None = None
        for item in value:
            if not isinstance(item, simdjson.Array):
                return None
            found = self._sizes(item, shape[1:])
            if found is None or rest not in {None, found}:
                return None
            rest = found
        return None if rest is None else (size, *rest)

    def rank(self, value: Any) -> int:
        """How deeply arrays are nested, going by the first elements."""
        rank = 0
        while isinstance(value, simdjson.Array):
            rank += 1
            value = next(iter(value), None)
        return rank

    def columns(self, value: Any, signature: Signature) -> Tensors | None:
        """Every input of a model as a tensor: bare for a model with one, else by name."""
        if isinstance(value, simdjson.Array):
            if len(signature.inputs) != 1:
                return None
            value = {signature.inputs[0].name: value}
        else:
            value = self.items(value, len(signature.inputs))
        if value is None or value.keys() != {spec.name for spec in signature.inputs}:
            return None
        tensors: dict[str, Array] = {}
        for spec in signature.inputs:
            array = self._column(value[spec.name], spec, signature)
            if array is None:
                return None
            tensors[spec.name] = array
        return tensors

    def _column(self, value: Any, spec: TensorSpec, signature: Signature) -> Array | None:
        return self.numbers(value, spec.dtype, signature.wanted_shape(spec))


def open_quickly(body: bytes) -> QuickBody | None:
    """The body as a `QuickBody`; None where it is short or isn't JSON."""
    if len(body) < QUICK_FROM or body[:1] not in b"{[ \n\r\t":
        return None
    try:
        return QuickBody(body)
    except (ValueError, RuntimeError, MemoryError):
        return None


def _parser(size: int) -> Any:
    if size > _LARGEST_KEPT:
        return simdjson.Parser()
    parser = getattr(_parsers, "parser", None)
    if parser is None:
        parser = _parsers.parser = simdjson.Parser()
    return parser


def _arrays(body: bytes) -> int:
    """How many arrays begin in the body. (bytes.count looks at every byte; find is memchr.)"""
    count, position = 0, body.find(b"[")
    while position >= 0:
        count += 1
        if count == _MOST_FOUND:
            return count + body.count(b"[", position + 1)
        position = body.find(b"[", position + 1)
    return count


def at_most(value: Any, most: int) -> bool:
    """Whether a parsed value holds no more than ``most`` values, however deeply.

    No object is made of what is beyond. False, too, where an object has more than 64 members.
    """
    count, inner = 0, [iter([value])]
    while inner:
        for one in inner[-1]:
            count += 1
            if isinstance(one, simdjson.Array | simdjson.Object):
                if count + len(one) > most:
                    return False
                if isinstance(one, simdjson.Object):
                    if len(one) > _MOST_MEMBERS_LOOKED_INTO:
                        return False
                    inner.append(_members(one))
                else:
                    inner.append(iter(one))
                break
        else:
            inner.pop()
    return count <= most


def _members(value: Any) -> Iterator[Any]:
    return (value[key] for key in value.keys())  # noqa: SIM118 - it is no dict


def _arrays_in(value: Any) -> int:
    if isinstance(value, dict):
        return sum(_arrays_in(item) for item in value.values())
    if isinstance(value, list):
        return 1 + sum(_arrays_in(item) for item in value)
    return 0
