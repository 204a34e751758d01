"""Inference requests of the Open Inference Protocol to tensors, and answers to bytes. Pure.

Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md, and the extensions
of triton-inference-server/server, docs/protocol: binary tensor data, classification, parameters.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from inference_service.core.errors import InvalidInput, quoted
from inference_service.core.tensors import (
    Array,
    BatchMode,
    DType,
    NonFinite,
    Shape,
    Signature,
    Tensors,
    TensorSpec,
    element_count,
)
from inference_service.faults import invalid_input, noun
from inference_service.protocols import json_large
from inference_service.protocols.json_faults import fault
from inference_service.protocols.json_quick import QuickBody, open_quickly
from inference_service.protocols.json_tensors import dump, encodable
from inference_service.protocols.json_values import Rules, numbers, strings
from inference_service.protocols.oip.binary import from_bytes, to_bytes
from inference_service.protocols.oip.classification import classified
from inference_service.protocols.oip.parts import (
    BASE64,
    are_plain,
    as_base64,
    as_content,
    check_sent_here,
)
from inference_service.protocols.oip.schema import (
    MOST_TENSORS,
    InferBody,
    InferInput,
    check_few_parameters,
)
from inference_service.protocols.oip.values import flag, told, whole
from inference_service.protocols.oip.wanted import Wanted, wanted_outputs

DTYPES = {dtype.value: dtype for dtype in DType}
_NAMES = {dtype.numpy: dtype.value for dtype in DType if dtype is not DType.BYTES}
_BINARY_SIZE = "binary_data_size"


@dataclass(frozen=True, slots=True)
class Infer:
    """A decoded request. ``outputs`` None: all, and as ``binary`` says.

    ``timeout`` is in seconds (inf: none), ``priority`` as in Triton: 0 default, 1 highest.
    """

    inputs: Tensors
    outputs: tuple[Wanted, ...] | None = None
    id: str = ""
    binary: bool = False
    timeout: float = math.inf
    priority: int = 0


class Answer(NamedTuple):
    """The bytes of an answer; ``json_length`` None: they are JSON and nothing else."""

    body: bytes
    json_length: int | None


@dataclass(slots=True)
class _Tail:
    """The bytes behind the JSON, taken in the order of the inputs."""

    data: memoryview
    position: int = 0

    def take(self, size: int) -> memoryview:
        end = self.position + size
        if end > len(self.data):
            raise InvalidInput(
                f"binary_data_size is {size}, but only {len(self.data) - self.position} bytes of "
                "binary data are left"
            )
        part = self.data[self.position : end]
        self.position = end
        return part


def decode(
    body: bytes,
    signature: Signature,
    json_length: int | None = None,
    *,
    non_finite: bool = False,
    null: bool = False,
) -> Infer:
    """The request in a body.

    ``json_length`` bytes of it are JSON; 0: all of it is the one input's data; None: all of it is
    JSON. ``non_finite`` takes NaN and Infinity, ``null`` null for NaN. Raises InvalidInput.
    """
    if json_length == 0:
        return _raw(body, signature)
    if json_length is not None and json_length > len(body):
        raise InvalidInput(
            f"header Inference-Header-Content-Length is {json_length}, "
            f"but the body has {len(body)} bytes"
        )
    tail = _Tail(memoryview(body)[len(body) if json_length is None else json_length :])
    text = body if json_length in {None, len(body)} else body[:json_length]
    tensors, tail.position, *said = json_large.read(
        text, decode_value, tail.data, quick=decode_quickly, non_finite=non_finite, null=null
    )
    found = whole_again(tensors, *said)
    if tail.position != len(tail.data):
        raise InvalidInput(
            f"{len(tail.data) - tail.position} bytes of binary data belong to no input"
        )
    return found


def _raw(body: bytes, signature: Signature) -> Infer:
    """All of the body is the data of the only input, as one row; all outputs come as bytes."""
    specs = signature.inputs
    if len(specs) != 1:
        raise InvalidInput(
            f"a raw body (Inference-Header-Content-Length: 0) needs a model with one input, "
            f"this one takes {quoted(spec.name for spec in specs)}"
        )
    spec = specs[0]
    if not spec.ranked:
        raise InvalidInput(f"a raw body can't say the shape of {spec}: use JSON or binary data")
    if spec.dtype is DType.BYTES:
        shape = [1] * len(spec.shape)
        data = len(body).to_bytes(4, "little") + body
    else:
        # Of requests that run whole the first axis counts as that of the one row, too.
        axis = 0 if signature.mode is BatchMode.WHOLE else signature.rows.axis(spec.name)
        wanted = signature.wanted_shape(spec) or ()
        data, shape = body, _raw_shape(spec, wanted, axis, len(body))
    return Infer({spec.name: from_bytes(memoryview(data), spec.dtype, shape)}, binary=True)


def _raw_shape(spec: TensorSpec, wanted: Shape, rows: int | None, size: int) -> list[int]:
    shape = [1 if axis == rows and length is None else length for axis, length in enumerate(wanted)]
    free = [axis for axis, length in enumerate(shape) if length is None]
    if len(free) > 1:
        raise InvalidInput(f"a raw body needs at most one axis of free length, {spec} has more")
    known = math.prod(length for length in shape if length is not None)
    left = size // (known * spec.dtype.numpy.itemsize or 1)
    return [left if length is None else length for length in shape]


def decode_quickly(text: bytes, behind: bytes | memoryview) -> tuple[Any, ...] | None:
    """`decode_value` of a request with large arrays of numbers and nothing unusual; else None."""
    tail = _Tail(memoryview(behind))
    quick = open_quickly(text)
    if quick is None:
        return None
    members = quick.items(quick.value)
    inputs = None if members is None else quick.elements(members.pop("inputs", None))
    if members is None or inputs is None or len(inputs) > MOST_TENSORS:
        return None
    plain: dict[str, Any] = {key: quick.plain(value) for key, value in members.items()}
    held = []
    for item in inputs:
        fields = quick.items(item)
        if fields is None:
            return None
        held.append(fields.pop("data", None))
        plain.setdefault("inputs", []).append(
            {key: quick.plain(value) for key, value in fields.items()}
        )
    check_few_parameters(plain)
    try:
        envelope = InferBody.model_validate(plain)
    except ValidationError:
        return None
    tensors: dict[str, Array] = {}
    for part, data in zip(envelope.inputs, held, strict=True):
        array = _quick_tensor(quick, part, data, tail)
        if array is None or part.name in tensors:
            return None
        tensors[part.name] = array
    return (
        (tensors, tail.position, *beside_tensors(_infer(envelope, tensors)))
        if quick.accounted
        else None
    )


def _quick_tensor(quick: QuickBody, part: InferInput, data: Any, tail: _Tail) -> Array | None:
    dtype = DTYPES.get(part.datatype)
    if dtype is None or not are_plain(part.parameters):
        return None
    if (data is None) == (_size_of(part) is None):
        return None
    if data is None:
        return _binary(part, dtype, tail)
    if quick.rank(data) != 1:
        return quick.numbers(data, dtype, tuple(part.shape))
    flat = quick.numbers(data, dtype, (None,))
    if flat is None or flat.size != element_count(part.shape):
        return None
    return flat.reshape(part.shape)


def decode_value(value: Any, behind: bytes | memoryview, *, rules: Rules) -> tuple[Any, ...]:
    """The tensors of a request, how many of the bytes ``behind`` they take, and what
    `whole_again` takes. Raises InvalidInput."""
    tail = _Tail(memoryview(behind))
    if not isinstance(value, dict):
        raise InvalidInput(f"expected an object with 'inputs', got {noun(value)}")
    check_few_parameters(value)
    try:
        envelope = InferBody.model_validate(value)
    except ValidationError as error:
        raise invalid_input(error, ("bool", "int", "float", "str")) from None
    tensors: dict[str, Array] = {}
    for index, part in enumerate(envelope.inputs):
        if part.name in tensors:
            raise InvalidInput(f"input '{part.name}' is given twice", ("inputs", index))
        try:
            tensors[part.name] = _tensor(part, rules, tail)
        except InvalidInput as error:
            message = f"input '{part.name}': {error.message}"
            raise InvalidInput(message, ("inputs", index, *error.path)) from None
    return tensors, tail.position, *beside_tensors(_infer(envelope, tensors))


def beside_tensors(found: Infer) -> tuple[Any, ...]:
    """What a request says beside its tensors, for `whole_again`."""
    return found.outputs, found.id, found.binary, found.timeout, found.priority


def whole_again(tensors: Tensors, outputs: Sequence[Sequence[Any]] | None, *said: Any) -> Infer:
    """The request of tensors and what `beside_tensors` gave, which may have become plain lists."""
    wanted = None if outputs is None else tuple(Wanted(*one) for one in outputs)
    return Infer(tensors, wanted, *said)


def _tensor(part: InferInput, rules: Rules, tail: _Tail) -> Array:
    if not part.parameters:
        return _elements(part, rules, tail)
    check_sent_here(part.parameters)
    return as_content(_elements(part, rules, tail), part.parameters)


def _elements(part: InferInput, rules: Rules, tail: _Tail) -> Array:
    dtype = DTYPES.get(part.datatype)
    if dtype is None:
        known = ", ".join(DTYPES)
        raise InvalidInput(f"expected one of {known}, got '{part.datatype}'", ("datatype",))
    if _size_of(part) is not None:
        if part.data is not None:
            raise InvalidInput("expected either 'data' or 'binary_data_size', got both")
        return _binary(part, dtype, tail)
    if part.data is None:
        raise InvalidInput("expected 'data', or 'binary_data_size' in its parameters")
    if isinstance(part.data, dict):
        raise InvalidInput(f"expected an array, got {noun(part.data)}", ("data",))
    shape = tuple(part.shape)
    count = element_count(shape)
    data = part.data if isinstance(part.data, list) else [part.data]
    whole = _read(data, dtype, shape, rules)
    if whole is not None:
        return whole
    if not data or not isinstance(data[0], list):
        if len(data) != count:
            raise InvalidInput(
                f"shape {list(shape)} has {count} elements, the data {len(data)}", ("data",)
            )
        flat = _read(data, dtype, (count,), rules)
        if flat is not None:
            return flat.reshape(shape)
        shape = (count,)
    raise fault(data, TensorSpec(part.name, dtype, shape), shape, ("data",), rules)


def _read(data: list[Any], dtype: DType, shape: Shape, rules: Rules) -> Array | None:
    """Of exactly this shape: it is the client's own."""
    if dtype is DType.BYTES:
        return strings(data, shape)
    return numbers(data, dtype, shape, rules=rules)


def _size_of(part: InferInput) -> int | None:
    size = (part.parameters or {}).get(_BINARY_SIZE)
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise InvalidInput(
            f"expected a number of bytes, got {told(size)}", ("parameters", _BINARY_SIZE)
        )
    return size


def _binary(part: InferInput, dtype: DType, tail: _Tail) -> Array:
    return from_bytes(tail.take(_size_of(part) or 0), dtype, part.shape)


def _infer(envelope: InferBody, tensors: Tensors) -> Infer:
    outputs = [(output.name, output.parameters or {}) for output in envelope.outputs or ()]
    return infer_of(envelope.id or "", envelope.parameters or {}, outputs, tensors)


def infer_of(
    request_id: str,
    parameters: Mapping[str, Any],
    outputs: Sequence[tuple[str, Mapping[str, Any]]],
    tensors: Tensors,
) -> Infer:
    """A request from its parts, whatever they were written in. Raises InvalidInput."""
    binary = flag(parameters, "binary_data_output", ("parameters",))
    microseconds = whole(parameters, "timeout")
    wanted = wanted_outputs(outputs, binary=binary)
    seconds = microseconds / 1e6 if microseconds else math.inf
    priority = whole(parameters, "priority")
    return Infer(tensors, wanted or None, request_id, binary, seconds, priority)


@dataclass(frozen=True, slots=True)
class AnswerWriter:
    """Writes the answer to one request.

    ``labels`` are names of classes by output, ``row_axes`` the batch axis of the outputs where it
    isn't the first. None: all of it is classified as one row.
    """

    model: str
    version: int
    request: Infer
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    non_finite: NonFinite = NonFinite.NULL
    row_axes: Mapping[str, int | None] = field(default_factory=dict)

    def changed(self, output: Wanted, array: Array) -> Array:
        """The best classes of an output, or its texts as base64. Raises InvalidInput."""
        if not output.classes:
            return as_base64(array)
        axis = self.row_axes.get(output.name, 0)
        if axis and array.ndim > axis:
            array = np.moveaxis(array, axis, 0)
        labels = self.labels.get(output.name, ())
        try:
            return classified(array, output.classes, labels, has_rows=axis is not None)
        except InvalidInput as error:
            raise InvalidInput(f"output '{output.name}': {error.message}") from None

    def write(self, outputs: Tensors) -> Answer:
        """The answer's bytes: JSON, and behind it the tensors that are wanted as bytes."""
        request = self.request
        wanted = request.outputs
        if wanted is None:
            wanted = tuple(Wanted(name, request.binary) for name in outputs)
        entries, tail = [], []
        for output in wanted:
            array = outputs[output.name]
            if output.is_changed:
                array = self.changed(output, array)
            entry = described(output.name, array)
            if output.base64 and entry["datatype"] == "BYTES":
                entry["parameters"] = dict(BASE64)
            if output.binary:
                data = to_bytes(array)
                entry["parameters"] = {**entry.get("parameters", {}), _BINARY_SIZE: len(data)}
                tail.append(data)
            else:
                entry["data"] = encodable("", array.reshape(-1))
            entries.append(entry)
        head: dict[str, Any] = {"model_name": self.model, "model_version": str(self.version)}
        if request.id:
            head["id"] = request.id
        text = dump({**head, "outputs": entries}, self.non_finite)
        if not any(output.binary for output in wanted):
            return Answer(text, None)
        return Answer(b"".join([text, *tail]), len(text))


def described(name: str, array: Array) -> dict[str, Any]:
    """Name, datatype and shape."""
    return {"name": name, "datatype": _NAMES.get(array.dtype, "BYTES"), "shape": list(array.shape)}
