"""An upper bound of the memory that a run's tensors take, from their shapes.

Tensors are freed after their last use, in the order of the file; buffers that operators share or
need inside are not counted, and neither are the weights.
"""

from collections.abc import Iterable, Mapping

from inference_service.safety.algebra import evaluate
from inference_service.safety.align import product
from inference_service.safety.graph import Graph, Node
from inference_service.safety.poly import Expr, Monomial, Poly, Unfollowed, terms_of
from inference_service.safety.value import SIZES, Value

MOST_CANDIDATES = 24
"""Sizes of which none is always the largest; beyond this they are added up."""
Bodies = Mapping[int, list[tuple[Graph, dict[str, Value]]]]


def peak(graph: Graph, values: Mapping[str, Value], bodies: Bodies) -> list[Expr] | None:
    """Sizes in bytes of which the largest is the peak of a run; None where a shape is unknown."""
    try:
        return _peak(graph, values, bodies, [value.name for value in graph.inputs])
    except (Unfollowed, _UnknownSize):
        return None


class _UnknownSize(Exception):  # noqa: N818
    """The bytes of a tensor are not known."""


def _peak(
    graph: Graph, values: Mapping[str, Value], bodies: Bodies, inputs: Iterable[str]
) -> list[Expr]:
    last = last_uses(graph)
    live: Expr = sum((_bytes(values[name]) for name in inputs if name in values), 0)
    sizes = _Sizes([live])
    for place, node in enumerate(graph.nodes):
        made = [name for name in node.outputs if name]
        for name in made:
            live = live + _bytes(values[name])
        sizes.keep(live)
        for body, inner in bodies.get(id(node), ()):
            for size in _peak(body, inner, bodies, [entry.name for entry in body.inputs]):
                sizes.keep(live + size)
        for name in {*node.inputs, *captured(node), *made}:
            if last.get(name, -1) <= place and name in values and name not in graph.constants:
                live = live - _bytes(values[name])
    return sizes.kept


def last_uses(graph: Graph) -> dict[str, int]:
    """The number of the last node that reads a tensor; outputs are read at the end."""
    last: dict[str, int] = {}
    for place, node in enumerate(graph.nodes):
        for name in (*node.inputs, *captured(node)):
            last[name] = place
    last.update((value.name, len(graph.nodes)) for value in graph.outputs)
    return last


def captured(node: Node) -> set[str]:
    """The names that a node's bodies read, whether they are made inside or outside of them."""
    names: set[str] = set()
    waiting = [entry for entry in node.attributes.values() if isinstance(entry, Graph)]
    while waiting:
        body = waiting.pop()
        names.update(output.name for output in body.outputs)
        for inner in body.nodes:
            names.update(inner.inputs)
            waiting.extend(e for e in inner.attributes.values() if isinstance(e, Graph))
    return names


def _bytes(value: Value) -> Expr:
    if value.shape is None or value.kind != "tensor":
        raise _UnknownSize
    return product(value.shape) * SIZES.get(value.dtype, 8)


class _Sizes:
    """The sizes of which none is known to be covered by another."""

    def __init__(self, kept: list[Expr]) -> None:
        self.kept = kept
        self._seen = set(kept)

    def keep(self, size: Expr) -> None:
        """Add a size unless another is never smaller; drop those that are never larger."""
        if size in self._seen:
            return
        self._seen.add(size)
        if any(covers(other, size) for other in reversed(self.kept)):
            return
        self.kept = [other for other in self.kept if not covers(size, other)]
        self.kept.append(size)
        if len(self.kept) > MOST_CANDIDATES:
            self.kept = [sum(self.kept, 0)]


def covers(one: Expr, other: Expr) -> bool:
    """Whether a size is never smaller than another: term by term, for lengths from 0 on."""
    left, right = dict(terms_of(one)), dict(terms_of(other))
    larger: list[Monomial] = [monomial for monomial in left if monomial not in right]
    for monomial, coefficient in right.items():
        difference = left.get(monomial, 0) - coefficient
        if difference < 0:
            return False
        if difference > 0:
            larger.append(monomial)
    if any(left.get(monomial, 1) < 0 for monomial in larger if monomial not in right):
        return False
    return all(_is_positive(one, other, monomial) for monomial in larger)


def _is_positive(one: Expr, other: Expr, monomial: Monomial) -> bool:
    """Whether a product of lengths is known to be no less than 0."""
    size = one if isinstance(one, Poly) else other
    if not isinstance(size, Poly):
        return True
    bounds = (size.symbols[number].lower for number in monomial)
    return all(bound is not None and bound >= 0 for bound in bounds)


def largest(sizes: Iterable[Expr], lengths: Mapping[int, int]) -> int:
    """The largest of some sizes for given lengths. Raises KeyError as `algebra.evaluate` does."""
    return max(
        int(evaluate(size, lengths)) if isinstance(size, Poly) else int(size) for size in sizes
    )
