"""Tensors as JSON: nested lists to arrays and back, shared by the JSON protocols.

The quick way is one numpy call over the whole value. Only when that doesn't give what the spec
wants is the value walked, to find the first place that is wrong and to say what was expected there.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from inference_service.core.errors import InvalidInput, Path
from inference_service.core.tensors import (
    Array,
    DType,
    Shape,
    Signature,
    Tensors,
    TensorSpec,
    render_shape,
    shape_fits,
    wrong_names,
)

_BASE64_KEY = "b64"
_EXACT_FLOAT = 2.0**53  # above it a float no longer holds every integer
_NON_FINITE = re.compile(rb"(?<![\w\"])-?(NaN|Infinity)\b")
_NOUNS = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    dict: "an object",
    list: "an array",
    type(None): "null",
}


def parse(body: bytes) -> Any:
    """The JSON value in the body. Raises InvalidInput."""
    if not body:
        raise InvalidInput("the body is empty, expected JSON")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        found = _NON_FINITE.search(body)
        if found:
            raise InvalidInput(
                f"the body is not valid JSON: {found[1].decode()} at byte {found.start()} "
                "is not a JSON number (RFC 8259); only finite numbers can be sent"
            ) from None
        raise InvalidInput(f"the body is not valid JSON: {error}") from None


def may_hold_booleans(body: bytes) -> bool:
    """Whether the slow check for booleans among numbers is needed: numpy takes true for 1."""
    return b"true" in body or b"false" in body


def to_array(
    value: Any, spec: TensorSpec, shape: Shape, at: Path, *, check_booleans: bool = True
) -> Array:
    """The value as an array of the spec's dtype that fits ``shape``.

    Raises InvalidInput whose path begins with ``at`` and goes on to the first wrong place.
    """
    if spec.dtype is DType.BYTES:
        return _strings(value, spec, shape, at)
    try:
        raw = np.asarray(value)
    except (ValueError, OverflowError):  # ragged, or not numbers at all
        raise _fault(value, spec, shape, at) from None
    if not shape_fits(raw.shape, shape):
        if 0 in raw.shape and (empty := _empty(raw, spec, shape)) is not None:
            return empty
        raise _fault(value, spec, shape, at)
    if spec.dtype is DType.UINT64 and raw.dtype.kind == "f":
        raw = _unsigned(value, raw)
    array = _cast(raw, spec.dtype)
    if array is None or (check_booleans and spec.dtype is not DType.BOOL and _has_bool(value)):
        raise _fault(value, spec, shape, at)
    return array


def _empty(raw: Array, spec: TensorSpec, shape: Shape) -> Array | None:
    """``[]`` for a shape [any, 3]: JSON can't say how long the rows are that are not there."""
    if raw.shape == (0,) and shape and shape[0] is None:
        return np.empty([0 if n is None else n for n in shape], spec.dtype.numpy)
    return None


def _cast(raw: Array, dtype: DType) -> Array | None:
    """To the wanted dtype where no value changes its meaning; else None."""
    kind, target = raw.dtype.kind, dtype.numpy
    if raw.size == 0:
        return raw.astype(target)
    if dtype is DType.BOOL:
        return raw if kind == "b" else None
    if kind not in "iuf":
        return None
    if dtype.is_float:
        return _finite(raw, target)
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


def _finite(raw: Array, target: np.dtype[np.generic]) -> Array | None:
    with np.errstate(over="ignore"):
        array = raw.astype(target)
    return array if np.isfinite(array).all() else None


def _has_bool(value: Any) -> bool:
    if isinstance(value, list):
        return any(_has_bool(item) for item in value)
    return isinstance(value, bool)


def _strings(value: Any, spec: TensorSpec, shape: Shape, at: Path) -> Array:
    flat: list[str] = []
    actual = _regular_shape(value, flat)
    if actual is None or not shape_fits(actual, shape):
        if actual == (0,) and shape and shape[0] is None:
            return np.empty([0 if n is None else n for n in shape], object)
        raise _fault(value, spec, shape, at)
    array = np.empty(len(flat), object)
    array[:] = flat
    return array.reshape(actual)


def _regular_shape(value: Any, leaves: list[str]) -> tuple[int, ...] | None:
    """The shape of nested lists of strings, whose leaves are collected; None if they have none."""
    if not isinstance(value, list):
        text = _text(value)
        if text is None:
            return None
        leaves.append(text)
        return ()
    inner = {_regular_shape(item, leaves) for item in value}
    if not value:
        return (0,)
    rest = inner.pop()
    return None if inner or rest is None else (len(value), *rest)


def _text(value: Any) -> str | None:
    """A string leaf: the string itself or ``{"b64": …}`` of UTF-8."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and value.keys() == {_BASE64_KEY}:
        try:
            return base64.b64decode(value[_BASE64_KEY], validate=True).decode()
        except (binascii.Error, ValueError, TypeError):
            return None
    return None


def _fault(value: Any, spec: TensorSpec, shape: Shape, at: Path) -> InvalidInput:
    """The error for the first place where the value isn't what the spec wants."""
    path, message = _first_fault(value, spec, shape)
    return InvalidInput(message, (*at, *path))


def _first_fault(value: Any, spec: TensorSpec, shape: Shape) -> tuple[Path, str]:
    if not shape:
        return (), _leaf_fault(value, spec)
    if not isinstance(value, list):
        return (), f"expected an array of shape {render_shape(shape)}, got {_noun(value)}"
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
        return _text(value) is not None
    if dtype is DType.BOOL:
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return _cast(np.asarray([value]), dtype) is not None
    except OverflowError:
        return False


def _leaf_fault(value: Any, spec: TensorSpec) -> str:
    dtype = spec.dtype
    if dtype is DType.BYTES and isinstance(value, dict) and value.keys() == {_BASE64_KEY}:
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
    return f"expected {dtype.label}, got {_noun(value)}"


def _noun(value: Any) -> str:
    noun = _NOUNS.get(type(value), type(value).__name__)
    if isinstance(value, str):
        return f"{noun} '{value[:40]}{'…' if len(value) > 40 else ''}'"
    return noun


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


def from_rows(rows: Any, signature: Signature, at: Path, *, check_booleans: bool = True) -> Tensors:
    """The row form: a list of instances, each a bare value or an object with one key per input."""
    if not isinstance(rows, list):
        raise InvalidInput(f"expected an array of instances, got {_noun(rows)}", at)
    if not rows:
        raise InvalidInput("the batch is empty: at least one row is expected", at)
    if not signature.has_row_axis:
        raise InvalidInput("this model has an input without rows: use the column form 'inputs'", at)
    specs = signature.inputs
    if is_bare(rows[0]):
        if len(specs) > 1:
            raise InvalidInput(
                f"expected an object with the keys {_keys(specs)}, got {_noun(rows[0])}", (*at, 0)
            )
        spec = specs[0]
        shape = signature.wanted_shape(spec)
        try:
            array = to_array(rows, spec, shape, at, check_booleans=check_booleans)
        except InvalidInput as error:
            raise InvalidInput(f"input '{spec.name}': {error.message}", error.path) from None
        return {spec.name: array}
    return {
        spec.name: _column(rows, spec, signature, at, check_booleans=check_booleans)
        for spec in specs
    }


def _column(
    rows: list[Any], spec: TensorSpec, signature: Signature, at: Path, *, check_booleans: bool
) -> Array:
    width = len(signature.inputs)
    try:
        values = [row[spec.name] for row in rows if len(row) == width]
    except (KeyError, TypeError, IndexError):
        values = []
    if len(values) != len(rows):
        raise _bad_row(rows, signature, at)
    try:
        return to_array(
            values, spec, signature.wanted_shape(spec), (), check_booleans=check_booleans
        )
    except InvalidInput as error:
        index, *inner = error.path or (0,)
        raise InvalidInput(error.message, (*at, index, spec.name, *inner)) from None


def _bad_row(rows: list[Any], signature: Signature, at: Path) -> InvalidInput:
    names = {spec.name for spec in signature.inputs}
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            keys = _keys(signature.inputs)
            return InvalidInput(
                f"expected an object with the keys {keys}, got {_noun(row)}", (*at, index)
            )
        if row.keys() != names:
            return wrong_names(signature, row).within(*at, index)
    return InvalidInput("the rows have different keys", at)  # pragma: no cover


def _keys(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"'{spec.name}'" for spec in specs)


def is_bare(value: Any) -> bool:
    """Whether a JSON value stands for a tensor itself, not for an object of named tensors."""
    return not isinstance(value, dict) or value.keys() == {_BASE64_KEY}


def from_columns(
    columns: Any, signature: Signature, at: Path, *, check_booleans: bool = True
) -> Tensors:
    """The column form: one tensor for a model with one input, or an object of named tensors."""
    specs = signature.inputs
    if is_bare(columns):
        if len(specs) > 1:
            raise InvalidInput(
                f"expected an object with the keys {_keys(specs)}, got {_noun(columns)}", at
            )
        columns = {specs[0].name: columns}
    if columns.keys() != {spec.name for spec in specs}:
        raise wrong_names(signature, columns).within(*at)
    return {
        spec.name: to_array(
            columns[spec.name],
            spec,
            signature.wanted_shape(spec),
            (*at, spec.name),
            check_booleans=check_booleans,
        )
        for spec in specs
    }


def encodable(name: str, array: Array) -> Any:
    """An output as orjson can write it. Strings of outputs named ``…_bytes`` become base64."""
    if array.dtype.kind in "OSU":
        return _encodable_strings(array.tolist(), as_base64=name.endswith("_bytes"))
    # onnxruntime's int64 is C's long long, whose scalars orjson doesn't know by that name.
    return np.ascontiguousarray(array).view(array.dtype.name)


def _encodable_strings(value: Any, *, as_base64: bool) -> Any:
    if isinstance(value, list):
        return [_encodable_strings(item, as_base64=as_base64) for item in value]
    data = value if isinstance(value, bytes) else str(value).encode()
    if as_base64:
        return {_BASE64_KEY: base64.b64encode(data).decode()}
    return data.decode(errors="replace")


def dump(value: Any) -> bytes:
    """JSON bytes of plain values and arrays; NaN and Infinity become null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def tensor_schema(spec: TensorSpec, shape: Shape) -> dict[str, Any]:
    """JSON Schema of a tensor as nested arrays."""
    schema = _leaf_schema(spec.dtype)
    for size in reversed(shape):
        schema = {"type": "array", "items": schema}
        if size is not None:
            schema |= {"minItems": size, "maxItems": size}
    return schema


def _leaf_schema(dtype: DType) -> dict[str, Any]:
    if dtype is DType.BYTES:
        return {"type": "string"}
    if dtype is DType.BOOL:
        return {"type": "boolean"}
    if dtype.is_integer:
        smallest, largest = dtype.limits
        return {"type": "integer", "minimum": smallest, "maximum": largest}
    return {"type": "number"}


def example_row(
    signature: Signature, given: Mapping[str, Any] | None, *, rows: bool = True
) -> dict[str, Any]:
    """Values for the docs page: the owner's example, else what fits the graph.

    One row; without ``rows`` the whole tensors, for models that have no batch axis.
    """
    row = dict(given or {})
    for spec in signature.inputs:
        if spec.name not in row:
            row[spec.name] = _example(spec.dtype, spec.shape[1:] if rows else spec.shape)
    return row


def _example(dtype: DType, shape: Shape) -> Any:
    if not shape:
        if dtype is DType.BYTES:
            return "text"
        if dtype is DType.BOOL:
            return True
        return 0.5 if dtype.is_float else 1
    return [_example(dtype, shape[1:]) for _ in range(4 if shape[0] is None else shape[0])]
