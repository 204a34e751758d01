"""Where a JSON value is not what a tensor spec wants: the first wrong place, in words.

Slow on purpose: values are walked only once something is known to be wrong.
"""

from typing import Any

import numpy as np

from inference_service.core.errors import InvalidInput, Path
from inference_service.core.tensors import DType, Shape, TensorSpec, render_shape
from inference_service.protocols.json_values import BASE64_KEY, cast, text_of

_NOUNS = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    dict: "an object",
    list: "an array",
    type(None): "null",
}


def fault(value: Any, spec: TensorSpec, shape: Shape, at: Path) -> InvalidInput:
    """The error for the first place where the value isn't what the spec wants."""
    path, message = _first_fault(value, spec, shape)
    return InvalidInput(message, (*at, *path))


def _first_fault(value: Any, spec: TensorSpec, shape: Shape) -> tuple[Path, str]:
    if not shape:
        return (), _leaf_fault(value, spec)
    if not isinstance(value, list):
        return (), f"expected an array of shape {render_shape(shape)}, got {noun(value)}"
    if shape[0] is not None and len(value) != shape[0]:
        got = _shape_of(value) or (len(value),)
        return (), f"expected shape {render_shape(shape)}, got {render_shape(got)}"
    rest = _common_rest(value, shape[1:])
    for index, item in enumerate(value):
        if not _ok(item, spec, rest):
            path, message = _first_fault(item, spec, rest)
            return (index, *path), message
    return (), f"expected {spec.dtype.label} values of shape {render_shape(shape)}"


def _common_rest(value: list[Any], rest: Shape) -> Shape:
    """A free axis has one length in all rows: that of the first row counts."""
    first = _shape_of(value[0]) if value else None
    if first is None or len(first) != len(rest):
        return rest
    return tuple(got if want is None else want for want, got in zip(rest, first, strict=True))


def _ok(value: Any, spec: TensorSpec, shape: Shape) -> bool:
    if not shape:
        return _leaf_ok(value, spec.dtype)
    return (
        isinstance(value, list)
        and (shape[0] is None or len(value) == shape[0])
        and all(_ok(item, spec, _common_rest(value, shape[1:])) for item in value)
    )


def _leaf_ok(value: Any, dtype: DType) -> bool:
    if dtype is DType.BYTES:
        return text_of(value) is not None
    if dtype is DType.BOOL:
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return cast(np.asarray([value]), dtype) is not None
    except OverflowError:
        return False


def _leaf_fault(value: Any, spec: TensorSpec) -> str:
    dtype = spec.dtype
    if dtype is DType.BYTES and isinstance(value, dict) and value.keys() == {BASE64_KEY}:
        return 'expected base64 of UTF-8 text in {"b64": …}'
    if isinstance(value, list):
        return f"expected one {dtype.label}, got an array of shape {render_shape(_sizes(value))}"
    if isinstance(value, float) and dtype.is_integer and value != int(value):
        return f"expected a whole number ({dtype.label}), got {value!r}"
    if isinstance(value, int | float) and not isinstance(value, bool) and dtype.is_integer:
        smallest, largest = dtype.limits
        return f"expected {dtype.label} from {smallest} to {largest}, got {value!r}"
    if isinstance(value, int | float) and not isinstance(value, bool) and dtype.is_float:
        return f"expected a finite {dtype.label} (up to {dtype.largest:.4g}), got {value!r}"
    return f"expected {dtype.label}, got {noun(value)}"


def noun(value: Any) -> str:
    """``an array``, ``a string 'x'``: what a client has sent, in an error message."""
    kind = _NOUNS.get(type(value), type(value).__name__)
    if isinstance(value, str):
        return f"{kind} '{value[:40]}{'…' if len(value) > 40 else ''}'"
    return kind


def _sizes(value: Any) -> tuple[int, ...]:
    return _shape_of(value) or (len(value),)


def _shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of nested lists whatever their leaves are; None where they are ragged."""
    if not isinstance(value, list):
        return ()
    if not value:
        return (0,)
    first = _shape_of(value[0])
    if first is None or any(_shape_of(item) != first for item in value[1:]):
        return None
    return (len(value), *first)
