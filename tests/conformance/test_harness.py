"""What the suite's results rest on: equality, forms, and processes that may die."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import onnx
import pytest

from tests.conformance import run as harness
from tests.conformance.cases import Case
from tests.conformance.comparison import difference, rounding
from tests.conformance.forms import from_bytes, nested, to_bytes
from tests.conformance.trial import Found, Result
from tests.conformance.variants import along, freed, others

ONES = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("got", "words"),
    [
        (ONES * 1.0005, None),
        (ONES * 1.002, "6 of 6 differ"),
        (ONES[:1], "has shape [1, 3], expected [2, 3]"),
        (ONES.astype(np.float64), "is float64, expected float32"),
    ],
)
def test_answers_are_equal_within_the_suites_tolerance(got: Any, words: str | None) -> None:
    found = difference({"y": got}, {"y": ONES}, 1e-3, 1e-7)
    assert found is None if words is None else words in str(found)


def test_nan_equals_nan_and_texts_are_compared_exactly() -> None:
    holes = np.array([np.nan, np.inf], np.float32)
    assert difference({"y": holes}, {"y": holes.copy()}, 0, 0) is None
    texts = np.array(["a", "b"], object)
    assert difference({"y": texts}, {"y": texts[::-1]}, 1, 1) is not None
    assert difference({"x": texts}, {"y": texts}, 0, 0) == "outputs ['x'], expected ['y']"


def test_rounding_grows_with_the_largest_number() -> None:
    assert rounding({"y": ONES * 100, "n": np.array(3)}) == pytest.approx(800 * 2**-23)


@pytest.mark.parametrize(
    "array",
    [ONES, np.array(3.5, np.float16), np.array(["ä", ""], object), np.zeros((2, 0), np.int8)],
)
def test_bytes_of_tensors_come_back(array: Any) -> None:
    datatype = {"f": f"FP{array.itemsize * 8}", "O": "BYTES", "i": "INT8"}[array.dtype.kind]
    back = from_bytes(to_bytes(array), datatype, list(array.shape))
    assert difference({"": back}, {"": array}, 0, 0) is None


def test_nested_lists_have_the_tensors_shape() -> None:
    assert nested(np.array("a", object)) == "a"
    assert nested(np.zeros((2, 0), object)) == [[], []]
    assert nested(np.array([[b"a"], ["b"]], object)) == [["a"], ["b"]]


def test_another_client_sends_other_values_of_the_same_shape() -> None:
    inputs = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "k": np.array([1, 2])}
    for other in others(inputs):
        assert any(not np.array_equal(other[name], inputs[name]) for name in inputs)
        assert all(other[name].shape == inputs[name].shape for name in inputs)
    assert along(inputs, 0) == ["x", "k"]
    assert along(inputs, 1) == ["x"]


def _case(name: str) -> Case:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 3])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 3])
    node = onnx.helper.make_node("Neg", ["x"], ["y"])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], name, [value], [result]))
    return Case(name, "node", model, {"x": ONES}, (-ONES,), 1e-3, 1e-7)


def test_a_freed_axis_is_free_in_inputs_and_outputs() -> None:
    model = freed(_case("neg").model, {"x": ONES}, ["x"], 1)
    for value in (*model.graph.input, *model.graph.output):
        first, second = value.type.tensor_type.shape.dim
        assert (first.dim_value, bool(second.dim_param)) == (2, True)


def _hang() -> None:
    while True:
        sleep(1)


@pytest.mark.parametrize(
    ("end", "stall", "words"),
    [(lambda: os._exit(7), harness.STALL, "exit 7"), (_hang, 3.0, "no progress")],
)
def test_a_model_that_dies_or_hangs_is_found_and_the_others_go_on(
    end: Callable[[], None],
    stall: float,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def tried(cases: Sequence[Case], _: Path, progress: Any) -> AsyncIterator[Result]:
        for case in cases:
            progress([case.name])
            if case.name == "bad":
                end()
            yield Result(case.name, case.kind, case.operator, "served", forms={"a": Found("right")})

    monkeypatch.setattr(harness, "try_all", tried)
    monkeypatch.setattr(harness, "STALL", stall)
    cases = [_case(name) for name in ("first", "bad", "last")]
    results = harness.run(cases, tmp_path, processes=2)
    assert {name: result.outcome for name, result in results.items()} == {
        "first": "served", "bad": "died", "last": "served",
    }  # fmt: skip
    assert words in results["bad"].words
    assert results["last"].forms == {"a": Found("right")}
    assert {path.name for path in tmp_path.iterdir()} == {"results.jsonl", "stderr.log"}


def test_what_is_in_the_journal_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.Journal(tmp_path / "results.jsonl").add(Result("first", "node", "Neg", "served"))
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"name": "broken o')
    harness.Journal(tmp_path / "results.jsonl").add(Result("last", "node", "Neg", "served"))
    monkeypatch.setattr(harness, "try_all", None)
    results = harness.run([_case("first"), _case("last")], tmp_path, processes=1)
    assert [result.outcome for result in results.values()] == ["served", "served"]
