"""Changes of shape: the rows are followed by the algebra of `align`."""

from collections.abc import Sequence

import numpy as np

from inference_service.safety import poly
from inference_service.safety.align import broadcast_shape, product, reshaped_rows, resolve_sizes
from inference_service.safety.call import Call, Frozen, Mixing, Result, normal_axis, rule
from inference_service.safety.graph import Constant
from inference_service.safety.poly import Expr, Poly, Taint, Unfollowed, at_least, divide, taint_of
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

# Lengths as numbers


@rule("Shape", accepts=list(Mark))
def shape(call: Call) -> Result:
    """The lengths themselves; of the input nothing else counts, so it may have lost its rows."""
    lengths = call.shape(0)
    rank = len(lengths)
    start, end = call.int_("start", 0), call.int_("end", rank)
    return listed(call, lengths[start:end], (len(lengths[start:end]),))


@rule("Size", accepts=list(Mark))
def size(call: Call) -> Result:
    """The number of elements."""
    return listed(call, [product(call.shape(0))], ())


def listed(call: Call, lengths: Sequence[Expr], form: Shape) -> Value:
    """An int64 tensor of lengths."""
    call.out(form, "int64")
    contents = np.empty(len(lengths), object)
    contents[:] = lengths
    return Value(CONST, form, "int64", contents.reshape([int(n) for n in form]))  # type: ignore[call-overload]


@rule("Constant")
def constant(call: Call) -> Result:
    """A stored tensor."""
    attributes = call.node.attributes
    for name in ("value", "sparse_value"):
        stored = attributes.get(name)
        if isinstance(stored, Constant):
            return Value(CONST, stored.shape, stored.dtype, constant=stored)
    if "value_int" in attributes:
        return Value(CONST, (), "int64", contents_of(call.int_("value_int", 0)))
    ints = call.ints_("value_ints")
    if ints is not None:
        return Value(CONST, (len(ints),), "int64", contents_of(ints) if ints else None)
    for name, dtype in (("float", "float"), ("string", "string")):
        if f"value_{name}" in attributes:
            return Value(CONST, (), dtype)
        many = attributes.get(f"value_{name}s")
        if isinstance(many, Sequence):
            return Value(CONST, (len(many),), dtype)
    raise Unfollowed("it holds no tensor")


# Reshape and its relatives


@rule("Reshape", accepts=[Mark.ROW_NUMBER])
def reshape(call: Call) -> Result:
    """See `align.reshaped_rows`."""
    before = call.shape(0)
    if call.opset < 5:
        sizes: Sequence[Expr] = call.ints_("shape") or ()
    else:
        sizes = call.sizes(1)
    if not all(length == -1 or at_least(length, 0) for length in sizes):
        raise Unfollowed("a length of its result may be negative")
    copy_zero = not call.int_("allowzero", 0)
    target = resolve_sizes(before, sizes, copy_zero)
    call.out(target)
    call.sized(1)
    flow = call.flow(0)
    if isinstance(flow, Rows) and copy_zero and flow.axis < len(sizes):
        _refuse_zero(flow.axis, sizes[flow.axis], call, target)
    return _reshaped(call, target)


def _refuse_zero(axis: int, length: Expr, call: Call, target: Shape) -> None:
    """A length that may be 0 would copy the batch's length to a place where no rows are."""
    if isinstance(length, Poly) and not at_least(length, 1):
        rows, _ = reshaped_rows(_rows(call), call.host.batch, call.shape(0), target)
        if rows.axis != axis:
            raise Unfollowed("a length of its result may be 0, which copies the number of rows")


def _rows(call: Call) -> Rows:
    flow = call.flow(0)
    assert isinstance(flow, Rows)  # noqa: S101  asked for where it is
    return flow


def _reshaped(call: Call, target: Shape) -> Value:
    """Input 0 with another shape of the same number of elements."""
    value, flow = call.value(0), call.flow(0)
    marks = value.marks & {Mark.ROW_NUMBER}
    if isinstance(flow, Rows):
        if flow.axis in value.uniform and len(value.uniform) == len(call.shape(0)):
            return _refilled(call, target)
        flow, target = reshaped_rows(flow, call.host.batch, call.shape(0), target)
        return Value(flow, target, value.dtype, marks=marks)
    contents = call.contents(0) if value.dtype in INTEGERS or value.contents is not None else None
    if contents is not None:
        contents = _reformed(contents, target)
    every = value.shape is not None and len(value.uniform) == len(value.shape)
    uniform = frozenset(range(len(target))) if every else frozenset()
    return Value(flow, target, value.dtype, contents, marks, uniform)


def _refilled(call: Call, target: Shape) -> Value:
    """A tensor of one number everywhere keeps it in any shape."""
    flow, uniform = spread(call, CONST, target, frozenset(range(len(target))))
    return Value(flow, target, call.dtype(0), uniform=uniform)


def _reformed(contents: Contents, target: Shape) -> Contents | None:
    if not all(isinstance(length, int) for length in target):
        return None
    lengths = [int(length) for length in target]  # type: ignore[arg-type]
    return contents.reshape(lengths) if product(lengths) == contents.size else None


@rule("Flatten")
def flatten(call: Call) -> Result:
    """Two axes."""
    before = call.shape(0)
    axis = call.int_("axis", 1)
    axis = axis + len(before) if axis < 0 else axis
    target = (product(before[:axis]), product(before[axis:]))
    call.out(target)
    return _reshaped(call, target)


def given_axes(call: Call, rank: int) -> list[int] | None:
    """Axes from an attribute or (since operator set 13) from input 1; None if there are none."""
    axes: Sequence[object] | None = call.ints_("axes")
    if call.has(1):
        call.whole(1, what="axis list")
        contents = call.contents(1)
        if contents is None:
            raise Unfollowed("its axes are not known")
        axes = list(contents.ravel())
    if axes is None:
        return None
    return sorted(normal_axis(int(str(axis)), rank) for axis in axes)


@rule("Squeeze", accepts=[Mark.ROW_NUMBER])
def squeeze(call: Call) -> Result:
    """Without axes, all that happen to have length 1 go: with one row, that of the rows too."""
    before = call.shape(0)
    axes = given_axes(call, len(before))
    flow = call.value(0).flow
    if axes is None:
        if not all(isinstance(length, int) for length in before):
            if isinstance(flow, Rows):
                raise Mixing("it drops the axis of the rows if there is one row")
            raise Unfollowed("which axes it drops is not known")
        axes = [axis for axis, length in enumerate(before) if length == 1]
    target = tuple(length for axis, length in enumerate(before) if axis not in axes)
    call.out(target)
    flow = call.flow(0)
    if isinstance(flow, Rows):
        if flow.axis in axes:
            raise Frozen("it drops the axis of the rows, so there can be one row only")
        flow = Rows(flow.axis - sum(axis < flow.axis for axis in axes), flow.outer, flow.group)
    kept = [axis for axis in range(len(before)) if axis not in axes]
    return _rearranged(call, flow, target, kept)


@rule("Unsqueeze", accepts=[Mark.ROW_NUMBER])
def unsqueeze(call: Call) -> Result:
    """New axes of length 1; they count in the result."""
    before = call.shape(0)
    count = (
        len(call.ints_("axes") or ())
        if not call.has(1)
        else call.shape(1)[0]
        if call.shape(1)
        else 1
    )
    if not isinstance(count, int):
        raise Unfollowed("its axes are not known")
    axes = given_axes(call, len(before) + count) or []
    kept = [axis for axis in range(len(before) + count) if axis not in axes]
    lengths: list[Expr] = [1] * (len(before) + count)
    for axis, length in zip(kept, before, strict=True):
        lengths[axis] = length
    call.out(tuple(lengths))
    flow = call.flow(0)
    if isinstance(flow, Rows):
        flow = Rows(kept[flow.axis], flow.outer, flow.group)
    value = call.value(0)
    uniform = frozenset(kept[axis] for axis in value.uniform)
    return _result(call, flow, tuple(lengths), uniform)


def _rearranged(
    call: Call, flow: Shared | Count | Rows, target: Shape, kept: Sequence[int]
) -> Value:
    """A result whose axes are the axes ``kept`` of input 0."""
    uniform = frozenset(new for new, axis in enumerate(kept) if axis in call.value(0).uniform)
    return _result(call, flow, target, uniform)


def _result(
    call: Call, flow: Shared | Count | Rows, target: Shape, uniform: frozenset[int]
) -> Value:
    value = call.value(0)
    small = value.contents is not None or value.dtype in INTEGERS
    contents = call.contents(0) if small and not isinstance(flow, Rows) else None
    if contents is not None:
        contents = _reformed(contents, target)
    return Value(flow, target, value.dtype, contents, value.marks, uniform)


@rule("Transpose")
def transpose(call: Call) -> Result:
    """Axes in another order."""
    before = call.shape(0)
    order = call.ints_("perm") or tuple(reversed(range(len(before))))
    if sorted(order) != list(range(len(before))):
        raise Unfollowed("its order does not fit its rank")
    target = tuple(before[axis] for axis in order)
    call.out(target)
    value, flow = call.value(0), call.flow(0)
    uniform = frozenset(new for new, axis in enumerate(order) if axis in value.uniform)
    if isinstance(flow, Rows):
        flow = Rows(order.index(flow.axis), flow.outer, flow.group)
        return Value(flow, target, value.dtype, uniform=uniform)
    small = value.contents is not None or value.dtype in INTEGERS
    contents = call.contents(0) if small else None
    if contents is not None:
        contents = contents.transpose(order)
    return Value(flow, target, value.dtype, contents, uniform=uniform)


# Repetition


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
    if value.contents is not None and all(isinstance(count, int) for count in repeats):
        contents = np.tile(value.contents, repeats)  # type: ignore[arg-type]
    return Value(flow, target, value.dtype, contents, NO_MARKS, uniform)


@rule("Range")
def range_(call: Call) -> Result:
    """Numbers in steps. Those from 0 to the number of rows are the rows' own numbers."""
    numbers = [call.sizes(index)[0] for index in range(3)]
    start, limit, delta = numbers
    count: Expr | None = None
    if isinstance(delta, int) and delta > 0:
        count = poly.maximum(poly.floor_divide(limit - start + delta - 1, delta), 0)
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
