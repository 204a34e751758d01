"""The quick way to arrays takes only what the usual way takes, and means the same."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_service.core.errors import InvalidInput
from inference_service.core.tensors import DType, Signature, TensorSpec
from inference_service.protocols import json_quick
from inference_service.protocols.json_quick import open_quickly
from inference_service.protocols.json_tensors import parse, rules_for
from inference_service.protocols.predict import codec as predict
from inference_service.protocols.tfserving import codec as tfserving


def signature(dtype: DType, *shape: int | None) -> Signature:
    return Signature((TensorSpec("x", dtype, shape),), (TensorSpec("y", DType.FP32, (None,)),))


NESTED = st.recursive(
    st.integers(-5, 2**63) | st.floats(allow_nan=False) | st.sampled_from([True, None, "[", 1e39]),
    lambda inner: st.lists(inner, max_size=9),
    max_leaves=40,
)
PLAIN = st.lists(st.lists(st.integers(0, 9), min_size=8, max_size=8), max_size=4)


@settings(max_examples=400)
@given(
    NESTED | PLAIN,
    st.sampled_from(["instances", "inputs"]),
    st.sampled_from([DType.FP32, DType.INT64, DType.UINT8, DType.BYTES]),
    st.sampled_from([(None, 8), (None,), (None, None), (None, 2, 8)]),
    st.booleans(),
)
def test_whatever_the_quick_way_takes_the_usual_way_takes_with_the_same_result(
    value: Any, form: str, dtype: DType, shape: tuple[int | None, ...], named: bool
) -> None:
    if named and form == "inputs":
        value = {"x": value}
    body = json.dumps({form: value}).encode() + b" " * json_quick.QUICK_FROM
    wanted = signature(dtype, *shape)
    quick = tfserving.decode_quickly(body, wanted)
    if quick is not None:
        usual = tfserving.decode_predict(parse(body), wanted, rules=rules_for(body))
        assert quick[1] == usual[1]
        assert quick[0]["x"].dtype == usual[0]["x"].dtype
        assert np.array_equal(quick[0]["x"], usual[0]["x"])
    bare = json.dumps(value).encode() + b" " * json_quick.QUICK_FROM
    quick = predict.decode_quickly(bare, wanted)
    if quick is not None:
        usual = predict.decode(parse(bare), wanted, rules=rules_for(bare))
        assert quick[1] == usual[1]
        assert np.array_equal(quick[0]["x"], usual[0]["x"])


ROWS = [[float(i + j) for j in range(64)] for i in range(8)]


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ({"instances": ROWS}, True),
        ({"inputs": ROWS}, True),
        ({"inputs": {"x": ROWS}}, True),
        ({"signature_name": "serving_default", "instances": ROWS}, True),
        ({"signature_name": "other", "instances": ROWS}, False),
        ({"signature_name": "[", "instances": ROWS}, False),
        ({"signature_name": [[]], "instances": ROWS}, False),
        ({"signature_name": {}, "instances": ROWS}, False),
        ({"instances": ROWS, "inputs": ROWS}, False),
        ({"instances": [*ROWS, ROWS[0][:-1]]}, False),
        ({"instances": [*ROWS, [*ROWS[0][:-1], [1.0]]]}, False),
        ({"instances": [*ROWS, [*ROWS[0][:-1], True]]}, False),
        ({"instances": [*ROWS, [*ROWS[0][:-1], 1e39]]}, False),
        ({"instances": [*ROWS, [*ROWS[0][:-2], [], [1.0, 2.0]]]}, False),
        ({"instances\x00": 1, "instances": ROWS}, False),
        ({"instances\x00": ROWS}, False),
        ([ROWS], False),
    ],
)
def test_what_is_plainly_right_is_taken(value: Any, taken: bool) -> None:
    body = json.dumps(value).encode()
    found = tfserving.decode_quickly(body, signature(DType.FP32, None, 64))
    assert (found is not None) is taken
    if found is not None:
        assert found[0]["x"].tolist() == ROWS


def test_a_key_that_comes_twice_goes_the_usual_way() -> None:
    rows = json.dumps(ROWS)
    body = f'{{"instances": [[1]], "instances": {rows}}}'.encode()
    assert tfserving.decode_quickly(body, signature(DType.FP32, None, 64)) is None


@pytest.mark.parametrize("tail", [b"]", b" x", b',"a":1e400}', b"\xff"])
def test_what_is_no_json_is_left_to_the_usual_way(tail: bytes) -> None:
    body = json.dumps({"instances": ROWS}).encode()[:-1] + tail
    assert open_quickly(body) is None
    with pytest.raises(InvalidInput):
        parse(body)


def test_nesting_without_end_is_left_to_the_usual_way() -> None:
    deep = b'{"a":' + b"[" * 1020 + b"1" + b"]" * 1020 + b"}"
    quick = open_quickly(deep)
    if quick is not None:
        members = quick.items(quick.value)
        assert members is not None
        quick.plain(members["a"])
        assert not quick.accounted


def test_a_parser_that_is_still_in_use_is_not_used_again() -> None:
    body = json.dumps(ROWS).encode()
    held = open_quickly(body)
    assert held is not None
    assert open_quickly(body) is None
    del held
    assert open_quickly(body) is not None
