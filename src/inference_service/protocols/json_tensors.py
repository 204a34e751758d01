"""Tensors as JSON: nested lists to arrays and back, shared by the JSON protocols.

The quick way is one numpy call over the whole value. Only when that doesn't give what the spec
wants is the value walked, to find the first place that is wrong and to say what was expected there.
"""

import base64
import json
import math
import re
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, cast

import numpy as np
import orjson

from inference_service.core.errors import ExecutionFailed, InvalidInput, Path, quoted
from inference_service.core.room import check_room
from inference_service.core.tensors import (
    Array,
    DType,
    NonFinite,
    Shape,
    Signature,
    Tensors,
    TensorSpec,
    wrong_names,
)
from inference_service.faults import noun
from inference_service.protocols.json_faults import fault
from inference_service.protocols.json_values import BASE64_KEY, STRICT, Rules, numbers, strings

# onnxruntime's int64 is C's long long, whose scalars orjson doesn't know: equal, but not the same.
_KNOWN = {d.numpy: np.dtype(d.numpy.name) for d in DType if d is not DType.BYTES}
_RULES = {key: Rules(*key) for key in product((True, False), repeat=3)}
_SHORT = 2048  # bytes; numpy makes at most a few MB of the strings in this many
_LARGE_LIST, _LIST_PART = 2**16, 256  # entries of an array of texts
_LARGE_PART = 2**18  # numbers; they are written in about 8 ms
_BARE_PART = 2**14  # numbers; Python writes them, in about as long
_LEAST_NUMBER = 2  # bytes: a digit and a comma
MOST_JSON = 64 * 2**20
"""Bytes of an answer in JSON. To write and to send more stalls others; binary tensors are not
copied."""
_MANY = 2**13  # numbers
_NUMBER_TAKES = 32  # bytes: its digits, and as much again while the text grows
_MOST_LOOKED_AT = 64  # entries of a list: outputs, not rows
_NO_MEMORY = "Not enough memory"
_FAR_APART = 512  # bytes between two keys
_NON_FINITE_WORDS = (b"NaN", b"Infinity")
_MISTAKES = (
    (re.compile(rb"[\w.\[\]-]{1,64}=[^=]"), "it seems to be a form: send JSON instead, as "
     "requests.post(json=...) and JSON.stringify(...) make it"),
    (re.compile(rb"\s*[{\[]\s*'"), "JSON has double quotes: json.dumps(...) writes them"),
)  # fmt: skip
_SEARCHED = 2**16  # bytes; a search holds the interpreter's lock
_NON_FINITE = re.compile(rb"(?<![\w\"])-?(NaN|Infinity)\b")


def parse(body: bytes, *, non_finite: bool = False) -> Any:
    """The JSON value in the body; ``non_finite`` takes NaN and Infinity. Raises InvalidInput."""
    if not body:
        raise InvalidInput("the body is empty, expected JSON")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if _NO_MEMORY in str(error):
            raise MemoryError(str(error)) from None
        if non_finite and any(word in body for word in _NON_FINITE_WORDS):
            return _parse_bare(body)
        found = _NON_FINITE.search(body, 0, _SEARCHED)
        if found:
            raise InvalidInput(
                f"the body is not valid JSON: {found[1].decode()} at byte {found.start()} "
                "is not a JSON number (RFC 8259); only finite numbers can be sent"
            ) from None
        raise InvalidInput(f"the body is not valid JSON: {_what_is_wrong(body, error)}") from None


def _what_is_wrong(body: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        body.decode()
    except UnicodeDecodeError as undecodable:
        return (
            f"byte {undecodable.start} is not UTF-8; another charset is named in Content-Type, "
            "and a file is not sent as JSON"
        )
    for sign, hint in _MISTAKES:
        if sign.match(body):
            return f"{error}; {hint}"
    return str(error)


def _parse_bare(body: bytes) -> Any:
    """Python's own reader takes NaN and Infinity, at a tenth of the speed."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is not valid JSON: {error}") from None


def rules_for(body: bytes, *, non_finite: bool = False, null: bool = False) -> Rules:
    """How the values of a body are to be read.

    The type of each value need not be looked at where the body is short or holds no strings but
    keys, and no booleans.
    """
    # Finding a letter is much quicker than finding a word, and most bodies have neither letter.
    booleans = (b"u" in body and b"true" in body) or (b"l" in body and b"false" in body)
    plain = not booleans and _holds_no_texts(body)
    return _RULES[not plain, non_finite, null]


def _holds_no_texts(body: bytes) -> bool:
    """Whether no string of the body can be a value, or they are too short to matter.

    Looks at few quotes only: with many of them, looking at the values themselves is as quick.
    """
    if len(body) < _SHORT:
        return True
    if b"\\" in body:
        return False
    position = body.find(b'"')
    for _ in range(len(body) // _FAR_APART):
        if position < 0:
            return True
        end = body.find(b'"', position + 1)
        if body[end + 1 : end + 2] != b":":
            return False
        position = body.find(b'"', end + 1)
    return position < 0


def to_array(
    value: Any, spec: TensorSpec, shape: Shape | None, at: Path, *, rules: Rules = STRICT
) -> Array:
    """The value as an array of the spec's dtype that fits ``shape``; None: of any shape.

    [n, 1] is taken for [n] and the reverse.

    Raises InvalidInput whose path begins with ``at`` and goes on to the first wrong place.
    """
    if spec.dtype is DType.BYTES:
        array = strings(value, shape)
    else:
        array = numbers(value, spec.dtype, shape, rules=rules)
    if array is not None:
        return array
    raise fault(value, spec, shape, at, rules)


def from_rows(rows: Any, signature: Signature, at: Path, *, rules: Rules = STRICT) -> Tensors:
    """The row form: a list of instances, each a bare value or an object with one key per input."""
    if signature.row_obstacle:
        raise InvalidInput(f"{signature.row_obstacle}: use the column form 'inputs'", at)
    if not isinstance(rows, list):
        raise InvalidInput(f"expected an array of instances, got {noun(rows)}", at)
    if not rows:
        raise InvalidInput("the batch is empty: at least one row is expected", at)
    specs = signature.inputs
    if is_bare(rows[0]):
        if len(specs) > 1:
            raise InvalidInput(
                f"expected an object with the keys {_keys(specs)}, got {noun(rows[0])}", (*at, 0)
            )
        spec = specs[0]
        shape = signature.wanted_shape(spec)
        try:
            array = to_array(rows, spec, shape, at, rules=rules)
        except InvalidInput as error:
            raise InvalidInput(f"input '{spec.name}': {error.message}", error.path) from None
        return {spec.name: array}
    return {spec.name: _column(rows, spec, signature, at, rules=rules) for spec in specs}


def _column(
    rows: list[Any], spec: TensorSpec, signature: Signature, at: Path, *, rules: Rules
) -> Array:
    width = len(signature.inputs)
    try:
        values = [row[spec.name] for row in rows if len(row) == width]
    except (KeyError, TypeError, IndexError):
        values = []
    if len(values) != len(rows):
        raise _bad_row(rows, signature, at)
    try:
        return to_array(values, spec, signature.wanted_shape(spec), (), rules=rules)
    except InvalidInput as error:
        index, *inner = error.path or (0,)
        raise InvalidInput(error.message, (*at, index, spec.name, *inner)) from None


def _bad_row(rows: list[Any], signature: Signature, at: Path) -> InvalidInput:
    names = {spec.name for spec in signature.inputs}
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            keys = _keys(signature.inputs)
            return InvalidInput(
                f"expected an object with the keys {keys}, got {noun(row)}", (*at, index)
            )
        given = [spec.name for spec in signature.optional if spec.name in row]
        if given:
            message = f"{quoted(given)} holds for all rows: use the column form 'inputs'"
            return InvalidInput(message, (*at, index))
        if row.keys() != names:
            return wrong_names(signature, row).within(*at, index)
    return InvalidInput("the rows have different keys", at)  # pragma: no cover


def _keys(specs: Sequence[TensorSpec]) -> str:
    return quoted(spec.name for spec in specs)


def is_bare(value: Any) -> bool:
    """Whether a JSON value stands for a tensor itself, not for an object of named tensors."""
    return not isinstance(value, dict) or value.keys() == {BASE64_KEY}


def from_columns(columns: Any, signature: Signature, at: Path, *, rules: Rules = STRICT) -> Tensors:
    """The column form: one tensor for a model with one input, or an object of named tensors."""
    specs = signature.inputs
    if is_bare(columns):
        if len(specs) > 1:
            raise InvalidInput(
                f"expected an object with the keys {_keys(specs)}, got {noun(columns)}", at
            )
        columns = {specs[0].name: columns}
    if not signature.accepts(columns.keys()):
        raise wrong_names(signature, columns).within(*at)
    return {
        spec.name: to_array(
            columns[spec.name],
            spec,
            signature.wanted_shape(spec),
            (*at, spec.name),
            rules=rules,
        )
        for spec in signature.accepted
        if spec.name in columns
    }


def encodable(name: str, array: Array) -> Any:
    """An output as orjson can write it. Strings of outputs named ``…_bytes`` become base64."""
    if array.dtype.kind in "OSU":
        return _encodable_strings(array.tolist(), as_base64=name.endswith("_bytes"))
    if array.size > _MANY:
        check_room(_NUMBER_TAKES * min(array.size, _LARGE_PART))
    known = _KNOWN[array.dtype]
    if array.dtype is known and array.ndim and array.flags.c_contiguous:
        return array
    if not array.ndim:
        return array.astype(known)[()]  # orjson takes no arrays without axes
    return np.ascontiguousarray(array).view(known)


def _encodable_strings(value: Any, *, as_base64: bool) -> Any:
    if isinstance(value, list):
        return [_encodable_strings(item, as_base64=as_base64) for item in value]
    data = value if isinstance(value, bytes) else str(value).encode()
    if as_base64:
        return {BASE64_KEY: base64.b64encode(data).decode()}
    return data.decode(errors="replace")


def dump(value: Any, non_finite: NonFinite = NonFinite.NULL) -> bytes:
    """JSON bytes of plain values and arrays.

    Raises ExecutionFailed where NaN is an error, and InvalidInput for more than `MOST_JSON`.
    """
    if non_finite is not NonFinite.NULL and not _is_finite(value):
        if non_finite is NonFinite.BARE:
            return cast("bytes", _in_parts(value, _bare, _BARE_PART))
        raise ExecutionFailed(
            "the model's answer holds NaN or Infinity, which JSON doesn't have; "
            "send 'X-Non-Finite: null' or 'bare' to get it nevertheless"
        )
    if _has_large(value):  # whoever sends it takes it as it is
        return cast("bytes", _in_parts(value, _dumped, _LARGE_PART))
    return _dumped(value)


def _bare(value: Any) -> bytes:
    """With NaN and Infinity as Python and JavaScript write them."""
    return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False).encode()


def _dumped(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _has_large(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        for one in value.values():  # noqa: SIM110 - a generator takes twice as long
            if type(one) is not str and _has_large(one):
                return True
        return False
    if kind is list:
        if len(value) <= _MOST_LOOKED_AT:
            return any(map(_has_large, value))
        first = value[0]
        return len(value) * (len(first) if isinstance(first, list) else 1) > _LARGE_LIST
    return kind is np.ndarray and value.size > _LARGE_PART


def _in_parts(value: Any, dumped: Callable[[Any], bytes], part: int) -> bytearray:
    """The value with arrays of more than ``part`` numbers written part by part: one call that
    writes all of it, or copies it once more, would hold the interpreter's lock for as long."""
    text = bytearray()
    _write(value, text, dumped, part)
    return text


def _write(value: Any, text: bytearray, dumped: Callable[[Any], bytes], part: int) -> None:
    if isinstance(value, np.ndarray):
        _write_array(value, text, dumped, part)
    elif isinstance(value, dict):
        text += b"{"
        for index, (key, item) in enumerate(value.items()):
            text += b"," * bool(index) + _dumped(key) + b":"
            _write(item, text, dumped, part)
        text += b"}"
    elif isinstance(value, list) and len(value) <= _MOST_LOOKED_AT:
        text += b"["
        for index, item in enumerate(value):
            text += b"," * bool(index)
            _write(item, text, dumped, part)
        text += b"]"
    elif isinstance(value, list):
        text += b"["
        for start in range(0, len(value), _LIST_PART):
            text += b"," * bool(start)
            text += memoryview(dumped(value[start : start + _LIST_PART]))[1:-1]
            _check_length(len(text))
        text += b"]"
    else:
        text += dumped(value)


def _write_array(array: Array, text: bytearray, dumped: Callable[[Any], bytes], part: int) -> None:
    check_room(_NUMBER_TAKES * min(array.size, part))
    if array.size <= part:
        text += dumped(array)
        _check_length(len(text))
        return
    _check_length(len(text) + _LEAST_NUMBER * array.size)
    rows = part * len(array) // array.size
    text += b"["
    for start in range(0, len(array), rows or 1):
        text += b"," * bool(start)
        if rows:
            text += memoryview(dumped(array[start : start + rows]))[1:-1]
            _check_length(len(text))
        else:  # one is large enough to be taken apart itself
            _write_array(array[start], text, dumped, part)
    text += b"]"


def _check_length(length: int) -> None:
    if length > MOST_JSON:
        raise InvalidInput(
            f"the answer has more than {MOST_JSON >> 20} MiB in JSON: ask for binary tensors, for "
            "fewer outputs or for fewer rows"
        )


def _is_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_finite(item) for item in value.values())
    if isinstance(value, list):
        return all(_is_finite(item) for item in value)
    if isinstance(value, np.ndarray | np.floating):
        return value.dtype.kind != "f" or bool(np.isfinite(value).all())
    return not isinstance(value, float) or math.isfinite(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, np.ndarray | np.generic):
        return value
    if value.dtype.kind == "f" and value.dtype.itemsize < 8:
        # The shortest digits that mean the same in the array's own type.
        return np.asarray(value).astype(str).astype(np.float64).tolist()
    return value.tolist()
