"""Single JSON values and flat arrays of them: what becomes of them in a data type."""

from collections.abc import Sequence
from itertools import chain
from types import NoneType
from typing import Any, NamedTuple

import numpy as np

from inference_service.core.errors import InvalidInput, Path
from inference_service.core.tensors import (
    MOST_AXES,
    Array,
    DType,
    Shape,
    same_values,
    shape_fits,
)
from inference_service.protocols import base64_text

_DATA, _BASE64 = "data:", ";base64"
_URLS = ("http://", "https://")
BASE64_KEY = "b64"
_EXACT_FLOAT = 2.0**53  # from it on a float no longer holds every integer
_NUMBERS = frozenset({int, float})
_BOOLEANS = frozenset({bool})
_NULLABLE = frozenset({int, float, NoneType})
FEW_NUMBERS = 4096
"""For which one pass over their squares is cheaper than smallest and largest."""
SQUARES = {d: d.largest if d is DType.FP64 else d.largest**2 for d in DType if d.is_float}
"""What a sum of squares may be if every number is to fit the type; NaN and Infinity don't."""


class Rules(NamedTuple):
    """How strictly numbers are read.

    Without ``check_types`` numpy is the first to look at the type of each value: for bodies
    that can hold neither strings nor booleans in place of numbers. ``non_finite`` takes NaN and
    Infinity, which JSON doesn't have; ``null`` takes null for a NaN.
    """

    check_types: bool = True
    non_finite: bool = False
    null: bool = False


STRICT = Rules()


def numbers(
    value: Any, dtype: DType, shape: Shape | None, *, rules: Rules = STRICT
) -> Array | None:
    """The value as an array; None where it isn't numbers (or booleans) of this type and shape.

    numpy never sees a string: of a list of strings it would make an array as wide as the longest.
    """
    if rules.check_types:
        kinds = leaf_types(value)
        if not kinds <= (_BOOLEANS if dtype is DType.BOOL else _NULLABLE):
            return None
    try:
        raw = np.asarray(value)
    except (ValueError, OverflowError):  # ragged, or not numbers at all
        return None
    if raw.dtype.kind == "O":
        return _from_objects(value, dtype, shape, rules)
    if not shape_fits(raw.shape, shape):
        same = _reshaped(raw.shape, shape)
        if same is None:
            return None
        raw = raw.reshape(same)
    if raw.dtype.kind == "f" and dtype.is_integer and not (np.abs(raw) < _EXACT_FLOAT).all():
        return _exact(value, raw, dtype)
    return cast(raw, dtype, non_finite=rules.non_finite)


def leaf_types(value: Any) -> set[type]:
    """The types of what is not a list, however deeply in lists it is."""
    if not isinstance(value, list):
        return {type(value)}
    found: set[type] = set()
    level = value
    while True:
        kinds = set(map(type, level))
        nested = list in kinds
        kinds.discard(list)
        found |= kinds
        if not nested:
            return found
        level = list(chain.from_iterable(item for item in level if type(item) is list))


def _from_objects(value: Any, dtype: DType, shape: Shape | None, rules: Rules) -> Array | None:
    """Floats, some of them null where that means NaN, or integers beyond all of numpy's."""
    if not dtype.is_float or leaf_types(value) - (_NULLABLE if rules.null else _NUMBERS):
        return None
    try:
        raw = np.asarray(value, object)
        if not shape_fits(raw.shape, shape):
            same = _reshaped(raw.shape, shape)
            if same is None:
                return None
            raw = raw.reshape(same)
        missing = np.asarray(raw == None)  # noqa: E711 - of each element
        present = np.where(missing, 0.0, raw).astype(np.float64)
    except (ValueError, OverflowError, TypeError):  # ragged, or an integer beyond all floats
        return None
    array = cast(present, dtype, non_finite=rules.non_finite)
    if array is not None:
        array[missing] = np.nan
    return array


def _reshaped(actual: Sequence[int], wanted: Shape | None) -> tuple[int, ...] | None:
    """The shape that the same values have in the spec: see `same_values`.

    JSON can't say how long the axes within an empty list are: the spec has to, unless there are no
    rows at all.
    """
    if wanted is None or 0 not in actual or len(actual) >= len(wanted):
        return same_values(actual, wanted)
    axes, rest = wanted[: len(actual)], wanted[len(actual) :]
    if not shape_fits(actual, axes) or (None in rest and actual != (0,)):
        return None
    return (*actual, *(n or 0 for n in rest))


def _exact(value: Any, raw: Array, dtype: DType) -> Array | None:
    """Integers among which some are written as floats, or that no one type of numpy holds.

    numpy makes floats of all, and loses digits: each is looked at as it was sent. A float stands
    for an integer only below 2**53, where no two integers have one float.
    """
    flat = flattened(value)
    smallest, largest = dtype.limits
    for place, item in enumerate(flat):
        if type(item) is float:
            if not (abs(item) < _EXACT_FLOAT and item.is_integer()):
                return None
            flat[place] = int(item)
        if not smallest <= flat[place] <= largest:
            return None
    return np.array(flat, dtype.numpy).reshape(raw.shape)


def flattened(value: Any) -> list[Any]:
    """What is not a list, in its order; the value is not ragged."""
    if not isinstance(value, list):
        return [value]
    flat = value
    while flat and isinstance(flat[0], list):
        flat = list(chain.from_iterable(flat))
    return list(flat) if flat is value else flat


MOST_TEXTS = 2**20
"""Of one tensor: each is an object, and filling or freeing an array of them lets nothing else run,
for a tenth of a second at this number."""


def check_texts(count: int) -> None:
    """Raises InvalidInput for a tensor of more than `MOST_TEXTS` texts."""
    if count > MOST_TEXTS:
        raise InvalidInput(f"a tensor has at most {MOST_TEXTS} texts, got {count}")


def strings(value: Any, shape: Shape | None) -> Array | None:
    """The value as an array of str, or None where it isn't strings of this shape.

    Raises InvalidInput for too many.
    """
    flat: list[str] = []
    actual = _string_shape(value, flat, MOST_AXES if shape is None else len(shape) + 1)
    if actual is None:
        return None
    if not shape_fits(actual, shape):
        actual = _reshaped(actual, shape)
        if actual is None:
            return None
    check_texts(len(flat))
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
        if not (np.abs(raw) < _EXACT_FLOAT).all() or (raw != np.trunc(raw)).any():
            return None
        raw = raw.astype(np.int64)
    smallest, largest = dtype.limits
    in_range = raw.min() >= smallest and raw.max() <= largest
    return raw.astype(target) if in_range else None


def _float(raw: Array, dtype: DType, *, non_finite: bool) -> Array | None:
    target, largest = dtype.numpy, dtype.largest
    if raw.dtype.kind != "f" and dtype is not DType.FP16:
        return raw.astype(target)  # there is no integer that is too large
    if raw.size <= FEW_NUMBERS and raw.dtype.kind == "f" and _square(raw) <= SQUARES[dtype]:
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


def file_of(text: str, at: Path) -> tuple[bytes, str]:
    """A file in base64, bare or as a data URL (RFC 2397), and its type. Raises InvalidInput."""
    media = ""
    if text[: len(_DATA)].lower() == _DATA:
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(_BASE64):
            raise InvalidInput("expected a data URL in base64: data:TYPE;base64,...", at)
        media = head[len(_DATA) : -len(_BASE64)]
    elif text.startswith(_URLS):
        raise InvalidInput("expected base64, got a URL: files are sent, not fetched", at)
    return bytes_of(text, at), media


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
