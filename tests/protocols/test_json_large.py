"""JSON of very many values: read elsewhere, with the same result, or refused before it is read."""

import json
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.decoding import decoding_by
from inference_service.core.errors import InvalidInput, TooLarge
from inference_service.core.tensors import DType, Signature, TensorSpec
from inference_service.processes.values import packed, unpacked
from inference_service.protocols import json_large
from inference_service.protocols.json_large import (
    LARGE_FROM,
    MOST_VALUES,
    QUICK_TO,
    is_dense,
    parse_few,
    read,
)
from inference_service.protocols.oip import codec as oip
from inference_service.protocols.oip.rpc import codec as rpc
from inference_service.protocols.oip.rpc.messages import message
from inference_service.protocols.oip.wanted import Wanted
from inference_service.protocols.predict.codec import decode_any
from inference_service.protocols.tfserving import examples
from inference_service.protocols.tfserving.codec import decode_predict, decode_quickly

PAIR = Signature(
    (TensorSpec("a", DType.FP32, (None, 2)), TensorSpec("w", DType.BYTES, (None,))),
    (TensorSpec("y", DType.FP32, (None,)),),
)
ROWS = 20_000
INSTANCES = [{"a": [i, 0.5], "w": f"text {i % 7}"} for i in range(ROWS)]
COLUMNS = {"a": [[i, 0.5] for i in range(ROWS)], "w": [f"text {i % 7}" for i in range(ROWS)]}


def test_values_are_counted_no_further_than_they_matter() -> None:
    """A call of bytes.count over a whole body would hold the interpreter's lock for as long."""
    body = b"[[1,2],{}]"
    assert json_large._separators(body, 100) == body.count(b",") + 3
    many = b"," * 50_000_000
    assert 100 < json_large._separators(many, 100) <= 2**16


class Elsewhere:
    """Decodes as another process does: whatever goes there and comes back is bytes."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        self.calls += 1
        function, arguments = pickle.loads(pickle.dumps((function, arguments)))  # noqa: S301
        value, arrays = packed(function(*arguments))
        told = json.loads(json.dumps(value))
        return unpacked(told, b"".join(array.tobytes() for array in arrays))


@pytest.mark.parametrize(
    ("decode", "arguments", "value"),
    [
        (decode_predict, (PAIR,), {"instances": INSTANCES}),
        (decode_predict, (PAIR,), {"inputs": COLUMNS}),
        (decode_any, (PAIR, decode_predict), {"instances": INSTANCES}),
        (decode_any, (PAIR, decode_predict), COLUMNS),
        (examples.decode, (PAIR,), {"examples": INSTANCES}),
    ],
)
def test_the_same_is_read_elsewhere(
    decode: Callable[..., Any], arguments: tuple[Any, ...], value: Any
) -> None:
    body, elsewhere = orjson.dumps(value), Elsewhere()
    tensors, *rest = decoding_by(elsewhere, read, body, decode, *arguments)
    assert elsewhere.calls == 1
    wanted, *others = read(body, decode, *arguments)
    assert rest == others
    assert tensors.keys() == wanted.keys()
    for name, array in wanted.items():
        assert tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(tensors[name], array)


def test_a_request_of_the_open_inference_protocol_is_whole_again() -> None:
    parts = [
        {"name": "a", "shape": [ROWS, 2], "datatype": "FP32", "data": COLUMNS["a"]},
        {"name": "w", "shape": [ROWS], "datatype": "BYTES", "data": COLUMNS["w"]},
        {"name": "raw", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
    ]
    outputs = [{"name": "y", "parameters": {"binary_data": True, "classification": 2}}]
    text = orjson.dumps(
        {"id": "7", "inputs": parts, "outputs": outputs, "parameters": {"priority": 1}}
    )
    body = text + np.array([1, 2], np.float32).tobytes()
    elsewhere = Elsewhere()
    found = decoding_by(elsewhere, oip.decode, body, PAIR, len(text))
    here = oip.decode(body, PAIR, len(text))
    assert elsewhere.calls == 1
    assert found.outputs == here.outputs == (Wanted("y", binary=True, classes=2),)
    assert (found.id, found.timeout, found.priority, found.binary) == ("7", here.timeout, 1, False)
    for name, array in here.inputs.items():
        np.testing.assert_array_equal(found.inputs[name], array)


def test_a_fault_has_the_same_place_and_words() -> None:
    body = orjson.dumps({"instances": [*INSTANCES[:-1], {"a": [1, "two"], "w": ""}]})
    told = []
    for decode in (None, Elsewhere()):
        with pytest.raises(InvalidInput) as caught:
            decoding_by(decode, read, body, decode_predict, PAIR)
        told.append((caught.value.message, caught.value.path))
    assert told[0] == told[1]
    assert told[0][1] == ("instances", ROWS - 1, "a", 1)


def test_plain_arrays_of_numbers_are_read_here() -> None:
    signature = Signature((TensorSpec("x", DType.FP32, (None, 64)),), PAIR.outputs)
    elsewhere = Elsewhere()
    part = {"name": "x", "shape": [2000, 64], "datatype": "FP32", "data": [[0.5] * 64] * 2000}
    found = decoding_by(elsewhere, oip.decode, orjson.dumps({"inputs": [part]}), signature)
    assert (found.inputs["x"].shape, elsewhere.calls) == ((2000, 64), 0)


def test_short_bodies_and_long_texts_are_read_here() -> None:
    signature = Signature((TensorSpec("w", DType.BYTES, (None,)),), PAIR.outputs)
    elsewhere = Elsewhere()
    for texts in (["a"] * (LARGE_FROM // 4 - 10), ["a" * LARGE_FROM], ["1234567"] * 39_000):
        body = orjson.dumps({"instances": texts})
        decoding_by(elsewhere, read, body, decode_predict, signature)
        assert not is_dense(body)
    assert elsewhere.calls == 0
    assert is_dense(b"[" + b"1," * (LARGE_FROM // 2) + b"1]")


@pytest.mark.parametrize(
    "body",
    [
        b'{"input":[' + b",".join([b"1"] * MOST_VALUES) + b"]}",
        b'{"input":[' + b",".join([b"[[],1]"] * (MOST_VALUES // 2)) + b"]}",
        b'{"input":{' + b",".join([b'"a":1'] * MOST_VALUES) + b"}}",
        b'{"input":[' + b",".join([b"1"] * QUICK_TO) + b"]}",
    ],
)
def test_a_body_of_texts_holds_a_bounded_number_of_values(body: bytes) -> None:
    with pytest.raises(TooLarge, match=f"more than {MOST_VALUES} JSON values"):
        parse_few(body)


def test_commas_of_texts_are_no_values() -> None:
    text = "a, b, " * MOST_VALUES
    assert parse_few(orjson.dumps({"input": [text, [1, {"b": 2}]]}))["input"][0] == text


def test_very_many_numbers_are_read_elsewhere_even_where_they_are_plain() -> None:
    signature = Signature((TensorSpec("x", DType.INT64, (None, 1000)),), PAIR.outputs)
    row = b"[" + b",".join([b"1"] * 1000) + b"]"
    rows = QUICK_TO // len(row) + 1
    body = b'{"instances":[' + b",".join([row] * rows) + b"]}"
    elsewhere = Elsewhere()
    reading = partial(read, quick=decode_quickly)
    tensors, by_rows = decoding_by(elsewhere, reading, body, decode_predict, signature)
    assert (tensors["x"].sum(), by_rows, elsewhere.calls) == (rows * 1000, True, 1)


def test_names_and_parameters_of_a_plain_request_are_few() -> None:
    """Whatever is no array of numbers would become objects in one call."""
    row = {"name": "x", "shape": [1, 64], "datatype": "FP32", "data": [0.5] * 64}
    for more in ({"parameters": {"p": [[1] * 2000]}}, {"outputs": [{"name": "y"}] * 2000}):
        assert oip.decode_quickly(orjson.dumps({"inputs": [row], **more}), b"") is None
    assert oip.decode_quickly(orjson.dumps({"inputs": [row] * 2000}), b"") is None


def _message(values: int) -> Any:
    request = message("ModelInferRequest")(model_name="m", model_version="3", id="7")
    part = request.inputs.add(name="x", shape=[values], datatype="INT64")
    part.contents.int64_contents.extend(range(values))
    request.inputs.add(name="w", shape=[2], datatype="BYTES").contents.bytes_contents.extend(
        [b"a", b"b"]
    )
    request.outputs.add(name="y").parameters["classification"].int64_param = 2
    return request


def test_messages_of_many_typed_values_are_read_elsewhere() -> None:
    data, elsewhere = _message(250_000).SerializeToString(), Elsewhere()
    assert rpc.takes_long(data)
    sent = decoding_by(elsewhere, rpc.read_elsewhere, data)
    here = rpc.decode(rpc.read(data).request)
    assert (sent.model, sent.version, elsewhere.calls) == ("m", "3", 1)
    found = rpc.decode(sent.request)
    assert (found.id, found.outputs, found.timeout) == (here.id, here.outputs, here.timeout)
    for name, array in here.inputs.items():
        np.testing.assert_array_equal(found.inputs[name], array)


def test_raw_contents_are_read_here_however_large() -> None:
    request = message("ModelInferRequest")(raw_input_contents=[b"\0" * 2**20, b"\1" * 2**22])
    assert not rpc.takes_long(request.SerializeToString())
    assert not rpc.takes_long(_message(1000).SerializeToString())


@given(st.binary(max_size=64), st.integers(0, 2**20))
def test_any_bytes_may_stand_in_a_message(data: bytes, filler: int) -> None:
    rpc.takes_long(data + b"\x3a" * filler)


@pytest.mark.parametrize("field", [b"\x2a\0", b"\x3a\0", b"\x22\0", b"\x7a\0"])
def test_messages_of_many_empty_parts_are_read_elsewhere(field: bytes) -> None:
    assert rpc.takes_long(field * 400_000)
