"""Inference over gRPC: messages to requests, and answers to messages. Pure.

Source: kserve/open-inference-protocol, specification/protocol/inference_grpc.md. Answers have raw
contents always, as Triton's do.
"""

from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from inference_service.core.decoding import decoded
from inference_service.core.errors import InvalidInput
from inference_service.core.tensors import Array, DType, Tensors, element_count
from inference_service.protocols.json_values import cast
from inference_service.protocols.oip.binary import from_bytes, to_bytes
from inference_service.protocols.oip.codec import (
    DTYPES,
    AnswerWriter,
    Infer,
    beside_tensors,
    described,
    infer_of,
    whole_again,
)
from inference_service.protocols.oip.parts import BASE64, as_content, check_sent_here
from inference_service.protocols.oip.rpc.messages import message
from inference_service.protocols.oip.wanted import Wanted

_Request, _Response = message("ModelInferRequest"), message("ModelInferResponse")

_MOST_BESIDE_RAW = 512 * 1024
"""Bytes of a message beside raw contents. Each of them may be a value, or half of a message, that
becomes an object: more would stall all other requests for as long as they are made."""
_MOST_FIELDS = 1024  # of a message that are looked at
_RAW, _OF_BYTES = 7, 2  # the field's number; the wire type of what has a length

_CONTENTS: dict[DType, tuple[str, Any]] = {
    DType.BOOL: ("bool_contents", np.bool_),
    DType.INT8: ("int_contents", np.int64),
    DType.INT16: ("int_contents", np.int64),
    DType.INT32: ("int_contents", np.int64),
    DType.INT64: ("int64_contents", np.int64),
    DType.UINT8: ("uint_contents", np.int64),
    DType.UINT16: ("uint_contents", np.int64),
    DType.UINT32: ("uint_contents", np.int64),
    DType.UINT64: ("uint64_contents", np.uint64),
    DType.FP32: ("fp32_contents", np.float32),
    DType.FP64: ("fp64_contents", np.float64),
    DType.BYTES: ("bytes_contents", np.object_),
}


class Sent(NamedTuple):
    """A request's model, and its message or what it has been decoded to."""

    model: str
    version: str
    request: Any


def takes_long(data: bytes) -> bool:
    """Whether a ModelInferRequest is to be read in another process: `read_elsewhere`."""
    return len(data) > _MOST_BESIDE_RAW and len(data) - _raw_bytes(data) > _MOST_BESIDE_RAW


def _raw_bytes(data: bytes) -> int:
    """The bytes of raw contents, as far as the first fields tell."""
    total, at = 0, 0
    try:
        for _ in range(_MOST_FIELDS):
            if at >= len(data):
                break
            tag, at = _varint(data, at)
            if tag & 7 != _OF_BYTES:  # no field of this message
                break
            size, at = _varint(data, at)
            at += size
            if tag >> 3 == _RAW:
                total += size
    except IndexError:  # it is no message, which is told where it is read
        return 0
    return total if at <= len(data) else 0


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 0x80 and shift < 63:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | (data[at] & 0x7F) << shift, at + 1


def read(data: bytes) -> Sent:
    """The message in the bytes. Raises InvalidInput."""
    try:
        request = _Request.FromString(data)
    except DecodeError:
        raise InvalidInput("the message is not a valid ModelInferRequest") from None
    return Sent(request.model_name, request.model_version, request)


def read_elsewhere(data: bytes) -> Sent:
    """The request in the bytes, read where `core.decoding.decoded` reads. Raises InvalidInput."""
    model, version, names, arrays, *said = decoded(_flattened, data)
    tensors = dict(zip(names, arrays, strict=True))
    return Sent(model, version, whole_again(tensors, *said))


def _flattened(data: bytes) -> list[Any]:
    sent = read(data)
    found = decode(sent.request)
    tensors = found.inputs
    return [sent.model, sent.version, list(tensors), list(tensors.values()), *beside_tensors(found)]


def decode(request: Any) -> Infer:
    """A ModelInferRequest, or what has been made of it. Raises InvalidInput."""
    if isinstance(request, Infer):
        return request
    if not request.inputs:
        raise InvalidInput("expected at least one input", ("inputs",))
    said = {i: _parameters(part) for i, part in enumerate(request.inputs) if part.parameters}
    for index, parameters in said.items():
        check_sent_here(parameters, ("inputs", index, "parameters"))
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidInput(
            f"{len(raw)} raw_input_contents for {len(request.inputs)} inputs: "
            "either all inputs have raw contents or none"
        )
    tensors: dict[str, Array] = {}
    for index, part in enumerate(request.inputs):
        if part.name in tensors:
            raise InvalidInput(f"input '{part.name}' is given twice", ("inputs", index))
        try:
            array = _tensor(part, raw[index] if raw else None)
            tensors[part.name] = as_content(array, said[index]) if index in said else array
        except InvalidInput as error:
            message_ = f"input '{part.name}': {error.message}"
            raise InvalidInput(message_, ("inputs", index, *error.path)) from None
    outputs = [(output.name, _parameters(output)) for output in request.outputs]
    return infer_of(request.id, _parameters(request), outputs, tensors)


def _parameters(holder: Any) -> dict[str, Any]:
    found = {}
    for name, parameter in holder.parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None:
            found[name] = getattr(parameter, choice)
    return found


def _tensor(part: Any, raw: bytes | None) -> Array:
    dtype = DTYPES.get(part.datatype)
    if dtype is None:
        raise InvalidInput(f"expected one of {', '.join(DTYPES)}, got '{part.datatype}'")
    shape = list(part.shape)
    count = element_count(shape)
    if any(length < 0 for length in shape):
        raise InvalidInput(f"a shape has no negative lengths, got {shape}")
    if raw is not None:
        # An empty message specifies nothing; MLServer's converter leaves one beside raw contents.
        if part.HasField("contents") and part.contents.ListFields():
            raise InvalidInput("expected either contents or raw_input_contents, got both")
        return from_bytes(memoryview(raw), dtype, shape)
    return _typed(part, dtype, shape, count)


def _typed(part: Any, dtype: DType, shape: list[int], count: int) -> Array:
    if dtype not in _CONTENTS:
        raise InvalidInput(f"{dtype.value} has no typed contents: send raw_input_contents")
    field, read_as = _CONTENTS[dtype]
    others = [other.name for other, _ in part.contents.ListFields() if other.name != field]
    if others:
        raise InvalidInput(f"{dtype.value} is sent in {field}, got {others[0]}")
    values = getattr(part.contents, field)
    if len(values) != count:
        raise InvalidInput(f"shape {shape} has {count} elements, {field} has {len(values)}")
    if dtype is DType.BYTES:
        return _texts(values).reshape(shape)
    read = np.array(values, read_as)
    array = read if dtype is DType.BOOL else cast(read, dtype, non_finite=True)
    if array is None:
        raise InvalidInput(f"{field} holds a number that is no {dtype.label}")
    return array.reshape(shape)


def _texts(values: Any) -> Array:
    texts = np.empty(len(values), object)
    for index, value in enumerate(values):
        try:
            texts[index] = value.decode()
        except UnicodeDecodeError:
            raise InvalidInput(f"bytes_contents[{index}] is not UTF-8") from None
    return texts


def encode(writer: AnswerWriter, outputs: Tensors) -> Any:
    """A ModelInferResponse."""
    request = writer.request
    wanted = request.outputs or tuple(Wanted(name) for name in outputs)
    response = _Response(model_name=writer.model, model_version=str(writer.version), id=request.id)
    for output in wanted:
        array = outputs[output.name]
        if output.is_changed:
            array = writer.changed(output, array)
        told = response.outputs.add(**described(output.name, array))
        if output.base64 and told.datatype == "BYTES":
            for name, value in BASE64.items():
                told.parameters[name].string_param = value
        response.raw_output_contents.append(to_bytes(array))
    return response
