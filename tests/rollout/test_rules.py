"""The pure rules: compatible signatures, failures that rise, shares of versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.compatibility import breaks
from inference_service.core.regression import Outcomes, regressed
from inference_service.core.routing import Routing, position
from inference_service.core.tensors import DType, Signature, TensorSpec


def signature(shape: tuple[int | None, ...] = (None, 2), **changes: DType) -> Signature:
    dtypes = {"x": DType.FP32, "y": DType.FP32, **changes}
    return Signature(
        (TensorSpec("x", dtypes["x"], shape),), (TensorSpec("y", dtypes["y"], (None, 3)),)
    )


def test_a_version_with_the_same_signature_breaks_nothing() -> None:
    assert breaks(signature(), signature()) == []


def test_what_a_client_would_miss_is_named() -> None:
    assert breaks(signature(), signature(x=DType.FP64)) == ["input 'x' was float32 and is float64"]
    assert breaks(signature(), signature(y=DType.INT64)) == ["output 'y' was float32 and is int64"]
    other = Signature(
        (TensorSpec("z", DType.FP32, (None, 2)),), (TensorSpec("y", DType.FP32, (None, 3)),)
    )
    assert breaks(signature(), other) == [
        "input 'x' is gone", "input 'z' is needed and was not there before",
    ]  # fmt: skip


def test_inputs_may_take_more_and_not_less() -> None:
    assert breaks(signature((None, 2)), signature((None, None))) == []
    assert breaks(signature((None, None)), signature((None, 2))) == [
        "input 'x' was x float32[any, any] and is x float32[any, 2]"
    ]


def test_an_optional_input_more_breaks_nothing() -> None:
    more = Signature(
        signature().inputs, signature().outputs, optional=(TensorSpec("t", DType.FP32, ()),)
    )
    assert breaks(signature(), more) == []
    assert breaks(more, signature()) == ["input 't' is gone"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Outcomes(1000, 0), Outcomes(100, 50), True),
        (Outcomes(1000, 0), Outcomes(100, 4), False),  # fewer than FEWEST_FAILURES
        (Outcomes(1000, 500), Outcomes(100, 50), False),  # as before
        (Outcomes(1000, 0), Outcomes(1000, 20), False),  # a rise of 2 %, and 5 % are allowed
        (Outcomes(8, 3), Outcomes(8, 5), False),  # may be chance
        (Outcomes(0, 0), Outcomes(10, 10), True),  # nothing to compare with, and all fail
        (Outcomes(0, 0), Outcomes(100, 10), False),
        (Outcomes(50, 50), Outcomes(50, 50), False),
    ],
)
def test_a_rise_of_failures_is_told_from_chance(
    before: Outcomes, after: Outcomes, expected: bool
) -> None:
    assert regressed(before, after, 0.05) is expected


CLIENTS = [f"client-{i}" for i in range(4000)]


def test_a_client_always_gets_the_same_version() -> None:
    routing = Routing({1: 9, 2: 1})
    first = [routing.choose(client, {1, 2}) for client in CLIENTS]
    assert first == [routing.choose(client, {2, 1}) for client in CLIENTS]
    assert first.count(2) / len(CLIENTS) == pytest.approx(0.1, abs=0.02)


def test_more_canary_moves_only_the_clients_of_the_difference() -> None:
    before, after = Routing({1: 90, 2: 10}), Routing({1: 70, 2: 30})
    for client in CLIENTS:
        if before.choose(client, {1, 2}) == 2:
            assert after.choose(client, {1, 2}) == 2


def test_a_version_that_is_not_loaded_leaves_its_share_to_the_others() -> None:
    assert {Routing({1: 1, 2: 1}).choose(client, {1, 3}) for client in CLIENTS[:50]} == {1}
    assert Routing({1: 1}).choose("a", {4, 5}) == 5


@given(st.text())
def test_every_key_has_a_place(key: str) -> None:
    assert 0 <= position(key) < 1
