"""Joining, cutting and padding: Concat, Split, Slice, Pad."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from inference_service.safety import poly
from inference_service.safety.align import is_uniform
from inference_service.safety.call import (
    Call,
    Frozen,
    Mixing,
    Result,
    joined,
    normal_axis,
    rule,
)
from inference_service.safety.poly import Expr, Taint, Unfollowed, at_least, divide, taint_of
from inference_service.safety.value import (
    CONST,
    COUNT,
    INTEGERS,
    NO_MARKS,
    Contents,
    Count,
    Mark,
    Rows,
    Shape,
    Shared,
    Value,
)

ENDLESS = 2**31 - 1
"""An end of a slice from here on means "to the end"."""
LONGEST_AXIS = 10**9
"""No axis within a row has as many entries."""
FEWEST_ROWS = 1000
"""A slice of the rows that keeps at least these is meant as "all rows"."""


# Concat


@rule("Concat", accepts=[Mark.ROW_NUMBER])
def concat(call: Call) -> Result:
    """Rows that are joined along another axis stay; joined along their own, they are folded."""
    indices = range(len(call.inputs))
    shapes = [call.shape(index) for index in indices]
    rank = len(shapes[0])
    if any(len(entry) != rank for entry in shapes):
        raise Unfollowed("its inputs have different ranks")
    axis = normal_axis(call.int_("axis", 1 if call.opset < 4 else 0), rank)
    target = _joined_shape(shapes, axis)
    call.out(target)
    contents = _joined_numbers(call, axis, rank)
    if contents is not None:
        flow: Shared | Count | Rows = call.sized(*indices)
        return Value(flow, target, call.dtype(0), contents)
    flow = _joined_rows(call, axis, target)
    uniform = frozenset(range(rank)) - {axis}
    for index in indices:
        uniform &= call.value(index).uniform
    return Value(flow, target, call.dtype(0), marks=_marks(call, axis, rank), uniform=uniform)


def _joined_shape(shapes: Sequence[Shape], axis: int) -> Shape:
    target = list(shapes[0])
    target[axis] = sum((entry[axis] for entry in shapes[1:]), shapes[0][axis])
    for place in range(len(target)):
        known = [entry[place] for entry in shapes if isinstance(entry[place], int)]
        if place != axis and known:
            target[place] = known[0]  # all are equal, or the run fails
    return tuple(target)


def _joined_numbers(call: Call, axis: int, rank: int) -> Contents | None:
    """Followed where an input holds lengths, or where all are small stored integers."""
    values = [call.value(index) for index in range(len(call.inputs))]
    if any(value.dtype not in INTEGERS or isinstance(value.flow, Rows) for value in values):
        return None
    lengths = any(value.contents is not None for value in values)
    parts: list[Any] = [call.contents(index) for index in range(len(values))]
    for index, part in enumerate(parts):
        if part is None:
            if not lengths or rank != 1:
                return None
            unknown = call.sizes(index)
            parts[index] = np.empty(len(unknown), object)
            parts[index][:] = unknown
    return np.concatenate(parts, axis)


def _joined_rows(call: Call, axis: int, target: Shape) -> Shared | Count | Rows:
    flows = [call.flow(index) for index in range(len(call.inputs))]
    rows = {i: flow for i, flow in enumerate(flows) if isinstance(flow, Rows)}
    rest: Shared | Count = CONST
    for flow in flows:
        rest = rest if isinstance(flow, Rows) else joined(rest, flow)
    if not rows:
        return rest
    if isinstance(rest, Count):
        raise Mixing("it computes with the number of rows")
    fixed = [i for i, flow in rows.items() if flow.axis not in call.value(i).uniform]
    first = rows[fixed[0]] if fixed else next(iter(rows.values()))
    if any(flow.axis != first.axis for flow in rows.values()):
        raise Mixing("it joins rows along one axis with rows along another")
    if axis == first.axis:
        return _folded(call, rows, first, target)
    if any(rows[i] != first for i in fixed):
        raise Unfollowed("its inputs hold their rows in different orders")
    for index, flow in enumerate(flows):
        if isinstance(flow, Shared):
            _refuse_unlike(call, index, first)
    return first


def _folded(call: Call, rows: dict[int, Rows], first: Rows, target: Shape) -> Rows:
    if len(rows) < len(call.inputs):
        raise Mixing("it joins rows with entries that are no rows")
    if any(flow.group != first.group for flow in rows.values()):
        raise Unfollowed("its inputs hold their rows in different orders")
    outer = divide(target[first.axis], call.host.batch * first.group)
    if outer is None:
        raise Unfollowed("the number of its rows is not known")
    return Rows(first.axis, outer, first.group)


def _refuse_unlike(call: Call, index: int, rows: Rows) -> None:
    """A `Shared` input beside rows: along their axis it would have to have an entry for each."""
    length = call.shape(index)[rows.axis]
    if length == call.host.batch and is_uniform(call, index, rows.axis):
        return
    if taint_of(call.host.batch) is Taint.BATCH:
        raise Frozen(f"its input {index} is no row, so there can be one number of rows only")
    raise Mixing(f"its input {index} has entries of its own along the axis of the rows")


def _marks(call: Call, axis: int, rank: int) -> frozenset[Mark]:
    """An index whose component 0 is the row's own number, the others are not."""
    marked = [Mark.ROW_NUMBER in value.marks for value in call.inputs if value is not None]
    if not any(marked):
        return NO_MARKS
    if axis != rank - 1 or marked != [True] + [False] * (len(marked) - 1):
        raise Unfollowed("it joins the row's own number with other entries")
    if call.shape(0)[axis] != 1:
        raise Unfollowed("it joins several numbers of rows")
    return frozenset({Mark.ROW_INDEX})


# Split and Slice


def cut_rows(call: Call, flow: Rows, start: Expr, length: Expr, whole: Expr) -> Rows:
    """A piece of the axis of the rows: the whole, or whole folds of the batch.

    Raises Mixing for anything else: it drops rows.
    """
    fold = call.host.batch * flow.group
    offset, outer = divide(start, fold), divide(length, fold)
    if start == 0 and length == whole:
        return flow
    if offset is None or outer is None or taint_of(outer) is not Taint.FREE:
        raise Mixing("it cuts the axis of the rows")
    return Rows(flow.axis, outer, flow.group)


@rule("Split", "SplitToSequence")
def split(call: Call) -> Result:
    """Pieces along an axis."""
    if call.node.op_type != "Split":
        raise Unfollowed("sequences are not followed here")
    before = call.shape(0)
    axis = normal_axis(call.int_("axis", 0), len(before))
    count = len(call.node.outputs)
    lengths = _lengths(call, before[axis], count)
    for length in lengths:
        call.out((*before[:axis], length, *before[axis + 1 :]))
    call.sized(1)
    flow = call.flow(0)
    contents = call.value(0).contents
    results: list[Value] = []
    start: Expr = 0
    for length, form in zip(lengths, call.shapes, strict=True):
        part: Shared | Count | Rows = flow
        if isinstance(flow, Rows) and flow.axis == axis:
            part = cut_rows(call, flow, start, length, before[axis])
        elif taint_of(start) is not Taint.FREE:
            if isinstance(flow, Rows):
                raise Mixing("it cuts at a place that depends on the number of rows")
            part = COUNT
        piece = None
        if contents is not None and isinstance(start, int) and isinstance(length, int):
            place = (slice(None),) * axis + (slice(start, start + length),)
            piece = contents[place]
        results.append(Value(part, form, call.dtype(0), piece))
        start = start + length
    return results


def _lengths(call: Call, whole: Expr, count: int) -> list[Expr]:
    given: Sequence[Expr] | None = call.ints_("split")
    if call.has(1):
        given = call.sizes(1)
    if given is not None:
        if len(given) != count:
            raise Unfollowed("its lengths do not fit its outputs")
        return list(given)
    if isinstance(whole, int):
        chunk = -(-whole // count)
        return [max(0, min(chunk, whole - place * chunk)) for place in range(count)]
    part = divide(whole, count)
    if part is None:
        raise Unfollowed("the lengths of its pieces are not known")
    return [part] * count


def slice_range(length: Expr, start: Expr, end: Expr, step: int) -> tuple[Expr, Expr] | None:
    """First place and number of places of a slice; None where it is not followed."""
    if step < 0:
        return _backwards(length, start, end, step)
    first, last = _bounded(start, length), _bounded(end, length)
    if first is None or last is None:
        return None
    return first, poly.maximum(poly.floor_divide(last - first + step - 1, step), 0)


def _bounded(place: Expr, length: Expr) -> Expr | None:
    """A start or end between 0 and the length; negative ones count from the end."""
    if isinstance(place, int) and place >= LONGEST_AXIS:
        if place >= ENDLESS or taint_of(length) is Taint.FREE:
            return length
    if at_least(place, 0):
        return poly.minimum(place, length)
    if at_least(-place, 1):
        return poly.maximum(place + length, 0)
    return None


def _backwards(length: Expr, start: Expr, end: Expr, step: int) -> tuple[Expr, Expr] | None:
    ints = (length, start, end)
    if all(isinstance(entry, int) for entry in ints):
        first, last, _ = slice(start, end, step).indices(length)  # type: ignore[arg-type]
        if isinstance(end, int) and isinstance(length, int) and end < -length:
            last = -1
        return first, max(0, -((last - first) // -step))
    from_end = start == -1 or (isinstance(start, int) and start >= ENDLESS)
    if from_end and isinstance(end, int) and end <= -ENDLESS:
        return length - 1, -poly.floor_divide(-length, -step)
    return None


@rule("Slice")
def slice_(call: Call) -> Result:
    """Places along axes; of the rows' axis only the whole (or whole folds)."""
    before = call.shape(0)
    cuts, tainted = _cuts(call, len(before))
    target, firsts = list(before), dict[int, Expr]()
    for axis, (start, end, step) in cuts.items():
        found = None
        if start is not None and end is not None and step is not None:
            found = slice_range(before[axis], start, end, step)
        if found is None:
            given = [index for index in range(1, len(call.inputs)) if call.has(index)]
            target[axis] = call.unknown(axis, *given)
            call.host.cost_by_value(f"the {call.node} cuts at places that come from values")
        else:
            firsts[axis], target[axis] = found
    value = call.value(0)
    bound = _bound_rows(call, value.flow, before, cuts, target)
    call.out(tuple(target))
    given_flow = call.sized(*range(1, len(call.inputs)))
    flow = call.flow(0)
    if isinstance(flow, Rows):
        if flow.axis in cuts and not bound:
            _, _, step = cuts[flow.axis]
            if flow.axis not in firsts:
                raise Unfollowed("where it cuts the axis of the rows is not known")
            if step != 1:
                raise Mixing("it steps through the axis of the rows")
            flow = cut_rows(call, flow, firsts[flow.axis], target[flow.axis], before[flow.axis])
        if any(axis != flow.axis and _moves(cuts[axis]) for axis in cuts) or tainted:
            raise Mixing("it cuts at a place that depends on the number of rows")
        return Value(flow, tuple(target), value.dtype)
    contents = _cut_numbers(call, cuts)
    return Value(joined(flow, given_flow), tuple(target), value.dtype, contents)


Cut = tuple[Expr | None, Expr | None, int | None]
"""Start, end and step along an axis; None where they are not known."""


def _cuts(call: Call, rank: int) -> tuple[dict[int, Cut], bool]:
    """By axis; and whether the places depend on the number of rows without being followed."""
    if call.opset < 10:
        starts: Sequence[Expr] = call.ints_("starts") or ()
        ends: Sequence[Expr] = call.ints_("ends") or ()
        axes = call.ints_("axes") or tuple(range(len(starts)))
        return {
            normal_axis(axis, rank): (start, end, 1)
            for axis, start, end in zip(axes, starts, ends, strict=True)
        }, False
    counts = call.contents(1), call.contents(2)
    unknown = any(
        call.value(index).contents is None and call.value(index).flow == COUNT for index in (1, 2)
    )
    length = call.shape(1)[0] if call.shape(1) else 1
    if not isinstance(length, int):
        raise Unfollowed("the number of its axes is not known")
    axes = tuple(range(length))
    if call.has(3):
        listed = call.contents(3)
        if listed is None:
            raise Unfollowed("its axes are not known")
        axes = tuple(int(axis) for axis in listed.ravel())
    steps: list[int | None] = [1] * length
    if call.has(4):
        known = call.contents(4)
        steps = (
            [None] * length
            if known is None
            else [int(step) if isinstance(step, int) and step else None for step in known.ravel()]
        )
    first, last = ([None] * length if n is None else list(n.ravel()) for n in counts)
    return {
        normal_axis(axis, rank): (first[place], last[place], steps[place])
        for place, axis in enumerate(axes)
    }, unknown


def _moves(cut: Cut) -> bool:
    """Whether a cut's places depend on the number of rows."""
    return any(bound is not None and taint_of(bound) is not Taint.FREE for bound in cut[:2])


def _bound_rows(
    call: Call, flow: object, before: Shape, cuts: dict[int, Cut], target: list[Expr]
) -> bool:
    """Whether a constant end is meant as "all rows": the proof then has a largest batch."""
    if not isinstance(flow, Rows) or flow.axis not in cuts:
        return False
    start, end, step = cuts[flow.axis]
    if start != 0 or step != 1 or not isinstance(end, int) or isinstance(before[flow.axis], int):
        return False
    if not isinstance(flow.outer, int) or not isinstance(flow.group, int):
        return False
    rows = end // (flow.outer * flow.group)
    if not FEWEST_ROWS <= rows < ENDLESS:
        return False
    call.host.bound_rows(rows)
    target[flow.axis] = before[flow.axis]
    return True


def _cut_numbers(call: Call, cuts: dict[int, Cut]) -> Contents | None:
    value = call.value(0)
    if value.contents is None and value.dtype not in INTEGERS:
        return None
    contents = call.contents(0)
    if contents is None or any(
        not isinstance(bound, int) for cut in cuts.values() for bound in cut
    ):
        return None
    places: list[slice] = [slice(None)] * contents.ndim
    for axis, (start, end, step) in cuts.items():
        stop = None if isinstance(end, int) and step and step < 0 and end <= -ENDLESS else end
        places[axis] = slice(start, stop, step)
    return contents[tuple(places)]


@rule("Pad")
def pad(call: Call) -> Result:
    """Entries before and behind; none along the axis of the rows."""
    before = call.shape(0)
    pads = _pads(call, len(before))
    target = [
        call.unknown(axis, 1) if pads is None else length + pads[axis][0] + pads[axis][1]
        for axis, length in enumerate(before)
    ]
    call.out(tuple(target))
    given = call.whole(1, 2, 3, what="padding")
    flow = call.flow(0)
    if not isinstance(flow, Rows):
        return joined(flow, given)
    if pads is None:
        raise Unfollowed("how it pads the axis of the rows is not known")
    if pads[flow.axis] != (0, 0):
        raise Mixing("it pads or crops the axis of the rows")
    return flow


def _pads(call: Call, rank: int) -> list[tuple[Expr, Expr]] | None:
    """Lengths before and behind each axis; None where they are not known."""
    listed: Sequence[Expr] | None = call.ints_("pads") or call.ints_("paddings")
    if call.opset >= 11:
        contents = call.contents(1)
        listed = None if contents is None else list(contents.ravel())
    if listed is None:
        return None
    axes: Sequence[int] = range(rank)
    if call.has(3):
        given = call.contents(3)
        if given is None:
            return None
        axes = [normal_axis(int(axis), rank) for axis in given.ravel()]
    if len(listed) != 2 * len(axes):
        raise Unfollowed("its padding does not fit its rank")
    pads: list[tuple[Expr, Expr]] = [(0, 0)] * rank
    for place, axis in enumerate(axes):
        pads[axis] = (listed[place], listed[place + len(axes)])
    return pads
