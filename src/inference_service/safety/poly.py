"""Lengths as polynomials: exact integer algebra over the lengths of input axes and the batch size.

An expression is a plain number or a `Poly`: a sum of products of symbols. What is no polynomial
(floor division, minimum, comparison …) becomes an opaque symbol with canonical arguments, so that
equal computations give equal symbols. All symbols of one analysis live in one `Symbols`.

Two polynomials are equal exactly if their terms are. Nothing here decides by trying values.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from fractions import Fraction
from math import floor, prod
from typing import TypeAlias, Union

Number: TypeAlias = int | Fraction
Monomial: TypeAlias = tuple[int, ...]
"""The numbers of the symbols of a product, ascending, repeated for powers."""
Expr: TypeAlias = Union[int, Fraction, "Poly"]

MOST_TERMS = 48
HIGHEST_DEGREE = 16
LARGEST = 2**80
"""Of a coefficient."""
MOST_WORK = 5_000_000
"""Operations on terms in one attempt."""
DEEPEST = 100
"""Operations nested in operations; keeps every recursion here short."""
LONGEST_LABEL = 200


_FORMS = {"fd": "floor(({})/({}))", "td": "trunc(({})/({}))", "eq": "({} = {})", "lt": "({} < {})"}
"""Operations for people."""


class Unfollowed(Exception):  # noqa: N818
    """The analysis does not follow this; ``str`` says what. Nothing is claimed."""


class Exhausted(Exception):  # noqa: N818
    """The budget of the analysis is used up."""


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
        self._work = 0

    def __getitem__(self, number: int) -> Symbol:
        return self._all[number]

    def spend(self, work: int) -> None:
        """Count operations on terms. Raises Exhausted beyond the budget."""
        self._work += work
        if self._work > MOST_WORK:
            raise Exhausted

    def same(self, symbol: Symbol) -> "Poly":
        """The symbol as an expression."""
        return Poly(self, {(symbol.number,): 1}, symbol.taint)

    def variable(
        self,
        key: object,
        label: str,
        *,
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
        label = _FORMS.get(name, name + "({}, {})").format(*arguments)
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
        if not isinstance(expr, Poly) or at_least(expr, 0):
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
        for monomial, coefficient in terms_of(other):
            terms[monomial] = terms.get(monomial, 0) + coefficient
        return made(self.symbols, terms)

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
            self.symbols.spend(len(self.terms) * len(other.terms))
            terms: dict[Monomial, Number] = {}
            for one, factor in self.terms.items():
                for two, coefficient in other.terms.items():
                    monomial = tuple(sorted(one + two))
                    terms[monomial] = terms.get(monomial, 0) + factor * coefficient
            return made(self.symbols, terms)
        if other == 1:
            return self
        return made(self.symbols, {m: c * other for m, c in self.terms.items()})

    __rmul__ = __mul__

    def __str__(self) -> str:
        parts = [_term_text(self.symbols, m, self.terms[m]) for m in sorted(self.terms)]
        return "+".join(parts).replace("+-", "-")

    __repr__ = __str__

    def factors(self) -> Iterator[Symbol]:
        """The symbols, each as often as it occurs."""
        for monomial in self.terms:
            for number in monomial:
                yield self.symbols[number]


def terms_of(expr: Expr) -> Iterator[tuple[Monomial, Number]]:
    """Products and their coefficients; a number is that of the empty product."""
    if isinstance(expr, Poly):
        yield from expr.terms.items()
    else:
        yield (), expr


def made(symbols: Symbols, terms: dict[Monomial, Number]) -> Expr:
    """The expression of some terms. Raises Unfollowed beyond the bounds of this module."""
    symbols.spend(len(terms))
    kept = {m: whole(c) for m, c in terms.items() if c}
    if len(kept) > MOST_TERMS:
        raise Unfollowed("a length of too many terms")
    taint = Taint.FREE
    for monomial, coefficient in kept.items():
        if len(monomial) > HIGHEST_DEGREE or max(coefficient, -coefficient) > LARGEST:
            raise Unfollowed("a length that is too large a product")
        for number in monomial:
            taint = max(taint, symbols[number].taint)
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    return Poly(symbols, kept, taint)


def whole(number: Number) -> Number:
    """A whole fraction as an int."""
    return number.numerator if number.denominator == 1 else number


def _term_text(symbols: Symbols, monomial: Monomial, coefficient: Number) -> str:
    names = "*".join(symbols[number].label for number in monomial)
    if not names:
        return str(coefficient)
    if coefficient in {1, -1}:
        return names if coefficient == 1 else f"-{names}"
    return f"{coefficient}*{names}"


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
        known = [bound for bound in bounds if bound is not None]
        positive = len(monomial) == 1 or all(b is not None and b >= 0 for b in lowest)
        if len(known) < len(bounds) or not positive:
            return None
        total += coefficient * prod(known)
    return total


def at_least(expr: Expr, bound: int) -> bool:
    """Whether an expression is provably never below a bound."""
    found = lower_bound(expr)
    return found is not None and found >= bound
