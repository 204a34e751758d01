"""The algebra of lengths agrees with arithmetic on integers, whatever the lengths are."""

from collections.abc import Callable, Mapping
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_service.safety import algebra
from inference_service.safety.algebra import divide, evaluate
from inference_service.safety.memory import covers
from inference_service.safety.poly import (
    MOST_TERMS,
    Exhausted,
    Expr,
    Poly,
    Symbols,
    Taint,
    Unfollowed,
    at_least,
    lower_bound,
    taint_of,
)

NAMES = "abc"
LENGTHS = st.fixed_dictionaries({name: st.integers(0, 7) for name in NAMES})
Case = tuple[Expr, Callable[[Mapping[str, int]], int]]
"""An expression and the same thing on integers."""

OPERATIONS: dict[str, tuple[Callable[[Expr, Expr], Expr], Callable[[int, int], int]]] = {
    "+": (lambda a, b: a + b, lambda a, b: a + b),
    "-": (lambda a, b: a - b, lambda a, b: a - b),
    "*": (lambda a, b: a * b, lambda a, b: a * b),
    "floor": (algebra.floor_divide, lambda a, b: a // b),
    "truncate": (
        algebra.truncate_divide,
        lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),
    ),
    "mod": (algebra.modulo, lambda a, b: a % b),
    "min": (algebra.minimum, min),
    "max": (algebra.maximum, max),
    "equal": (algebra.equal, lambda a, b: int(a == b)),
    "less": (algebra.less, lambda a, b: int(a < b)),
}


def lengths() -> tuple[Symbols, dict[str, Expr]]:
    symbols = Symbols()
    return symbols, {name: symbols.variable(name, name, measured=True) for name in NAMES}


def numbers(made: Mapping[str, Expr], values: Mapping[str, int]) -> dict[int, int]:
    found = {}
    for name, expr in made.items():
        assert isinstance(expr, Poly)
        found[next(expr.factors()).number] = values[name]
    return found


def value(text: object, made: Mapping[str, Expr]) -> Expr:
    """The expression of a tree of operations, names and numbers."""
    if isinstance(text, tuple):
        operation, left, right = text
        return OPERATIONS[operation][0](value(left, made), value(right, made))
    return made[text] if isinstance(text, str) else int(str(text))


def on_integers(text: object, values: Mapping[str, int]) -> int:
    if isinstance(text, tuple):
        operation, left, right = text
        return OPERATIONS[operation][1](on_integers(left, values), on_integers(right, values))
    return values[text] if isinstance(text, str) else int(str(text))


TREES = st.recursive(
    st.sampled_from(NAMES) | st.integers(-5, 9),
    lambda inner: st.tuples(st.sampled_from(sorted(OPERATIONS)), inner, inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(tree=TREES, values=LENGTHS)
def test_an_expression_evaluates_to_what_integers_give(
    tree: object, values: dict[str, int]
) -> None:
    _, made = lengths()
    try:
        expr = value(tree, made)
        expected = on_integers(tree, values)
    except (Unfollowed, ZeroDivisionError):
        return
    try:
        assert evaluate(expr, numbers(made, values)) == expected
    except ZeroDivisionError:
        pytest.fail("a division by zero that the integers do not have")


@settings(deadline=None)
@given(tree=TREES, values=LENGTHS)
def test_a_lower_bound_is_never_above_the_number(tree: object, values: dict[str, int]) -> None:
    _, made = lengths()
    try:
        expr = value(tree, made)
        number = on_integers(tree, values)
    except (Unfollowed, ZeroDivisionError):
        return
    bound = lower_bound(expr)
    assert bound is None or bound <= number


@settings(deadline=None)
@given(left=TREES, right=TREES)
def test_a_product_is_divided_exactly(left: object, right: object) -> None:
    _, made = lengths()
    try:
        a, b = value(left, made), value(right, made)
        product = a * b
    except (Unfollowed, ZeroDivisionError):
        return
    if b != 0:
        assert divide(product, b) == a


@settings(deadline=None)
@given(left=TREES, right=TREES)
def test_an_exact_quotient_times_the_divisor_is_the_dividend(left: object, right: object) -> None:
    _, made = lengths()
    try:
        a, b = value(left, made), value(right, made)
        quotient = divide(a, b)
        if quotient is not None:
            assert quotient * b == a
    except Unfollowed:
        return


@settings(deadline=None)
@given(left=TREES, right=TREES, values=LENGTHS)
def test_equal_expressions_are_equal_numbers(
    left: object, right: object, values: dict[str, int]
) -> None:
    _, made = lengths()
    try:
        a, b = value(left, made), value(right, made)
        one, other = on_integers(left, values), on_integers(right, values)
    except (Unfollowed, ZeroDivisionError):
        return
    if a == b:
        assert one == other
        assert hash(a) == hash(b)


@settings(deadline=None)
@given(values=LENGTHS, a=st.integers(1, 9), b=st.integers(1, 9), c=st.integers(-20, 20))
def test_floors_of_floors_are_one_floor(values: dict[str, int], a: int, b: int, c: int) -> None:
    _, made = lengths()
    nested = algebra.floor_divide(algebra.floor_divide(made["a"] + c, a), b)
    assert nested == algebra.floor_divide(made["a"] + c, a * b)
    assert evaluate(nested, numbers(made, values)) == (values["a"] + c) // (a * b)


def test_whole_multiples_leave_the_floor() -> None:
    _, made = lengths()
    a, b = made["a"], made["b"]
    assert algebra.floor_divide(a * 6 + b * 3 + 3, 3) == a * 2 + b + 1
    assert algebra.floor_divide(a * b, b) == a
    assert algebra.floor_divide(a * Fraction(1, 2), 1) == algebra.floor_divide(a, 2)


@settings(deadline=None)
@given(values=LENGTHS)
def test_broadcast_lengths_are_the_longer_of_one_and_a_length(values: dict[str, int]) -> None:
    _, made = lengths()
    expr = algebra.broadcast(made["a"], made["b"])
    a, b = values["a"], values["b"]
    if a == b or 1 in {a, b}:
        assert evaluate(expr, numbers(made, values)) == (b if a == 1 else a)
    assert algebra.broadcast(made["a"], 1) == algebra.broadcast(1, made["a"]) == made["a"]
    assert algebra.broadcast(made["a"], 4) == 4


def test_the_number_of_rows_taints_all_that_is_computed_from_it() -> None:
    symbols, made = lengths()
    rows = symbols.variable("rows", "rows", taint=Taint.BATCH, lower=1)
    for operation, _ in OPERATIONS.values():
        result = operation(rows + made["a"], made["b"] + 2)
        assert taint_of(result) is Taint.BATCH
        assert taint_of(operation(made["a"], made["b"] + 2)) is Taint.FREE
    assert taint_of(rows * made["a"] - rows * made["a"] + 3) is Taint.FREE
    assert algebra.less(0, rows) == 1
    assert at_least(rows * 2 - 1, 1)


def test_a_length_that_a_tensor_has_is_not_negative() -> None:
    symbols, made = lengths()
    length = algebra.floor_divide(made["a"] - 10, 4) + 1
    assert not at_least(length, 0)
    symbols.assume_length(length)
    assert at_least(length, 0)


def test_expressions_have_a_bound() -> None:
    symbols, made = lengths()
    many = sum((symbols.variable(n, f"v{n}") for n in range(MOST_TERMS)), 0)
    with pytest.raises(Unfollowed):
        many * many
    power: Expr = made["a"]
    with pytest.raises(Unfollowed):
        for _ in range(20):
            power = power * made["b"]
    deep: Expr = made["a"]
    with pytest.raises(Unfollowed):
        for _ in range(200):
            deep = algebra.maximum(deep, made["b"] * deep)
    with pytest.raises(Exhausted):
        symbols.spend(10**9)


def test_a_condition_is_readable() -> None:
    _, made = lengths()
    length = algebra.floor_divide(made["a"] + 9, 4) + made["b"] * 2
    assert str(length) == "2+2*b+floor((1+a)/(4))"


@settings(deadline=None)
@given(left=TREES, right=TREES, values=LENGTHS)
def test_a_size_that_covers_another_is_never_smaller(
    left: object, right: object, values: dict[str, int]
) -> None:
    _, made = lengths()
    try:
        a, b = value(left, made), value(right, made)
        one, other = on_integers(left, values), on_integers(right, values)
    except (Unfollowed, ZeroDivisionError):
        return
    if covers(a, b):
        assert one >= other
    assert covers(a, a)
