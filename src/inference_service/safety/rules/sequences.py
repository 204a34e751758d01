"""Sequences and optional values. A sequence has the dependence of its elements, which is one.

Its elements hold the rows along one axis each; the number of elements never depends on rows, so a
sequence that is split along the rows themselves is refused. A sequence whose elements differ in
shape has unknown lengths in their place.
"""

from inference_service.safety.call import Call, Mixing, Result, joined, normal_axis, rule
from inference_service.safety.poly import Expr, Unfollowed, is_measured
from inference_service.safety.value import CONST, GIVEN, Lost, Rows, Shape, Shared, Value

SEQUENCE = ("sequence",)
ANY = ("sequence", "map", "optional")


def _elements(call: Call, *indices: int) -> Value:
    """One value for several elements: they must hold the rows in one way."""
    values = [call.value(index) for index in indices]
    flow = call.flow(indices[0])
    for index in indices[1:]:
        other = call.flow(index)
        if not isinstance(flow, Rows) and not isinstance(other, Rows):
            flow = joined(flow, other)
        elif flow != other:
            raise Unfollowed("its elements hold the rows in different ways")
    if any(value.dtype != values[0].dtype for value in values):
        raise Unfollowed("its elements have different types")
    return Value(flow, _common(call, values), values[0].dtype, kind="sequence")


def _common(call: Call, values: list[Value]) -> Shape | None:
    shapes = [value.shape for value in values]
    first = shapes[0]
    if first is None or any(shape is None or len(shape) != len(first) for shape in shapes):
        return None
    result: list[Expr] = list(first)
    for axis, length in enumerate(first):
        if any(shape is not None and shape[axis] != length for shape in shapes):
            result[axis] = call.unknown(("element", axis))
    return tuple(result)


@rule("SequenceConstruct")
def sequence_construct(call: Call) -> Result:
    """A sequence of its inputs."""
    return _elements(call, *range(len(call.inputs)))


@rule("SequenceEmpty")
def sequence_empty(call: Call) -> Result:
    """A sequence of nothing: what is inserted first tells its kind."""
    return Value(CONST, None, "", kind="sequence")


@rule("SequenceInsert", kinds=SEQUENCE)
def sequence_insert(call: Call) -> Result:
    """An element more, at a place that is the same for all rows."""
    call.whole(2, what="place")
    sequence = call.value(0)
    if sequence.flow == CONST and sequence.shape is None and not sequence.dtype:
        element = call.value(1)
        return Value(call.flow(1), element.shape, element.dtype, kind="sequence")
    return _elements(call, 0, 1)


@rule("SequenceErase", kinds=SEQUENCE)
def sequence_erase(call: Call) -> Result:
    """An element less, at a place that is the same for all rows."""
    call.whole(1, what="place")
    value = call.value(0)
    return Value(call.flow(0), value.shape, value.dtype, kind="sequence")


@rule("SequenceAt", kinds=SEQUENCE)
def sequence_at(call: Call) -> Result:
    """The element at a place that is the same for all rows.

    A length that is not known may be another one in every element.
    """
    shape = tuple(
        length if is_measured(length) else call.unknown(("element", axis))
        for axis, length in enumerate(call.shape(0))
    )
    call.out(shape, call.dtype(0))
    place = call.whole(1, what="place")
    flow = call.flow(0)
    return flow if isinstance(flow, Rows) else joined(flow, place)


@rule("SequenceLength", kinds=SEQUENCE)
def sequence_length(call: Call) -> Result:
    """The number of elements: it depends on no row."""
    call.out((), "int64")
    call.flow(0)
    return GIVEN


@rule("SplitToSequence")
def split_to_sequence(call: Call) -> Result:
    """Pieces along an axis: of a length, of several lengths, or (without them) single places.

    Pieces of the rows' axis would hold certain rows each.
    """
    shape = call.shape(0)
    axis = normal_axis(call.int_("axis", 0), len(shape))
    single = not call.has(1) and not call.int_("keepdims", 1)
    length: Expr = call.unknown("piece") if call.has(1) else 1
    form = (*shape[:axis], *(() if single else (length,)), *shape[axis + 1 :])
    given = call.whole(1, what="length")
    flow = call.flow(0)
    if not isinstance(flow, Rows):
        return Value(joined(flow, given), form, call.dtype(0), kind="sequence")
    if flow.axis == axis:
        raise Mixing("it cuts the axis of the rows")
    kept = flow.axis - (single and axis < flow.axis)
    return Value(Rows(kept, flow.outer, flow.group), form, call.dtype(0), kind="sequence")


@rule("ConcatFromSequence", kinds=SEQUENCE)
def concat_from_sequence(call: Call) -> Result:
    """Joins the elements along an axis that is not the rows', or along a new one."""
    shape, new = call.shape(0), call.int_("new_axis", 0)
    axis = normal_axis(call.int_("axis", 0), len(shape) + new)
    length = call.unknown("joined")
    call.out((*shape[:axis], length, *shape[axis + 1 - new :]))
    call.host.cost_by_value(f"the {call.node} joins as many elements as there are")
    flow = call.flow(0)
    if not isinstance(flow, Rows):
        return flow
    if new:
        return Rows(flow.axis + (axis <= flow.axis), flow.outer, flow.group)
    if axis == flow.axis:
        raise Unfollowed("it joins along the axis of the rows")
    return flow


@rule("Optional", kinds=ANY)
def optional(call: Call) -> Result:
    """Wraps a value; without an input it is an empty one."""
    if not call.has(0):
        return Value(CONST, None, "", kind="optional")
    value = call.value(0)
    if value.kind != "tensor":
        raise Unfollowed("it wraps a sequence")
    return Value(call.flow(0), value.shape, value.dtype, kind="optional")


@rule("OptionalGetElement", kinds=("optional",))
def optional_get_element(call: Call) -> Result:
    """The value inside; a plain tensor passes."""
    call.out(call.value(0).shape, call.dtype(0))
    return call.flow(0)


@rule("OptionalHasElement", kinds=ANY)
def optional_has_element(call: Call) -> Result:
    """Whether there is a value: the same for all rows."""
    call.out((), "bool")
    if call.has(0) and isinstance(call.value(0).flow, Lost):
        raise Mixing("whether it has an element may depend on rows")
    return Shared(given=True)
