"""From a graph to a verdict: attempts on assignments of axes, conditions, outputs, cost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from inference_service.safety import rules
from inference_service.safety.evaluation import Abandoned, Budget, Evaluation, Fork
from inference_service.safety.formula import EqualLengths, Largest, Relation, formulas
from inference_service.safety.graph import Dim, Graph
from inference_service.safety.graph import Value as Entry
from inference_service.safety.memory import captured, peak
from inference_service.safety.poly import Exhausted, Expr, Poly, Symbols, Taint
from inference_service.safety.search import Assignment, assignments
from inference_service.safety.value import GIVEN, Count, Fault, Lost, Rows, Shared, Value
from inference_service.safety.verdict import Condition, Cost, OutputRows, Status, Verdict

__all__ = ["analyse", "rules"]

VISITS = 20_000
VISITS_PER_NODE = 6
"""The budget of node visits of all attempts together."""
MOST_FORKS = 4
"""Conditions on lengths on which one proof may depend."""

_STATUS = {
    Fault.MIXING: Status.MIXING,
    Fault.UNFOLLOWED: Status.UNPROVEN,
    Fault.FROZEN: Status.FROZEN,
}


def analyse(graph: Graph) -> Verdict:
    """Which requests may share a run of a graph. Deterministic, pure, never raises."""
    try:
        return _analyse(_needed(graph))
    except Exception as error:
        reason = f"the analysis failed ({type(error).__name__}: {error})"
        return Verdict(Status.UNPROVEN, reason=reason)


def _analyse(graph: Graph) -> Verdict:
    first: _Found | None = None
    try:
        budget = Budget(VISITS + VISITS_PER_NODE * len(graph.nodes))
        for assignment in assignments(graph.inputs, graph.constants):
            found = _attempted(graph, assignment, budget, _vital(graph) if first else frozenset())
            if found.verdict.status is Status.PROVEN:
                return found.priced()
            first = first or found
        if first is None:  # no input may hold rows; the cost is told all the same
            first = _attempted(graph, Assignment({}), budget, frozenset())
    except Exhausted:
        first = first or _Found(Verdict(Status.UNPROVEN, reason="the graph is too large"))
    single = all(_is_single(entry) for entry in graph.inputs)
    verdict = first.priced()
    if verdict.status is not Status.PROVEN and not single:
        return verdict
    known = all(entry.kind == "tensor" and entry.shape is not None for entry in graph.inputs)
    return Verdict(
        Status.SINGLE if known else Status.UNPROVEN,
        reason="its inputs have no axis that may hold rows",
        cost=verdict.cost,
    )


def _is_single(entry: Entry) -> bool:
    return entry.kind == "tensor" and entry.shape is not None and entry.shape[:1] in {(), (1,)}


def _needed(graph: Graph) -> Graph:
    """The graph without nodes that reach no output."""
    names = {output.name for output in graph.outputs}
    nodes = []
    for node in reversed(graph.nodes):
        if not names.isdisjoint(node.outputs):
            nodes.append(node)
            names.update(node.inputs, captured(node))
    return replace(graph, nodes=tuple(reversed(nodes)))


# One assignment


@dataclass(frozen=True, slots=True)
class _Found:
    """A verdict without its cost, which is worked out for the final one alone."""

    verdict: Verdict
    cost: Callable[[], Cost] | None = None

    def priced(self) -> Verdict:
        """The verdict with its cost."""
        return self.verdict if self.cost is None else replace(self.verdict, cost=self.cost())


def _vital(graph: Graph) -> frozenset[str]:
    """Tensors whose values (not only their shapes) reach an output, for sure."""
    read = {
        name
        for node in graph.nodes
        if node.op_type not in {"Shape", "Size", "CastLike"}
        for name in node.inputs
    }
    return frozenset(read | {output.name for output in graph.outputs})


def _attempted(
    graph: Graph, assignment: Assignment, budget: Budget, vital: frozenset[str]
) -> _Found:
    """The verdict for one assignment; conditions on lengths are tried both ways.

    After the first assignment an attempt need not find out why it fails: see `Evaluation`.
    """
    waiting: list[dict[Expr, bool]] = [{}]
    first: _Found | None = None
    while waiting:
        decisions = waiting.pop()
        attempt = _Attempt(graph, assignment)
        try:
            evaluation, outputs = attempt.run(decisions, budget, vital)
        except Abandoned:
            continue
        except Fork as fork:
            if len(decisions) < MOST_FORKS:
                waiting += [decisions | {fork.condition: way} for way in (False, True)]
            continue
        verdict = attempt.verdict(evaluation, outputs)
        found = _Found(verdict, partial(attempt.cost, evaluation))
        if verdict.status is Status.PROVEN:
            return found
        first = first or found
    reason = "its conditions on lengths are too many or none allows a proof"
    return first or _Found(Verdict(Status.UNPROVEN, reason=reason))


@dataclass(slots=True)
class _Place:
    """An axis of an input."""

    name: str
    axis: int


class _Attempt:
    """One assignment of axes to inputs, with the symbols for their lengths."""

    def __init__(self, graph: Graph, assignment: Assignment) -> None:
        self._graph = graph
        self._assignment = assignment
        self._symbols = Symbols()
        self._batch: Expr = assignment.fixed or self._symbols.variable(
            "batch", "rows", taint=Taint.BATCH, lower=1, measured=True
        )
        self._places: dict[int, list[_Place]] = {}
        """The input axes whose length a symbol is, by the symbol's number."""
        self._inputs = {entry.name: self._input(entry) for entry in graph.inputs}

    def run(
        self, decisions: Mapping[Expr, bool], budget: Budget, vital: frozenset[str]
    ) -> tuple[Evaluation, list[Value]]:
        """The values of the outputs. Raises Fork, Abandoned and Exhausted."""
        opsets = self._graph.opsets
        evaluation = Evaluation(self._symbols, self._batch, opsets, decisions, budget, vital=vital)
        return evaluation, evaluation.run(self._graph, self._inputs)

    def _input(self, entry: Entry) -> Value:
        axis = self._assignment.axes.get(entry.name)
        flow = GIVEN if axis is None else Rows(axis)
        shape = None
        if entry.shape is not None:
            lengths = enumerate(entry.shape)
            shape = tuple(self._length(entry, place, dim, axis) for place, dim in lengths)
        return Value(flow, shape, entry.dtype, kind=entry.kind)

    def _length(self, entry: Entry, place: int, dim: Dim, axis: int | None) -> Expr:
        if place == axis:
            length = self._batch
        elif isinstance(dim, int):
            return dim
        else:
            key = ("name", dim) if dim else ("axis", entry.name, place)
            label = dim or f"{entry.name}.shape[{place}]"
            length = self._symbols.variable(key, label, measured=True)
        if isinstance(length, Poly):
            number = next(length.factors()).number
            self._places.setdefault(number, []).append(_Place(entry.name, place))
        return length

    # The verdict

    def verdict(self, evaluation: Evaluation, outputs: Sequence[Value]) -> Verdict:
        """What the values of the outputs say."""
        found: dict[str, OutputRows] = {}
        decided = (self._condition(*decision) for decision in evaluation.decisions.items())
        for entry, value in zip(self._graph.outputs, outputs, strict=True):
            rows = _output_rows(entry.name, value, self._graph)
            if isinstance(rows, Lost):
                return Verdict(_STATUS[rows.fault], node=rows.node, reason=rows.reason)
            found[entry.name] = rows
        used = {name for node in self._graph.nodes for name in (*node.inputs, *captured(node))}
        used |= {entry.name for entry in self._graph.outputs}
        axes = self._assignment.axes
        return Verdict(
            Status.PROVEN,
            inputs=dict(axes),
            outputs=found,
            equal=frozenset(e.name for e in self._graph.inputs if e.name in used - axes.keys()),
            conditions=(
                *self._same_names(),
                *decided,
                *self._in_range(evaluation),
            ),
            max_rows=evaluation.max_rows,
            fixed_rows=self._assignment.fixed,
            partial=evaluation.partial,
        )

    def _same_names(self) -> list[Condition]:
        """Axes of one name were taken for equal, which onnxruntime does not enforce."""
        batch = next(self._batch.factors()).number if isinstance(self._batch, Poly) else None
        return [
            _equal_lengths(self._symbols[number].label, places)
            for number, places in self._places.items()
            if number != batch and len(places) > 1
        ]

    def _condition(self, truth: Expr, way: bool) -> Condition:
        return Condition(_text(truth, way), Relation(formulas([truth], self._axes()), way))

    def _in_range(self, evaluation: Evaluation) -> list[Condition]:
        """The numbers that the proof follows are those that the graph computes."""
        truths = [truth for truth in evaluation.ranges.truths() if truth != 1]
        if not truths:
            return []
        text = "lengths so short that numbers computed from them fit their types"
        return [Condition(text, Relation(formulas(truths, self._axes()), way=True))]

    def _axes(self) -> dict[int, tuple[str, int]]:
        """An axis of an input for each symbol that stands for one."""
        return {number: (first.name, first.axis) for number, (first, *_) in self._places.items()}

    def cost(self, evaluation: Evaluation) -> Cost:
        """Whether shapes tell the cost, and the memory."""
        reason = evaluation.by_value
        sizes = peak(self._graph, evaluation.values, evaluation.body_values)
        if sizes is None:
            return Cost(not reason, reason)

        try:
            constants = self._graph.constants
            defaults = {
                entry.name: constants[entry.name].shape
                for entry in self._graph.inputs
                if entry.name in constants
            }
            peak_bytes = Largest(formulas(sizes, self._axes()), defaults)
        except KeyError:  # a length that comes from values
            return Cost(not reason, reason)
        return Cost(not reason, reason, peak_bytes)


def _output_rows(  # noqa: PLR0911  one per kind of result
    name: str, value: Value, graph: Graph
) -> OutputRows | Lost:
    """Where the rows of an output are, or why they can't be told apart."""
    flow = value.flow
    if isinstance(flow, Lost):
        return flow
    makers = [str(node) for node in graph.nodes if name in node.outputs]
    node = makers[0] if makers else f"output '{name}'"
    if isinstance(flow, Count):
        return Lost(Fault.MIXING, node, "it gives the number of rows")
    if value.marks:
        mark = min(mark.value for mark in value.marks)
        return Lost(Fault.MIXING, node, f"its result is {mark}")
    if isinstance(flow, Shared):
        return OutputRows(None)
    if flow.outer != 1:
        return Lost(Fault.UNFOLLOWED, node, "the entries of a row lie apart in its result")
    if not isinstance(flow.group, int):
        reason = f"a row has {flow.group} entries in its result, which depends on lengths"
        return Lost(Fault.UNFOLLOWED, node, reason)
    if flow.group < 1:
        return Lost(Fault.UNFOLLOWED, node, "a row has no entries in its result")
    return OutputRows(flow.axis, flow.group)


# Conditions


def _equal_lengths(label: str, places: Sequence[_Place]) -> Condition:
    holds = EqualLengths([(place.name, place.axis) for place in places])
    names = ", ".join(f"{place.name}.shape[{place.axis}]" for place in places)
    return Condition(f"the axes '{label}' have one length ({names})", holds)


def _text(truth: Expr, way: bool) -> str:
    """A condition for people."""
    if isinstance(truth, Poly) and len(truth.terms) == 1:
        symbols = list(truth.factors())
        signs = {"eq": ("!=", "="), "lt": (">=", "<")}.get(symbols[0].operation)
        if len(symbols) == 1 and signs and truth == truth.symbols.same(symbols[0]):
            a, b = symbols[0].arguments
            return f"{a} {signs[way]} {b}"
    return f"{truth} {'=' if way else '!='} 1"
