"""The interpreter: runs a graph on values of the analysis, one rule per node.

One `Evaluation` is one attempt: it assumes which inputs carry rows along which axis, and which way
undecided conditions on lengths go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from inference_service.safety.call import (
    RULES,
    Call,
    Frozen,
    Mixing,
    Result,
    Rule,
    Spoiled,
    numbers,
)
from inference_service.safety.graph import Constant, Graph, Node
from inference_service.safety.graph import Value as Entry
from inference_service.safety.poly import (
    Exhausted,
    Expr,
    Symbols,
    Taint,
    Unfollowed,
    is_measured,
    origin_of,
    taint_of,
)
from inference_service.safety.ranges import Ranges
from inference_service.safety.results import (
    all_outputs,
    flow_of_numbers,
    joined_shared,
    lengths_of_lost,
    lost_before,
    unknown_size,
    unscanned,
)
from inference_service.safety.value import (
    CONST,
    GIVEN,
    MOST_CONTENTS,
    NO_MARKS,
    Contents,
    Fault,
    Flow,
    Lost,
    Mark,
    Rows,
    Shape,
    Shared,
    Value,
)

LARGEST_COMPARED = 2**20
"""Elements of a stored tensor that are compared along a fixed batch."""
DEEPEST_BODY = 12
"""Bodies within bodies."""


class Fork(Exception):  # noqa: N818
    """The proof depends on which way a condition on lengths goes."""

    def __init__(self, condition: Expr) -> None:
        super().__init__(str(condition))
        self.condition = condition


class Abandoned(Exception):  # noqa: N818
    """A tensor that the outputs need has lost its rows, so the attempt can't succeed."""


class Budget:
    """Node visits that are left for all attempts on one graph."""

    def __init__(self, visits: int) -> None:
        self.left = visits

    def spend(self, visits: int = 1) -> None:
        """One visit, or work that is worth several. Raises Exhausted."""
        self.left -= visits
        if self.left < 0:
            raise Exhausted


class Evaluation:
    """One attempt. ``batch`` is the number of rows: a symbol, or the number of a fixed batch.

    The attempt is abandoned as soon as one of the tensors ``vital`` has lost its rows.
    """

    def __init__(
        self,
        symbols: Symbols,
        batch: Expr,
        opsets: Mapping[str, int],
        decisions: Mapping[Expr, bool],
        budget: Budget,
        *,
        vital: frozenset[str] = frozenset(),
    ) -> None:
        self.symbols = symbols
        self.batch = batch
        self.decisions = decisions
        self.ranges = Ranges(batch)
        self.partial = False
        self.max_rows: int | None = None
        self.by_value = ""
        self.values: dict[str, Value] = {}
        """The tensors of the main graph, when it has run."""
        self.body_values: dict[int, list[tuple[Graph, dict[str, Value]]]] = {}
        """The tensors of the bodies of a node (by its id) in their last run."""
        self._vital = vital
        self._opsets = opsets
        self._budget = budget
        self._scopes: list[dict[str, Value]] = []
        self._lengths: list[set[Expr]] = []
        """By scope: lengths that a tensor has, so they are not negative."""
        self._numbers: dict[int, Contents | None] = {}
        self._uniform: dict[tuple[int, int], bool] = {}

    def run(self, graph: Graph, inputs: Mapping[str, Value]) -> list[Value]:
        """The values of the outputs of the main graph."""
        outputs, self.values = self._run(graph, inputs)
        return outputs

    def _run(
        self, graph: Graph, inputs: Mapping[str, Value]
    ) -> tuple[list[Value], dict[str, Value]]:
        scope: dict[str, Value] = {
            name: stored(constant) for name, constant in graph.constants.items()
        }
        scope.update(inputs)
        if len(self._scopes) >= DEEPEST_BODY:
            raise Exhausted
        self._scopes.append(scope)
        self._lengths.append(set())
        try:
            for node in graph.nodes:
                results = self._apply(node)
                scope.update(zip(node.outputs, results, strict=False))
                scope.pop("", None)  # an absent output
                if len(self._scopes) == 1 and self._vital:
                    self._refuse_lost(node, results)
            return [self._lookup(output.name) for output in graph.outputs], scope
        finally:
            self._scopes.pop()
            self._lengths.pop()

    def _refuse_lost(self, node: Node, results: Sequence[Value]) -> None:
        for name, value in zip(node.outputs, results, strict=False):
            if name in self._vital and isinstance(value.flow, Lost):
                raise Abandoned

    def _lookup(self, name: str) -> Value:
        for scope in reversed(self._scopes):
            found = scope.get(name)
            if found is not None:
                return found
        return Value(Lost(Fault.UNFOLLOWED, f"tensor '{name}'", "it is made by no node"))

    # One node

    def _apply(self, node: Node) -> list[Value]:
        self._budget.spend()
        inputs = [self._lookup(name) if name else None for name in node.inputs]
        marks = NO_MARKS.union(*(v.marks for v in inputs if v is not None and v.marks))
        scanned = Mark.SCANNED in marks
        if scanned and not any(isinstance(entry, Graph) for entry in node.attributes.values()):
            inputs = [unscanned(value) for value in inputs]
        inputs, lost = lengths_of_lost(inputs)
        call = Call(node, inputs, self._opsets.get(node.domain, 1), self, scanned)
        found = RULES.get((node.domain, node.op_type))
        flow: Flow | None = None
        result: Result | None = None
        if found is None:
            domain = node.domain or "ai.onnx"
            flow = call.lost(Fault.UNFOLLOWED, f"the operator {domain} {node.op_type} has no rule")
            self.cost_by_value(f"the {node} is not known")
        else:
            result, flow = self._ruled(call, found)
            strange = {v.kind for v in inputs if v is not None} - found.kinds - {"tensor"}
            if strange:
                flow = call.lost(Fault.UNFOLLOWED, f"its input is a {min(strange)}")
            refused = marks - found.accepts - {Mark.SCANNED}
            if refused:
                mark = min(refused, key=lambda entry: entry.value)
                flow = call.lost(Fault.UNFOLLOWED, f"it computes with {mark.value}")
        values = [self._settled(call, value) for value in all_outputs(call, result, flow)]
        if flow is not None and _is_without_cost(node, values):
            self.cost_by_value(f"the size or the rounds of the {node} are not known")
        return values if lost is None else [value.with_flow(lost) for value in values]

    def _ruled(  # noqa: PLR0911  one return per kind of refusal
        self, call: Call, found: Rule
    ) -> tuple[Result | None, Flow | None]:
        """What the rule says: its result, or the dependence that its refusal leaves."""
        try:
            result = found.function(call)
        except Spoiled as error:
            return None, error.flow
        except Mixing as error:
            return None, lost_before(call) or call.lost(Fault.MIXING, str(error))
        except Frozen as error:
            return None, lost_before(call) or call.lost(Fault.FROZEN, str(error))
        except Unfollowed as error:
            lost = call.lost(Fault.UNFOLLOWED, str(error))
            return None, joined_shared(call) or lost_before(call) or lost
        except (Fork, Exhausted, Abandoned):
            raise
        except Exception as error:  # a faulty rule or a hostile graph: nothing is claimed
            reason = f"its rule failed ({type(error).__name__}: {error})"
            return None, call.lost(Fault.UNFOLLOWED, reason)
        unread = [i for i, v in enumerate(call.inputs) if v is not None and i not in call.used]
        if unread:
            call.shapes.clear()
            shared = joined_shared(call)
            if shared is not None:
                return None, shared
            reason = f"its input {unread[0]} is not known to the analysis"
            return None, call.lost(Fault.UNFOLLOWED, reason)
        return result, None

    def _settled(self, call: Call, value: Value) -> Value:
        """The value, if its dependence fits its shape; every result passes here."""
        contents = value.contents
        self._budget.spend(0 if contents is None else contents.size // 64)
        if contents is not None and contents.size > MOST_CONTENTS:
            value = replace(value, contents=None)
        elif contents is not None and not call.scanned:
            measured = call.node.op_type in {"Shape", "Size"}  # of a tensor that there is
            kept = contents if measured or self.ranges.hold(contents, value.dtype) else None
            value = replace(value, flow=flow_of_numbers(contents, value.flow), contents=kept)
        self._lengths[-1].update(value.shape or ())
        if len(self._scopes) == 1:  # a branch that is not taken makes nothing
            for length in value.shape or ():
                self.symbols.assume_length(length)
        flow = self._checked(call, value)
        if call.scanned and not isinstance(flow, Lost):
            if not isinstance(flow, Shared):
                flow = call.lost(Fault.UNFOLLOWED, "rows meet inside of a scan over rows")
            else:
                marks = value.marks | {Mark.SCANNED}
                return replace(value, flow=GIVEN, marks=marks, contents=None)
        return value if flow is value.flow else replace(value, flow=flow)

    def _checked(self, call: Call, value: Value) -> Flow:  # noqa: PLR0911  one per refusal
        flow, shape = value.flow, value.shape
        if isinstance(flow, Lost):
            return flow
        if shape is None:
            if isinstance(flow, Shared):
                return flow
            return call.lost(Fault.UNFOLLOWED, "the shape of its result is not known")
        axis = flow.axis if isinstance(flow, Rows) else None
        for place, length in enumerate(shape):
            taint = taint_of(length)
            if taint is Taint.FREE or (place == axis and taint is Taint.BATCH):
                continue
            if taint is Taint.ROWS:
                if Mark.PADDED in value.marks or (call.scanned and isinstance(flow, Shared)):
                    continue
                origin = origin_of(length)
                return origin if isinstance(origin, Lost) else unknown_size(call)
            reason = "the size of its result depends on the number of rows"
            fault = Fault.MIXING if isinstance(flow, Rows) else Fault.UNFOLLOWED
            return call.lost(fault, reason)
        if isinstance(flow, Rows) and not _fits(flow, shape, self.batch):
            return call.lost(Fault.UNFOLLOWED, "the place of the rows in its result is not known")
        return flow

    # For rules (`call.Host`)

    def run_body(self, graph: Graph, inputs: Sequence[Value], call: Call) -> list[Value]:
        """See `call.Host`."""
        if len(inputs) != len(graph.inputs):
            raise Unfollowed("its body has another number of inputs")
        for entry, value in zip(graph.inputs, inputs, strict=True):
            _refuse_declared(entry, value)
        named = {entry.name: value for entry, value in zip(graph.inputs, inputs, strict=True)}
        outputs, values = self._run(graph, named)
        kept = self.body_values.setdefault(id(call.node), [])
        kept[:] = [entry for entry in kept if entry[0] is not graph] + [(graph, values)]
        return outputs

    def decided(self, condition: Expr) -> bool | None:
        """See `call.Host`."""
        return self.decisions.get(condition)

    def decide(self, condition: Expr) -> bool:
        """See `call.Host`."""
        if not is_measured(condition) or taint_of(condition) is not Taint.FREE:
            raise Unfollowed("its condition does not follow from the lengths of a request")
        if condition not in self.decisions:
            raise Fork(condition)
        return self.decisions[condition]

    def can_fail(self) -> None:
        """See `call.Host`."""
        self.partial = True

    def bound_rows(self, rows: int) -> None:
        """See `call.Host`."""
        self.max_rows = rows if self.max_rows is None else min(self.max_rows, rows)

    def exists(self, length: Expr) -> bool:
        """See `call.Host`."""
        return any(length in lengths for lengths in self._lengths)

    def cost_by_value(self, reason: str) -> None:
        """See `call.Host`."""
        self.by_value = self.by_value or reason

    def is_uniform(self, constant: Constant, axis: int) -> bool:
        """See `call.Host`."""
        key = (id(constant), axis)
        if key not in self._uniform:
            small = constant.size <= LARGEST_COMPARED
            self._budget.spend(constant.size // 1000 if small else 0)
            self._uniform[key] = small and _is_uniform(constant, axis)
        return self._uniform[key]

    def read(self, constant: Constant) -> Contents | None:
        """See `call.Host`."""
        key = id(constant)
        if key not in self._numbers:
            small = constant.size <= MOST_CONTENTS
            try:
                self._numbers[key] = numbers(constant.read(), constant.dtype) if small else None
            except ValueError:
                self._numbers[key] = None
        return self._numbers[key]


def _fits(flow: Rows, shape: Shape, batch: Expr) -> bool:
    if not 0 <= flow.axis < len(shape):
        return False
    if taint_of(flow.outer) is not Taint.FREE or taint_of(flow.group) is not Taint.FREE:
        return False
    return shape[flow.axis] == batch * flow.outer * flow.group


def _is_without_cost(node: Node, values: Sequence[Value]) -> bool:
    """Whether a rule was refused before it was asked what the cost depends on."""
    bodies = any(isinstance(entry, Graph) for entry in node.attributes.values())
    return bodies or any(value.shape is None for value in values)


def _refuse_declared(entry: Entry, value: Value) -> None:
    """onnxruntime holds the inputs of a body to the lengths that are declared for them."""
    for declared, length in zip(entry.shape or (), value.shape or (), strict=False):
        if isinstance(declared, int) and taint_of(length) is Taint.BATCH:
            raise Frozen(f"its body is declared for {declared} rows")


def _is_uniform(constant: Constant, axis: int) -> bool:
    try:
        array = constant.read()
    except ValueError:
        return False
    if not array.size:
        return True
    first = array.take([0], axis=axis)
    if array.dtype.kind == "f" and (np.signbit(array) != np.signbit(first)).any():
        return False  # 0 and -0 compare equal and divide to different infinities
    return bool((array == first).all())


def stored(constant: Constant) -> Value:
    """The value of a tensor that the file holds."""
    return Value(CONST, constant.shape, constant.dtype, constant=constant)
