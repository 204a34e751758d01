"""The codec of the Open Inference Protocol: golden bytes, every type both ways, every complaint."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from inference_service.core.errors import ExecutionFailed, InvalidInput
from inference_service.core.tensors import Array, BatchMode, DType, NonFinite, Signature, TensorSpec
from inference_service.protocols.oip import codec
from inference_service.protocols.oip.classification import classified
from inference_service.protocols.oip.codec import AnswerWriter, Infer, decode
from inference_service.protocols.oip.parts import as_base64, as_content
from inference_service.protocols.oip.rpc import codec as rpc
from inference_service.protocols.oip.rpc.messages import message
from inference_service.protocols.oip.wanted import Wanted

ONE = Signature((TensorSpec("x", DType.FP32, (None, 2)),), (TensorSpec("y", DType.FP32, (None,)),))
TWO = Signature(
    (TensorSpec("x", DType.FP32, (None, 2)), TensorSpec("word", DType.BYTES, (None,))),
    (TensorSpec("y", DType.FP32, (None,)),),
)
X: Array = np.array([[1, 2], [3, 4]], np.float32)
NUMBERS = [dtype for dtype in DType if dtype is not DType.BYTES]


def body(*inputs: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"inputs": inputs, **more}).encode()


def entry(**changes: Any) -> dict[str, Any]:
    whole = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]} | changes
    return {key: value for key, value in whole.items() if value is not ...}


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]])
def test_data_may_be_flat_or_nested(data: Any) -> None:
    assert decode(body(entry(data=data)), ONE).inputs["x"].tolist() == X.tolist()


def test_a_shape_may_be_written_as_text() -> None:
    """The JSON form of protocol buffers writes whole numbers of 64 bits so."""
    assert decode(body(entry(shape=["2", "2"])), ONE).inputs["x"].tolist() == X.tolist()
    for wrong in (["2", "-2"], ["2", "2.0"], ["2", "two"], ["2", "9" * 30]):
        with pytest.raises(InvalidInput, match=r"inputs\[0\].shape\[1\]"):
            decode(body(entry(shape=wrong)), ONE)


def test_the_golden_request_in_binary() -> None:
    """JSON, then the tensors in the order of the inputs, little-endian, strings with lengths."""
    head = (
        b'{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","parameters":{"binary_data_size":16}},'
        b'{"name":"word","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}}]}'
    )
    tail = (
        b"\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40\x00\x00\x80\x40"
        b"\x03\x00\x00\x00abc\x00\x00\x00\x00"
    )
    request = decode(head + tail, TWO, len(head))
    assert request.inputs["x"].tolist() == X.tolist()
    assert request.inputs["word"].tolist() == ["abc", ""]


def test_the_golden_answers() -> None:
    words: Array = np.array(["é", ""], object)
    outputs: dict[str, Array] = {"y": np.array([0.5, 1.5], np.float32), "word": words}
    answer = AnswerWriter("m", 3, Infer({}, id="7")).write(outputs)
    assert answer == (
        b'{"model_name":"m","model_version":"3","id":"7","outputs":['
        b'{"name":"y","datatype":"FP32","shape":[2],"data":[0.5,1.5]},'
        b'{"name":"word","datatype":"BYTES","shape":[2],"data":["\xc3\xa9",""]}]}',
        None,
    )
    head = (
        b'{"model_name":"m","model_version":"3","outputs":['
        b'{"name":"y","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":8}},'
        b'{"name":"word","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":10}}]}'
    )
    tail = b"\x00\x00\x00\x3f\x00\x00\xc0\x3f\x02\x00\x00\x00\xc3\xa9\x00\x00\x00\x00"
    assert AnswerWriter("m", 3, Infer({}, binary=True)).write(outputs) == (head + tail, len(head))


def test_outputs_come_in_the_order_and_the_form_they_are_asked_for() -> None:
    outputs: dict[str, Array] = {"a": np.array([1], np.int64), "b": np.array([], np.float32)}
    wanted = (Wanted("b", binary=True), Wanted("a"))
    answer = AnswerWriter("m", 1, Infer({}, outputs=wanted)).write(outputs)
    assert answer.json_length == len(answer.body), "a tensor without elements has no bytes"
    assert json.loads(answer.body)["outputs"] == [
        {"name": "b", "datatype": "FP32", "shape": [0], "parameters": {"binary_data_size": 0}},
        {"name": "a", "datatype": "INT64", "shape": [1], "data": [1]},
    ]


@given(st.data(), st.sampled_from(NUMBERS), st.booleans())
def test_every_type_passes_both_ways(data: st.DataObject, dtype: DType, binary: bool) -> None:
    finite = False if dtype.is_float and not binary else None
    elements = npst.from_dtype(dtype.numpy, allow_nan=finite, allow_infinity=finite)
    shape = npst.array_shapes(max_dims=3, max_side=4)
    array = data.draw(npst.arrays(dtype.numpy, shape, elements=elements))
    answer = AnswerWriter("m", 1, Infer({}, binary=binary)).write({"x": array})
    sent = json.loads(answer.body[: answer.json_length])
    request = json.dumps({"inputs": sent["outputs"]}).encode()
    tail = answer.body[answer.json_length :] if binary else b""
    back = decode(request + tail, ONE, len(request) if binary else None).inputs["x"]
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()


@given(st.lists(st.text(max_size=5), max_size=5), st.booleans())
def test_strings_pass_both_ways(texts: list[str], binary: bool) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    array = np.empty(len(texts), object)
    array[:] = texts
    answer = AnswerWriter("m", 1, Infer({}, binary=binary)).write({"word": array})
    sent = json.loads(answer.body[: answer.json_length])
    request = json.dumps({"inputs": sent["outputs"]}).encode()
    tail = answer.body[answer.json_length :] if binary else b""
    back = decode(request + tail, TWO, len(request) if binary else None)
    assert back.inputs["word"].tolist() == texts


def test_binary_numbers_are_not_copied_where_they_lie_aligned() -> None:
    head = body(entry(data=..., parameters={"binary_data_size": 16}))
    padded = head + b" " * (-len(head) % 8)
    whole = padded + X.tobytes()
    array = decode(whole, ONE, len(padded)).inputs["x"]
    assert array.tolist() == X.tolist()
    assert np.shares_memory(array, np.frombuffer(whole, np.uint8))
    moved = head + b" " * (-len(head) % 8 + 1)
    array = decode(moved + X.tobytes(), ONE, len(moved)).inputs["x"]
    assert array.tolist() == X.tolist()
    assert array.flags.aligned


def test_a_raw_body_is_one_row_of_the_only_input() -> None:
    request = decode(X[0].tobytes(), ONE, 0)
    assert request.inputs["x"].tolist() == [[1, 2]]
    assert request.binary
    free = Signature((TensorSpec("t", DType.INT32, (None, None)),), ())
    assert decode(b"\x01\0\0\0\x02\0\0\0", free, 0).inputs["t"].tolist() == [[1, 2]]
    words = Signature((TensorSpec("w", DType.BYTES, (None,)),), ())
    assert decode("grüß".encode(), words, 0).inputs["w"].tolist() == ["grüß"]


def test_parameters_are_read() -> None:
    request = decode(
        body(
            entry(),
            id="a",
            parameters={"timeout": 250000, "priority": 1, "binary_data_output": True, "own": "x"},
            outputs=[
                {"name": "y", "parameters": {"binary_data": False}},
                {"name": "z", "parameters": {"classification": 3}},
            ],
        ),
        ONE,
    )
    assert (request.id, request.timeout, request.priority) == ("a", 0.25, 1)
    assert request.outputs == (Wanted("y"), Wanted("z", binary=True, classes=3))


def test_a_classification_has_the_best_classes_with_their_labels() -> None:
    scores = np.array([[0.25, 0.5, 0.125], [1, 1, -2]], np.float32)
    wanted = (Wanted("y", classes=2),)
    answer = AnswerWriter("m", 1, Infer({}, outputs=wanted), {"y": ("cat", "dog")}).write(
        {"y": scores}
    )
    assert json.loads(answer.body)["outputs"] == [
        {
            "name": "y", "datatype": "BYTES", "shape": [2, 2],
            "data": ["0.500000:1:dog", "0.250000:0:cat", "1.000000:0:cat", "1.000000:1:dog"],
        }
    ]  # fmt: skip
    with pytest.raises(InvalidInput, match="a classification needs numbers"):
        AnswerWriter("m", 1, Infer({}, outputs=wanted)).write({"y": np.array(["a"], object)})


BINARY = {"binary_data_size": 16}


@pytest.mark.parametrize(
    ("sent", "json_length", "message"),
    [
        (b"[]", None, "expected an object with 'inputs'"),
        (b"{}", None, "inputs: missing"),
        (b'{"inputs":[]}', None, "inputs: expected a length of at least 1, got 0"),
        (b'{"inputs":[{}]}', None, r"inputs\[0\].name: missing"),
        (body(entry(shape=[2, -2])), None, r"inputs\[0\].shape\[1\]: expected a number of at least 0, got -2"),
        (body(entry(shape=[2, 2.0])), None, r"inputs\[0\].shape\[1\]: expected a whole number, got 2.0"),
        (body(entry(datatype="FP8")), None, r"inputs\[0\].datatype: input 'x': expected one of BOOL, .*, got 'FP8'"),
        (body(entry(datatype="BF16")), None, "got 'BF16'"),
        (body(entry(data=...)), None, "expected 'data', or 'binary_data_size' in its parameters"),
        (body(entry(data=[1, 2, 3])), None, r"inputs\[0\].data: input 'x': shape \[2, 2\] has 4 elements, the data 3"),
        (body(entry(data=[1, 2, 3, "4"])), None, r"inputs\[0\].data\[3\]: .*expected float32, got a string '4'"),
        (body(entry(data=[[1, 2], [3]])), None, r"inputs\[0\].data\[1\]: .*expected shape \[2\], got \[1\]"),
        (body(entry(data=[[1, 2], [3, None]])), None, r"data\[1\]\[1\]: .*expected float32, got null"),
        (body(entry(data=[True, 2, 3, 4])), None, r"data\[0\]: .*expected float32, got a boolean"),
        (body(entry(shape=[2**40, 2**40])), None, "elements, the data 4"),
        (body(entry(), entry()), None, "input 'x' is given twice"),
        (b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[NaN]}]}', None, "NaN at byte 61 is not a JSON number"),
        (body(entry(data=..., parameters=BINARY)), None, "binary_data_size is 16, but only 0 bytes"),
        (body(entry(parameters=BINARY)), None, "expected either 'data' or 'binary_data_size', got both"),
        (body(entry(data=..., parameters={"binary_data_size": -1})), None, r"parameters.binary_data_size: .*expected a number of bytes, got -1"),
        (body(entry()), 10**6, "Inference-Header-Content-Length is 1000000, but the body has"),
        (body(entry()) + b"\0\0", len(body(entry())), "2 bytes of binary data belong to no input"),
        (b"\0" * 7, 0, r"7 bytes of binary data, but FP32 of shape \[1, 2\] takes 8"),
        (body(entry(), parameters={"binary_data_output": 1}), None, "parameters.binary_data_output: expected true or false, got 1"),
        (body(entry(), parameters={"timeout": -1}), None, "parameters.timeout: expected a whole number from 0 on, got -1"),
        (body(entry(), parameters={"timeout": 10**20}), None, "parameters.timeout: expected a whole number of at most 64 bits from 0 on, got 1e"),
        (body(entry(), outputs=[{"name": "y", "parameters": {"classification": "all"}}]), None, r"outputs\[0\].parameters.classification: expected a whole number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(
    sent: bytes, json_length: int | None, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        decode(sent, ONE, json_length)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\0\0\0", "string 0 of the binary data ends too early"),
        (b"\x01\0\0", "string 0 of the binary data ends too early"),
        (b"\x01\0\0\0\xff", "string 0 of the binary data is not UTF-8"),
        (b"\0\0\0\0", "the shape has 2 strings, the binary data 1"),
        (b"\0\0\0\0" * 3, "the shape has 2 strings, the binary data more than 2"),
    ],
)
def test_damaged_strings_are_told(data: bytes, message: str) -> None:
    part = {"name": "word", "shape": [2], "datatype": "BYTES"}
    head = body(part | {"parameters": {"binary_data_size": len(data)}})
    with pytest.raises(InvalidInput, match=message):
        decode(head + data, TWO, len(head))


def test_a_boolean_byte_is_0_or_1() -> None:
    part = {"name": "b", "shape": [2], "datatype": "BOOL", "parameters": {"binary_data_size": 2}}
    head = body(part)
    assert decode(head + b"\x01\0", ONE, len(head)).inputs["b"].tolist() == [True, False]
    with pytest.raises(InvalidInput, match="a BOOL is one byte, 0 or 1"):
        decode(head + b"\x01\x02", ONE, len(head))


def test_nan_is_null_an_error_or_bare_as_asked() -> None:
    outputs = {"y": np.array([np.nan, np.inf, 0.1], np.float32)}

    def data(policy: NonFinite) -> bytes:
        answer = AnswerWriter("m", 1, Infer({}), non_finite=policy).write(outputs).body
        return answer[answer.index(b'"data":') :]

    assert data(NonFinite.NULL) == b'"data":[null,null,0.1]}]}'
    assert data(NonFinite.BARE) == b'"data":[NaN,Infinity,0.1]}]}'
    with pytest.raises(ExecutionFailed, match="the model's answer holds NaN or Infinity"):
        data(NonFinite.ERROR)
    binary = AnswerWriter("m", 1, Infer({}, binary=True), non_finite=NonFinite.ERROR).write(outputs)
    assert binary.body.endswith(outputs["y"].tobytes()), "bytes have every number"
    sent = b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[NaN,-Infinity]}]}'
    taken = decode(sent, ONE, non_finite=True).inputs["x"]
    assert np.isnan(taken[0])
    assert taken[1] == -np.inf
    too_large = b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[NaN,1e39]}]}'
    with pytest.raises(InvalidInput, match=r"data\[\d\]: .*finite float32"):
        decode(too_large, ONE, non_finite=True)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_bare_nan_is_no_whole_number(number: str) -> None:
    part = f'{{"name":"n","shape":[1],"datatype":"INT64","data":[{number}]}}'
    with pytest.raises(InvalidInput, match=r"data\[0\]: .*expected a whole number \(int64\), got"):
        decode(f'{{"inputs":[{part}]}}'.encode(), ONE, non_finite=True)


def test_large_requests_take_the_quick_way_and_mean_the_same() -> None:
    wide = Signature((TensorSpec("x", DType.FP32, (None, 100)),), ())
    array = np.random.default_rng(0).normal(size=(4, 100)).astype(np.float32)
    for data in (array.tolist(), array.reshape(-1).tolist()):
        sent = body(entry(shape=[4, 100], data=data), outputs=[{"name": "y"}], id="q")
        quick = codec.decode_quickly(sent, b"")
        assert quick is not None
        tensors, taken, outputs, request_id, *_ = quick
        assert np.array_equal(tensors["x"], array)
        assert (taken, outputs, request_id) == (0, (Wanted("y"),), "q")
    sent = body(entry(shape=[4, 100], data=[*array.reshape(-1).tolist()[:-1], "x"]))
    with pytest.raises(InvalidInput, match=r"data\[399\]: input 'x': expected float32, got a str"):
        decode(sent, wide)


def test_a_tensor_without_rows_is_classified_as_one_row() -> None:
    """As Triton does where max_batch_size is 0: softmax over x[16]."""
    logits = np.array([0.1, 3, -1, 2.5] * 4, np.float32)
    scores = np.exp(logits) / np.exp(logits).sum()
    signature = Signature(
        (TensorSpec("x", DType.FP32, (16,)),),
        (TensorSpec("y", DType.FP32, (16,)),),
        BatchMode.WHOLE,
    )
    wanted = (Wanted("y", classes=2),)
    reply = AnswerWriter("m", 1, Infer({}, outputs=wanted), row_axes=signature.row_axes)
    found = json.loads(reply.write({"y": scores}).body)["outputs"][0]
    assert (found["datatype"], found["shape"]) == ("BYTES", [2])
    order = np.argsort(-scores, kind="stable")[:2]
    assert found["data"] == [f"{scores[i]:f}:{i}" for i in order]


@pytest.mark.parametrize(
    ("mode", "shape", "without"),
    [
        (BatchMode.WHOLE, (16,), True),
        (BatchMode.WHOLE, (None,), True),
        (BatchMode.WHOLE, (1, 10), True),
        (BatchMode.WHOLE, (None, 10), False),
        (BatchMode.WHOLE, (), True),
        (BatchMode.MERGE, (None,), False),
        (BatchMode.SPLIT, (1, 10), False),
    ],
)
def test_which_outputs_have_no_rows(
    mode: BatchMode, shape: tuple[int | None, ...], without: bool
) -> None:
    signature = Signature((), (TensorSpec("y", DType.FP32, shape),), mode)
    assert signature.row_axes == ({"y": None} if without else {})


def test_the_highest_of_large_integers_is_found() -> None:
    scores = np.array([[2**63 + 1, 2**63 + 2, 0]], np.uint64)
    assert classified(scores, 2, ()).tolist() == [[f"{2**63 + 2}:1", f"{2**63 + 1}:0"]]
    scores = np.array([[-(2**63), 2**53, 2**53 + 1]], np.int64)
    assert classified(scores, 1, ()).tolist() == [[f"{2**53 + 1}:2"]]
    for nothing in (np.zeros((0, 3), np.float32), np.zeros((2, 0), np.float32)):
        assert classified(nothing, 2, ()).shape == (len(nothing), min(2, nothing.shape[1]))


def test_an_output_is_asked_for_once() -> None:
    """Triton's words: it refuses a second time, too."""
    with pytest.raises(InvalidInput, match="output 'y' already exists in request"):
        decode(body(entry(), outputs=[{"name": "y"}, {"name": "y"}]), ONE)


def test_raw_contents_beside_an_empty_message_are_raw() -> None:
    """MLServer's converter leaves an empty ``contents`` in the message."""
    request = message("ModelInferRequest")()
    part = request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    part.contents.SetInParent()
    request.raw_input_contents.append(np.array([[1, 2]], np.float32).tobytes())
    assert rpc.decode(request).inputs["x"].tolist() == [[1, 2]]
    part.contents.fp32_contents.append(1)
    with pytest.raises(InvalidInput, match="expected either contents or raw_input_contents"):
        rpc.decode(request)


REGION = {"shared_memory_region": "a", "shared_memory_byte_size": 16}
IN_MEMORY = "shared memory is not supported: tensors are sent in the request and the answer"


def test_shared_memory_is_refused_in_words() -> None:
    """Of outputs, too: a client that asks for one in its memory would read what was there before."""
    at = r"parameters.shared_memory_region: "
    large = list(range(20_000))
    for sent, place in (
        (body(entry(data=..., parameters=REGION)), rf"inputs\[0\].{at}input 'x': "),
        (body(entry(data=large, shape=[10_000, 2], parameters=REGION)), rf"inputs\[0\].{at}input 'x': "),
        (body(entry(), outputs=[{"name": "y", "parameters": REGION}]), rf"outputs\[0\].{at}"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match=place + IN_MEMORY):
            decode(sent, ONE)


def test_shared_memory_is_refused_over_grpc_before_contents_are_counted() -> None:
    request = message("ModelInferRequest")()
    _, there = (request.inputs.add(name=n, datatype="FP32", shape=[1, 2]) for n in "xz")
    request.raw_input_contents.append(np.array([[1, 2]], np.float32).tobytes())
    there.parameters["shared_memory_region"].string_param = "a"
    with pytest.raises(InvalidInput, match=r"inputs\[1\].parameters.*" + IN_MEMORY):
        rpc.decode(request)
    request.inputs.remove(there)
    output = request.outputs.add(name="y")
    output.parameters["shared_memory_region"].string_param = "a"
    with pytest.raises(InvalidInput, match=r"outputs\[0\].parameters.*" + IN_MEMORY):
        rpc.decode(request)


BASE64 = {"content_type": "base64"}


def test_base64_by_its_content_type_is_decoded() -> None:
    """MLServer's Base64Codec sends it, in all its forms; the model gets the text."""
    texts = {"name": "word", "shape": [2], "datatype": "BYTES"}
    sent = ["d8O2cmxk", ""]
    found = decode(body(texts | {"data": sent, "parameters": BASE64}), TWO).inputs["word"]
    assert found.tolist() == ["w\u00f6rld", ""]
    tail = b"".join(len(one).to_bytes(4, "little") + one.encode() for one in sent)
    head = body(texts | {"parameters": BASE64 | {"binary_data_size": len(tail)}})
    assert decode(head + tail, TWO, len(head)).inputs["word"].tolist() == found.tolist()
    request = message("ModelInferRequest")()
    part = request.inputs.add(**texts)
    part.parameters["content_type"].string_param = "base64"
    part.contents.bytes_contents.extend(one.encode() for one in sent)
    assert rpc.decode(request).inputs["word"].tolist() == found.tolist()
    part.ClearField("contents")
    request.raw_input_contents.append(tail)
    assert rpc.decode(request).inputs["word"].tolist() == found.tolist()


def test_outputs_are_base64_where_the_client_asks_for_it() -> None:
    """Texts alone; of numbers it says nothing."""
    sent = [{"name": name, "parameters": BASE64} for name in ("word", "y")]
    outputs = {"word": np.array(["w\u00f6rld", b""], object), "y": np.ones(1, np.float32)}
    asked = decode(body(entry(), outputs=sent), TWO)
    word, y = json.loads(AnswerWriter("m", 1, asked).write(outputs).body)["outputs"]
    assert word["data"] == ["d8O2cmxk", ""]
    assert word["parameters"] == BASE64
    assert (y["data"], "parameters" in y) == ([1.0], False)
    asked = decode(body(entry(), outputs=sent[:1], parameters={"binary_data_output": True}), TWO)
    answer = AnswerWriter("m", 1, asked).write(outputs)
    head = json.loads(answer.body[: answer.json_length])["outputs"][0]
    assert head["parameters"] == BASE64 | {"binary_data_size": 16}
    assert answer.body.endswith(b"\x08\0\0\0d8O2cmxk\0\0\0\0")
    told = rpc.encode(AnswerWriter("m", 1, asked), outputs)
    assert told.outputs[0].parameters["content_type"].string_param == "base64"
    assert told.raw_output_contents[0] == b"\x08\0\0\0d8O2cmxk\0\0\0\0"


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_texts_come_back_through_base64(texts: list[str]) -> None:
    sent = as_base64(np.array(texts, object))
    assert as_content(sent, BASE64).tolist() == texts
    part = {"name": "word", "shape": [len(texts)], "datatype": "BYTES", "data": sent.tolist()}
    assert decode(body(part | {"parameters": BASE64}), TWO).inputs["word"].tolist() == texts


def test_other_content_types_leave_texts_as_they_are() -> None:
    texts = {"name": "word", "shape": [1], "datatype": "BYTES", "data": ["d8O2cmxk"]}
    for kind in ("str", "np", "datetime", None, 1):
        sent = body(texts | {"parameters": {"content_type": kind}})
        assert decode(sent, TWO).inputs["word"].tolist() == ["d8O2cmxk"]
    assert decode(body(entry(parameters=BASE64)), ONE).inputs["x"].tolist() == X.tolist()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("not base64", "element 1 is not base64, as its content_type says: "),
        ("/w==", "element 1 is base64 of bytes that are not UTF-8, as texts are"),
    ],
)
def test_what_is_no_base64_is_told(text: str, complaint: str) -> None:
    part = {"name": "word", "shape": [2], "datatype": "BYTES", "data": ["", text]}
    with pytest.raises(InvalidInput, match=rf"inputs\[0\]: input 'word': {complaint}"):
        decode(body(part | {"parameters": BASE64}), TWO)


def test_rows_on_another_axis_are_classified_by_row() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.4]], np.float32)
    wanted = (Wanted("y", classes=1),)
    reply = AnswerWriter("m", 1, Infer({}, outputs=wanted), row_axes={"y": 1})
    found = json.loads(reply.write({"y": scores}).body)["outputs"][0]
    assert found["data"] == ["0.800000:1", "0.900000:0"]
