"""Lengths as polynomials: exact integer algebra over the lengths of input axes and the batch size.

An expression is a plain number or a `Poly`: a sum of products of symbols. What is no polynomial
(floor division, minimum, comparison …) becomes an opaque symbol with canonical arguments, so that
equal computations give equal symbols. All symbols of one analysis live in one `Symbols`.

Two polynomials are equal exactly if their terms are. Nothing here decides by trying values.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from fractions import Fraction
from math import floor, lcm, prod
from typing import TypeAlias, Union

Number: TypeAlias = int | Fraction
Monomial: TypeAlias = tuple[int, ...]
"""The numbers of the symbols of a product, ascending, repeated for powers."""
Expr: TypeAlias = Union[int, Fraction, "Poly"]

MOST_TERMS = 48
HIGHEST_DEGREE = 16
LARGEST_COEFFICIENT = 2**80
DEEPEST = 100
"""Operations nested in operations; keeps every recursion here short."""
LONGEST_LABEL = 200


class Unfollowed(Exception):
    """The analysis does not follow this; ``str`` says what. Nothing is claimed."""


class Taint(IntEnum):
    """What a length depends on beside the lengths of input axes within a row."""

    FREE = 0
    """Nothing else: the same for every request that may share a run."""
    BATCH = 1
    """The number of rows."""
    ROWS = 2
    """The contents of rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Symbol:
    """A length, or an operation that is no polynomial (``operation`` of ``arguments``).

    ``origin`` says where an unknown length comes from, in the caller's terms. Bounds are inclusive.
    """

    number: int
    label: str
    taint: Taint
    lower: int | None
    upper: int | None = None
    origin: object = None
    operation: str = ""
    arguments: tuple[Expr, ...] = ()
    depth: int = 0
    measured: bool = False
    """Follows from the lengths of input axes alone, so it can be evaluated for a request."""


class Symbols:
    """The symbols of one analysis; equal operations on equal arguments share one symbol."""

    def __init__(self) -> None:
        self._all: list[Symbol] = []
        self._known: dict[object, Poly] = {}

    def __getitem__(self, number: int) -> Symbol:
        return self._all[number]

    def same(self, symbol: Symbol) -> "Poly":
        """The symbol as an expression."""
        return Poly(self, {(symbol.number,): 1}, symbol.taint)

    def variable(
        self,
        key: object,
        label: str,
        taint: Taint = Taint.FREE,
        lower: int | None = 0,
        origin: object = None,
        measured: bool = False,
    ) -> "Poly":
        """The length that ``key`` stands for; made when it is asked for first."""
        number = len(self._all)
        symbol = Symbol(number, label, taint, lower, None, origin, measured=measured)
        return self._intern(key, symbol)

    def operation(
        self,
        name: str,
        arguments: tuple[Expr, ...],
        lower: int | None = None,
        upper: int | None = None,
    ) -> "Poly":
        """The opaque result of an operation, tainted by its arguments."""
        key = (name, arguments)
        found = self._known.get(key)
        if found is not None:
            return found
        depth = 1 + max(s.depth for a in arguments if isinstance(a, Poly) for s in a.factors())
        if depth > DEEPEST:
            raise Unfollowed("a length that is computed in too many steps")
        label = f"{name}({', '.join(map(str, arguments))})"
        label = label if len(label) <= LONGEST_LABEL else label[:LONGEST_LABEL] + "…)"
        worst = max(arguments, key=taint_of)
        taint, origin = taint_of(worst), origin_of(worst)
        number, measured = len(self._all), all(map(is_measured, arguments))
        symbol = Symbol(
            number, label, taint, lower, upper, origin, name, arguments, depth, measured
        )
        return self._intern(key, symbol)

    def assume_length(self, expr: Expr) -> None:
        """A tensor has an axis of this length, so it is not negative."""
        if not isinstance(expr, Poly) or lower_bound(expr) is not None:
            return
        constant = expr.terms.get((), 0)
        others = [monomial for monomial in expr.terms if monomial]
        if len(others) == 1 and len(others[0]) == 1 and expr.terms[others[0]] == 1:
            number = others[0][0]
            self._all[number] = replace(self._all[number], lower=-floor(constant))

    def _intern(self, key: object, symbol: Symbol) -> "Poly":
        found = self._known.get(key)
        if found is None:
            self._all.append(symbol)
            found = self._known[key] = self.same(symbol)
        return found


class Poly:
    """A polynomial that is no plain number. Immutable; equal polynomials compare equal."""

    __slots__ = ("_hash", "symbols", "taint", "terms")

    def __init__(self, symbols: Symbols, terms: Mapping[Monomial, Number], taint: Taint) -> None:
        self.symbols = symbols
        self.terms = terms
        self.taint = taint
        self._hash: int | None = None

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self.terms.items()))
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Poly) and hash(self) == hash(other) and self.terms == other.terms
        )

    def __add__(self, other: Expr) -> Expr:
        if other == 0:
            return self
        terms = dict(self.terms)
        for monomial, coefficient in _terms(other):
            terms[monomial] = terms.get(monomial, 0) + coefficient
        return _made(self.symbols, terms)

    __radd__ = __add__

    def __neg__(self) -> Expr:
        return self * -1

    def __sub__(self, other: Expr) -> Expr:
        return self + -other

    def __rsub__(self, other: Expr) -> Expr:
        return -self + other

    def __mul__(self, other: Expr) -> Expr:
        if isinstance(other, Poly):
            if len(self.terms) * len(other.terms) > MOST_TERMS**2:
                raise Unfollowed("a length of too many terms")
            terms: dict[Monomial, Number] = {}
            for one, factor in self.terms.items():
                for two, coefficient in other.terms.items():
                    monomial = tuple(sorted(one + two))
                    terms[monomial] = terms.get(monomial, 0) + factor * coefficient
            return _made(self.symbols, terms)
        if other == 1:
            return self
        return _made(self.symbols, {m: c * other for m, c in self.terms.items()})

    __rmul__ = __mul__

    def __str__(self) -> str:
        parts = [_term_text(self.symbols, m, c) for m, c in sorted(self.terms.items())]
        return "+".join(parts).replace("+-", "-")

    __repr__ = __str__

    def factors(self) -> Iterator[Symbol]:
        """The symbols, each as often as it occurs."""
        for monomial in self.terms:
            for number in monomial:
                yield self.symbols[number]


def _terms(expr: Expr) -> Iterator[tuple[Monomial, Number]]:
    if isinstance(expr, Poly):
        yield from expr.terms.items()
    else:
        yield (), expr


def _made(symbols: Symbols, terms: dict[Monomial, Number]) -> Expr:
    kept = {m: _whole(c) for m, c in terms.items() if c}
    if len(kept) > MOST_TERMS:
        raise Unfollowed("a length of too many terms")
    taint = Taint.FREE
    for monomial, coefficient in kept.items():
        if len(monomial) > HIGHEST_DEGREE or abs(coefficient) > LARGEST_COEFFICIENT:
            raise Unfollowed("a length that is too large a product")
        for number in monomial:
            taint = max(taint, symbols[number].taint)
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    return Poly(symbols, kept, taint)


def _whole(number: Number) -> Number:
    return number.numerator if number.denominator == 1 else number


def _term_text(symbols: Symbols, monomial: Monomial, coefficient: Number) -> str:
    names = "*".join(symbols[number].label for number in monomial)
    if not names:
        return str(coefficient)
    return {1: names, -1: f"-{names}"}.get(coefficient, f"{coefficient}*{names}")  # type: ignore[call-overload, no-any-return]


# Facts


def taint_of(expr: Expr) -> Taint:
    """What an expression depends on."""
    return expr.taint if isinstance(expr, Poly) else Taint.FREE


def is_measured(expr: Expr) -> bool:
    """Whether `evaluate` can tell the number from the lengths of input axes."""
    return not isinstance(expr, Poly) or all(symbol.measured for symbol in expr.factors())


def origin_of(expr: Expr) -> object:
    """Where an unknown length of the worst taint comes from; None for plain lengths."""
    if not isinstance(expr, Poly):
        return None
    named = (s.origin for s in expr.factors() if s.taint is expr.taint and s.origin is not None)
    return next(named, None)


def lower_bound(expr: Expr) -> Number | None:
    """A number that the expression is never below; None: not known."""
    if not isinstance(expr, Poly):
        return expr
    total: Number = 0
    for monomial, coefficient in expr.terms.items():
        bounds = [
            expr.symbols[number].lower if coefficient > 0 else expr.symbols[number].upper
            for number in monomial
        ]
        lowest = [expr.symbols[number].lower for number in monomial]
        if any(b is None for b in bounds) or any(b is None or b < 0 for b in lowest):
            if len(monomial) != 1 or bounds[0] is None:
                return None
        total += coefficient * prod(b for b in bounds if b is not None)
    return total


def at_least(expr: Expr, bound: int) -> bool:
    """Whether an expression is provably never below a bound."""
    found = lower_bound(expr)
    return found is not None and found >= bound


# Operations


def divide(a: Expr, b: Expr) -> Expr | None:
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
        factor = _whole(Fraction(coefficient) / leading)
        if monomial is None or not isinstance(factor, int):
            return None
        part: Expr = _made(a.symbols, {monomial: factor})
        quotient, rest = quotient + part, rest - part * b
    return None


def _divide_by_number(a: Expr, b: Number) -> Expr | None:
    quotients = {m: _whole(Fraction(c) / b) for m, c in _terms(a)}
    if not all(isinstance(c, int) for c in quotients.values()):
        return None
    return _made(a.symbols, quotients) if isinstance(a, Poly) else quotients[()]


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
    scale = lcm(*(c.denominator for _, c in _terms(a)))
    a, b = a * scale, b * scale
    whole = int(b)
    if not isinstance(a, Poly):
        return int(a // whole)
    outside = {m: c // whole for m, c in a.terms.items()}
    inside = _made(a.symbols, {m: c % whole for m, c in a.terms.items()})
    quotient = _made(a.symbols, dict(outside))
    if not isinstance(inside, Poly):
        return quotient
    nested = _sole_floor(inside)
    if nested is not None:
        return quotient + _floor_by_number(nested[0], Fraction(nested[1] * whole))
    lower = 0 if at_least(inside, 0) else None
    return quotient + a.symbols.operation("fd", (inside, whole), lower)


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
        quotient = abs(a) // abs(b)
        return int(quotient if (a < 0) == (b < 0) else -quotient)
    exact = divide(a, b)
    if exact is not None:
        return exact
    if at_least(a, 0) and at_least(b, 0):
        return floor_divide(a, b)
    return _symbols(a, b).operation("td", (a, b))


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
    if a == b or b == 1:
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
    return sorted(_terms(expr))


def _symbols(*exprs: Expr) -> Symbols:
    return next(expr.symbols for expr in exprs if isinstance(expr, Poly))


# Numbers for symbols

_OPERATIONS: Mapping[str, Callable[[Number, Number], Number]] = {
    "fd": lambda a, b: a // b,
    "td": lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),
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
        for number in monomial:
            if number not in values:
                values[number] = _symbol_value(poly.symbols[number], values)
            coefficient *= values[number]
        total += coefficient
    return total


def _symbol_value(symbol: Symbol, values: dict[int, Number]) -> Number:
    if not symbol.operation:
        raise KeyError(symbol.label)
    numbers = (_evaluate(a, values) if isinstance(a, Poly) else a for a in symbol.arguments)
    return _OPERATIONS[symbol.operation](*numbers)
