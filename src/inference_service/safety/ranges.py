"""Do numbers that a graph computes from lengths fit their types?

The algebra is exact; int64 wraps around and floats round. A number is followed only where both
agree: for all lengths up to `LONGEST`, or for the lengths of a request, which is then a condition
of the proof.
"""

from fractions import Fraction
from math import lcm

from inference_service.safety import algebra
from inference_service.safety.poly import (
    Expr,
    Number,
    Poly,
    Symbol,
    Taint,
    Unfollowed,
    made,
    taint_of,
    terms_of,
)
from inference_service.safety.value import Contents

LONGEST = 2**22
"""Entries of an axis. A request with a longer one has to run alone."""
MOST_ROWS = 2**16
"""Rows of a run."""
MOST_CHECKED = 16
"""Numbers of one proof that are compared with their types for each request."""
BITS = {"int32": 31, "int64": 63, "float": 24, "double": 53}
"""Integers of up to this many bits (without the sign) are exact in a type."""


class Ranges:
    """The types of one attempt. ``checked`` are numbers that have to stay below a bound."""

    def __init__(self, batch: Expr) -> None:
        self._batch = batch
        self.checked: dict[tuple[Expr, int], None] = {}

    def hold(self, contents: Contents, dtype: str) -> bool:
        """Whether a type holds numbers exactly, perhaps only where `checked` stays in bounds."""
        if dtype == "bool":
            return True
        bits = BITS.get(dtype)
        numbers = contents.ravel()
        if bits is None:  # stored numbers of another type
            return not any(isinstance(number, Poly) for number in numbers)
        return all(self._holds(number, bits) for number in numbers)

    def _holds(self, number: Expr, bits: int) -> bool:
        whole = number * _denominator(number)
        most = _magnitude(whole)
        if most is not None and most <= 2**bits - (bits in {31, 63}):
            return True
        if not isinstance(whole, Poly) or not all(map(_is_plain, whole.factors())):
            return False
        if max(map(size, whole.terms.values())) > 2**bits:
            return False  # too large for the smallest lengths
        try:
            free = _with_most_rows(whole, self._batch)
        except Unfollowed:
            return False
        if taint_of(free) is not Taint.FREE or len(self.checked) >= MOST_CHECKED:
            return False
        self.checked[free, bits] = None
        return True

    def truths(self) -> list[Expr]:
        """What has to be 1 for a request."""
        result: list[Expr] = []
        for number, bits in self.checked:
            result += [algebra.less(number, 2**bits), algebra.less(-(2**bits), number)]
        return result


def size(number: Number) -> Number:
    """A number without its sign."""
    return max(number, -number)


def _is_plain(symbol: Symbol) -> bool:
    """Whether a request tells the number, which is not negative."""
    return symbol.measured and symbol.lower is not None and symbol.lower >= 0


def _denominator(expr: Expr) -> int:
    return lcm(*(Fraction(coefficient).denominator for _, coefficient in terms_of(expr)))


def _magnitude(expr: Expr) -> Number | None:
    """What an expression never exceeds, with either sign; None: not known."""
    total: Number = 0
    for monomial, coefficient in terms_of(expr):
        factors = [_largest(expr.symbols[number]) for number in monomial]  # type: ignore[union-attr]
        known = [factor for factor in factors if factor is not None]
        if len(known) < len(factors):
            return None
        part: Number = size(coefficient)
        for factor in known:
            part = part * factor
        total += part
    return total


def _largest(symbol: Symbol) -> Number | None:  # noqa: PLR0911  one per kind
    if symbol.operation in {"eq", "lt"}:
        return 1
    if not symbol.operation:
        if symbol.taint is Taint.BATCH and symbol.measured:
            return MOST_ROWS
        if symbol.measured:
            return LONGEST
        return 2**63 - 1 if symbol.lower is None else 2**31
    sizes = [_magnitude(argument) for argument in symbol.arguments]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return None
    if symbol.operation in {"fd", "td"}:
        divisor = symbol.arguments[1]
        if isinstance(divisor, Poly):
            return known[0] + 1 if _denominator(divisor) == 1 else None
        return Fraction(known[0]) / size(divisor) + 1
    return max(known)


def _with_most_rows(poly: Poly, batch: Expr) -> Expr:
    """The expression for the largest number of rows, of which it is a polynomial."""
    if not isinstance(batch, Poly):
        return poly
    number = next(batch.factors()).number
    terms: dict[tuple[int, ...], Number] = {}
    for monomial, coefficient in poly.terms.items():
        rest = tuple(entry for entry in monomial if entry != number)
        rows = MOST_ROWS ** (len(monomial) - len(rest))
        terms[rest] = terms.get(rest, 0) + size(coefficient) * rows
    return made(poly.symbols, terms)
