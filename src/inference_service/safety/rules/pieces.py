"""Joining, cutting and padding: Concat, Split, Slice, Pad."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from inference_service.safety.algebra import divide
from inference_service.safety.align import is_small, is_uniform
from inference_service.safety.call import (
    Call,
    Frozen,
    Mixing,
    Result,
    joined,
    normal_axis,
    rule,
)
from inference_service.safety.poly import Expr, Taint, Unfollowed, taint_of
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
    contents = _joined_numbers(call, axis, rank) if is_small(target) else None
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
            unknown = call.sizes(index, lower=None)
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


@rule("Split")
def split(call: Call) -> Result:
    """Pieces along an axis."""
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
