"""The numerical check itself: it passes what is row-wise and sees every kind of leak."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from inference_service.safety.verdict import OutputRows, Status, Verdict
from tests import onnx_models
from tests.onnx_models import FLOAT, INT64
from tests.safety.soundness import check, difference


def proven(
    inputs: Mapping[str, int], outputs: Mapping[str, OutputRows] | None = None, **more: object
) -> Verdict:
    return Verdict(
        Status.PROVEN,
        inputs,
        outputs or {"y": OutputRows(0)},
        **more,  # type: ignore[arg-type]
    )


def one(op_type: str, *others: str, shape: tuple[str | int, ...] = ("n", 4), out: int = FLOAT,
        attributes: Mapping[str, Any] | None = None, **constants: object) -> onnx.ModelProto:  # fmt: skip
    node = helper.make_node(op_type, ["x", *others], ["y"], **(attributes or {}))
    arrays = {name: np.asarray(value) for name, value in constants.items()}
    return onnx_models.build([node], [("x", FLOAT, shape)], [("y", out, None)], **arrays)  # type: ignore[list-item]


def test_what_is_row_wise_passes() -> None:
    report = check(one("Softmax"), proven({"x": 0}))
    assert not report.leaks
    assert not report.refused
    assert report.compared > 100


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (one("Softmax", attributes={"axis": 0}), "instead of"),
        (one("ReduceMax", attributes={"axes": [0], "keepdims": 1}), "shape [1, 4] for 2 rows"),
        (one("CumSum", "zero", zero=np.int64(0)), "instead of"),
        (one("ArgMax", attributes={"axis": 0, "keepdims": 0}, out=INT64), "for 2 rows"),
        (one("Transpose"), "for 2 rows"),
    ],
)  # fmt: skip
def test_rows_that_meet_are_a_leak(model: onnx.ModelProto, why: str) -> None:
    report = check(model, proven({"x": 0}))
    assert report.leaks
    assert why in report.leaks[0].detail


def test_rows_that_meet_only_if_large_are_a_leak() -> None:
    """Where(ReduceMax(x) > 1000, 0, x)."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Greater", ["m", "limit"], ["c"]),
        helper.make_node("Where", ["c", "zero", "x"], ["y"]),
    ]
    model = onnx_models.build(
        nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])],
        limit=np.float32(1000), zero=np.float32(0),
    )  # fmt: skip
    assert check(model, proven({"x": 0})).leaks


def test_a_row_that_fails_alone_and_runs_among_others_is_a_leak() -> None:
    """Gather of row 1 of the batch: out of range for one row, another client's row for two."""
    model = one("Gather", "i", i=np.array([1]))
    assert check(model, proven({"x": 0})).leaks
    table = onnx_models.build(
        [helper.make_node("GatherElements", ["x", "i"], ["y"])],
        [("x", FLOAT, ["n", 2]), ("i", INT64, ["n", 2])], [("y", FLOAT, ["n", 2])],
    )  # fmt: skip
    report = check(table, proven({"x": 0, "i": 0}))
    assert "fails alone and runs among others" in {leak.detail for leak in report.leaks}


def test_a_small_influence_of_other_rows_is_no_rounding() -> None:
    """y = x + 1e-3 * the mean of all rows."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0]),
        helper.make_node("Mul", ["m", "small"], ["s"]),
        helper.make_node("Add", ["x", "s"], ["y"]),
    ]
    model = onnx_models.build(
        nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])], small=np.float32(1e-3)
    )
    assert check(model, proven({"x": 0})).leaks


def test_inputs_that_must_be_equal_are_equal() -> None:
    model = onnx_models.build(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", FLOAT, ["n", 4]), ("w", FLOAT, [4, 4])], [("y", FLOAT, ["n", 4])],
    )  # fmt: skip
    report = check(model, proven({"x": 0}, equal=frozenset({"w"})))
    assert (report.leaks, report.compared > 0) == ([], True)


def test_a_fixed_batch_is_compared_at_every_place() -> None:
    report = check(one("Neg", shape=(4, 2)), proven({"x": 0}, fixed_rows=4))
    assert (report.leaks, report.compared) == ([], 20)
    mixed = one("Add", "c", shape=(4, 1), c=np.arange(4, dtype=np.float32)[:, None])
    assert check(mixed, proven({"x": 0}, fixed_rows=4)).leaks


def test_outputs_of_several_entries_for_each_row_and_other_axes() -> None:
    entries = one("Reshape", "s", s=np.array([-1, 2]))
    assert check(entries, proven({"x": 0}, {"y": OutputRows(0, 2)})).leaks == []
    assert check(entries, proven({"x": 0}, {"y": OutputRows(0, 1)})).leaks
    turned = one("Transpose")
    assert check(turned, proven({"x": 0}, {"y": OutputRows(1)})).leaks == []
    assert check(turned, proven({"x": 0}, {"y": OutputRows(None)})).leaks


def test_a_difference_is_measured_on_the_rows_own_scale() -> None:
    small = np.array([1e-3, 2e-3], np.float32)
    assert difference(small, small * np.float32(1 + 1e-6)) == ""
    assert difference(small, small + np.float32(1e-5)) != ""
    assert (
        difference(np.array([1, 2]), np.array([1, 3]))
        == "np.int64(3) instead of np.int64(2) at [1]"
    )
    assert difference(np.array([np.nan]), np.array([np.nan])) == ""
    assert difference(np.array([np.inf]), np.array([1e30])) != ""
    assert difference([{"a": 1.0}], [{"b": 1.0}]) == "keys ['b'] instead of ['a']"
    assert difference(np.array(["a"], object), np.array(["b"], object)) != ""
