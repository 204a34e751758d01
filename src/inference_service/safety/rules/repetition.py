"""Tensors made from lengths: constants, repetitions, ranges."""

import numpy as np

from inference_service.safety import algebra
from inference_service.safety.algebra import divide
from inference_service.safety.align import broadcast_shape, is_small, product
from inference_service.safety.call import Call, Frozen, Mixing, Result, rule
from inference_service.safety.graph import Constant
from inference_service.safety.poly import Expr, Taint, Unfollowed, taint_of
from inference_service.safety.rules.elementwise import type_name
from inference_service.safety.value import (
    CONST,
    COUNT,
    GIVEN,
    INTEGERS,
    MOST_CONTENTS,
    NO_MARKS,
    Contents,
    Count,
    Mark,
    Rows,
    Shape,
    Shared,
    Value,
    contents_of,
)


def spread(
    call: Call, flow: Shared | Count | Rows, target: Shape, uniform: frozenset[int]
) -> tuple[Shared | Count | Rows, frozenset[int]]:
    """The dependence of `Shared` entries that are repeated to ``target``.

    Along an axis whose length holds the batch, every row has the same entries: they are rows.
    """
    if not isinstance(flow, Shared):
        return flow, uniform
    for axis, length in enumerate(target):
        if taint_of(length) is Taint.BATCH:
            group = divide(length, call.host.batch)
            if group is None:
                raise Unfollowed("the length of its result is no multiple of the number of rows")
            return Rows(axis, 1, group), uniform
    return flow, uniform


@rule("ConstantOfShape")
def constant_of_shape(call: Call) -> Result:
    """One number everywhere."""
    target = tuple(call.sizes(0))
    stored = call.node.attributes.get("value")
    dtype = stored.dtype if isinstance(stored, Constant) else "float"
    call.out(target, dtype)
    sized = call.sized(0)
    flow, uniform = spread(
        call, GIVEN if sized == GIVEN else CONST, target, frozenset(range(len(target)))
    )
    return Value(flow, target, dtype, _filled(call, target, dtype, stored), uniform=uniform)


def _filled(call: Call, target: Shape, dtype: str, stored: object) -> Contents | None:
    lengths = [length for length in target if isinstance(length, int)]
    if dtype not in INTEGERS or len(lengths) < len(target) or product(lengths) > MOST_CONTENTS:  # type: ignore[operator]
        return None
    number = call.host.read(stored) if isinstance(stored, Constant) else contents_of(0)
    if number is None or number.size != 1:
        return None
    contents = np.empty(lengths, object)
    contents[...] = number.ravel()[0]
    return contents


@rule("Expand", accepts=[Mark.ROW_NUMBER])
def expand(call: Call) -> Result:
    """Broadcasts to a length list."""
    before, sizes = call.shape(0), tuple(call.sizes(1))
    for length, size in zip(reversed(before), reversed(sizes), strict=False):
        if isinstance(length, int) and length != 1 and taint_of(size) is Taint.BATCH:
            raise Frozen(f"it repeats {length} entries to the number of rows")
    target = broadcast_shape(before, sizes)
    call.out(target)
    call.sized(1)
    value, flow = call.value(0), call.flow(0)
    shift = len(target) - len(before)
    repeated = {
        axis
        for axis in range(len(target))
        if axis < shift or before[axis - shift] == 1 or axis - shift in value.uniform
    }
    if isinstance(flow, Rows):
        flow = Rows(flow.axis + shift, flow.outer, flow.group)
        return Value(flow, target, value.dtype, marks=value.marks, uniform=frozenset(repeated))
    for axis, length in enumerate(target):
        if taint_of(length) is Taint.BATCH and axis not in repeated:
            raise Unfollowed("it repeats along an axis that is not of length 1")
    flow, uniform = spread(call, flow, target, frozenset(repeated))
    contents = None
    known = value.contents if value.contents is not None else None
    if known is None and value.dtype in INTEGERS:
        known = call.contents(0)
    lengths = [length for length in target if isinstance(length, int)]
    if known is not None and len(lengths) == len(target) and product(lengths) <= MOST_CONTENTS:  # type: ignore[operator]
        contents = np.broadcast_to(known, lengths)
    return Value(flow, target, value.dtype, contents, NO_MARKS, uniform)


@rule("Tile")
def tile(call: Call) -> Result:
    """Repeats whole tensors along axes; repeated rows are one more outer fold."""
    before, repeats = call.shape(0), call.sizes(1)
    if len(before) != len(repeats):
        raise Unfollowed("its repeats do not fit its rank")
    target = tuple(length * count for length, count in zip(before, repeats, strict=True))
    call.out(target)
    call.sized(1)
    value, flow = call.value(0), call.flow(0)
    ones = {a for a, length in enumerate(before) if length == 1 or a in value.uniform}
    if isinstance(flow, Rows):
        outer = flow.outer * repeats[flow.axis]
        return Value(Rows(flow.axis, outer, flow.group), target, value.dtype)
    if any(taint_of(length) is Taint.BATCH for length in before):
        raise Unfollowed("it repeats a tensor whose size depends on the number of rows")
    flow, uniform = spread(call, flow, target, frozenset(ones))
    contents = None
    if value.contents is not None and is_small(target):
        contents = np.tile(value.contents, repeats)  # type: ignore[arg-type]
    return Value(flow, target, value.dtype, contents, NO_MARKS, uniform)


@rule("Range")
def range_(call: Call) -> Result:
    """Numbers in steps. Those from 0 to the number of rows are the rows' own numbers."""
    numbers = [call.sizes(index, lower=None)[0] for index in range(3)]
    start, limit, delta = numbers
    count: Expr | None = None
    if isinstance(delta, int) and delta > 0:
        count = algebra.maximum(algebra.floor_divide(limit - start + delta - 1, delta), 0)
    elif all(isinstance(number, int) for number in numbers) and delta:
        count = max(0, -(-(limit - start) // delta))  # type: ignore[operator]
    if count is None:
        call.host.cost_by_value(f"the length of the {call.node} comes from values")
        count = call.unknown("count", 0, 1, 2)
    call.out((count,))
    flow = call.sized(0, 1, 2)
    dtype = call.dtype(0)
    if flow == COUNT:
        if (start, limit, delta) == (0, call.host.batch, 1):
            return Value(Rows(0), (count,), dtype, marks=frozenset({Mark.ROW_NUMBER}))
        raise Unfollowed("it counts by the number of rows")
    contents = None
    if isinstance(count, int) and count <= MOST_CONTENTS:
        contents = np.empty(count, object)
        contents[:] = [start + place * delta for place in range(count)]
    return Value(flow, (count,), dtype, contents)


@rule("EyeLike")
def eye_like(call: Call) -> Result:
    """Ones on the diagonal: their place is the row's number."""
    to = call.int_("dtype", 0)
    call.out(call.shape(0), type_name(to) if to else None)
    if isinstance(call.flow(0), Rows):
        raise Mixing("its ones lie at the numbers of the rows")
    return call.flow(0)


@rule("Trilu")
def trilu(call: Call) -> Result:
    """Of the last two axes, the entries above or below a diagonal."""
    before = call.shape(0)
    call.out(before)
    call.whole(1, what="diagonal")
    flow = call.flow(0)
    if isinstance(flow, Rows) and flow.axis >= len(before) - 2:
        raise Mixing("it keeps other entries of each row, by the number of the row")
    return flow
