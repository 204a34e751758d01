"""Every form x every rank, type and mode: what a client gets is what onnxruntime gives.

A case is sent in a form, decoded, checked, run by onnxruntime itself, encoded and read again as a
client would. What a form can't express is an InvalidInput that names a form that can.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from inference_service.core.errors import InvalidInput
from inference_service.core.tensors import (
    Array,
    BatchMode,
    DType,
    NonFinite,
    Signature,
    Tensors,
)
from inference_service.protocols.json_tensors import parse, rules_for
from inference_service.protocols.oip import codec as oip
from inference_service.protocols.oip.binary import from_bytes, to_bytes
from inference_service.protocols.oip.rpc import codec as rpc
from inference_service.protocols.oip.rpc.messages import message
from inference_service.protocols.predict import codec as predict
from inference_service.protocols.tfserving import codec as tfserving
from inference_service.runtime.session import OpenModel, RuntimeOptions, open_model

ELEMENTS = {
    DType.BOOL: onnx.TensorProto.BOOL,
    DType.UINT8: onnx.TensorProto.UINT8,
    DType.UINT16: onnx.TensorProto.UINT16,
    DType.UINT32: onnx.TensorProto.UINT32,
    DType.UINT64: onnx.TensorProto.UINT64,
    DType.INT8: onnx.TensorProto.INT8,
    DType.INT16: onnx.TensorProto.INT16,
    DType.INT32: onnx.TensorProto.INT32,
    DType.INT64: onnx.TensorProto.INT64,
    DType.FP16: onnx.TensorProto.FLOAT16,
    DType.FP32: onnx.TensorProto.FLOAT,
    DType.FP64: onnx.TensorProto.DOUBLE,
    DType.BYTES: onnx.TensorProto.STRING,
}
Axes = tuple[int | str, ...] | None


@cache
def identity(dtype: DType, axes: Axes, outputs: int = 1) -> OpenModel:
    """y0, y1 … = x, of a type and shape; axes None: of any rank."""
    names = [f"y{i}" for i in range(outputs)]
    shape = None if axes is None else list(axes)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], [name]) for name in names],
        "test",
        [helper.make_tensor_value_info("x", ELEMENTS[dtype], shape)],
        [helper.make_tensor_value_info(name, ELEMENTS[dtype], shape) for name in names],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return open_model(model.SerializeToString(), RuntimeOptions(1))


@dataclass(frozen=True)
class Form:
    """A way to send inputs and to read the answer. ``shaped``: shapes come back as they are."""

    name: str
    send: Callable[[Tensors, Signature], Any]
    decode: Callable[[Any, Signature], tuple[Tensors, Any]]
    encode: Callable[[Tensors, Signature, Any], Any]
    read: Callable[[Any, Signature], dict[str, Any]]


def served(form: Form, model: OpenModel, mode: BatchMode, inputs: Tensors) -> dict[str, Any]:
    """What a client gets for these inputs."""
    signature = Signature(model.inputs, model.outputs, mode, model.optional)
    decoded, state = form.decode(form.send(inputs, signature), signature)
    fitted = signature.fitted(decoded)
    signature.check(fitted)
    answer = form.encode(model.run(fitted), signature, state)
    return form.read(answer, signature)


def dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def decode_predict(body: bytes, signature: Signature) -> tuple[Tensors, Any]:
    quick = tfserving.decode_quickly(body, signature)
    usual = quick or tfserving.decode_predict(parse(body), signature, rules=rules_for(body))
    tensors, by_rows = usual
    return tensors, tfserving.row_count(tensors) if by_rows else None


def encode_predict(outputs: Tensors, _: Signature, rows: int | None) -> bytes:
    return tfserving.encode_predict(outputs, by_rows=rows is not None, rows=rows)


def read_columns(body: bytes, signature: Signature) -> dict[str, Any]:
    found = json.loads(body)["outputs"]
    names = signature.output_names
    return {names[0]: found} if len(names) == 1 else found


def read_rows(body: bytes, signature: Signature) -> dict[str, Any]:
    found = json.loads(body)["predictions"]
    names = signature.output_names
    if len(names) == 1:
        return {names[0]: found}
    return {name: [row[name] for row in found] for name in names}


def rows_of(inputs: Tensors, signature: Signature) -> bytes:
    columns = {name: array.tolist() for name, array in inputs.items()}
    if len(columns) == 1:
        return dumped({"instances": next(iter(columns.values()))})
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return dumped({"instances": rows})


def decode_bare(body: bytes, signature: Signature) -> tuple[Tensors, Any]:
    quick = predict.decode_quickly(body, signature)
    return quick or predict.decode(parse(body), signature, rules=rules_for(body))


def oip_json(inputs: Tensors, _: Signature) -> bytes:
    return dumped(
        {"inputs": [oip_entry(*item) | {"data": item[1].tolist()} for item in inputs.items()]}
    )


def oip_flat(inputs: Tensors, _: Signature) -> bytes:
    return dumped(
        {
            "inputs": [
                oip_entry(*item) | {"data": item[1].ravel().tolist()} for item in inputs.items()
            ]
        }
    )


def oip_entry(name: str, array: Array) -> dict[str, Any]:
    return {"name": name, "shape": list(array.shape), "datatype": datatype(array)}


def datatype(array: Array) -> str:
    return "BYTES" if array.dtype == object else next(d for d in DType if d.numpy == array.dtype)


def decode_oip(body: bytes, signature: Signature) -> tuple[Tensors, Any]:
    request = oip.decode(body, signature)
    return request.inputs, request


def encode_oip(outputs: Tensors, _: Signature, request: oip.Infer) -> oip.Answer:
    return oip.AnswerWriter("m", 1, request).write(outputs)


def read_oip(answer: oip.Answer, _: Signature) -> dict[str, Any]:
    length = answer.json_length or len(answer.body)
    tail = memoryview(answer.body)[length:]
    found = {}
    for entry in json.loads(answer.body[:length])["outputs"]:
        dtype = DType(entry["datatype"])
        if "data" in entry:
            found[entry["name"]] = np.array(entry["data"], dtype.numpy).reshape(entry["shape"])
        else:
            size = entry["parameters"]["binary_data_size"]
            found[entry["name"]] = from_bytes(tail[:size], dtype, entry["shape"])
            tail = tail[size:]
    assert not tail
    return {name: array.tolist() for name, array in found.items()}


def oip_binary(inputs: Tensors, _: Signature) -> tuple[bytes, int]:
    parts = {name: to_bytes(array) for name, array in inputs.items()}
    entries = [
        oip_entry(name, inputs[name]) | {"parameters": {"binary_data_size": len(part)}}
        for name, part in parts.items()
    ]
    head = dumped({"inputs": entries, "parameters": {"binary_data_output": True}})
    return head + b"".join(parts.values()), len(head)


def decode_binary(sent: tuple[bytes, int], signature: Signature) -> tuple[Tensors, Any]:
    request = oip.decode(sent[0], signature, sent[1])
    return request.inputs, request


def raw_body(inputs: Tensors, _: Signature) -> tuple[bytes, int]:
    (array,) = inputs.values()
    return (str(array.flat[0]).encode() if array.dtype == object else to_bytes(array)), 0


def grpc_raw(inputs: Tensors, _: Signature) -> Any:
    request = message("ModelInferRequest")()
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=datatype(array), shape=array.shape)
        request.raw_input_contents.append(to_bytes(array))
    return request


def grpc_typed(inputs: Tensors, _: Signature) -> Any:
    request = message("ModelInferRequest")()
    for name, array in inputs.items():
        part = request.inputs.add(name=name, datatype=datatype(array), shape=array.shape)
        field = {
            "b": "bool_contents", "O": "bytes_contents", "f": f"fp{array.itemsize * 8}_contents",
            "i": "int64_contents" if array.itemsize == 8 else "int_contents",
            "u": "uint64_contents" if array.itemsize == 8 else "uint_contents",
        }[array.dtype.kind]  # fmt: skip
        field = "fp32_contents" if field == "fp16_contents" else field
        values = array.ravel().tolist()
        if array.dtype == object:
            values = [text.encode() for text in values]
        getattr(part.contents, field).extend(values)
    return request


def decode_rpc(request: Any, _: Signature) -> tuple[Tensors, Any]:
    decoded = rpc.decode(request.FromString(request.SerializeToString()))
    return decoded.inputs, decoded


def encode_rpc(outputs: Tensors, _: Signature, request: oip.Infer) -> Any:
    return rpc.encode(oip.AnswerWriter("m", 1, request), outputs)


def read_rpc(response: Any, _: Signature) -> dict[str, Any]:
    return {
        output.name: from_bytes(memoryview(raw), DType(output.datatype), output.shape).tolist()
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


COLUMNS = Form(
    "columns",
    lambda inputs, _: dumped({"inputs": {name: a.tolist() for name, a in inputs.items()}}),
    decode_predict, encode_predict, read_columns,
)  # fmt: skip
BARE_COLUMN = Form(
    "bare column",
    lambda inputs, _: dumped({"inputs": next(iter(inputs.values())).tolist()}),
    decode_predict, encode_predict, read_columns,
)  # fmt: skip
ROWS = Form("rows", rows_of, decode_predict, encode_predict, read_rows)
PREDICT = Form(
    "/predict",
    lambda inputs, _: dumped({name: array.tolist() for name, array in inputs.items()}),
    decode_bare,
    lambda outputs, _, one_row: predict.encode(outputs, one_row=one_row),
    lambda body, _: json.loads(body),
)
JSON = Form("OIP JSON", oip_json, decode_oip, encode_oip, read_oip)
FLAT = Form("OIP JSON, flat", oip_flat, decode_oip, encode_oip, read_oip)
BINARY = Form("OIP binary", oip_binary, decode_binary, encode_oip, read_oip)
RAW = Form("raw body", raw_body, decode_binary, encode_oip, read_oip)
GRPC_RAW = Form("gRPC raw", grpc_raw, decode_rpc, encode_rpc, read_rpc)
GRPC_TYPED = Form("gRPC typed", grpc_typed, decode_rpc, encode_rpc, read_rpc)
FORMS = (COLUMNS, BARE_COLUMN, ROWS, PREDICT, JSON, FLAT, BINARY, GRPC_RAW, GRPC_TYPED)

SHAPES: tuple[tuple[Axes, tuple[int, ...]], ...] = (
    ((), ()),
    (("b",), (1,)),
    (("b",), (5,)),
    (("b", 1), (3, 1)),
    (("b", 3), (2, 3)),
    (("b", "t", 2), (2, 3, 2)),
    (("b", "t", 2), (2, 0, 2)),
    (("b", "t"), (2, 0)),
    (("b", 9), (40, 9)),  # long enough for the quick reader
    (("b", "t", "u", "v", "w"), (1, 2, 1, 2, 2)),
    ((4,), (4,)),
    ((1, 3), (1, 3)),
    (None, ()),
    (None, (3,)),
    (None, (2, 3)),
    (None, (2, 1, 2)),
)


def values(dtype: DType, shape: tuple[int, ...]) -> Array:
    """Values at the ends of the type and between them, each survives only if nothing rounds it."""
    count = int(np.prod(shape))
    if dtype is DType.BYTES:
        some: list[Any] = ["", "a", "grüß \U0001f600", '"[{', "null"]
    elif dtype is DType.BOOL:
        some = [True, False]
    elif dtype.is_integer:
        smallest, largest = dtype.limits
        some = [largest, smallest, 1, largest - 1, 0]
    else:
        some = [dtype.largest, -dtype.largest, 0.1, -0.0, 3.0]
    flat = [some[i % len(some)] for i in range(count)]
    array = np.empty(count, dtype.numpy)
    array[:] = flat
    return array.reshape(shape)


def same(got: Any, expected: Array) -> bool:
    """Whether a client has the values in their structure; JSON has only one kind of number."""
    if isinstance(got, list) or expected.ndim:
        return (
            isinstance(got, list)
            and expected.ndim > 0
            and len(got) == len(expected)
            and all(same(one, np.asarray(other)) for one, other in zip(got, expected, strict=True))
        )
    value = expected[()]
    if expected.dtype.kind == "f":
        return bool(expected.dtype.type(got) == value)
    return bool(got == value) and isinstance(got, bool) == (expected.dtype.kind == "b")


def mode_fits(mode: BatchMode, axes: Axes) -> bool:
    """Rows need an axis that is free, or one of length 1 where each row runs alone."""
    if mode is BatchMode.WHOLE:
        return True
    return axes is not None and (
        axes[:1] == ("b",) or (mode is BatchMode.SPLIT and axes[:1] == (1,))
    )


@pytest.mark.parametrize("mode", list(BatchMode))
@pytest.mark.parametrize("dtype", list(DType))
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_tensor_comes_back_as_it_was_sent(form: Form, dtype: DType, mode: BatchMode) -> None:
    for axes, shape in SHAPES:
        if not mode_fits(mode, axes):
            continue
        inputs = {"x": values(dtype, shape)}
        for outputs in (1, 2):
            model = identity(dtype, axes, outputs)
            refusal = refused(form, dtype, axes, shape)
            if refusal is not None:
                with pytest.raises(InvalidInput, match=refusal):
                    served(form, model, mode, inputs)
                continue
            expected = model.session.run(None, inputs)
            got = served(form, model, mode, inputs)
            assert list(got) == list(model_names(model)), (axes, shape)
            for name, array in zip(got, expected, strict=True):
                assert same(got[name], np.asarray(array)), (axes, shape, got[name], array)


def model_names(model: OpenModel) -> Sequence[str]:
    return [spec.name for spec in model.outputs]


def refused(form: Form, dtype: DType, axes: Axes, shape: tuple[int, ...]) -> str | None:
    """What a form can't express, and the form that the refusal names."""
    if form is ROWS and axes == ():
        return "input 'x' has no axis for rows: use the column form 'inputs'"
    if form is ROWS and axes is None and shape == ():
        return "expected an array of instances, got"
    if form is GRPC_TYPED and dtype is DType.FP16:
        return "FP16 has no typed contents: send raw_input_contents"
    return None


@pytest.mark.parametrize("mode", list(BatchMode))
@pytest.mark.parametrize("dtype", list(DType))
def test_a_raw_body_is_one_row(dtype: DType, mode: BatchMode) -> None:
    cases: list[tuple[Axes, tuple[int, ...]]] = [
        (("b",), (1,)), (("b", 1), (1, 1)), (("b", 3), (1, 3)), (("b", "t"), (1, 2)),
        ((1, 3), (1, 3)), ((4,), (4,)), ((), ()),
    ]  # fmt: skip
    for axes, shape in cases:
        if not mode_fits(mode, axes) or (dtype is DType.BYTES and int(np.prod(shape)) != 1):
            continue
        model = identity(dtype, axes)
        inputs = {"x": values(dtype, shape)}
        (expected,) = model.session.run(None, inputs)
        assert same(served(RAW, model, mode, inputs)["y0"], np.asarray(expected)), (axes, shape)


def test_a_raw_body_for_an_input_of_any_rank_is_refused_with_what_to_send() -> None:
    model = identity(DType.FP32, None)
    with pytest.raises(InvalidInput, match=r"a raw body can't say the shape of x .*use JSON"):
        served(RAW, model, BatchMode.WHOLE, {"x": np.ones((1, 2), np.float32)})


@pytest.mark.parametrize("dtype", list(DType))
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_row_of_one_value_has_two_spellings(form: Form, dtype: DType) -> None:
    if refused(form, dtype, ("b",), (3,)) is not None:
        return
    column = values(dtype, (3, 1))
    for axes, sent in ((("b",), column), (("b", 1), column[:, 0])):
        model = identity(dtype, axes)
        expected = column.reshape([3] if axes == ("b",) else [3, 1])
        for mode in BatchMode:
            got = served(form, model, mode, {"x": sent})["y0"]
            assert same(got, expected), (axes, mode, got)


@pytest.mark.parametrize("dtype", list(DType))
def test_one_row_of_a_tutorial_is_answered_without_a_batch_axis(dtype: DType) -> None:
    for axes, sent in (
        (("b",), ()), (("b", 1), (1,)), (("b", 1), ()), (("b", 3), (3,)), (("b", "t", 2), (4, 2)),
    ):  # fmt: skip
        model = identity(dtype, axes)
        array = values(dtype, sent)
        expected = array.reshape([1] if axes == ("b", 1) else sent)
        for mode in BatchMode:
            got = served(PREDICT, model, mode, {"x": array})["y0"]
            assert same(got, expected), (axes, sent, mode, got)


@cache
def made(*outputs: tuple[str, str, tuple[int | str, ...]]) -> OpenModel:
    """From x float32 [b, 3]: outputs (operator, name, axes)."""
    nodes, infos = [], []
    for operator, name, axes in outputs:
        known: dict[str, dict[str, Any]] = {
            "ReduceSum": {"keepdims": 0},
            "Transpose": {"perm": [1, 0]},
        }
        attributes = known.get(operator, {})
        nodes.append(helper.make_node(operator, ["x"], [name], **attributes))
        element = (
            onnx.TensorProto.INT64 if operator in {"Shape", "NonZero"} else ELEMENTS[DType.FP32]
        )
        infos.append(helper.make_tensor_value_info(name, element, list(axes)))
    source = helper.make_tensor_value_info("x", ELEMENTS[DType.FP32], ["b", 3])
    graph = helper.make_graph(nodes, "test", [source], infos)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return open_model(model.SerializeToString(), RuntimeOptions(1))


ROW = ("Identity", "y", ("b", 3))
UNROWED = {
    "a scalar": ("ReduceSum", "s", ()),
    "a constant length": ("Shape", "k", (2,)),
    "another axis first": ("Transpose", "t", (3, "b")),
    "a length by content": ("NonZero", "z", (2, "n")),
}
X = np.array([[1, 0, 2], [3, 4, 5], [0, 6, 7], [8, 9, 0]], np.float32)


@pytest.mark.parametrize("beside", [True, False], ids=["beside rows", "alone"])
@pytest.mark.parametrize("kind", UNROWED)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_outputs_without_rows_come_whole_or_the_form_is_refused(
    form: Form, kind: str, beside: bool
) -> None:
    model = made(*([ROW] if beside else []), UNROWED[kind])
    if form is ROWS:
        with pytest.raises(InvalidInput, match="use the column form 'inputs'"):
            served(form, model, BatchMode.WHOLE, {"x": X})
        return
    got = served(form, model, BatchMode.WHOLE, {"x": X})
    for name, array in zip(got, model.session.run(None, {"x": X}), strict=True):
        assert same(got[name], np.asarray(array)), (name, got[name])


def test_one_row_keeps_all_of_an_output_without_rows() -> None:
    model = made(ROW, *UNROWED.values())
    got = served(PREDICT, model, BatchMode.WHOLE, {"x": X[1]})
    assert got == {
        "y": [3, 4, 5], "s": 12, "k": [1, 3], "t": [[3], [4], [5]], "z": [[0, 0, 0], [0, 1, 2]]
    }  # fmt: skip


@cache
def scaled() -> OpenModel:
    """y = x * scale, where scale [1] is 2 unless it is given, and k int64 [] is passed through."""
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "scale"], ["y"]),
            helper.make_node("Identity", ["k"], ["z"]),
        ],
        "test",
        [
            helper.make_tensor_value_info("x", ELEMENTS[DType.FP32], ["b", 3]),
            helper.make_tensor_value_info("scale", ELEMENTS[DType.FP32], [1]),
            helper.make_tensor_value_info("k", ELEMENTS[DType.INT64], []),
        ],
        [
            helper.make_tensor_value_info("y", ELEMENTS[DType.FP32], ["b", 3]),
            helper.make_tensor_value_info("z", ELEMENTS[DType.INT64], []),
        ],
        [
            onnx.numpy_helper.from_array(np.array([2], np.float32), "scale"),
            onnx.numpy_helper.from_array(np.array(7), "k"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return open_model(model.SerializeToString(), RuntimeOptions(1))


@pytest.mark.parametrize(
    "form", [COLUMNS, PREDICT, JSON, FLAT, BINARY, GRPC_RAW, GRPC_TYPED], ids=lambda form: form.name
)
def test_an_input_with_a_default_may_be_given(form: Form) -> None:
    model = scaled()
    assert [spec.name for spec in model.inputs] == ["x"]
    given: Tensors = {"scale": np.array([5], np.float32), "k": np.array(9)}
    for names in ((), ("scale",), ("k",), ("scale", "k")):
        inputs: Mapping[str, Array] = {"x": X, **{name: given[name] for name in names}}
        y, z = model.session.run(None, inputs)
        assert y[1, 0] == (15 if "scale" in names else 6)
        got = served(form, model, BatchMode.WHOLE, inputs)
        assert same(got["y"], y)
        assert same(got["z"], np.asarray(z))


def test_an_input_with_a_default_has_no_rows() -> None:
    signature = Signature(scaled().inputs, scaled().outputs[:1], optional=scaled().optional)
    body = dumped({"instances": [{"x": [1, 2, 3], "scale": 5}]})
    with pytest.raises(InvalidInput, match="'scale' holds for all rows: use the column form"):
        decode_predict(body, signature)
    inputs, _ = decode_predict(dumped({"instances": [{"x": [1, 2, 3]}]}), signature)
    assert signature.check(inputs) == 1
    with pytest.raises(InvalidInput, match=r"scale: expected shape \[1\], got \[2\]"):
        signature.check({"x": X, "scale": np.ones(2, np.float32)})
    with pytest.raises(InvalidInput, match="missing input 'x'; this model takes 'x', "):
        signature.check({"scale": np.ones(1, np.float32)})


def test_nan_is_written_where_an_output_is_a_scalar() -> None:
    nan = {"s": np.array(np.nan, np.float32)}
    assert tfserving.encode_predict(nan, by_rows=False) == b'{"outputs":null}'
    bare = tfserving.encode_predict(nan, by_rows=False, non_finite=NonFinite.BARE)
    assert bare == b'{"outputs":NaN}'
