"""Where rows are: batch axes that aren't the first, inputs without rows, several entries a row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.errors import InvalidInput, RowsMismatch
from inference_service.core.guard import Guard, Shapes
from inference_service.core.rows import OutputRows, RowLayout
from inference_service.core.tensors import BatchMode, DType, Signature, TensorSpec

LAYOUT = RowLayout(
    inputs={"state": 1, "rate": None},
    outputs={"steps": OutputRows(1), "pairs": OutputRows(0, 2), "table": OutputRows(None)},
)


def part(rows: int, mark: float) -> dict[str, np.ndarray]:
    return {
        "x": np.full((rows, 3), mark),
        "state": np.full((2, rows, 4), mark),
        "rate": np.array(16000),
    }


def outputs(marks: list[float]) -> dict[str, np.ndarray]:
    each = np.array(marks)
    return {
        "y": each[:, None],
        "steps": np.tile(each, (5, 1)),
        "pairs": np.repeat(each, 2),
        "table": np.arange(7),
    }


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_every_part_gets_its_rows_of_every_output(counts: list[int]) -> None:
    parts = [part(count, mark) for mark, count in enumerate(counts)]
    together = LAYOUT.assemble(parts)
    assert together["state"].shape == (2, sum(counts), 4)
    assert together["rate"].shape == ()
    marks = together["x"][:, 0].tolist()
    answers = LAYOUT.split(outputs(marks), counts)
    for mark, (count, answer) in enumerate(zip(counts, answers, strict=True)):
        assert {name: a.tolist() for name, a in answer.items()} == {
            name: a.tolist() for name, a in outputs([mark] * count).items()
        }
    back = LAYOUT.join(answers, counts)
    assert {name: a.tolist() for name, a in back.items()} == {
        name: a.tolist() for name, a in outputs(marks).items()
    }


def test_a_row_is_taken_where_it_is() -> None:
    together = LAYOUT.assemble([part(1, 1.0), part(1, 2.0)])
    row = LAYOUT.take(together, 1, 2)
    assert row["state"].tolist() == part(1, 2.0)["state"].tolist()
    assert row["rate"].tolist() == 16000
    assert LAYOUT.take_outputs(outputs([1, 2, 3]), 1, 2)["pairs"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("y", np.zeros((3, 1))),
        ("steps", np.zeros((2, 3))),
        ("steps", np.zeros(2)),
        ("pairs", np.zeros(2)),
        ("y", np.zeros(())),
    ],
)
def test_entries_that_do_not_fit_the_rows_are_a_mismatch(name: str, array: np.ndarray) -> None:
    with pytest.raises(RowsMismatch, match=f"output '{name}' has shape"):
        LAYOUT.split({**outputs([1, 2]), name: array}, [1, 1])


def test_chunks_without_a_row_axis_can_not_be_joined() -> None:
    with pytest.raises(InvalidInput, match=r"output 'y' of shape \[5, 1\] can't be joined"):
        RowLayout().join([{"y": np.zeros((5, 1))}, {"y": np.zeros((5, 1))}], [1, 1])


def test_a_batch_is_filled_up_with_its_last_row_and_cut_again() -> None:
    filled = LAYOUT.filled(LAYOUT.assemble([part(1, 1.0), part(1, 2.0)]), 2, 4)
    assert filled["x"][:, 0].tolist() == [1, 2, 2, 2]
    assert filled["state"][0, :, 0].tolist() == [1, 2, 2, 2]
    assert filled["rate"].shape == ()
    cut = LAYOUT.cut(outputs([1, 2, 2, 2]), 2, 4)
    assert {name: a.tolist() for name, a in cut.items()} == {
        name: a.tolist() for name, a in outputs([1, 2]).items()
    }


def test_a_signature_counts_rows_on_their_axis() -> None:
    specs = (
        TensorSpec("x", DType.FP64, (None, 3)),
        TensorSpec("state", DType.FP64, (2, None, 4)),
        TensorSpec("rate", DType.INT64, ()),
    )
    signature = Signature(specs, (TensorSpec("y", DType.FP64, (None, 1)),), rows=LAYOUT)
    assert signature.check(part(2, 0.0)) == 2
    assert signature.wanted_shape(specs[1]) == (2, None, 4)
    assert signature.has_fixed_rows
    assert not signature.has_row_axis
    with pytest.raises(InvalidInput, match="x has 2, state has 3"):
        signature.check({**part(2, 0.0), "state": np.zeros((2, 3, 4))})
    with pytest.raises(InvalidInput, match=r"state: expected shape \[2, any, 4\]"):
        signature.check({**part(2, 0.0), "state": np.zeros((1, 2, 4))})


def test_an_input_of_any_rank_takes_any_shape() -> None:
    spec = TensorSpec("x", DType.FP64, (), ranked=False)
    signature = Signature((spec,), (spec,), BatchMode.WHOLE)
    for shape in ((), (3,), (2, 0, 5)):
        assert signature.check({"x": np.zeros(shape)}) == 1
    assert str(spec) == "x float64[...]"


def test_tensors_without_elements_have_bounded_axes() -> None:
    spec = TensorSpec("x", DType.FP64, (None, None))
    signature = Signature((spec,), (spec,))
    assert signature.check({"x": np.zeros((1000, 0))}) == 1000
    with pytest.raises(InvalidInput, match="holds no element"):
        signature.check({"x": np.zeros((2**40, 0))})


# The guard


def square(shapes: Shapes) -> int:
    rows, length = shapes["x"]
    return rows * length * length


def x(rows: int, length: int) -> dict[str, np.ndarray]:
    return {"x": np.zeros((rows, length))}


def test_a_request_for_which_a_condition_is_false_runs_alone() -> None:
    guard = Guard(conditions=[lambda shapes: shapes["x"][1] == 4])
    assert not guard.alone(x(3, 4))
    assert guard.alone(x(3, 5))


def test_a_run_that_would_take_too_much_memory_is_refused_before() -> None:
    guard = Guard(peak_bytes=square, memory=10_000, largest_batch=4)
    assert not guard.alone(x(4, 50)), "4 rows take 10 000"
    assert not guard.alone(x(100, 50)), "it runs in chunks of 4"
    assert guard.alone(x(1, 60)), "a full batch of such rows would take too much"
    with pytest.raises(InvalidInput, match="memory; 0 MiB are allowed"):
        guard.alone(x(1, 101))


def test_a_request_that_runs_alone_is_not_cut_and_counts_as_a_whole() -> None:
    guard = Guard(conditions=[lambda _: False], peak_bytes=square, memory=10_000, largest_batch=4)
    assert guard.alone(x(4, 50))
    with pytest.raises(InvalidInput, match="memory"):
        guard.alone(x(5, 50))


def test_a_length_above_its_bound_is_refused_by_name() -> None:
    guard = Guard(longest={"x": (None, 8)})
    assert not guard.alone(x(100, 8))
    with pytest.raises(InvalidInput, match="x: axis 1 has length 9, and at most 8 is taken"):
        guard.alone(x(1, 9))


def test_a_guard_asks_once_for_each_kind_of_shapes() -> None:
    asked = 0

    def holds(_: Shapes) -> bool:
        nonlocal asked
        asked += 1
        return True

    guard = Guard(conditions=[holds])
    for _ in range(3):
        guard.alone(x(2, 2))
    assert asked == 1
