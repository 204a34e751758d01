"""Assembly, isolation, what is in flight, versions, lifecycle, tensors."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.assembly import assemble, split, take
from inference_service.core.errors import (
    ExecutionFailed,
    InvalidInput,
    OutOfMemory,
    Overloaded,
    ShuttingDown,
    found_no_memory,
    render_path,
)
from inference_service.core.in_flight import InFlight, Limits
from inference_service.core.isolation import run_isolated
from inference_service.core.lifecycle import MOVES, State, move
from inference_service.core.tensors import BatchMode, DType, Signature, TensorSpec
from inference_service.core.versions import All, Latest, Specific, version_number


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_splitting_what_was_assembled_gives_the_parts_back(counts: list[int]) -> None:
    parts = [{"x": np.full((n, 2), i), "y": np.arange(n)} for i, n in enumerate(counts)]
    for part, back in zip(parts, split(assemble(parts), counts), strict=True):
        assert np.array_equal(part["x"], back["x"])
        assert np.array_equal(part["y"], back["y"])


def test_a_lone_part_is_not_copied() -> None:
    part = {"x": np.zeros((2, 2))}
    assert assemble([part]) is part
    assert np.shares_memory(take(part, 0, 1)["x"], part["x"])


def test_an_output_without_a_row_for_each_row_is_refused() -> None:
    with pytest.raises(ExecutionFailed, match=r"output 'y' has shape \[3\] for a batch of 2 rows"):
        split({"y": np.zeros(3)}, [1, 1])


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_only_the_guilty_fail_and_everybody_else_is_answered(guilty: list[bool]) -> None:
    runs = 0

    def run(parts: Sequence[tuple[int, bool]]) -> list[int]:
        nonlocal runs
        runs += 1
        if any(bad for _, bad in parts):
            raise ValueError("poison")
        return [number for number, _ in parts]

    outcomes = run_isolated(list(enumerate(guilty)), run)
    for number, (bad, outcome) in enumerate(zip(guilty, outcomes, strict=True)):
        assert isinstance(outcome, ValueError) if bad else outcome == number
    count, levels = sum(guilty), int(np.ceil(np.log2(len(guilty))))
    assert runs <= 1 + 2 * count * levels


@given(st.integers(1, 200), st.integers(0, 200), st.sampled_from([MemoryError, OutOfMemory]))
def test_a_batch_without_memory_is_halved_but_not_for_long(
    count: int, room: int, error: type[Exception]
) -> None:
    """Memory is there for ``room`` parts at a time."""
    failed = 0

    def run(parts: Sequence[int]) -> list[int]:
        nonlocal failed
        if len(parts) > room:
            failed += 1
            raise error
        return list(parts)

    outcomes = run_isolated(range(count), run)
    for number, outcome in enumerate(outcomes):
        assert outcome == number or found_no_memory(cast("Exception", outcome))
    levels = int(np.ceil(np.log2(count)))
    assert failed <= 2 + levels
    if room > 1 and count <= 4 * room:
        assert outcomes == list(range(count))


@given(st.integers(1, 200), st.data())
def test_a_part_that_there_is_never_memory_for_costs_no_other_its_answer(
    count: int, data: st.DataObject
) -> None:
    greedy = data.draw(st.integers(0, count - 1))

    def run(parts: Sequence[int]) -> list[int]:
        if greedy in parts:
            raise OutOfMemory
        return list(parts)

    outcomes = run_isolated(range(count), run)
    assert [one for one in outcomes if not isinstance(one, OutOfMemory)] == [
        one for one in range(count) if one != greedy
    ]


def test_a_permit_is_given_back_whatever_happens() -> None:
    in_flight = InFlight(Limits(max_requests=1, max_bytes=100))

    def fail() -> None:
        with in_flight.permit(60):
            assert (in_flight.requests, in_flight.bytes) == (1, 60)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (in_flight.requests, in_flight.bytes) == (0, 0)


def test_the_door_is_closed_to_more_requests_or_bytes_than_may_be_in_flight() -> None:
    in_flight = InFlight(Limits(max_requests=2, max_bytes=100))
    with in_flight.permit(1000):  # alone, any size is fine: the edge limits a single body
        with pytest.raises(Overloaded) as refusal:
            in_flight.permit(1)
        assert refusal.value.reason == "in_flight_bytes"
    with in_flight.permit(10), in_flight.permit(10) as second:
        with pytest.raises(Overloaded) as refusal:
            in_flight.permit(1)
        assert refusal.value.reason == "in_flight_requests"
        second.grow(80)
        with pytest.raises(Overloaded):
            second.grow(1)
    assert in_flight.bytes == 0


def test_a_closed_door_admits_nobody() -> None:
    in_flight = InFlight(Limits(1, 1))
    in_flight.close()
    with pytest.raises(ShuttingDown):
        in_flight.permit(0)


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        (Latest(), {3}),
        (Latest(count=2), {2, 3}),
        (All(), {1, 2, 3}),
        (Specific(frozenset({1, 9})), {1}),
    ],
)
def test_version_policies(policy: Latest | All | Specific, wanted: set[int]) -> None:
    assert policy.aspired([1, 2, 3]) == wanted


def test_only_moves_of_the_table_are_legal() -> None:
    for state in State:
        for to in State:
            if to in MOVES[state]:
                assert move(state, to) is to
            else:
                with pytest.raises(ValueError, match=f"from {state} to {to}"):
                    move(state, to)


def test_a_path_reads_like_code() -> None:
    assert render_path(("instances", 3, "image", 0)) == "instances[3].image[0]"


SIGNATURE = Signature(
    inputs=(TensorSpec("x", DType.FP32, (None, 2)), TensorSpec("id", DType.INT64, (None,))),
    outputs=(TensorSpec("y", DType.FP32, (None,)),),
)
X, ID = np.zeros((3, 2), np.float32), np.zeros(3, np.int64)


def test_a_signature_counts_the_rows() -> None:
    assert SIGNATURE.check({"x": X, "id": ID}) == 3


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        ({"x": X}, "missing input 'id'; this model takes 'x', 'id'"),
        ({"x": X, "id": ID, "z": ID}, "unknown input 'z'"),
        ({"x": X.astype(np.float64), "id": ID}, "x: expected float32, got float64"),
        ({"x": X[:, :1], "id": ID}, r"x: expected shape \[any, 2\], got \[3, 1\]"),
        ({"x": X, "id": ID[:2]}, "same number of rows: x has 3, id has 2"),
        ({"x": X[:0], "id": ID[:0]}, "batch is empty"),
    ],
)
def test_a_signature_refuses_what_it_does_not_take(
    inputs: dict[str, np.ndarray], complaint: str
) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        SIGNATURE.check(inputs)


def test_an_unknown_output_is_refused() -> None:
    with pytest.raises(InvalidInput, match="unknown output 'z', this model has 'y'"):
        SIGNATURE.check({"x": X, "id": ID}, ("z",))


def test_a_request_that_runs_whole_must_fit_the_graph_exactly_and_counts_as_one() -> None:
    fixed = Signature((TensorSpec("x", DType.FP32, (3, 2)),), (), BatchMode.WHOLE)
    assert fixed.check({"x": X}) == 1
    with pytest.raises(InvalidInput):
        fixed.check({"x": X[:2]})


@given(st.integers(0, 10**19 - 1))
def test_a_version_is_read_as_it_is_written(number: int) -> None:
    assert version_number(str(number)) == number


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is not a whole number"),
        ("1\n", "is not a whole number"),
        ("-1", "is not a whole number"),
        ("1.0", "is not a whole number"),
        ("٣", "is not a whole number"),
        ("00", "begins with 0"),
        (str(10**19), "has 20 digits, and versions have at most 19"),
    ],
)
def test_what_is_no_version_is_told_why(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        version_number(name)
