"""Nested JSON lists to arrays: what is taken, and how what isn't is told."""

import base64
import json
import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from inference_service.core.errors import InvalidInput
from inference_service.core.tensors import BatchMode, DType, NonFinite, Shape, Signature, TensorSpec
from inference_service.protocols.json_schema import tensor_schema
from inference_service.protocols.json_tensors import (
    dump,
    encodable,
    from_columns,
    from_rows,
    parse,
    rules_for,
    to_array,
)
from inference_service.protocols.json_values import Rules

NUMBERS = [d for d in DType if d.is_float or d.is_integer]


def spec(dtype: DType, *shape: int | None) -> TensorSpec:
    return TensorSpec("t", dtype, shape)


def complaint(value: Any, dtype: DType, *shape: int | None) -> str:
    with pytest.raises(InvalidInput) as error:
        to_array(value, spec(dtype, *shape), shape, ("t",))
    return str(error.value)


@given(st.data(), st.sampled_from([*NUMBERS, DType.BOOL]))
def test_every_array_survives_the_way_through_json(data: st.DataObject, dtype: DType) -> None:
    shapes = npst.array_shapes(max_dims=3, max_side=4)
    finite = None if not dtype.is_float else False
    elements = npst.from_dtype(dtype.numpy, allow_nan=finite, allow_infinity=finite)
    array = data.draw(npst.arrays(dtype.numpy, shapes, elements=elements))
    body = dump({"t": encodable("t", array)})
    back = to_array(parse(body)["t"], spec(dtype), (None,) * array.ndim, ())
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


@given(st.lists(st.text(max_size=5), min_size=1, max_size=4))
def test_strings_survive_the_way_through_json(texts: list[str]) -> None:
    texts = [t.encode("utf-8", "ignore").decode() for t in texts]
    array = to_array(texts, spec(DType.BYTES), (None,), ())
    assert parse(dump({"t": encodable("t", array)}))["t"] == texts


@pytest.mark.parametrize(
    ("value", "dtype", "shape", "message"),
    [
        ([1, 2], DType.FP32, (3,), "t: expected shape [3], got [2]"),
        (
            [[[], []]],
            DType.FP32,
            (None, 2, None, None),
            "t[0][0]: expected an array of shape [any, any], got an empty one",
        ),
        ([[1, 2], [3]], DType.FP32, (None, 2), "t[1]: expected shape [2], got [1]"),
        ([[1, 2], [3]], DType.FP32, (None, None), "t[1]: expected shape [2], got [1]"),
        ([[1, 2], 3], DType.FP32, (None, 2), "t[1]: expected an array of shape [2], got an integer"),
        ([[[1]]], DType.FP32, (None, 1), "t[0][0]: expected one float32, got an array of shape [1]"),
        (7, DType.FP32, (None,), "t: expected an array of shape [any], got an integer"),
        ([1, None], DType.FP32, (None,), "t[1]: expected float32, got null"),
        ([1, "x"], DType.FP32, (None,), "t[1]: expected float32, got a string 'x'"),
        ([1, {}], DType.FP32, (None,), "t[1]: expected float32, got an object"),
        ([1.5, True], DType.FP32, (None,), "t[1]: expected float32, got a boolean"),
        ([1, True], DType.INT64, (None,), "t[1]: expected int64, got a boolean"),
        ([1, 0], DType.BOOL, (None,), "t[0]: expected bool, got an integer"),
        ([1, 300], DType.UINT8, (None,), "t[1]: expected uint8 from 0 to 255, got 300"),
        ([-1], DType.UINT64, (None,), "t[0]: expected uint64 from 0"),
        ([2**63], DType.INT64, (None,), "t[0]: expected int64 from"),
        ([2**63, -1], DType.INT64, (None,), "t[0]: expected int64 from"),
        ([1.5], DType.INT32, (None,), "t[0]: expected a whole number (int32), got 1.5"),
        ([1e39], DType.FP32, (None,), "t[0]: expected a finite float32 (up to 3.403e+38), got 1e+39"),
        ([1e5], DType.FP16, (None,), "t[0]: expected a finite float16 (up to 6.55e+04)"),
        (["a", 1], DType.BYTES, (None,), "t[1]: expected string, got an integer"),
        ([["a"], "b"], DType.BYTES, (None,), "t[0]: expected one string, got an array"),
        ([{"b64": "%"}], DType.BYTES, (None,), "t[0]: expected base64 of UTF-8 text"),
    ],
)  # fmt: skip
def test_the_first_wrong_place_is_told_with_what_was_expected_there(
    value: Any, dtype: DType, shape: tuple[int | None, ...], message: str
) -> None:
    assert complaint(value, dtype, *shape).startswith(message)


@given(st.integers(0, 999), st.sampled_from([None, True, "1", [1], 1e39, {}]))
def test_one_wrong_number_among_many_is_found(index: int, wrong: Any) -> None:
    value: list[Any] = [[0.5, 1] for _ in range(500)]
    value[index // 2][index % 2] = wrong
    assert complaint(value, DType.FP32, None, 2).startswith(
        f"t[{index // 2}][{index % 2}]: expected"
    )


@pytest.mark.parametrize("dtype", [DType.FP32, DType.BYTES])
@pytest.mark.parametrize("depth", [40, 200, 900])
def test_lists_nested_without_end_are_told_like_any_other(dtype: DType, depth: int) -> None:
    value = parse(b"[" * depth + b"]" * depth)
    assert "expected" in complaint(value, dtype, None, 2)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-300, 2**64) | st.floats() | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=12,
)


@given(
    JSON, st.sampled_from(list(DType)), st.sampled_from([(), (None,), (2,), (None, 2), (1, None)])
)
def test_any_json_gives_an_array_of_the_spec_or_a_complaint_in_words(
    value: Any, dtype: DType, shape: Shape
) -> None:
    try:
        array = to_array(value, TensorSpec("t", dtype, shape), shape, ("t",))
    except InvalidInput as error:
        assert error.path[0] == "t"
        assert "expected" in error.message
        return
    assert array.dtype == dtype.numpy
    assert len(array.shape) == len(shape)


def test_integers_on_both_sides_of_two_to_the_63_keep_all_their_digits() -> None:
    values = [[0], [2**63], [2**64 - 1]]
    assert to_array(values, spec(DType.UINT64), (None, 1), ()).tolist() == values


def test_whole_floats_are_integers_as_in_javascript() -> None:
    assert to_array([1.0, 2.0], spec(DType.INT64), (None,), ()).tolist() == [1, 2]


def test_base64_strings_are_decoded() -> None:
    value = [{"b64": base64.b64encode("grüß".encode()).decode()}]
    assert to_array(value, spec(DType.BYTES), (None,), ()).tolist() == ["grüß"]


def test_an_output_named_bytes_is_given_as_base64() -> None:
    array = np.array(["grüß"], object)
    encoded = base64.b64encode("grüß".encode()).decode()
    assert encodable("image_bytes", array) == [{"b64": encoded}]
    assert encodable("name", array) == ["grüß"]


def test_nan_in_an_answer_is_null() -> None:
    assert dump(encodable("y", np.array([1, np.nan, np.inf], np.float32))) == b"[1.0,null,null]"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty, expected JSON"),
        (b"{", "the body is not valid JSON: unexpected end of data"),
        (b'{"x": [1, NaN]}', "NaN at byte 10 is not a JSON number"),
        (b'{"x": [-Infinity]}', "Infinity at byte 7 is not a JSON number"),
        (b"[1e999]", "number is infinity"),
        (b"\xff", "the body is not valid JSON: byte 0 is not UTF-8"),
        ('{"x": "é"}'.encode("latin-1"), "byte 7 is not UTF-8; another charset is named in"),
        (b"[" * 5000, "the body is not valid JSON"),
    ],
)
def test_what_is_not_json_is_told(body: bytes, message: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse(body)
    assert message in str(error.value)


TWO = Signature((TensorSpec("a", DType.FP32, (None, 2)), TensorSpec("b", DType.INT64, (None,))), ())
ONE = Signature((TensorSpec("a", DType.FP32, (None, 2)),), ())


def test_rows_become_columns() -> None:
    tensors = from_rows([{"a": [1, 2], "b": 3}, {"b": 6, "a": [4, 5]}], TWO, ())
    assert tensors["a"].tolist() == [[1, 2], [4, 5]]
    assert tensors["b"].tolist() == [3, 6]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "instances: expected an array of instances, got an object"),
        ([], "instances: the batch is empty"),
        ([[1, 2]], "instances[0]: expected an object with the keys 'a', 'b', got an array"),
        ([{"a": [1, 2], "b": 3}, 4], "instances[1]: expected an object with the keys"),
        ([{"a": [1, 2], "b": 3}, {"a": [1, 2]}], "instances[1]: missing input 'b'"),
        ([{"a": [1, 2], "b": 3, "c": 1}], "instances[0]: unknown input 'c'; this model takes"),
        (
            [{"a": [1, 2], "b": 3}, {"a": [1], "b": 3}],
            "instances[1].a: expected shape [2], got [1]",
        ),
        ([{"a": [1, 2], "b": 3}, {"a": [1, "x"], "b": 3}], "instances[1].a[1]: expected float32"),
        ([{"a": [1, 2], "b": None}], "instances[0].b: expected int64, got null"),
    ],
)
def test_a_wrong_row_is_told_by_its_index_and_input(rows: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as error:
        from_rows(rows, TWO, ("instances",))
    assert str(error.value).startswith(message)


def test_a_bare_row_names_the_input_although_the_client_did_not() -> None:
    with pytest.raises(InvalidInput) as error:
        from_rows([[1, 2], [1]], ONE, ("instances",))
    assert str(error.value) == "instances[1]: input 'a': expected shape [2], got [1]"


def test_columns_may_be_bare_for_a_model_with_one_input() -> None:
    assert from_columns([[1, 2]], ONE, ())["a"].tolist() == [[1, 2]]
    assert from_columns({"a": [[1, 2]]}, ONE, ())["a"].tolist() == [[1, 2]]
    with pytest.raises(InvalidInput, match="inputs: expected an object with the keys 'a', 'b'"):
        from_columns([[1, 2]], TWO, ("inputs",))
    with pytest.raises(InvalidInput, match="inputs: missing input 'a', 'b' and unknown input 'z'"):
        from_columns({"z": 1}, TWO, ("inputs",))


def test_a_model_with_a_scalar_input_takes_columns_only() -> None:
    scalar = Signature((TensorSpec("s", DType.FP32, ()),), (), BatchMode.WHOLE)
    assert from_columns({"s": 1.5}, scalar, ())["s"].shape == ()
    with pytest.raises(InvalidInput, match="use the column form 'inputs'"):
        from_rows([{"s": 1.5}], scalar, ())


def test_an_empty_column_keeps_the_shape_of_its_rows() -> None:
    assert from_columns([], ONE, ())["a"].shape == (0, 2)


def test_the_schema_says_how_long_lists_are() -> None:
    assert tensor_schema(spec(DType.UINT8), (None, 2)) == {
        "type": "array",
        "items": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": 255},
            "minItems": 2,
            "maxItems": 2,
        },
    }


def test_orjson_writes_the_shortest_float32() -> None:
    assert orjson.loads(dump(np.array([0.1], np.float32))) == [0.1]


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ([2**53 + 1, 1.0], DType.INT64, [2**53 + 1, 1]),
        ([2**63 - 1, -(2**63), 3.0], DType.INT64, [2**63 - 1, -(2**63), 3]),
        ([2**64 - 1, 0, 7.0], DType.UINT64, [2**64 - 1, 0, 7]),
        ([2**53 - 1, 2.0**52], DType.UINT64, [2**53 - 1, 2**52]),
        ([1.0] * 5000 + [2**60 + 1], DType.INT64, [1] * 5000 + [2**60 + 1]),
    ],
)
def test_integers_beside_floats_keep_all_their_digits(
    value: list[Any], dtype: DType, expected: list[int]
) -> None:
    assert to_array(value, spec(dtype), (None,), ()).tolist() == expected


@pytest.mark.parametrize("value", [2.0**53, 9007199254740993.0, 1e17, -(2.0**60)])
def test_a_float_that_may_have_lost_digits_is_no_integer(value: float) -> None:
    with pytest.raises(InvalidInput, match=r"without point or exponent: .* may have lost digits"):
        to_array([1, value], spec(DType.INT64), (None,), ())


@pytest.mark.parametrize("dtype", [DType.FP16, DType.FP32, DType.FP64])
@pytest.mark.parametrize("check_types", [True, False])
def test_null_is_nan_where_that_is_so_written(dtype: DType, check_types: bool) -> None:
    rules = Rules(check_types=check_types, null=True)
    array = to_array([[None, 1], [0.5, None]], spec(dtype), (None, 2), (), rules=rules)
    assert array.dtype == dtype.numpy
    assert np.array_equal(array.astype(float), [[np.nan, 1], [0.5, np.nan]], equal_nan=True)
    with pytest.raises(InvalidInput, match="got null"):
        to_array([[None, 1]], spec(dtype), (None, 2), (), rules=Rules(check_types=check_types))
    with pytest.raises(InvalidInput, match=r"t\[0\]\[1\]: expected .*, got a string '1'"):
        to_array([[None, "1"]], spec(dtype), (None, 2), ("t",), rules=rules)
    with pytest.raises(InvalidInput, match=r"t\[0\]\[1\]: expected a finite float"):
        to_array([[None, 1e400]], spec(dtype), (None, 2), ("t",), rules=rules)


@pytest.mark.parametrize("dtype", [DType.INT32, DType.BOOL, DType.BYTES])
def test_null_is_nothing_but_a_float(dtype: DType) -> None:
    value = ["a", None] if dtype is DType.BYTES else [dtype is DType.BOOL or 1, None]
    with pytest.raises(InvalidInput, match=r"t\[1\]: expected .*, got null"):
        to_array(value, spec(dtype), (None,), ("t",), rules=Rules(null=True))


@given(st.binary(max_size=40), st.integers(0, 3))
def test_texts_are_found_wherever_they_are(filler: bytes, place: int) -> None:
    """A body without strings but keys is told from one with a string somewhere."""
    numbers: list[Any] = [[1.5] * 300 for _ in range(4)]
    body = json.dumps({"instances": numbers, "k": 1}, separators=(",", ":")).encode()
    assert not rules_for(body).check_types
    numbers[place][17] = filler.decode("latin-1")
    body = json.dumps({"instances": numbers, "k": 1}, separators=(",", ":")).encode()
    assert rules_for(body).check_types


def test_an_error_names_few_things_and_cuts_them() -> None:
    names = [f"unknown{i}" + "x" * 1000 for i in range(10_000)]
    with pytest.raises(InvalidInput) as found:
        from_columns(dict.fromkeys(names, 1), ONE, ())
    assert "and 9980 more" in found.value.message
    assert len(str(found.value)) < 3000
    assert len(str(InvalidInput("x" * 10**6, ("y" * 10**6,)))) < 3000


def test_the_schema_of_an_answer_has_null_where_nan_may_be() -> None:
    float_, integer = spec(DType.FP32), spec(DType.INT64)
    assert tensor_schema(float_, (None,), answer=True)["items"] == {"type": ["number", "null"]}
    assert tensor_schema(float_, (None,))["items"] == {"type": "number"}
    assert tensor_schema(integer, (), answer=True)["type"] == "integer"


@pytest.mark.parametrize("shape", [(2**18 + 3,), (3, 2**17), (2**18 + 1, 1), (2, 3, 2**18)])
def test_large_arrays_are_written_in_parts_and_read_the_same(shape: tuple[int, ...]) -> None:
    array = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    whole = orjson.dumps({"a": [{"data": array}]}, option=orjson.OPT_SERIALIZE_NUMPY)
    assert dump({"a": [{"data": array}]}) == whole


@pytest.mark.parametrize("shape", [(2**17,), (2**9, 2**9), (2, 2**17), (2**17, 1)])
def test_large_arrays_of_texts_are_written_in_parts_and_read_the_same(
    shape: tuple[int, ...],
) -> None:
    texts = encodable("x", np.full(shape, "a", object))
    assert dump({"a": [{"data": texts}]}) == orjson.dumps({"a": [{"data": texts}]})


@pytest.mark.parametrize("shape", [(2**14 + 3,), (3, 2**14), (2**15, 1), (2, 3)])
def test_bare_numbers_are_written_in_parts_and_read_the_same(shape: tuple[int, ...]) -> None:
    array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape) / 3
    array.ravel()[0], array.ravel()[-1] = np.nan, np.inf
    plain = np.asarray(array).astype(str).astype(np.float64).tolist()
    whole = json.dumps({"a": [{"data": plain}]}, separators=(",", ":")).encode()
    assert dump({"a": [{"data": array}]}, NonFinite.BARE) == whole


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(2**25 + 1, np.int8),
        np.full(2**23, -1.2345678e-30),
        np.full((2**3, 2**19), np.float64(1 / 3)),
        ["a" * 2**10] * (2**16 + 1),
    ],
)
def test_an_answer_that_is_too_long_for_json_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="more than 64 MiB in JSON: ask for binary tensors"):
        dump({"outputs": [{"data": value}]})
