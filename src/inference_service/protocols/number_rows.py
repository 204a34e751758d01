"""Numbers of one input, read by a function that is made for its type and shape. Pure.

What these functions give is what `json_values.numbers` gives. They give None for all that is not
plainly right, and the caller goes the usual way, which decides and finds the words.
"""

import struct
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from inference_service.core.tensors import Array, DType, Shape, shape_fits
from inference_service.protocols.json_values import FEW_NUMBERS, SQUARES, cast

ReadNumbers: TypeAlias = Callable[[list[Any]], Array | None]

_EXACT = 2.0**105
"""A bound of the squares of integers that doubles hold exactly, and half of it for rounding."""
_LETTERS = {DType.FP32: "f", DType.FP64: "d"}
"""Of `struct`, in the machine's own form, which gives infinity where a number is too large."""
_DOUBLE = np.dtype(np.float64)
_U, _L = b"ul"


def holds_no_words(body: bytes) -> bool:
    """Whether neither true nor false nor null can be in it: each has a u or an l."""
    return _U not in body and _L not in body


def number_reader(dtype: DType, shape: Shape) -> ReadNumbers | None:
    """A reader of parsed JSON without booleans and nulls, for arrays of exactly this shape.

    Short texts may be in it (see `json_tensors.rules_for`). None: there is no such reader.
    """
    if dtype is DType.BYTES or dtype is DType.BOOL or not shape:
        return None
    read = _reader(dtype, shape)
    fixed = shape[0] is None and dtype.is_float
    read_row = _row_reader(dtype, shape[1:]) if fixed else None
    if read_row is None:
        return read
    row_of = read_row

    def read_quickly(value: list[Any]) -> Array | None:
        row = row_of(value[0]) if len(value) == 1 else None
        return read(value) if row is None else row

    return read_quickly


def _reader(dtype: DType, shape: Shape) -> ReadNumbers:
    target, is_float = dtype.numpy, dtype.is_float
    most, rest = SQUARES.get(dtype, 0.0), tuple(shape[1:])
    fixed = shape[0] is None and None not in rest

    def fits(actual: tuple[int, ...]) -> bool:
        return actual[1:] == rest and bool(actual) if fixed else shape_fits(actual, shape)

    def read(value: list[Any]) -> Array | None:
        try:
            raw = np.asarray(value)
        except (ValueError, OverflowError):
            return None
        if not raw.size or not fits(raw.shape):
            return None
        if raw.dtype is _DOUBLE and is_float:
            if raw.size <= FEW_NUMBERS and np.vdot(raw, raw) <= most:
                return raw.astype(target)
        elif raw.dtype.kind not in "iu":  # integers as floats: the usual way looks at each of them
            return None
        return cast(raw, dtype)

    return read


def _row_reader(dtype: DType, rest: tuple[int | None, ...]) -> Callable[[Any], Array | None] | None:
    """A reader of one row, in two thirds of numpy's time: struct makes the type's numbers of them.

    numpy makes int64 of integers alone, and casts those. Up to 2**53 both ways give the same, as
    doubles hold them exactly: the sum of squares tells that all are below. What is too large for
    the type is infinite in it. The array can't be written to.
    """
    length = rest[0] if len(rest) == 1 else None
    letter = _LETTERS.get(dtype)
    if not length or length > FEW_NUMBERS or letter is None:
        return None
    pack, target = struct.Struct(f"{length}{letter}").pack, dtype.numpy

    def read(row: Any) -> Array | None:
        if type(row) is not list or len(row) != length:
            return None
        try:
            raw = np.frombuffer(pack(*row), target)
        except (struct.error, OverflowError):  # not numbers
            return None
        # The method `dot` would warn of an overflow.
        return raw.reshape(1, length) if np.vdot(raw, raw) < _EXACT else None

    return read
