"""Changes of shape: the rows are followed by the algebra of `align`."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from inference_service.safety.align import product, reshaped_rows, resolve_sizes
from inference_service.safety.call import Call, Frozen, Mixing, Result, normal_axis, rule
from inference_service.safety.graph import Constant
from inference_service.safety.poly import Expr, Poly, Unfollowed, at_least, is_measured
from inference_service.safety.rules.repetition import spread
from inference_service.safety.value import (
    CONST,
    INTEGERS,
    Contents,
    Count,
    Fault,
    Lost,
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
    """The lengths themselves. Those of a tensor that mixes rows are known, for the cost alone.

    Whether the node that mixes runs at all may depend on the rows. What is merely not followed
    (PyTorch takes the shape of computed indices) has its lengths if they are all measured.
    """
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
    flow = call.value(0).flow
    followed = not isinstance(flow, Lost) or (
        flow.fault is Fault.UNFOLLOWED and all(is_measured(length) for length in lengths)
    )
    known = CONST if followed else flow
    return Value(known, form, "int64", contents if form else contents.reshape(()))


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
        sizes = call.sizes(1, lower=None)
    if not all(n == -1 or at_least(n, 0) or call.host.exists(n) for n in sizes):
        raise Unfollowed("a length of its result may be negative")
    copy_zero = not call.int_("allowzero", 0)
    target = resolve_sizes(before, sizes, copy_zero)
    call.out(target)
    call.sized(1)
    flow = call.flow(0)
    if isinstance(flow, Rows) and copy_zero and flow.axis < len(sizes):
        _refuse_zero(call, flow, sizes[flow.axis], target)
    return _reshaped(call, target)


def _refuse_zero(call: Call, flow: Rows, length: Expr, target: Shape) -> None:
    """A length that may be 0 would copy the batch's length to a place where no rows are."""
    if isinstance(length, Poly) and not at_least(length, 1):
        rows, _ = reshaped_rows(flow, call.host.batch, call.shape(0), target)
        if rows.axis != flow.axis:
            raise Unfollowed("a length of its result may be 0, which copies the number of rows")


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


@rule("Flatten", accepts=[Mark.PADDED])
def flatten(call: Call) -> Result:
    """Two axes. Padding stays at the end of a row if nothing but the padded axis is flattened."""
    before = call.shape(0)
    axis = call.int_("axis", 1)
    axis = axis + len(before) if axis < 0 else axis
    target = (product(before[:axis]), product(before[axis:]))
    call.out(target)
    value = call.value(0)
    if Mark.PADDED in value.marks:
        if axis != 1 or value.flow != Rows(0) or product(before[1:-1]) != 1:
            raise Unfollowed("it moves the padding of rows")
        return replace(value, shape=target)
    return _reshaped(call, target)


def given_axes(call: Call, rank: int) -> list[int] | None:
    """Axes from an attribute or (since operator set 13) from input 1; None if there are none.

    An empty list is none: ONNX Runtime's Squeeze then drops all axes of length 1.
    """
    axes: Sequence[object] | None = call.ints_("axes")
    if call.has(1):
        call.whole(1, what="axis list")
        contents = call.contents(1)
        if contents is None:
            raise Unfollowed("its axes are not known")
        axes = list(contents.ravel())
    if not axes:
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
