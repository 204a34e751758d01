"""The codecs that are made for one model give what the protocols' own codecs give, or nothing."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest

from inference_service.core.errors import InvalidInput
from inference_service.core.rows import OutputRows, RowLayout
from inference_service.core.tensors import (
    Array,
    BatchMode,
    DType,
    Signature,
    Tensors,
    TensorSpec,
)
from inference_service.protocols.json_tensors import parse, rules_for
from inference_service.protocols.oip import codec as oip
from inference_service.protocols.oip.quick import decoder as oip_decoder
from inference_service.protocols.predict import codec as predict
from inference_service.protocols.predict.quick import decoder as predict_decoder
from inference_service.protocols.row_texts import MOST_BYTES, row_texts
from inference_service.protocols.tfserving import codec
from inference_service.protocols.tfserving.quick import PredictWriter, decoder

OUTPUTS = (TensorSpec("y", DType.FP32, (None,)),)
SIGNATURES = [
    Signature((TensorSpec("x", dtype, shape),), OUTPUTS, mode)
    for dtype in (DType.FP32, DType.FP16, DType.FP64, DType.INT64, DType.UINT8, DType.BOOL)
    for shape in ((None, 3), (None,), (None, 1), (None, 2, 2), (None, None), (2, 3))
    for mode in (BatchMode.MERGE, BatchMode.WHOLE)
] + [
    Signature((TensorSpec("x", DType.BYTES, (None,)),), OUTPUTS),
    Signature((TensorSpec("x", DType.FP32, (), ranked=False),), OUTPUTS),
    Signature((TensorSpec("x", DType.FP32, ()),), OUTPUTS),
    Signature(
        (TensorSpec("x", DType.FP32, (None, 3)), TensorSpec("z", DType.FP32, (None,))), OUTPUTS
    ),
    Signature(
        (TensorSpec("x", DType.FP32, (None, 3)),),
        OUTPUTS,
        rows=RowLayout(outputs={"y": OutputRows(None)}),
    ),
    Signature(
        (TensorSpec("x", DType.FP32, (None, 3)),),
        OUTPUTS,
        optional=(TensorSpec("o", DType.FP32, ()),),
    ),
]
ODD = (
    "null", "true", "false", '"1"', '"ul"', "1e39", "-1e39", "70000", "-1", "255", "256", "1.5", "1e400",
    "9007199254740993", "9007199254740993.0", "18446744073709551615", "18446744073709551616",
    "1e308", "NaN", "[]", "[1]", "{}", '{"x": 1}', '{"b64": "AA=="}',
)  # fmt: skip


def slowly(body: bytes, signature: Signature) -> tuple[Tensors, bool] | None:
    """As the route decodes it; None: refused."""
    try:
        quick = codec.decode_quickly(body, signature)
        if quick is not None:
            return quick
        return codec.decode_predict(parse(body), signature, rules=rules_for(body, null=True))
    except InvalidInput:
        return None


class Bodies:
    """Predict requests at random, most of them nearly right."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def body(self) -> bytes:
        pick = self.random
        key = pick.choice(("instances",) * 4 + ("inputs",) * 3 + ("signature_name", "x"))
        start = pick.choice(("{", "{", "{", " {", "[", "{ ", '{"a":1,'))
        text = f'{start}"{key}":{self.value(pick.choice((0, 1, 1, 1, 2, 2, 3)))}}}'
        if pick.random() < 0.05:
            text = text.replace("i", "\\u0069", 1)
        return text.encode() + pick.choice((b"",) * 8 + (b" ", b"x"))

    def value(self, depth: int) -> str:
        pick = self.random
        if depth == 0:
            if pick.random() < 0.04:
                return pick.choice(ODD)
            return repr(pick.choice((1, 0, -2, 3.5, 1.0, round(pick.uniform(-9, 9), 3))))
        length = pick.choice((0, 1, 2, 3, 3, 3, 4, 40, 300) if depth < 2 else (0, 1, 2, 2, 3, 20))
        same = pick.random() < 0.9
        width = pick.choice((1, 2, 3, 3, 3))
        items = [
            self._row(width if same else pick.randrange(4)) if depth == 2 else self.value(depth - 1)
            for _ in range(length)
        ]
        return "[" + pick.choice((",", ", ")).join(items) + "]"

    def _row(self, width: int) -> str:
        return "[" + ",".join(self.value(0) for _ in range(width)) + "]"


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda s: f"{s.inputs[0]}-{s.mode.value}")
def test_what_is_decoded_is_what_the_codec_decodes(signature: Signature) -> None:
    decode, bodies, found = decoder(signature), Bodies(5), 0
    for _ in range(150):
        body = bodies.body()
        quick = decode(body, None)
        if quick is None:
            continue
        found += 1
        slow = slowly(body, signature)
        assert slow is not None, body
        tensors, rows, writer = quick
        assert tensors.keys() == slow[0].keys()
        for name, array in slow[0].items():
            assert tensors[name].dtype == array.dtype, body
            assert tensors[name].shape == array.shape, body
            assert tensors[name].tobytes() == array.tobytes(), body
        key = "predictions" if slow[1] else "outputs"
        answer = writer.alone({"y": np.zeros(rows)}, rows)
        assert orjson.loads(answer.body) == {key: [0.0] * codec.row_count(slow[0])}


def test_the_plainest_request_is_decoded_quickly() -> None:
    signature = Signature((TensorSpec("x", DType.FP32, (None, 3)),), OUTPUTS)
    for body in (b'{"instances": [[1, 2.5, 3]]}', b'{"inputs":[[1,2,3],[4,5,6]]}'):
        assert decoder(signature)(body, None) is not None


def arrays(rows: int, seed: int) -> list[Array]:
    """Outputs of as many kinds as there are."""
    numbers = np.random.default_rng(seed)
    floats = numbers.normal(size=(rows, 4)) * 10.0 ** numbers.integers(-9, 4)
    return [
        floats.astype(np.float32), floats, floats.astype(np.float16), floats[:, 0].astype(np.float32),
        floats.reshape(rows, 2, 2).astype(np.float32), (floats > 0), floats[:, :1].astype(np.int64),
        (floats[:, 0] > 0), np.where(floats > 0, floats, np.nan), floats.astype(np.longlong),
        np.array(["text"] * rows, object), floats[:, :0], floats.astype(np.uint8)[:, ::2],
        floats.reshape(rows, 1, 4, 1).astype(np.float32), floats.T[0], np.float32(floats[0, 0]),
    ]  # fmt: skip


@pytest.mark.parametrize("by_rows", [True, False])
@pytest.mark.parametrize("counts", [(1, 1), (1, 1, 1, 1), (3, 1, 2), (1,), (40, 1)])
def test_answers_written_together_are_those_written_alone(
    by_rows: bool, counts: Sequence[int]
) -> None:
    writer = PredictWriter(by_rows=by_rows)
    kinds = len(arrays(1, 0))
    written = 0
    for one in range(kinds):
        for names in ({"y": one}, {"y": one, 'an "é"': (one + 1) % kinds}):
            outputs: list[Tensors] = []
            for seed, count in enumerate(counts):
                found = arrays(count, seed)
                outputs.append({name: found[kind] for name, kind in names.items()})
            together = writer.together(outputs, counts)
            if together is None:
                continue
            written += 1
            assert together == [
                writer.alone(output, count) for output, count in zip(outputs, counts, strict=True)
            ]
    assert written > kinds


def test_arrays_of_several_kinds_have_no_texts() -> None:
    one = np.zeros((1, 2), np.float32)
    others: list[Any] = [
        one.astype(np.float64), np.zeros((1, 3), np.float32), np.zeros(1, np.float32),
        np.zeros((), np.float32), np.array(["a"], object),
    ]  # fmt: skip
    for other in others:
        assert row_texts([one, other]) is None
        assert row_texts([other, one]) is None


def test_large_answers_are_not_written_at_once() -> None:
    rows = np.zeros((3, MOST_BYTES // 16), np.float32)
    assert row_texts([rows[:1]] * 4) is not None
    assert row_texts([rows[:2], rows]) is None


MATRIX = Signature((TensorSpec("x", DType.FP32, (None, 3)),), OUTPUTS)


def tensors_of_oip(pick: random.Random) -> bytes:
    """An inference request at random, most of them nearly right."""
    rows = pick.choice((0, 1, 1, 1, 2, 3))

    def number() -> str:
        return pick.choice((*("1", "2.5", "-3", "0") * 30, *ODD))

    flat = ",".join(number() for _ in range(rows * 3 + pick.choice((0,) * 30 + (1,))))
    nested = ",".join("[" + ",".join(number() for _ in range(3)) + "]" for _ in range(rows))
    shape = pick.choice((f"[{rows},3]",) * 12 + (f"[{rows},3.0]", f"[{rows}]", "[]", f"[3,{rows}]",
                                                 "[true,3]", f'["{rows}",3]', "3"))  # fmt: skip
    members = {
        "name": pick.choice(('"x"',) * 20 + ('"y"', "1")),
        "shape": shape,
        "datatype": pick.choice(('"FP32"',) * 20 + ('"FP64"', '"INT64"', '"fp32"', "null")),
        "data": f"[{pick.choice((flat, nested))}]",
    }
    if pick.random() < 0.05:
        members[pick.choice(("parameters", "other"))] = "{}"
    if pick.random() < 0.03:
        del members[pick.choice(list(members))]
    part = "{" + ",".join(f'"{key}": {value}' for key, value in members.items()) + "}"
    more = pick.choice(("",) * 15 + (',"id":"a"', ',"inputs":[]', ',"outputs":[{"name":"y"}]'))
    return f'{{"inputs":[{part}]{more}}}'.encode()


class _Head:
    json_length: int | None = None


def usual_writer(request: oip.Infer) -> oip.AnswerWriter:
    """The protocol's own."""
    return oip.AnswerWriter("m", 1, request)


def test_tensors_are_decoded_as_the_codec_decodes_them() -> None:
    decode = oip_decoder(MATRIX, "m", 1, usual_writer)
    assert decode is not None
    pick, found = random.Random(3), 0
    for _ in range(4000):
        body, head = tensors_of_oip(pick), _Head()
        if pick.random() < 0.1:
            head.json_length = 0
            body = np.array([1, 2, 3], np.float32).tobytes() + pick.choice(
                (b"", b"", b"1", b"1234")
            )
        quick = decode(body, head)
        if quick is None:
            continue
        found += 1
        slow = oip.decode(body, MATRIX, head.json_length, null=True)
        assert (slow.id, slow.outputs, slow.binary) == ("", None, head.json_length == 0)
        assert quick[0]["x"].dtype == slow.inputs["x"].dtype
        assert quick[0]["x"].tolist() == slow.inputs["x"].tolist(), body
        assert quick[1] == len(slow.inputs["x"])
    assert found > 500


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("counts", [(1, 1), (3, 1, 2), (1,)])
def test_tensors_written_together_are_those_written_alone(
    binary: bool, counts: Sequence[int]
) -> None:
    decode = oip_decoder(
        MATRIX, 'm "é"', 7,
        lambda request: oip.AnswerWriter('m "é"', 7, request),
    )  # fmt: skip
    head = _Head()
    head.json_length = 0 if binary else None
    plain = b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}'
    found = (
        decode(np.array([1, 2, 3], np.float32).tobytes() if binary else plain, head)
        if decode
        else None
    )
    assert found is not None
    writer, written = found[2], 0
    for one in range(len(arrays(1, 0))):
        for names in ({"y": one}, {"y": one, 'an "é"': 0}):
            outputs: list[Tensors] = [
                {name: arrays(count, seed)[kind] for name, kind in names.items()}
                for seed, count in enumerate(counts)
            ]
            for _ in range(2):  # what is remembered, too
                together = writer.together(outputs, counts)
                if together is None:
                    continue
                written += 1
                usual = [oip.AnswerWriter('m "é"', 7, oip.Infer({}, binary=binary)).write(output)
                         for output in outputs]  # fmt: skip
                assert [content.body for content in together] == [answer.body for answer in usual]
                assert [dict(content.headers) for content in together] == [
                    {b"inference-header-content-length": b"%d" % (answer.json_length or 0)}
                    if binary else {}
                    for answer in usual
                ]  # fmt: skip
    assert written > 20


TWO = Signature(
    (TensorSpec("x", DType.FP32, (None, 3)),),
    (TensorSpec("y", DType.FP32, (None, 2)), TensorSpec("z", DType.FP32, (None,))),
)


def bytes_of_oip(pick: random.Random) -> tuple[bytes, int]:
    """A request with bytes behind the JSON, most of them nearly right; and how long the JSON is."""
    rows = pick.choice((1, 1, 2, 5))
    entry: dict[str, Any] = {
        "name": pick.choice(("x",) * 20 + ("y",)), "shape": [rows, 3],
        "datatype": pick.choice(("FP32",) * 20 + ("INT32", "FP64", "BYTES")),
        "parameters": {"binary_data_size": 12 * rows},
    }  # fmt: skip
    value: dict[str, Any] = {"inputs": [entry]}
    names = pick.choice(((), (), ("y", "z"), ("y", "z"), ("z", "y"), ("y",), ("y", "y"), ("no",)))
    binary = pick.choice((True, True, False))
    if names:
        value["outputs"] = [
            {"name": name, "parameters": {"binary_data": binary}} if pick.random() < 0.9 else
            {"name": name, "parameters": {"classification": 1}} if pick.random() < 0.5 else
            {"name": name}
            for name in names
        ]  # fmt: skip
    if pick.random() < 0.4:
        value["parameters"] = pick.choice(
            ({"binary_data_output": True}, {}, {"timeout": 1}, {"priority": 1}, {"other": 1}, [])
        )
    if pick.random() < 0.1:
        value["id"] = pick.choice(("a", "", 1))
    if pick.random() < 0.05:
        entry.update(pick.choice(({"data": [1, 2, 3]}, {"shape": [3, rows]}, {"shape": [rows * 3]},
                                  {"parameters": {}}, {"parameters": {"binary_data_size": 12}})))  # fmt: skip
    text = orjson.dumps(value)
    data = np.random.default_rng(pick.randrange(99)).normal(size=3 * rows).astype(np.float32)
    body = text + b" " * pick.choice((0, 0, 1, 2, 3))
    length = len(body) + pick.choice((0,) * 20 + (1, -1, 4))
    return body + data.tobytes() + pick.choice((b"",) * 20 + (b"1234",)), length


def test_bytes_are_decoded_and_answered_as_by_the_codec() -> None:
    decode = oip_decoder(TWO, "m", 1, usual_writer)
    assert decode is not None
    pick, found, written = random.Random(4), 0, set()
    outputs: Tensors = {"y": np.ones((1, 2), np.float32), "z": np.zeros(1, np.float32)}
    for _ in range(6000):
        (body, length), head = bytes_of_oip(pick), _Head()
        head.json_length = length
        try:
            quick = decode(body, head)
        except InvalidInput:
            quick = None
        if quick is None:
            continue
        found += 1
        slow = oip.decode(body, TWO, length, null=True)
        assert (slow.id, slow.priority, slow.timeout) == ("", 0, float("inf"))
        tensors, rows, writer = quick
        assert tensors["x"].dtype == slow.inputs["x"].dtype
        assert tensors["x"].flags.aligned
        assert tensors["x"].tobytes() == slow.inputs["x"].tobytes(), body
        assert tensors["x"].shape == slow.inputs["x"].shape == (rows, 3)
        usual = oip.AnswerWriter("m", 1, slow).write(outputs)
        together = writer.together([outputs], [1])
        assert together is not None
        for content in (*together, writer.alone(outputs, 1)):
            assert content.body == usual.body, body
            assert dict(content.headers).get(b"inference-header-content-length") == (
                None if usual.json_length is None else b"%d" % usual.json_length
            )
        written.add(usual.body)
    assert found > 1000
    assert len(written) == 4  # JSON, bytes; in both orders


def test_what_is_remembered_of_bytes_behind_json_is_bounded() -> None:
    decode = oip_decoder(TWO, "m", 1, usual_writer)
    assert decode is not None
    for space in range(1000):
        text = b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32",'
        text += b'"parameters":{"binary_data_size":12}}]}' + b" " * space
        head = _Head()
        head.json_length = len(text)
        assert decode(text + bytes(12), head) is not None
    assert len(decode._envelopes) <= 256
    head.json_length = 4000
    assert decode(text.ljust(4000) + bytes(12), head) is None  # so long a text is not remembered


def test_other_bytes_behind_the_same_json_are_other_values() -> None:
    """The answer to a golden request, twice, with other data."""
    decode = oip_decoder(MATRIX, "m", 1, usual_writer)
    assert decode is not None
    text = (
        b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32",'
        b'"parameters":{"binary_data_size":12}}],"parameters":{"binary_data_output":true}}'
    )
    head = _Head()
    head.json_length = len(text)
    for values in ([1, 2, 3], [4, 5, 6]):
        quick = decode(text + np.array(values, "<f4").tobytes(), head)
        assert quick is not None
        assert quick[0]["x"].tolist() == [values]
        answer = quick[2].alone({"y": np.array(values[:1], np.float32)}, 1)
        assert (
            answer.body
            == (
                b'{"model_name":"m","model_version":"1","outputs":[{"name":"y","datatype":"FP32",'
                b'"shape":[1],"parameters":{"binary_data_size":4}}]}'
            )
            + np.array(values[:1], "<f4").tobytes()
        )
        assert decode(text + bytes(8), head) is None


@pytest.mark.parametrize("shape", [(None, 3), (None, None), (None, 1), (None,), (2, 3)])
def test_inputs_themselves_are_decoded_as_the_codec_decodes_them(
    shape: tuple[int | None, ...],
) -> None:
    signature = Signature((TensorSpec("x", DType.FP32, shape),), OUTPUTS)
    decode, bodies = predict_decoder(signature), Bodies(9)
    if decode is None:
        return
    for _ in range(1500):
        body = bodies.value(bodies.random.choice((0, 1, 1, 2, 2, 3))).encode()
        quick = decode(body, None)
        if quick is None:
            continue
        slow, one_row = predict.decode(parse(body), signature, rules=rules_for(body, null=True))
        tensors, rows, writer = quick
        assert tensors["x"].tolist() == slow["x"].tolist(), body
        assert tensors["x"].shape == slow["x"].shape
        counts = [rows, rows]
        for kind in range(len(arrays(1, 0))):
            outputs: list[Tensors] = [{"y": arrays(rows, seed)[kind]} for seed in (1, 2)]
            together = writer.together(outputs, counts)
            if together is not None:
                assert [content.body for content in together] == [
                    predict.encode(output, one_row=one_row) for output in outputs
                ]
