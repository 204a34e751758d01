"""What a verdict keeps of the algebra says the same, also after it has been through a file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.safety.formula import (
    EqualLengths,
    Formulas,
    Largest,
    Relation,
    formulas,
    formulas_read,
)
from inference_service.safety.poly import Poly, Symbols

AXES = {0: ("x", 1), 1: ("y", 0)}


def lengths() -> tuple[Symbols, Poly, Poly]:
    symbols = Symbols()
    return symbols, symbols.variable("a", "a"), symbols.variable("b", "b")


def through_json(found: Formulas) -> Formulas:
    return formulas_read(json.loads(json.dumps(found.plain())))


@given(st.integers(0, 500), st.integers(1, 500))
def test_a_sum_has_the_value_that_its_lengths_give(a: int, b: int) -> None:
    symbols, one, other = lengths()
    halved = symbols.operation("fd", (one + 3, 2))
    exprs = [one * other - 7, halved * halved + other, symbols.operation("min", (one, other)), 12]
    found = formulas(exprs, AXES)
    shapes = {"x": (9, a), "y": (b,)}
    wanted = [a * b - 7, ((a + 3) // 2) ** 2 + b, min(a, b), 12]
    assert found.values(shapes) == wanted
    assert through_json(found).values(shapes) == wanted
    assert Largest(through_json(found))(shapes) == max(wanted)


def test_a_relation_holds_or_not_and_never_raises() -> None:
    symbols, one, other = lengths()
    same = formulas([symbols.operation("eq", (one, other))], AXES)
    holds, fails = Relation(same, way=True), Relation(through_json(same), way=False)
    assert holds({"x": (1, 4), "y": (4,)})
    assert not fails({"x": (1, 4), "y": (4,)})
    assert fails({"x": (1, 4), "y": (5,)})
    for odd in ({}, {"x": (1,), "y": (4,)}):
        assert not holds(odd)
        assert not fails(odd)


def test_a_length_that_shapes_do_not_tell_is_refused() -> None:
    symbols, one, _ = lengths()
    with pytest.raises(KeyError):
        formulas([one + symbols.variable("content", "content")], AXES)


def test_axes_of_one_name_have_one_length() -> None:
    equal = EqualLengths([("x", 1), ("y", 0)])
    assert equal({"x": (2, 5), "y": (5,)})
    assert not equal({"x": (2, 5), "y": (6,)})
    assert not equal({"x": (2, 5)})


@pytest.mark.parametrize(
    "content",
    [{}, {"sums": [], "axes": [], "operations": [[1, "exec", [], []]]}, {"sums": 3, "axes": []}],
)
def test_a_file_that_says_something_else_is_refused(content: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        formulas_read(content)  # type: ignore[arg-type]


def test_a_circle_in_a_file_ends() -> None:
    circle = {"sums": [[[1, 1, [5]]]], "axes": [], "operations": [[5, "fd", [[1, 1, [5]]], []]]}
    with pytest.raises(KeyError):
        formulas_read(circle).values({})
