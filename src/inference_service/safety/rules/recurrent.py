"""Recurrent networks: every input has its own axis for the batch."""

from collections.abc import Mapping

from inference_service.safety.align import is_uniform, parted
from inference_service.safety.call import Call, Frozen, Mixing, Result, rule
from inference_service.safety.poly import Expr, Taint, Unfollowed, taint_of
from inference_service.safety.value import Count, Rows, Shared, Value

WEIGHTS = {"GRU": (1, 2, 3), "LSTM": (1, 2, 3, 7), "RNN": (1, 2, 3)}
STATES = {"GRU": (5,), "LSTM": (5, 6), "RNN": (5,)}


@rule("GRU", "LSTM", "RNN")
def recurrent(call: Call) -> Result:
    """X, weights, bias, the lengths of the sequences, first states (and LSTM's peepholes)."""
    kind, first = call.node.op_type, call.int_("layout", 0) == 1
    _shapes(call, first)
    call.whole(*WEIGHTS[kind])
    state = 0 if first else 1
    axes = {0: 0 if first else 1, 4: 0} | dict.fromkeys(STATES[kind], state)
    flow = per_row(call, {index: axis for index, axis in axes.items() if call.has(index)})
    if not isinstance(flow, Rows):
        return flow
    if call.has(4) and isinstance(call.flow(4), Rows):
        call.host.can_fail()
    places = (0 if first else 2, state, state)
    return [
        Value(Rows(axis, flow.outer, flow.group), form, call.dtype(0))
        for axis, form in zip(places, call.shapes, strict=False)
    ][: len(call.node.outputs)]


def _shapes(call: Call, first: bool) -> None:
    x, weight = call.shape(0), call.shape(2)
    if len(x) != 3 or len(weight) != 3:
        raise Unfollowed("its input is no sequence")
    directions, hidden = weight[0], weight[2]
    if first:
        call.out((x[0], x[1], directions, hidden))
    else:
        call.out((x[0], directions, x[1], hidden))
    states = (x[0], directions, hidden) if first else (directions, x[1], hidden)
    call.out(states)
    if call.node.op_type == "LSTM":
        call.out(states)


def per_row(call: Call, axes: Mapping[int, int]) -> Shared | Count | Rows:
    """Inputs that each hold the rows along an own axis; the result has the fold of the first.

    A `Shared` input beside rows must be uniform along its axis.
    """
    rows, rest = parted(call, axes)
    if not rows:
        return rest
    for index, flow in rows.items():
        if flow.axis != axes[index]:
            held, meant = flow.axis, axes[index]
            raise Mixing(f"its input {index} holds the rows along axis {held}, not {meant}")
    firm = [flow for i, flow in rows.items() if flow.axis not in call.value(i).uniform]
    found = firm[0] if firm else next(iter(rows.values()))
    if any((flow.outer, flow.group) != (found.outer, found.group) for flow in firm):
        raise Unfollowed("its inputs hold their rows in different orders")
    for index, axis in axes.items():
        if index not in rows:
            _refuse_unlike(call, index, axis, call.host.batch * found.outer * found.group)
    return found


def _refuse_unlike(call: Call, index: int, axis: int, expected: Expr) -> None:
    length = call.shape(index)[axis]
    if length == expected and is_uniform(call, index, axis):
        return
    if taint_of(expected) is Taint.BATCH:
        raise Frozen(f"its input {index} is no row, so there can be one number of rows only")
    raise Mixing(f"its input {index} has entries of its own along the axis of the rows")
