"""Control flow: If, Loop, Scan. What steers it must be the same for every row."""

from collections.abc import Sequence
from dataclasses import replace

from inference_service.safety import algebra
from inference_service.safety.align import is_uniform
from inference_service.safety.call import Call, Mixing, Result, Spoiled, joined, normal_axis, rule
from inference_service.safety.poly import Expr, Poly, Taint, Unfollowed, is_measured, taint_of
from inference_service.safety.value import (
    CONST,
    GIVEN,
    NO_MARKS,
    Count,
    Fault,
    Flow,
    Lost,
    Mark,
    Rows,
    Shape,
    Shared,
    Value,
)

KINDS = ("sequence", "map", "optional")
MOST_ROUNDS = 8
"""Runs of a loop's body until its carried values no longer change."""


# Joining values


def merged(call: Call, slot: object, one: Value, other: Value) -> Value:
    """What is known of a tensor that is one or the other."""
    if one is other:
        return one
    flow = _merged_flow(call, one, other)
    if one.kind != other.kind or one.marks != other.marks:
        flow = call.lost(Fault.UNFOLLOWED, "it gives tensors of unlike kinds")
    shape = _merged_shape(call, slot, one, other)
    dtype = one.dtype if one.dtype == other.dtype else ""
    contents = one.contents if _equal_contents(one, other) else None
    return Value(
        flow, shape, dtype, contents, one.marks, one.uniform & other.uniform, None, one.kind
    )


def _equal_contents(one: Value, other: Value) -> bool:
    a, b = one.contents, other.contents
    return a is not None and b is not None and a.shape == b.shape and bool((a == b).all())


def _merged_flow(call: Call, one: Value, other: Value) -> Flow:
    a, b = one.flow, other.flow
    if isinstance(a, Lost) or isinstance(b, Lost):
        return a if isinstance(a, Lost) else b
    if not isinstance(a, Rows) and not isinstance(b, Rows):
        return joined(a, b)
    if a == b:
        return a
    if isinstance(a, Rows) and a.axis in one.uniform and isinstance(b, Rows) and a.axis == b.axis:
        return b
    if isinstance(b, Rows) and b.axis in other.uniform and isinstance(a, Rows) and a.axis == b.axis:
        return a
    return call.lost(Fault.UNFOLLOWED, "its ways hold the rows in different orders")


def _merged_shape(call: Call, slot: object, one: Value, other: Value) -> Shape | None:
    if one.shape is None or other.shape is None or len(one.shape) != len(other.shape):
        return None
    result: list[Expr] = []
    for axis, (a, b) in enumerate(zip(one.shape, other.shape, strict=True)):
        worst = max(taint_of(a), taint_of(b))
        if a == b:
            result.append(a)
        elif worst is Taint.ROWS:
            result.append(a if taint_of(a) is worst else b)
        elif worst is Taint.BATCH:
            return None
        else:
            result.append(call.unknown(("merged", slot, axis)))
    return tuple(result)


# If


@rule("If")
def if_(call: Call) -> Result:
    """The branch must be the same for every row, and for every number of rows.

    A condition on lengths of the inputs is decided by trying both: the proof then depends on it.
    """
    contents, flow = call.contents(0), call.flow(0)
    if isinstance(flow, Rows):
        raise Mixing("which way it goes depends on the contents of rows")
    if isinstance(flow, Count):
        raise Mixing("which way it goes depends on the number of rows")
    condition = contents.ravel()[0] if contents is not None and contents.size == 1 else None
    if isinstance(condition, Poly):
        known = call.host.decided(condition)
        condition = condition if known is None else int(known)
    branches = ("else_branch", "then_branch")
    if isinstance(condition, int):
        return call.host.run_body(call.body(branches[bool(condition)]), [], call)
    other, then = (call.host.run_body(call.body(branch), [], call) for branch in branches)
    if len(other) != len(then):
        raise Unfollowed("its branches have different numbers of results")
    both = [merged(call, place, a, b) for place, (a, b) in enumerate(zip(then, other, strict=True))]
    if isinstance(condition, Poly) and is_measured(condition):
        if any(isinstance(value.flow, Lost) or value.shape is None for value in both):
            chosen = then if call.host.decide(condition) else other
            return list(chosen)
        return both
    call.host.cost_by_value(f"which way the {call.node} goes depends on values")
    if flow == GIVEN:
        both = [_given(value) for value in both]
    return both


def _given(value: Value) -> Value:
    return replace(value, flow=GIVEN) if value.flow == CONST else value


# Loop


@rule("Loop", kinds=KINDS)
def loop(call: Call) -> Result:
    """Trip count and end must be the same for every row; what is carried must keep its form."""
    body = call.body("body")
    steering = call.whole(0, 1, what="number of rounds or condition")
    carried = [_started(call.value(index)) for index in range(2, len(call.inputs))]
    count = call.contents(0) if call.has(0) else None
    condition = call.contents(1) if call.has(1) else None
    given = GIVEN if steering.given else CONST
    for _ in range(MOST_ROUNDS):
        head = [Value(given, (), "int64"), Value(given, (), "bool", condition)]
        results = call.host.run_body(body, [*head, *carried], call)
        again = [
            merged(call, place, a, b)
            for place, (a, b) in enumerate(zip(carried, results[1:], strict=False))
        ]
        if _same(carried, again):
            break
        carried = again
    else:
        raise Unfollowed("what it carries takes another form in every round")
    endless = _refuse_steering(results[0]) and (condition is None or condition.ravel()[0] == 1)
    trips = _trips(call, None if count is None else count.ravel()[0], endless)
    scans = [_stacked(value, trips) for value in results[1 + len(carried) :]]
    if len(carried) + len(scans) < len(call.node.outputs):
        raise Unfollowed("its body has too few results")
    return [*_finished(call, carried), *scans]


def _started(value: Value) -> Value:
    """A carried tensor: what is known of its first round's contents says nothing of the others."""
    if value.marks - {Mark.SCANNED}:
        raise Unfollowed("it carries the row's own number")
    return Value(value.flow, value.shape, value.dtype, marks=value.marks, kind=value.kind)


def _finished(call: Call, carried: Sequence[Value]) -> list[Value]:
    """What is carried out: a length that changes from round to round is another one at the end."""
    return [
        value
        if value.shape is None
        else replace(
            value,
            shape=tuple(
                call.unknown(("finished", place, axis))
                if length == call.unknown(("merged", place, axis))
                else length
                for axis, length in enumerate(value.shape)
            ),
        )
        for place, value in enumerate(carried)
    ]


def _same(before: Sequence[Value], after: Sequence[Value]) -> bool:
    return all(
        a.flow == b.flow and a.shape == b.shape and a.dtype == b.dtype and a.marks == b.marks
        for a, b in zip(before, after, strict=True)
    )


def _refuse_steering(condition: Value) -> bool:
    """Whether a loop's condition is always true. Raises if it depends on rows or their number."""
    flow = condition.flow
    if isinstance(flow, Lost):
        raise Spoiled(flow)
    if isinstance(flow, Rows):
        raise Mixing("its end depends on the contents of rows")
    if isinstance(flow, Count):
        raise Mixing("its end depends on the number of rows")
    if Mark.SCANNED in condition.marks:
        raise Unfollowed("its end depends on a row")
    contents = condition.contents
    if contents is None and condition.constant is not None and condition.constant.size == 1:
        return bool(condition.constant.read().ravel()[0])
    return contents is not None and bool(contents.size == 1 and contents.ravel()[0] == 1)


def _trips(call: Call, count: Expr | None, endless: bool) -> Expr:
    if count is not None and endless and is_measured(count):
        return algebra.maximum(count, 0)
    call.host.cost_by_value(f"the number of rounds of the {call.node} depends on values")
    return call.unknown("rounds")


def _stacked(value: Value, length: Expr, axis: int = 0) -> Value:
    """A result of every round, along a new axis."""
    flow = value.flow
    if isinstance(flow, Rows):
        flow = Rows(flow.axis + (axis <= flow.axis), flow.outer, flow.group)
    shape = value.shape
    if shape is not None:
        shape = (*shape[:axis], length, *shape[axis:])
    return Value(flow, shape, value.dtype, marks=value.marks)


# Scan


@rule("Scan")
def scan(call: Call) -> Result:
    """Walks along an axis of its inputs with a state. Along the rows the state must not change."""
    if call.opset < 9:
        raise Unfollowed("Scan as before operator set 9")
    body = call.body("body")
    count = call.int_("num_scan_inputs", 0)
    first = len(call.inputs) - count
    axes = call.ints_("scan_input_axes") or (0,) * count
    inputs = {
        index: normal_axis(axis, len(call.shape(index)))
        for index, axis in zip(range(first, len(call.inputs)), axes, strict=True)
    }
    for index in range(len(call.inputs)):
        call.flow(index)
    rows = _scanned_rows(call, inputs)
    lengths = [call.shape(index)[axis] for index, axis in inputs.items()]
    elements = [_element(call.value(i), axis, rows is not None) for i, axis in inputs.items()]
    states = [_started(call.value(index)) for index in range(first)]
    for _ in range(MOST_ROUNDS):
        results = call.host.run_body(body, [*states, *elements], call)
        again = [
            _merged_state(call, place, a, b, rows is not None)
            for place, (a, b) in enumerate(zip(states, results, strict=False))
        ]
        if _same(states, again):
            break
        states = again
    else:
        raise Unfollowed("its state takes another form in every round")
    places = call.ints_("scan_output_axes") or (0,) * (len(results) - first)
    outputs = [
        _collected(call, value, lengths[0], axis, rows)
        for value, axis in zip(results[first:], places, strict=True)
    ]
    return [*_finished(call, states), *outputs]


def _scanned_rows(call: Call, inputs: dict[int, int]) -> Rows | None:
    """The fold of the rows if the scan goes along them; None if it goes along another axis."""
    found: Rows | None = None
    for index, axis in inputs.items():
        flow = call.flow(index)
        if isinstance(flow, Rows) and flow.axis == axis:
            if found is not None and (found.outer, found.group) != (flow.outer, flow.group):
                raise Unfollowed("its inputs hold their rows in different orders")
            found = flow
    if found is None:
        return None
    if any(call.ints_("scan_input_directions") or ()) or any(
        call.ints_("scan_output_directions") or ()
    ):
        raise Unfollowed("it walks backwards along the axis of the rows")
    for index, axis in inputs.items():
        if isinstance(call.flow(index), Shared) and not is_uniform(call, index, axis):
            raise Mixing(f"its input {index} has entries of its own along the axis of the rows")
    return found


def _element(value: Value, axis: int, along_rows: bool) -> Value:
    shape = value.shape or ()
    inner = (*shape[:axis], *shape[axis + 1 :])
    flow = value.flow
    if isinstance(flow, Rows):
        if flow.axis == axis:
            return Value(GIVEN, inner, value.dtype, marks=value.marks | {Mark.SCANNED})
        if along_rows:
            raise Mixing("it combines rows along one axis with rows along another")
        flow = Rows(flow.axis - (axis < flow.axis), flow.outer, flow.group)
    return Value(flow, inner, value.dtype, marks=value.marks)


def _merged_state(call: Call, place: int, one: Value, other: Value, along_rows: bool) -> Value:
    if along_rows and (Mark.SCANNED in other.marks) > (Mark.SCANNED in one.marks):
        raise Mixing("its state passes from row to row")
    if along_rows and not isinstance(one.flow, Shared | Lost):
        raise Unfollowed("its state holds rows")
    if along_rows and other is not one and not isinstance(other.flow, Lost):
        raise Unfollowed("its state may change from row to row")
    return merged(call, place, one, other)


def _collected(call: Call, value: Value, length: Expr, axis: int, rows: Rows | None) -> Value:
    if value.shape is None:
        raise Unfollowed("the rank of its body's result is not known")
    place = normal_axis(axis, len(value.shape) + 1)
    stacked = _stacked(value, length, place)
    if rows is None or isinstance(value.flow, Lost):
        return stacked
    if isinstance(value.flow, Shared):
        flow = Rows(place, rows.outer, rows.group)
        marks = value.marks - {Mark.SCANNED}
        return replace(stacked, flow=flow, marks=marks or NO_MARKS)
    lost = call.lost(Fault.UNFOLLOWED, "its body gives rows inside of a scan over rows")
    return stacked.with_flow(lost)
