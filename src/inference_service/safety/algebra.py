"""Operations on lengths: exact division, rounding, comparison, evaluation.

What a polynomial can't express becomes an opaque symbol (`poly.Symbols.operation`).
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import lcm

from inference_service.safety.poly import (
    MOST_TERMS,
    Expr,
    Monomial,
    Number,
    Poly,
    Symbol,
    Symbols,
    Unfollowed,
    at_least,
    made,
    terms_of,
    whole,
)


def divide(a: Expr, b: Expr) -> Expr | None:  # noqa: PLR0911  one per simple case
    """The exact quotient where ``b`` divides ``a`` as a polynomial with whole coefficients."""
    if b == 1:
        return a
    if a == b and b != 0:
        return 1
    if b == 0:
        return None
    if not isinstance(b, Poly):
        return _divide_by_number(a, b)
    if not isinstance(a, Poly):
        return 0 if a == 0 else None
    quotient: Expr = 0
    rest: Expr = a
    lead, leading = _leading(b)
    for _ in range(MOST_TERMS):
        if not isinstance(rest, Poly):
            return quotient if rest == 0 else None
        top, coefficient = _leading(rest)
        monomial = _without(top, lead)
        factor = whole(Fraction(coefficient) / leading)
        if monomial is None or not isinstance(factor, int):
            return None
        part: Expr = made(a.symbols, {monomial: factor})
        quotient, rest = quotient + part, rest - part * b
    return None


def _divide_by_number(a: Expr, b: Number) -> Expr | None:
    quotients = {m: whole(Fraction(c) / b) for m, c in terms_of(a)}
    if not all(isinstance(c, int) for c in quotients.values()):
        return None
    return made(a.symbols, quotients) if isinstance(a, Poly) else quotients[()]


def _leading(poly: Poly) -> tuple[Monomial, Number]:
    """The largest term in graded lexical order, which multiplication keeps."""
    top = max(poly.terms, key=lambda monomial: (len(monomial), monomial))
    return top, poly.terms[top]


def _without(monomial: Monomial, part: Monomial) -> Monomial | None:
    left = list(monomial)
    for number in part:
        if number not in left:
            return None
        left.remove(number)
    return tuple(left)


def floor_divide(a: Expr, b: Expr) -> Expr:
    """The quotient rounded down. Raises Unfollowed for a division by zero."""
    if b == 0:
        raise Unfollowed("a division by zero")
    if not isinstance(b, Poly):
        if b < 0:
            a, b = -a, -b
        return _floor_by_number(a, Fraction(b))
    exact = divide(a, b)
    if exact is not None:
        return exact
    lower = 0 if at_least(a, 0) and at_least(b, 0) else None
    return b.symbols.operation("fd", (a, b), lower)


def _floor_by_number(a: Expr, b: Fraction) -> Expr:
    """Whole multiples of ``b`` leave the floor, which makes equal floors equal symbols."""
    a = a * b.denominator
    scale = lcm(*(c.denominator for _, c in terms_of(a)))
    a, b = a * scale, b * scale
    divisor = int(b)
    if not isinstance(a, Poly):
        return Fraction(a) // divisor
    outside = {m: Fraction(c) // divisor for m, c in a.terms.items()}
    inside = made(a.symbols, {m: c % divisor for m, c in a.terms.items()})
    quotient = made(a.symbols, dict(outside))
    if not isinstance(inside, Poly):
        return quotient
    nested = _sole_floor(inside)
    if nested is not None:
        return quotient + _floor_by_number(nested[0], Fraction(nested[1] * divisor))
    lower = 0 if at_least(inside, 0) else None
    return quotient + a.symbols.operation("fd", (inside, divisor), lower)


def _sole_floor(poly: Poly) -> tuple[Expr, int] | None:
    """Numerator (the constant drawn in) and divisor of ``fd(a, n) + c``."""
    constant = poly.terms.get((), 0)
    others = [(m, c) for m, c in poly.terms.items() if m]
    if len(others) != 1 or others[0][1] != 1 or len(others[0][0]) != 1:
        return None
    symbol = poly.symbols[others[0][0][0]]
    if symbol.operation != "fd" or not isinstance(symbol.arguments[1], int):
        return None
    return symbol.arguments[0] + constant * symbol.arguments[1], symbol.arguments[1]


def truncate_divide(a: Expr, b: Expr) -> Expr:
    """The quotient rounded towards zero, as ONNX divides integers."""
    if not isinstance(a, Poly) and not isinstance(b, Poly):
        if b == 0:
            raise Unfollowed("a division by zero")
        return _truncated(a, b)
    exact = divide(a, b)
    if exact is not None:
        return exact
    if at_least(a, 0) and at_least(b, 0):
        return floor_divide(a, b)
    return _symbols(a, b).operation("td", (a, b))


def _floored(a: Number, b: Number) -> int:
    return Fraction(a, 1) // Fraction(b, 1)


def _truncated(a: Number, b: Number) -> int:
    quotient = _floored(max(a, -a), max(b, -b))
    return quotient if (a < 0) == (b < 0) else -quotient


def modulo(a: Expr, b: Expr) -> Expr:
    """The rest of the floor division (its sign is the divisor's)."""
    return a - b * floor_divide(a, b)


def minimum(a: Expr, b: Expr) -> Expr:
    """The smaller of two."""
    if at_least(b - a, 0):
        return a
    if at_least(a - b, 0):
        return b
    a, b = _ordered(a, b)
    lower = 0 if at_least(a, 0) and at_least(b, 0) else None
    return _symbols(a, b).operation("min", (a, b), lower)


def maximum(a: Expr, b: Expr) -> Expr:
    """The larger of two."""
    if at_least(b - a, 0):
        return b
    if at_least(a - b, 0):
        return a
    a, b = _ordered(a, b)
    lower = 0 if at_least(a, 0) or at_least(b, 0) else None
    return _symbols(a, b).operation("max", (a, b), lower)


def broadcast(a: Expr, b: Expr) -> Expr:
    """The length that two lengths broadcast to: equal ones, or one of them is 1."""
    if b in {a, 1}:
        return a
    if a == 1:
        return b
    if not isinstance(a, Poly) or not isinstance(b, Poly):
        return b if isinstance(a, Poly) else a
    a, b = _ordered(a, b)
    lower = 0 if at_least(a, 0) and at_least(b, 0) else None
    return _symbols(a, b).operation("bc", (a, b), lower)


def equal(a: Expr, b: Expr) -> Expr:
    """1 where two are equal, 0 where they never are, else an opaque truth value."""
    difference = a - b
    if not isinstance(difference, Poly):
        return int(difference == 0)
    if at_least(difference, 1) or at_least(-difference, 1):
        return 0
    a, b = _ordered(a, b)
    return difference.symbols.operation("eq", (a, b), 0, 1)


def less(a: Expr, b: Expr) -> Expr:
    """1 where ``a < b``, 0 where never, else an opaque truth value."""
    difference = b - a
    if not isinstance(difference, Poly):
        return int(difference > 0)
    if at_least(difference - 1, 0) and _is_whole(difference):
        return 1
    if at_least(-difference, 0):
        return 0
    return difference.symbols.operation("lt", (a, b), 0, 1)


def _is_whole(poly: Poly) -> bool:
    return all(isinstance(c, int) for c in poly.terms.values())


def _ordered(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    return (a, b) if _order(a) <= _order(b) else (b, a)


def _order(expr: Expr) -> list[tuple[Monomial, Number]]:
    return sorted(terms_of(expr))


def _symbols(*exprs: Expr) -> Symbols:
    return next(expr.symbols for expr in exprs if isinstance(expr, Poly))


# Numbers for symbols

OPERATIONS: Mapping[str, Callable[[Number, Number], Number]] = {
    "fd": _floored,
    "td": _truncated,
    "min": min,
    "max": max,
    "bc": lambda a, b: b if a == 1 else a,
    "eq": lambda a, b: int(a == b),
    "lt": lambda a, b: int(a < b),
}


def evaluate(expr: Expr, values: Mapping[int, int]) -> Number:
    """The number that an expression takes for numbers of its symbols (by `Symbol.number`).

    Raises KeyError for a symbol without a number, ZeroDivisionError for a division by zero.
    """
    if not isinstance(expr, Poly):
        return expr
    return _evaluate(expr, dict(values))


def _evaluate(poly: Poly, values: dict[int, Number]) -> Number:
    total: Number = 0
    for monomial, coefficient in poly.terms.items():
        part = coefficient
        for number in monomial:
            if number not in values:
                values[number] = _symbol_value(poly.symbols[number], values)
            part *= values[number]
        total += part
    return total


def _symbol_value(symbol: Symbol, values: dict[int, Number]) -> Number:
    if not symbol.operation:
        raise KeyError(symbol.label)
    numbers = (_evaluate(a, values) if isinstance(a, Poly) else a for a in symbol.arguments)
    return OPERATIONS[symbol.operation](*numbers)
