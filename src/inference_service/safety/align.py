"""Where rows go: broadcasting, and the algebra of Reshape. Shared by the rules of all families."""

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import mul

from inference_service.safety import algebra
from inference_service.safety.algebra import divide
from inference_service.safety.call import Call, Frozen, Mixing, joined
from inference_service.safety.poly import Expr, Taint, Unfollowed, taint_of
from inference_service.safety.value import (
    CONST,
    MOST_CONTENTS,
    Count,
    Rows,
    Shape,
    Shared,
    Value,
)


def product(lengths: Sequence[Expr]) -> Expr:
    """The number of elements."""
    return reduce(mul, lengths, 1)


def is_small(shape: Shape) -> bool:
    """Whether the contents of a tensor of this shape are followed."""
    size = product(shape)
    return isinstance(size, int) and size <= MOST_CONTENTS


# Broadcasting


def broadcast_shape(*shapes: Shape) -> Shape:
    """Multidirectional broadcasting. Raises Unfollowed for lengths that never fit."""
    rank = max(len(shape) for shape in shapes)
    result: list[Expr] = [1] * rank
    for shape in shapes:
        for place, length in enumerate(shape, rank - len(shape)):
            known = result[place]
            if known != length:
                if isinstance(known, int) and isinstance(length, int) and 1 not in {known, length}:
                    raise Unfollowed(f"lengths {known} and {length} do not broadcast")
                result[place] = algebra.broadcast(known, length)
    return tuple(result)


def parted(call: Call, indices: Iterable[int]) -> tuple[dict[int, Rows], Shared | Count]:
    """The inputs that carry rows, and what the others depend on.

    Raises Mixing where rows meet the number of rows.
    """
    rows: dict[int, Rows] = {}
    rest: Shared | Count = CONST
    for index in indices:
        flow = call.flow(index)
        if isinstance(flow, Rows):
            rows[index] = flow
        else:
            rest = joined(rest, flow)
    if rows and isinstance(rest, Count):
        raise Mixing("it computes with the number of rows")
    return rows, rest


def meet(rows: Iterable[Rows]) -> Rows:
    """The one place at which all of some inputs hold their rows."""
    first, *others = rows
    if any(other.axis != first.axis for other in others):
        raise Mixing("it combines rows along one axis with rows along another")
    if any(other != first for other in others):
        raise Unfollowed("its inputs hold their rows in different orders")
    return first


def broadcast_rows(call: Call, indices: Sequence[int], shape: Shape) -> "Shared | Count | Rows":
    """The dependence of an element-wise result of ``shape`` on inputs ``indices``."""
    rows, rest = parted(call, indices)
    if not rows:
        return rest
    moved = {
        index: Rows(flow.axis + len(shape) - len(call.shape(index)), flow.outer, flow.group)
        for index, flow in rows.items()
    }
    if len({flow.axis for flow in moved.values()}) > 1:
        raise Mixing("it combines rows along one axis with rows along another")
    loose = {i for i, flow in rows.items() if flow.axis in call.value(i).uniform}
    found = meet([flow for i, flow in moved.items() if i not in loose] or [*moved.values()][:1])
    for index in indices:
        if index not in rows:
            refuse_own_entries(call, index, found.axis - len(shape))
    return found


def refuse_own_entries(call: Call, index: int, axis: int) -> None:
    """A `Shared` input that meets rows must have no entries of its own along their axis.

    ``axis`` is counted from the end (negative).
    """
    shape = call.shape(index)
    if -axis > len(shape) or shape[axis] == 1:
        return
    length = shape[axis]
    if length == call.host.batch and is_uniform(call, index, axis + len(shape)):
        return
    if isinstance(length, int):
        raise Mixing(f"its input {index} has {length} entries of its own along the axis of rows")
    raise Unfollowed(f"its input {index} may have entries of its own along the axis of the rows")


def is_uniform(call: Call, index: int, axis: int) -> bool:
    """Whether all entries of a `Shared` input along an axis are equal: known, or compared."""
    value = call.value(index)
    if axis in value.uniform or (value.shape is not None and value.shape[axis] == 1):
        return True
    return value.constant is not None and call.host.is_uniform(value.constant, axis)


def broadcast_uniform(values: Sequence[Value], rank: int) -> frozenset[int]:
    """Axes of an element-wise result along which all inputs are uniform."""
    if not any(value.uniform for value in values):
        return frozenset()
    axes = set(range(rank))
    for value in values:
        shape = value.shape or ()
        shift = rank - len(shape)
        own = {a + shift for a, length in enumerate(shape) if length == 1 or a in value.uniform}
        axes &= own | set(range(shift))
    return frozenset(axes)


# Reshape


def resolve_sizes(shape: Shape, target: Sequence[Expr], copy_zero: bool) -> Shape:
    """The lengths that Reshape's ``target`` (with 0 and -1) gives for a tensor of ``shape``."""
    result: list[Expr] = []
    for place, length in enumerate(target):
        if length == 0 and copy_zero:
            if place >= len(shape):
                raise Unfollowed("it copies a length that its input does not have")
            result.append(shape[place])
        else:
            result.append(length)
    if -1 in result:
        others = product([length for length in result if length != -1])
        total = product(shape)
        exact = divide(total, others) if others != 0 else 0
        result[result.index(-1)] = algebra.floor_divide(total, others) if exact is None else exact
    return tuple(result)


def reshaped_rows(rows: Rows, batch: Expr, shape: Shape, target: Shape) -> tuple[Rows, Shape]:
    """Where rows are after a Reshape, and the lengths of the result, made exact.

    Of the tensor's flat places, place p belongs to row (p // S) mod B, where S = group * the
    product of the lengths behind the axis; before it there are P = outer * the product of the
    lengths in front. The result keeps its rows along axis k if its own P and S are these. A Reshape
    keeps the number of elements (otherwise the run fails), so of "the lengths in front divide P",
    "the lengths behind divide S" and "the length at k is outer' * B * group'" any two suffice.

    Raises Frozen if the target admits one number of rows only, Unfollowed if no axis fits.
    """
    before = product(shape[: rows.axis]) * rows.outer
    behind = rows.group * product(shape[rows.axis + 1 :])
    folds: list[tuple[Expr | None, Expr | None]] = []
    prefix: Expr = 1
    for axis, length in enumerate(target):
        folds.append((divide(before, prefix), divide(behind, product(target[axis + 1 :]))))
        prefix = prefix * length
    for layout in (_by_all, _by_front, _by_back, _by_sides):
        for axis, (outer, group) in enumerate(folds):
            found = layout(batch, outer, group, target[axis])
            if found is not None:
                lengths = (*target[:axis], batch * found[0] * found[1], *target[axis + 1 :])
                return Rows(axis, *found), lengths
    if taint_of(product(target)) is Taint.FREE and taint_of(batch) is Taint.BATCH:
        raise Frozen("it reshapes to a size that admits one number of rows only")
    raise Unfollowed("the rows can't be followed through its change of shape")


Fold = tuple[Expr, Expr] | None
"""``outer`` and ``group``."""


def _by_all(batch: Expr, outer: Expr | None, group: Expr | None, length: Expr) -> Fold:
    if outer is None or group is None or batch * outer * group != length:
        return None
    return outer, group


def _by_front(batch: Expr, outer: Expr | None, group: Expr | None, length: Expr) -> Fold:
    found = None if outer is None else divide(length, batch * outer)
    return None if outer is None or found is None else (outer, found)


def _by_back(batch: Expr, outer: Expr | None, group: Expr | None, length: Expr) -> Fold:
    found = None if group is None else divide(length, batch * group)
    return None if group is None or found is None else (found, group)


def _by_sides(batch: Expr, outer: Expr | None, group: Expr | None, length: Expr) -> Fold:
    """Only where the length holds the batch: a constant would admit one number of rows."""
    fits = taint_of(length) is taint_of(batch)
    return (outer, group) if fits and outer is not None and group is not None else None
