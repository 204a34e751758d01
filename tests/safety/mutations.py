"""Breaks the rules one at a time: does a case notice?

Kinds of mutants of a rule:

- ``accept``: where the rule refuses, rows pass: along the first axis of the result that they fit;
- ``shared N``: it takes input N for a constant, so nothing about that input is refused;
- ``axis``: an attribute that names an axis is read one too high;
- ``shift``: the rows of its result are one axis further (where the shape allows it);
- ``never fails``: it forgets that one row's values can make a run fail;
- ``marks``: it takes any mark.

A mutant is noticed if a directed case that holds the operator gets another verdict than the true
one, or if a derived case (`tests.safety.derived`) is newly proven and numbers show that it is false.
A mutant counts only if some case exercises it: the refusal is suppressed, the input had rows, the
attribute was there. One that is exercised and leads to no new proof at all is harmless: what the
rule lets pass the interpreter refuses, since the shape of a tensor tells where its rows can be and
lengths carry what they depend on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from inference_service.runtime.graph_reader import read_graph
from inference_service.safety import Status, Verdict, analyse
from inference_service.safety.algebra import divide
from inference_service.safety.call import (
    RULES,
    Call,
    Frozen,
    Mixing,
    Result,
    Rule,
    RuleFunction,
    Spoiled,
)
from inference_service.safety.graph import Graph
from inference_service.safety.poly import Taint, Unfollowed, taint_of
from inference_service.safety.value import CONST, Lost, Mark, Rows, Shared, Value
from tests.safety.derived import derived
from tests.safety.directed import Case
from tests.safety.soundness import check

Key = tuple[str, str]
AXES = ("axis", "batch_axis", "gather_axis", "layout", "batch_dims")
LARGEST_COUNT = 32
"""Rows: a weight of as many entries fits its operator when there are as many rows."""
REFUSALS = (Mixing, Unfollowed, Frozen)


@dataclass(frozen=True)
class Mutant:
    """A broken rule, entered for all operators that share the function.

    ``exercised`` gets an entry when the rule does other than the true one.
    """

    function: RuleFunction
    kind: str
    broken: Rule
    operators: tuple[Key, ...]
    exercised: list[bool]
    proves: list[str] = field(default_factory=list)
    """Derived cases that it proves and numbers do not contradict."""

    def __str__(self) -> str:
        names = ", ".join(name for _, name in self.operators[:3])
        module = self.function.__module__.rpartition(".")[2]
        return f"{module}.{self.function.__name__} ({names}): {self.kind}"


def mutants(slots: Mapping[Key, int]) -> Iterator[Mutant]:
    """All mutants; ``slots`` is the largest number of inputs that cases give an operator."""
    by_function: dict[RuleFunction, list[Key]] = {}
    for key, entry in RULES.items():
        by_function.setdefault(entry.function, []).append(key)
    for function, keys in by_function.items():
        known = RULES[keys[0]]
        kinds = {"accept": _accepting, "axis": _misreading, "shift": _shifting,
                 "never fails": _unfailing}  # fmt: skip
        for kind, make in kinds.items():
            done: list[bool] = []
            yield Mutant(
                function, kind, replace(known, function=make(function, done)), tuple(keys), done
            )
        for slot in range(max((slots.get(key, 0) for key in keys), default=0)):
            done = []
            broken = replace(known, function=_sharing(function, done, slot))
            yield Mutant(function, f"shared {slot}", broken, tuple(keys), done)
        if known.accepts != frozenset(Mark):
            done = []
            every = replace(known, accepts=frozenset(Mark), function=_marked(known, done))
            yield Mutant(function, "marks", every, tuple(keys), done)


def _accepting(function: RuleFunction, done: list[bool]) -> RuleFunction:
    def broken(call: Call) -> Result:
        try:
            return function(call)
        except REFUSALS:
            call.used.update(range(len(call.inputs)))
            flows = [value.flow for value in call.inputs if value is not None]
            for flow in flows:
                if isinstance(flow, Lost):
                    raise Spoiled(flow) from None
            rows = next((flow for flow in flows if isinstance(flow, Rows)), None)
            if rows is None:
                raise
            call.shapes = call.shapes or [call.shape(0)]
            call.dtypes = call.dtypes or [call.dtype(0)]
            found = _fitting(call, rows)
            if found is None:
                raise
            done.append(True)
            return found

    return broken


def _fitting(call: Call, rows: Rows) -> Rows | None:
    """The rows along their own axis if they fit there, else along the first where they do.

    None: the shape of the result tells that there are no rows, whatever the rule says; the
    interpreter refuses it.
    """
    shape = call.shapes[0] or ()
    for axis in (rows.axis, *range(len(shape))):
        others = [n for place, n in enumerate(shape) if place != axis]
        if axis < len(shape) and all(taint_of(n) is Taint.FREE for n in others):
            group = divide(shape[axis], call.host.batch)
            if isinstance(group, int) and group:
                return Rows(axis, 1, group)
    return None


def _sharing(function: RuleFunction, done: list[bool], slot: int) -> RuleFunction:
    def broken(call: Call) -> Result:
        given = call.inputs[slot] if slot < len(call.inputs) else None
        if given is None or isinstance(given.flow, Lost | Shared):
            return function(call)
        done.append(True)
        inputs = list(call.inputs)
        uniform = frozenset(range(len(given.shape or ())))
        inputs[slot] = replace(given, flow=CONST, uniform=uniform)
        call.inputs = inputs
        return function(call)

    return broken


def _misreading(function: RuleFunction, done: list[bool]) -> RuleFunction:
    def broken(call: Call) -> Result:
        attributes = dict(call.node.attributes)
        for name, value in attributes.items():
            if name in AXES and isinstance(value, int):
                attributes[name] = value + 1
                done.append(True)
        call.node = replace(call.node, attributes=attributes)
        return function(call)

    return broken


def _shifting(function: RuleFunction, done: list[bool]) -> RuleFunction:
    def moved(flow: Any) -> Any:
        if not isinstance(flow, Rows):
            return flow
        done.append(True)
        return Rows(flow.axis + 1, flow.outer, flow.group)

    def broken(call: Call) -> Result:
        result = function(call)
        if isinstance(result, Value):
            return result.with_flow(moved(result.flow))
        if isinstance(result, list):
            return [value.with_flow(moved(value.flow)) for value in result]
        return moved(result)  # type: ignore[no-any-return]

    return broken


class _Deaf:
    """A host that does not hear that a run can fail."""

    def __init__(self, host: Any, done: list[bool]) -> None:
        self._host, self._done = host, done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def can_fail(self) -> None:
        self._done.append(True)


def _unfailing(function: RuleFunction, done: list[bool]) -> RuleFunction:
    def broken(call: Call) -> Result:
        call.host = _Deaf(call.host, done)
        return function(call)

    return broken


def _marked(known: Rule, done: list[bool]) -> RuleFunction:
    def broken(call: Call) -> Result:
        marks = {m for value in call.inputs if value is not None for m in value.marks}
        if marks - known.accepts - {Mark.SCANNED}:
            done.append(True)
        return known.function(call)

    return broken


@contextmanager
def entered(mutant: Mutant) -> Iterator[None]:
    """The mutant in the place of the rule."""
    before = {key: RULES[key] for key in mutant.operators}
    RULES.update(dict.fromkeys(mutant.operators, mutant.broken))
    try:
        yield
    finally:
        RULES.update(before)


class Examiner:
    """The cases by operator, read once; derived ones with the verdict of the true rules."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._graphs = [(case, read_graph(case.model.SerializeToString())) for case in cases]
        self._derived = [
            (case, read_graph(case.model.SerializeToString())) for case in derived(cases)
        ]
        self._before = [analyse(graph).status for _, graph in self._derived]
        self.slots: dict[Key, int] = {}
        self._by_operator = self._sorted(self._graphs)
        self._derived_by_operator = self._sorted(self._derived)

    def _sorted(self, graphs: Sequence[tuple[Case, Graph]]) -> dict[Key, list[int]]:
        found: dict[Key, list[int]] = {}
        for index, (_, graph) in enumerate(graphs):
            for node in _nodes(graph):
                key = (node.domain, node.op_type)
                found.setdefault(key, []).append(index)
                self.slots[key] = max(self.slots.get(key, 0), len(node.inputs))
        return found

    def notices(self, mutant: Mutant) -> str:
        """The name of a case that notices, "" if none does."""
        with entered(mutant):
            for index in _of(mutant, self._by_operator):
                case, graph = self._graphs[index]
                if not _is_true(case, graph):
                    return case.name
            for index in _of(mutant, self._derived_by_operator):
                case, graph = self._derived[index]
                if self._before[index] is Status.PROVEN:
                    continue
                found = analyse(graph)
                if found.status is Status.PROVEN:
                    agrees = _agrees(case, found)
                    if agrees is False:
                        return case.name
                    if agrees:
                        mutant.proves.append(case.name)
        return ""

    def survivors(self, every: Iterable[Mutant]) -> list[Mutant]:
        """The mutants that prove more than is true as far as cases can tell, and are not noticed."""
        return [m for m in every if not self.notices(m) and m.exercised and m.proves]

    def mutants(self) -> list[Mutant]:
        """All."""
        return list(mutants(self.slots))


def _of(mutant: Mutant, by_operator: Mapping[Key, Sequence[int]]) -> list[int]:
    return sorted({i for key in mutant.operators for i in by_operator.get(key, ())})


def _nodes(graph: Graph) -> Iterator[Any]:
    for node in graph.nodes:
        yield node
        for attribute in node.attributes.values():
            if isinstance(attribute, Graph):
                yield from _nodes(attribute)


def _is_true(case: Case, graph: Graph) -> bool:
    found = analyse(graph)
    if case.status is Status.PROVEN:
        expected = (case.status, case.equal, case.partial)
        return (found.status, found.equal, found.partial) == expected
    return found.status is not Status.PROVEN


def _agrees(case: Case, verdict: Verdict) -> bool | None:
    """Whether numbers agree with a proof; None: the graph does not run, so no answer is wrong."""
    lengths = {n for array in case.examples.values() for n in array.shape if n <= LARGEST_COUNT}
    counts = sorted({2, 3} | lengths)
    try:
        report = check(case.model, verdict, examples=case.examples, counts=counts)
    except Exception:
        return None
    if report.leaks or report.refused:
        return False
    return True if report.compared else None


@cache
def examiner() -> Examiner:
    """With all directed cases."""
    from tests.safety.test_directed import CASES

    return Examiner(CASES)
