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
from inference_service.protocols.row_texts import row_texts
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


def test_tensors_are_decoded_as_the_codec_decodes_them() -> None:
    reply = oip.AnswerWriter("m", 1, oip.Infer({}))
    decode = oip_decoder(MATRIX, "m", 1, lambda _: reply)
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
        lambda bytes_: oip.AnswerWriter('m "é"', 7, oip.Infer({}, binary=bytes_)),
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
