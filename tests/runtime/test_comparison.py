"""Rounding and dependence are told apart."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from inference_service.core.rows import OutputRows, RowLayout
from inference_service.core.tensors import Tensors
from inference_service.engine.interfaces import Audit, Job
from inference_service.runtime.comparison import (
    COARSE,
    FINE,
    audited,
    identical,
    largest_difference,
    magnitudes,
)

PLAIN = RowLayout()


def y(*rows: object, dtype: str = "f4") -> Tensors:
    return {"y": np.array(rows, dtype)}


def size(got: Tensors, wanted: Tensors, batch: Tensors | None = None) -> float:
    columns = magnitudes(batch or wanted, PLAIN)
    return largest_difference(got, wanted, PLAIN, columns).size


def test_rounding_is_within_the_tolerance() -> None:
    random = np.random.default_rng(0)
    wanted = {"y": random.standard_normal((8, 16)).astype("f4")}
    got = {"y": wanted["y"] + random.standard_normal((8, 16)).astype("f4") * 1e-6}
    assert size(got, wanted) < FINE


def test_pixels_beside_probabilities_hide_no_difference() -> None:
    """The tolerance is that of the element's column, not of the largest number."""
    batch = y([640, 0.5], [300, 0.2])
    assert size(y([640, 0.51]), y([640, 0.5]), batch) > FINE
    assert size(y([640.3, 0.5]), y([640, 0.5]), batch) < FINE


def test_a_number_near_zero_is_measured_by_its_column() -> None:
    batch = y([1e-6], [2.0], [-1.5])
    assert size(y([2e-6]), y([1e-6]), batch) < FINE
    assert size(y([0.5]), y([1e-6]), batch) > COARSE


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        (y([1, 2], dtype="i8"), y([1, 3], dtype="i8")),
        (y([True], dtype="?"), y([False], dtype="?")),
        (y(["a"], dtype="O"), y(["b"], dtype="O")),
        (y([np.nan]), y([1.0])),
        (y([np.inf]), y([-np.inf])),
        (y([1.0]), y([1.0, 2.0])),
        (y([1.0]), y([1.0], dtype="f8")),
    ],
)
def test_what_is_no_number_must_be_equal(got: Tensors, wanted: Tensors) -> None:
    assert size(got, wanted) == np.inf
    assert identical(got, wanted) == "y"


def test_equal_odd_values_are_equal() -> None:
    odd = y([np.nan, np.inf, -np.inf, 0.0])
    assert size(odd, {"y": odd["y"].copy()}) == 0
    assert identical(odd, {"y": odd["y"].copy()}) == ""


def audit(run: Callable[[Any], Tensors], *rows: float, length: int = 0) -> str:
    """Merge the rows, then audit the second of them."""
    parts = [{"x": np.array([[row, 1.0]], "f4")} for row in rows]
    merged = run({"x": np.concatenate([part["x"] for part in parts])})
    outcomes = [{"y": merged["y"][index : index + 1]} for index in range(len(rows))]
    return audited(Audit(Job(parts, length=length), outcomes, 1, 0), PLAIN, run)


def test_a_row_wise_model_passes() -> None:
    assert audit(lambda x: {"y": x["x"] * 2}, 1, 2, 3) == ""


def test_rounding_by_the_number_of_rows_passes() -> None:
    assert audit(lambda x: {"y": x["x"] * (1 + 0.01 * len(x["x"]))}, 1, 2, 3) == ""


def test_dependence_on_the_others_is_found_however_small() -> None:
    found = audit(lambda x: {"y": x["x"] * (1 + 1e-4 * x["x"].max())}, 1, 2, 300)
    assert found == "a row's output 'y' alone is not what it was among other requests'"


def test_dependence_on_the_number_of_rows_is_found() -> None:
    assert "output 'y'" in audit(lambda x: {"y": x["x"] / len(x["x"])}, 1, 2, 3)


def test_a_row_of_a_request_that_failed_is_not_audited() -> None:
    parts = [{"x": np.zeros((1, 2), "f4")}] * 2
    outcomes: list[Any] = [{"y": np.zeros((1, 2), "f4")}, ValueError("no")]
    assert audited(Audit(Job(parts), outcomes, 1, 0), PLAIN, lambda x: x) == ""


def test_a_row_is_audited_where_its_entries_are() -> None:
    layout = RowLayout({"state": 1}, {"steps": OutputRows(1, 2)})
    parts = [{"state": np.full((3, 2), mark, "f4")} for mark in (1.0, 5.0)]

    def run(inputs: Any) -> Tensors:
        return {"steps": np.repeat(inputs["state"], 2, axis=1)}

    def leaking(inputs: Any) -> Tensors:
        return {"steps": np.repeat(inputs["state"] + inputs["state"].max(), 2, axis=1)}

    for model, clean in ((run, True), (leaking, False)):
        merged = model(layout.assemble(parts))
        outcomes = layout.split(merged, [2, 2])
        assert (audited(Audit(Job(parts), outcomes, 0, 1), layout, model) == "") is clean
