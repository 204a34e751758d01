"""Conditions and bounds on the lengths of input axes as plain data, to be kept in a file.

The analysis works with polynomials that share a table of symbols (`poly`). What a verdict keeps of
them is copied out: lists of numbers and texts, which JSON holds, and a small evaluator.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeAlias

from inference_service.safety.algebra import OPERATIONS
from inference_service.safety.poly import Expr, Number, Poly, Symbol
from inference_service.safety.verdict import Shapes

Place: TypeAlias = tuple[str, int]
"""An input and its axis."""
Sum: TypeAlias = list[tuple[int, int, list[int]]]
"""Terms: numerator, denominator, and the numbers of the symbols that are multiplied."""

_DEEPEST = 400  # symbols within symbols in what a file says; `poly` makes no more than 100


@dataclass(frozen=True)
class Formulas:
    """Sums of products of symbols. A symbol is an axis of an input, or an operation on two sums."""

    sums: tuple[Sum, ...]
    axes: Mapping[int, Place]
    operations: Mapping[int, tuple[str, Sum, Sum]]

    def values(self, shapes: Shapes) -> list[Number]:
        """The numbers for the shapes of a request.

        Raises KeyError or IndexError for shapes that lack an axis, and ZeroDivisionError.
        """
        known: dict[int, Number] = {
            number: shapes[name][axis] for number, (name, axis) in self.axes.items()
        }
        return [self._sum(one, known, 0) for one in self.sums]

    def _sum(self, terms: Sum, known: dict[int, Number], depth: int) -> Number:
        if depth > _DEEPEST:
            raise KeyError("nested too deeply")
        total: Number = 0
        for numerator, denominator, symbols in terms:
            value: Number = numerator if denominator == 1 else Fraction(numerator, denominator)
            for number in symbols:
                if number not in known:
                    name, left, right = self.operations[number]
                    sides = self._sum(left, known, depth + 1), self._sum(right, known, depth + 1)
                    known[number] = OPERATIONS[name](*sides)
                value *= known[number]
            total += value
        return total

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "sums": list(self.sums),
            "axes": [[number, *place] for number, place in self.axes.items()],
            "operations": [[number, *parts] for number, parts in self.operations.items()],
        }


def formulas(exprs: Iterable[Expr], axes: Mapping[int, Place]) -> Formulas:
    """Copied out of the analysis. Raises KeyError for a symbol that shapes don't tell."""
    operations: dict[int, tuple[str, Sum, Sum]] = {}
    used: dict[int, Place] = {}

    def copied(expr: Expr) -> Sum:
        if not isinstance(expr, Poly):
            whole = Fraction(expr)
            return [(whole.numerator, whole.denominator, [])]
        terms: Sum = []
        for monomial, coefficient in expr.terms.items():
            for number in monomial:
                learn(expr.symbols[number])
            part = Fraction(coefficient)
            terms.append((part.numerator, part.denominator, list(monomial)))
        return terms

    def learn(symbol: Symbol) -> None:
        if symbol.number in operations or symbol.number in used:
            return
        if symbol.number in axes:
            used[symbol.number] = axes[symbol.number]
        elif symbol.operation:
            left, right = symbol.arguments
            operations[symbol.number] = symbol.operation, copied(left), copied(right)
        else:
            raise KeyError(symbol.label)

    return Formulas(tuple(copied(expr) for expr in exprs), used, operations)


def formulas_read(content: Mapping[str, Any]) -> Formulas:
    """What `Formulas.plain` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    operations = {}
    for number, name, left, right in content["operations"]:
        if name not in OPERATIONS:
            raise ValueError(f"unknown operation {name}")
        operations[int(number)] = (str(name), _sum_read(left), _sum_read(right))
    axes = {int(number): (str(name), int(axis)) for number, name, axis in content["axes"]}
    return Formulas(tuple(_sum_read(one) for one in content["sums"]), axes, operations)


def _sum_read(terms: Sequence[Any]) -> Sum:
    return [(int(a), int(b), [int(number) for number in symbols]) for a, b, symbols in terms]


# What a verdict holds


@dataclass(frozen=True)
class Relation:
    """A condition: whether a truth value, 0 or not, is as it should be."""

    formulas: Formulas
    way: bool

    def __call__(self, shapes: Shapes) -> bool:
        """See `Condition.holds`."""
        try:
            return all(bool(value) is self.way for value in self.formulas.values(shapes))
        except (KeyError, ZeroDivisionError, IndexError):
            return False


@dataclass(frozen=True)
class EqualLengths:
    """A condition: some axes have one length."""

    places: Sequence[Place]

    def __call__(self, shapes: Shapes) -> bool:
        """See `Condition.holds`."""
        try:
            return len({shapes[name][axis] for name, axis in self.places}) == 1
        except (KeyError, IndexError):
            return False


@dataclass(frozen=True)
class Largest:
    """A bound: the largest of some sizes. ``defaults``: shapes of inputs that may be left out."""

    formulas: Formulas
    defaults: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __call__(self, shapes: Shapes) -> int:
        """See `Cost.peak_bytes`."""
        return max(map(int, self.formulas.values({**self.defaults, **shapes})))
