"""The codecs of the JSON protocols: golden requests and answers."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.errors import InvalidInput, TooLarge
from inference_service.core.lifecycle import State
from inference_service.core.rows import OutputRows, RowLayout
from inference_service.core.tensors import Array, DType, NonFinite, Signature, TensorSpec
from inference_service.core.text import Tokens
from inference_service.protocols.oip import codec as oip
from inference_service.protocols.oip.rpc import codec as rpc
from inference_service.protocols.oip.rpc.messages import message
from inference_service.protocols.openai import codec as openai
from inference_service.protocols.predict import codec as predict
from inference_service.protocols.text import texts_of
from inference_service.protocols.tfserving import codec as tfserving
from inference_service.protocols.tfserving.schema import body_model

ONE = Signature((TensorSpec("x", DType.FP32, (None, 2)),), (TensorSpec("y", DType.FP32, (None,)),))
TWO = Signature(
    (TensorSpec("x", DType.FP32, (None, 2)), TensorSpec("word", DType.BYTES, (None,))),
    (TensorSpec("y", DType.FP32, (None,)), TensorSpec("label", DType.INT64, (None,))),
)
Y: Array = np.array([0.5, 1.5], np.float32)
LABEL: Array = np.array([7, 8], np.longlong)  # what onnxruntime gives


@given(
    rows=st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyw"), inner),
        max_leaves=8,
    )
)
def test_the_plainest_envelope_means_the_same_without_pydantic(rows: Any) -> None:
    def read(body: Any) -> Any:
        try:
            tensors, by_rows = tfserving.decode_predict(body, ONE)
        except InvalidInput as error:
            return error.message, error.path
        return {name: array.tolist() for name, array in tensors.items()}, by_rows

    # Another member of the envelope, and pydantic validates it.
    assert read({"instances": rows}) == read({"instances": rows, "signature_name": ""})


@pytest.mark.parametrize(
    ("signature", "body", "by_rows"),
    [
        (ONE, {"instances": [[1, 2], [3, 4]]}, True),
        (ONE, {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}, True),
        (ONE, {"signature_name": "serving_default", "inputs": [[1, 2], [3, 4]]}, False),
        (ONE, {"inputs": {"x": [[1, 2], [3, 4]]}}, False),
        (TWO, {"instances": [{"x": [1, 2], "word": "a"}, {"x": [3, 4], "word": "b"}]}, True),
        (TWO, {"inputs": {"x": [[1, 2], [3, 4]], "word": ["a", "b"]}}, False),
    ],
)
def test_tensorflow_servings_forms(
    signature: Signature, body: dict[str, Any], by_rows: bool
) -> None:
    tensors, rows = tfserving.decode_predict(body, signature)
    assert rows is by_rows
    assert tensors["x"].tolist() == [[1, 2], [3, 4]]
    assert signature.check(tensors) == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "expected an object with 'instances' or 'inputs'"),
        ({}, "expected one of 'instances' and 'inputs', got neither"),
        ({"instances": [[1, 2]], "inputs": [[1, 2]]}, "expected one of .*, got both"),
        ({"instance": [[1, 2]]}, "expected one of 'instances' and 'inputs', got neither"),
        ({"instances": [[1, 2]], "signature_name": "other"}, "unknown signature 'other'"),
        ({"instances": [[1, 2]], "signature_name": 3}, "signature_name: expected a string, got 3"),
        ({"instances": None}, "instances: expected an array of instances, got null"),
        (
            {"instances": [[1, 2], [3]]},
            r"instances\[1\]: input 'x': expected shape \[2\], got \[1\]",
        ),
        ({"inputs": {"x": [[1, 2], [3]]}}, r"inputs.x\[1\]: expected shape \[2\], got \[1\]"),
    ],
)
def test_a_wrong_envelope_is_told(body: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        tfserving.decode_predict(body, ONE)


def test_golden_answers_of_tensorflow_serving() -> None:
    one, two = {"y": Y}, {"y": Y, "label": LABEL}
    assert tfserving.encode_predict(one, by_rows=True) == b'{"predictions":[0.5,1.5]}'
    assert tfserving.encode_predict(one, by_rows=False) == b'{"outputs":[0.5,1.5]}'
    assert tfserving.encode_predict(two, by_rows=True) == (
        b'{"predictions":[{"y":0.5,"label":7},{"y":1.5,"label":8}]}'
    )
    assert tfserving.encode_predict(two, by_rows=False) == (
        b'{"outputs":{"y":[0.5,1.5],"label":[7,8]}}'
    )


@pytest.mark.parametrize("dtype", list(DType))
def test_every_dtype_can_be_answered_row_by_row(dtype: DType) -> None:
    array = np.array(["1", "0"], object) if dtype is DType.BYTES else np.array([1, 0], dtype.numpy)
    body = tfserving.encode_predict({"a": array, "b": Y}, by_rows=True)
    assert body.count(b'"a":') == 2


def test_the_metadata_has_tensorflows_shape() -> None:
    answer = tfserving.metadata("m", 3, ONE)
    assert answer["model_spec"] == {"name": "m", "signature_name": "", "version": "3"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}],
            "unknown_rank": False,
        },
        "name": "x",
    }


def test_the_status_lists_the_newest_version_first() -> None:
    answer = tfserving.status([(1, State.READY, ""), (2, State.FAILED, "broken")])
    assert answer["model_version_status"] == [
        {
            "version": "2",
            "state": "END",
            "status": {"error_code": "UNKNOWN", "error_message": "broken"},
        },
        {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
    ]


def test_the_request_schema_of_a_model_comes_from_its_graph() -> None:
    schema = body_model("m", ONE).model_json_schema()
    row = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    assert schema["properties"]["instances"]["items"]["anyOf"][0] == row
    assert schema["properties"]["inputs"]["anyOf"][0] == {"type": "array", "items": row}


@pytest.mark.parametrize(
    ("signature", "body", "one_row", "rows"),
    [
        (ONE, [1, 2], True, 1),
        (ONE, [[1, 2], [3, 4]], False, 2),
        (ONE, {"x": [1, 2]}, True, 1),
        (ONE, {"x": [[1, 2]]}, False, 1),
        (TWO, {"x": [1, 2], "word": "a"}, True, 1),
        (TWO, {"x": [[1, 2]], "word": ["a"]}, False, 1),
    ],
)
def test_the_rank_of_a_tutorials_input_says_whether_it_is_one_row(
    signature: Signature, body: Any, one_row: bool, rows: int
) -> None:
    tensors, lone = predict.decode(body, signature)
    assert lone is one_row
    assert signature.check(tensors) == rows


def test_one_row_is_answered_without_a_batch_axis() -> None:
    outputs = {"y": Y[:1], "word": np.array(["a"], object)}
    assert predict.encode(outputs, one_row=True) == b'{"y":0.5,"word":"a"}'
    assert predict.encode(outputs, one_row=False) == b'{"y":[0.5],"word":["a"]}'


@pytest.mark.parametrize(
    ("signature", "body", "message"),
    [
        (ONE, [1, 2, 3], r"x: expected shape \[2\], got \[3\]"),
        (ONE, [1, "a"], r"x\[1\]: expected float32, got a string 'a'"),
        (ONE, {"data": [1, 2]}, "missing input 'x' and unknown input 'data'; this model takes 'x'"),
        (ONE, 5, "x: expected an array of shape"),
        (TWO, [1, 2], "expected an object with one key per input: 'x', 'word'"),
        (TWO, {"x": [1, 2], "word": ["a"]}, "x: expected|x.0.: expected"),
    ],
)
def test_a_wrong_tutorial_input_is_told(signature: Signature, body: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        predict.decode(body, signature)


def test_an_input_that_is_named_instances_is_no_envelope() -> None:
    named = Signature((TensorSpec("instances", DType.FP32, (None,)),), ())
    assert not predict.is_envelope({"instances": [1]}, named)
    assert predict.is_envelope({"instances": [1]}, ONE)


def test_golden_answers_of_openai() -> None:
    vectors: Array = np.array([[0.5, -1], [0.25, 2]], np.float32)
    tokens = Tokens(((1, 2, 3), (4,)), (False, False))
    assert openai.encode(vectors, tokens, "m", "float", NonFinite.NULL) == (
        b'{"object":"list","model":"m","data":['
        b'{"object":"embedding","index":0,"embedding":[0.5,-1.0]},'
        b'{"object":"embedding","index":1,"embedding":[0.25,2.0]}],'
        b'"usage":{"prompt_tokens":4,"total_tokens":4}}'
    )
    packed = openai.encode(vectors[:1], tokens, "m", "base64", NonFinite.NULL)
    assert b'"embedding":"AAAAPwAAgL8="' in packed


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2]], [[1], [2]]),
        ([], []),
    ],
)
def test_openais_four_forms_of_input(given: Any, texts: list[Any]) -> None:
    assert texts_of(openai.decode({"input": given}).input) == texts


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ([], "expected an object with 'input'"),
        ({}, "input: missing"),
        ({"input": 3}, "input: expected a string, a list of strings, a list of tokens, or"),
        ({"input": ["a", 3]}, "input: expected a string"),
        ({"input": [[-1]]}, "input: expected a string"),
        (
            {"input": "a", "encoding_format": "hex"},
            "encoding_format: expected 'float' or 'base64', got 'hex'",
        ),
        ({"input": "a", "dimensions": 0}, "dimensions: expected a number of at least 1, got 0"),
    ],
)
def test_a_wrong_request_for_embeddings_is_told(body: Any, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        openai.decode(body)


def test_golden_messages_of_grpc() -> None:
    request = message("ModelInferRequest").FromString(
        b"\x0a\x01m\x1a\x017"  # model_name "m", id "7"
        b"\x2a\x0d\x0a\x01x\x12\x04FP32\x1a\x02\x01\x02"  # inputs: "x" FP32 [1, 2]
        b"\x3a\x08\x00\x00\x80\x3f\x00\x00\x00\x40"  # raw_input_contents
    )
    decoded = rpc.decode(request)
    assert decoded.inputs["x"].tolist() == [[1, 2]]
    answer = rpc.encode(oip.AnswerWriter("m", 3, decoded), {"y": Y})
    assert answer.SerializeToString() == (
        b"\x0a\x01m\x12\x013\x1a\x017"
        b"\x2a\x0c\x0a\x01y\x12\x04FP32\x1a\x01\x02"
        b"\x32\x08\x00\x00\x00\x3f\x00\x00\xc0\x3f"
    )


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (RowLayout({"x": 1}), "input 'x' has its rows on axis 1: use the column form 'inputs'"),
        (RowLayout({"x": None}), "input 'x' has no axis for rows: use the column form"),
        (RowLayout({}, {"y": OutputRows(1)}), "output 'y' has no entry for each row on its first"),
    ],
)
def test_rows_on_another_axis_need_the_column_form(layout: RowLayout, message: str) -> None:
    square = TensorSpec("x", DType.FP32, (None, None)), TensorSpec("y", DType.FP32, (None, None))
    signature = Signature(square[:1], square[1:], rows=layout)
    body = {"instances": [[1, 2], [3, 4]]}
    with pytest.raises(InvalidInput, match=message):
        tfserving.decode_predict(body, signature)
    assert tfserving.decode_quickly(json.dumps(body).encode() + b" " * 2000, signature) is None
    tensors, lone = predict.decode([[1, 2], [3, 4]], signature)
    assert (tensors["x"].tolist(), lone) == ([[1, 2], [3, 4]], False)


def test_files_become_rows_as_far_as_there_is_room_for_all_of_them() -> None:
    signature = Signature((TensorSpec("x", DType.FP32, (None, 4)),), ())
    asked: list[bytes] = []

    def tensors(data: bytes) -> dict[str, Array]:
        asked.append(data)
        return {"x": np.full((1, 4), len(data), np.float32)}

    value = {"instances": [{"b64": "YQ=="}, {"b64": "YWE="}, {"b64": "YWFh"}]}
    inputs, by_rows = tfserving.decode_files(value, signature, tensors, 48)
    assert by_rows
    assert inputs["x"].tolist() == [[1] * 4, [2] * 4, [3] * 4]
    asked.clear()
    with pytest.raises(TooLarge, match=r"3 files become 0 MiB of tensors.*send fewer"):
        tfserving.decode_files(value, signature, tensors, 47)
    assert asked == [b"a"], "no more than one is decoded to know"
