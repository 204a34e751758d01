"""Single JSON values and flat arrays of them: what becomes of them in a data type."""

from typing import Any, NamedTuple

import numpy as np

from inference_service.core.errors import InvalidInput, Path
from inference_service.core.tensors import Array, DType, Shape, shape_fits
from inference_service.protocols import base64_text

BASE64_KEY = "b64"
_EXACT_FLOAT = 2.0**53  # above it a float no longer holds every integer
_FEW = 4096  # numbers, for which one pass over their squares is cheaper than smallest and largest
_SQUARES = {d: d.largest if d is DType.FP64 else d.largest**2 for d in DType if d.is_float}
"""What a sum of squares may be if every number is to fit the type; NaN and Infinity don't."""


class Rules(NamedTuple):
    """How strictly numbers are read.

    Without ``check_booleans``, true and false among numbers are taken for 1 and 0 as numpy does:
    for bodies that hold neither. ``non_finite`` takes NaN and Infinity, which JSON doesn't have.
    """

    check_booleans: bool = True
    non_finite: bool = False


STRICT = Rules()


def numbers(value: Any, dtype: DType, shape: Shape, *, rules: Rules = STRICT) -> Array | None:
    """The value as an array; None where it isn't numbers (or booleans) of this type and shape."""
    try:
        raw = np.asarray(value)
    except (ValueError, OverflowError):  # ragged, or not numbers at all
        return None
    if not shape_fits(raw.shape, shape):
        return None
    if dtype is DType.UINT64 and raw.dtype.kind == "f":
        raw = _unsigned(value, raw)
    array = cast(raw, dtype, non_finite=rules.non_finite)
    if array is None or dtype is DType.BOOL or not rules.check_booleans:
        return array
    return None if _has_bool(value) else array


def _has_bool(value: Any) -> bool:
    if isinstance(value, list):
        return any(_has_bool(item) for item in value)
    return isinstance(value, bool)


def strings(value: Any, shape: Shape) -> Array | None:
    """The value as an array of str, or None where it isn't strings of this shape."""
    flat: list[str] = []
    actual = _string_shape(value, flat, len(shape))
    if actual is None or not shape_fits(actual, shape):
        return None
    array = np.empty(len(flat), object)
    array[:] = flat
    return array.reshape(actual)


def _string_shape(value: Any, leaves: list[str], depth: int) -> tuple[int, ...] | None:
    """The shape of nested lists of strings, whose leaves are collected; None if they have none."""
    if not isinstance(value, list):
        text = text_of(value)
        if text is None:
            return None
        leaves.append(text)
        return ()
    if depth == 0:
        return None
    inner = {_string_shape(item, leaves, depth - 1) for item in value}
    if not value:
        return (0,)
    rest = inner.pop()
    return None if inner or rest is None else (len(value), *rest)


def cast(raw: Array, dtype: DType, *, non_finite: bool = False) -> Array | None:
    """To the wanted dtype where no value changes its meaning; else None."""
    kind, target = raw.dtype.kind, dtype.numpy
    if raw.size == 0:
        return raw.astype(target)
    if dtype is DType.BOOL:
        return raw if kind == "b" else None
    if kind not in "iuf":
        return None
    if dtype.is_float:
        return _float(raw, dtype, non_finite=non_finite)
    if kind == "f":
        if not (np.abs(raw) <= _EXACT_FLOAT).all() or (raw != np.trunc(raw)).any():
            return None
        raw = raw.astype(np.int64)
    smallest, largest = dtype.limits
    in_range = raw.min() >= smallest and raw.max() <= largest
    return raw.astype(target) if in_range else None


def _unsigned(value: Any, raw: Array) -> Array:
    """numpy makes floats, and loses digits, of integers on both sides of 2**63."""
    exact = np.asarray(value, object)
    if not all(type(item) is int for item in exact.flat):
        return raw
    try:
        return exact.astype(np.uint64)
    except OverflowError:
        return raw


def _float(raw: Array, dtype: DType, *, non_finite: bool) -> Array | None:
    target, largest = dtype.numpy, dtype.largest
    if raw.dtype.kind != "f" and dtype is not DType.FP16:
        return raw.astype(target)  # there is no integer that is too large
    if raw.size <= _FEW and raw.dtype.kind == "f" and _square(raw) <= _SQUARES[dtype]:
        return raw.astype(target)
    smallest = np.minimum.reduce(raw, axis=None)
    if smallest >= -largest and np.maximum.reduce(raw, axis=None) <= largest:
        return raw.astype(target)
    with np.errstate(over="ignore"):
        array = raw.astype(target)
    finite = np.isfinite(array)
    if finite.all():
        return array
    # NaN and Infinity as sent; a number that is too large for the type stays an error.
    return array if non_finite and not np.isfinite(raw[~finite]).any() else None


def _square(raw: Array) -> float:
    return float(np.vdot(raw, raw))  # type: ignore[arg-type]  # they are floats


def bytes_of(text: str, at: Path) -> bytes:
    """Base64 to bytes. Raises InvalidInput."""
    try:
        return base64_text.decoded(text)
    except ValueError as error:
        raise InvalidInput(f"not base64: {error}", at) from None


def text_of(value: Any) -> str | None:
    """A string leaf: the string itself or ``{"b64": …}`` of UTF-8."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and value.keys() == {BASE64_KEY}:
        try:
            return base64_text.decoded(value[BASE64_KEY]).decode()
        except (AttributeError, ValueError):
            return None
    return None
