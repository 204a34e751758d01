"""Sequences of tensors: the elements hold their rows alike, so each row's sequence is its own.

A sequence's value is that of any of its elements. Which element is picked, and how many there are,
must be the same for all rows.
"""

from dataclasses import replace

from inference_service.safety.algebra import divide
from inference_service.safety.call import Call, Mixing, Result, joined, normal_axis, rule
from inference_service.safety.poly import Expr, Unfollowed, is_measured
from inference_service.safety.rules.control import merged
from inference_service.safety.rules.pieces import cut_rows
from inference_service.safety.value import CONST, Rows, Shape, Shared, Value


@rule("SequenceConstruct")
def construct(call: Call) -> Result:
    """A sequence of the inputs."""
    values = [call.value(index) for index in range(len(call.inputs))]
    result = values[0]
    for place, value in enumerate(values[1:]):
        call.flow(place)
        result = merged(call, place, result, value)
    return replace(result, kind="sequence", contents=None, constant=None)


@rule("SequenceEmpty")
def empty(call: Call) -> Result:
    """No elements: what is put in later is not followed."""
    raise Unfollowed("what an empty sequence will hold is not followed")


@rule("SequenceAt", kinds=["sequence"])
def at(call: Call) -> Result:
    """One element: lengths that are not known may differ from one element to the next."""
    shape = tuple(
        length if is_measured(length) else call.unknown(("element", axis))
        for axis, length in enumerate(call.shape(0))
    )
    call.out(shape)
    call.whole(1, what="position")
    call.flow(0)
    return replace(call.value(0), kind="tensor", shape=shape)


@rule("SequenceLength", kinds=["sequence"])
def length(call: Call) -> Result:
    """The number of elements, which is the same for all rows."""
    call.out((), "int64")
    flow = call.flow(0)
    return CONST if isinstance(flow, Rows) else flow


@rule("SequenceInsert", kinds=["sequence"])
def insert(call: Call) -> Result:
    """One more element."""
    call.whole(2, what="position")
    call.flow(0)
    call.flow(1)
    element = replace(call.value(1), kind="sequence", contents=None, constant=None)
    return merged(call, "inserted", call.value(0), element)


@rule("SequenceErase", kinds=["sequence"])
def erase(call: Call) -> Result:
    """One element less."""
    call.whole(1, what="position")
    call.flow(0)
    return call.value(0)


@rule("ConcatFromSequence", kinds=["sequence"])
def concat(call: Call) -> Result:
    """The elements along an axis that is not that of the rows, as often as there are."""
    shape, new = call.shape(0), call.int_("new_axis", 0) == 1
    axis = normal_axis(call.int_("axis", 0), len(shape) + new)
    places = call.unknown("places")
    behind = shape[axis:] if new else shape[axis + 1 :]
    call.out((*shape[:axis], places, *behind))
    flow = call.flow(0)
    if not isinstance(flow, Rows):
        return flow
    if new:
        return Rows(flow.axis + (axis <= flow.axis), flow.outer, flow.group)
    if axis == flow.axis:
        raise Unfollowed("how often it joins the rows is not known")
    return flow


@rule("SplitToSequence")
def split(call: Call) -> Result:
    """Pieces along an axis: of a given length, of given lengths, or single places."""
    shape = call.shape(0)
    axis = normal_axis(call.int_("axis", 0), len(shape))
    given = call.whole(1, what="length")
    flow = call.flow(0)
    single = not call.has(1) and not call.int_("keepdims", 1)
    part = call.number(1) if call.has(1) and call.shape(1) == () else 1 if not call.has(1) else None
    exact = part is not None and part > 0 and divide(shape[axis], part) is not None
    piece: Expr = part if exact and part is not None else call.unknown("piece")
    form: Shape = (*shape[:axis], *(() if single else (piece,)), *shape[axis + 1 :])
    if isinstance(flow, Rows):
        if flow.axis == axis:
            flow = cut_rows(call, flow, piece, piece, shape[axis])
        elif single and axis < flow.axis:
            flow = Rows(flow.axis - 1, flow.outer, flow.group)
        return Value(flow, form, call.dtype(0), kind="sequence")
    known: Shared | object = joined(flow, given)
    if not isinstance(known, Shared):
        raise Mixing("it cuts at places that depend on the number of rows")
    return Value(known, form, call.dtype(0), kind="sequence")


@rule("Optional", kinds=["sequence", "optional"])
def optional(call: Call) -> Result:
    """The same value, as one that may be absent."""
    call.flow(0)
    return call.value(0)


@rule("OptionalGetElement", kinds=["sequence", "optional"])
def get(call: Call) -> Result:
    """The value itself."""
    call.flow(0)
    return call.value(0)


@rule("OptionalHasElement", kinds=["sequence", "optional"])
def has(call: Call) -> Result:
    """Whether the value is there: the same for all rows."""
    call.out((), "bool")
    if call.has(0):
        call.value(0)
    return CONST
