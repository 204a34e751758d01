"""Requests and answers of each protocol, written from its specification and not with our codecs.

A form's ``write`` gives the request for named arrays, or None where the form can't express them;
``read`` gives the arrays of an answer.
"""

import base64
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference_service.protocols.oip.rpc.messages import message

Array = np.ndarray[Any, np.dtype[Any]]
Tensors = Mapping[str, Array]

DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16",
    "float32": "FP32", "float64": "FP64", "object": "BYTES",
}  # fmt: skip
_NUMPY = {datatype: np.dtype(name) for name, datatype in DATATYPES.items()}
_CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents",
    "INT32": "int_contents", "INT64": "int64_contents", "UINT8": "uint_contents",
    "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip


@dataclass(frozen=True)
class Http:
    """A POST: the path behind the server, the body, headers."""

    path: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Answered:
    """The body of an answer, and how many of its bytes are JSON where not all are."""

    body: bytes
    json_length: int | None


@dataclass(frozen=True)
class Form:
    """One way to write a request. ``write`` takes the model's name and its inputs."""

    name: str
    write: Callable[[str, Tensors], Any]
    read: Callable[[Any, Tensors], dict[str, Array]]


def nested(array: Array) -> Any:
    """Lists of plain values; text for strings, bare NaN and Infinity."""
    if array.dtype == object:
        flat = np.array([_text(value) for value in array.reshape(-1)], object)
        return flat.reshape(array.shape).tolist()
    return array.tolist()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def to_bytes(array: Array) -> bytes:
    """Little-endian, row-major; strings behind their lengths."""
    if array.dtype == object:
        texts = [_text(value).encode() for value in array.reshape(-1)]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def from_bytes(data: bytes, datatype: str, shape: list[int]) -> Array:
    """The other way round. Raises ValueError where the length isn't right."""
    dtype = _NUMPY[datatype]
    if dtype.kind != "O":
        return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    texts, place = [], 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "little")
        texts.append(data[place + 4 : place + 4 + length].decode())
        place += 4 + length
    return np.array(texts, object).reshape(shape)


def _oip(
    model: str, inputs: Tensors, tensor: Callable[[Array], Any], **rest: Any
) -> tuple[str, bytes]:
    entries = [
        {"name": name, "shape": list(a.shape), "datatype": DATATYPES[a.dtype.name], **tensor(a)}
        for name, a in inputs.items()
    ]
    body = json.dumps({"inputs": entries, **rest}).encode()
    return f"/v2/models/{model}/infer", body


_BARE = {"Content-Type": "application/json", "X-Non-Finite": "bare"}


def _write_json(model: str, inputs: Tensors) -> Http:
    path, body = _oip(model, inputs, lambda a: {"data": nested(a.reshape(-1))})
    return Http(path, body, _BARE)


def _write_nested(model: str, inputs: Tensors) -> Http:
    path, body = _oip(model, inputs, lambda a: {"data": nested(a)})
    return Http(path, body, _BARE)


def _read_json(answer: Answered, expected: Tensors) -> dict[str, Array]:
    return {
        output["name"]: np.array(output["data"], _NUMPY[output["datatype"]]).reshape(
            output["shape"]
        )
        for output in json.loads(answer.body)["outputs"]
    }


def _write_binary(model: str, inputs: Tensors) -> Http:
    parts = [to_bytes(array) for array in inputs.values()]
    sizes = iter([len(part) for part in parts])
    path, head = _oip(
        model,
        inputs,
        lambda _: {"parameters": {"binary_data_size": next(sizes)}},
        parameters={"binary_data_output": True},
    )
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return Http(path, b"".join([head, *parts]), headers)


def _read_binary(answer: Answered, expected: Tensors) -> dict[str, Array]:
    if answer.json_length is None:
        raise ValueError("no Inference-Header-Content-Length in an answer with binary tensors")
    body, place = answer.body, answer.json_length
    found = {}
    for output in json.loads(body[:place])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        data = body[place : place + size]
        place += size
        found[output["name"]] = from_bytes(data, output["datatype"], output["shape"])
    if place != len(body):
        raise ValueError(f"{len(body) - place} bytes behind the last output")
    return found


_Request, _Response = message("ModelInferRequest"), message("ModelInferResponse")


def _write_raw(model: str, inputs: Tensors) -> Any:
    request = _Request(model_name=model)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=DATATYPES[array.dtype.name], shape=array.shape)
        request.raw_input_contents.append(to_bytes(array))
    return request


def _write_contents(model: str, inputs: Tensors) -> Any:
    request = _Request(model_name=model)
    for name, array in inputs.items():
        datatype = DATATYPES[array.dtype.name]
        if datatype not in _CONTENTS:
            return None
        part = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        values = nested(array.reshape(-1))
        if datatype == "BYTES":
            values = [value.encode() for value in values]
        getattr(part.contents, _CONTENTS[datatype]).extend(values)
    return request


def _read_message(response: Any, expected: Tensors) -> dict[str, Array]:
    return {
        output.name: from_bytes(raw, output.datatype, list(output.shape))
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def _write_columns(model: str, inputs: Tensors) -> Http | None:
    if any(0 in array.shape[:-1] for array in inputs.values()):
        return None  # nested lists can't say how long the rows are that aren't there
    body = {"inputs": {name: nested(array) for name, array in inputs.items()}}
    return Http(f"/v1/models/{model}:predict", json.dumps(body).encode(), _BARE)


def _write_rows(model: str, inputs: Tensors) -> Http | None:
    counts = {len(array) if array.ndim else None for array in inputs.values()}
    if len(counts) != 1 or not counts - {None, 0} or not _write_columns(model, inputs):
        return None
    (count,) = counts
    columns = {name: nested(array) for name, array in inputs.items()}
    rows = [{name: column[row] for name, column in columns.items()} for row in range(count or 0)]
    body = json.dumps({"instances": rows}).encode()
    return Http(f"/v1/models/{model}:predict", body, _BARE)


def _plain(value: Any, expected: Array) -> Array:
    """A nested list as an array of the expected type; its own shape where it has one."""
    array = _objects(value) if expected.dtype.kind == "O" else np.array(value, expected.dtype)
    if array.size == 0 and expected.size == 0 and array.ndim < expected.ndim:
        return array.reshape(expected.shape)
    return array


def _objects(value: Any) -> Array:
    shape, inner = [], value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    flat = value
    for _ in shape[1:]:
        flat = [item for part in flat for item in part]
    texts = [_unwrapped(item) for item in (flat if shape else [flat])]
    if len(texts) != math.prod(shape):
        raise ValueError("the lists have unequal lengths")
    return np.array(texts, object).reshape(shape)


def _unwrapped(value: Any) -> Any:
    return base64.b64decode(value["b64"]).decode() if isinstance(value, dict) else value


def _read_columns(answer: Answered, expected: Tensors) -> dict[str, Array]:
    value = json.loads(answer.body)["outputs"]
    if len(expected) == 1:
        value = {next(iter(expected)): value}
    return {name: _plain(content, expected[name]) for name, content in value.items()}


def _read_rows(answer: Answered, expected: Tensors) -> dict[str, Array]:
    rows = json.loads(answer.body)["predictions"]
    if len(expected) == 1:
        name = next(iter(expected))
        return {name: _plain(rows, expected[name])}
    return {name: _plain([row[name] for row in rows], expected[name]) for name in expected}


JSON = Form("OIP JSON", _write_json, _read_json)
NESTED = Form("OIP JSON, nested", _write_nested, _read_json)
BINARY = Form("OIP binary", _write_binary, _read_binary)
RAW = Form("gRPC raw", _write_raw, _read_message)
CONTENTS = Form("gRPC typed", _write_contents, _read_message)
COLUMNS = Form("TF Serving columns", _write_columns, _read_columns)
ROWS = Form("TF Serving rows", _write_rows, _read_rows)
FORMS = (JSON, NESTED, BINARY, RAW, CONTENTS, COLUMNS, ROWS)
