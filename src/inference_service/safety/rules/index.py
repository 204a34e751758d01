"""Indexing: Gather, Scatter and their kin. The question is always: which rows index which.

An index out of range makes the whole run fail, so rows that index are partial.
"""

from inference_service.safety.align import is_uniform
from inference_service.safety.call import Call, Mixing, Result, joined, normal_axis, rule
from inference_service.safety.poly import Expr, Unfollowed
from inference_service.safety.value import (
    CONST,
    INTEGERS,
    Contents,
    Count,
    Mark,
    Rows,
    Shared,
    Value,
    contents_of,
)

Flow = Shared | Count | Rows


@rule("Gather", accepts=[Mark.ROW_NUMBER])
def gather(call: Call) -> Result:
    """Entries of ``data`` along an axis, chosen by ``indices``."""
    data, indices = call.shape(0), call.shape(1)
    axis = normal_axis(call.int_("axis", 0), len(data))
    target = (*data[:axis], *indices, *data[axis + 1 :])
    call.out(target)
    picked, by = call.flow(0), call.flow(1)
    if Mark.ROW_NUMBER in call.value(0).marks:
        raise Unfollowed("it picks from the numbers of the rows")
    if Mark.ROW_NUMBER in call.value(1).marks:
        return _own_rows(picked, by, axis)
    if isinstance(by, Rows):
        call.host.can_fail()
        if isinstance(picked, Rows):
            raise Mixing("rows choose among the entries of all rows")
        if isinstance(picked, Count):
            raise Mixing("it computes with the number of rows")
        return Rows(axis + by.axis, by.outer, by.group)
    if isinstance(picked, Rows):
        return _picked_rows(picked, by, axis, len(indices))
    return Value(joined(picked, by), target, call.dtype(0), _picked_numbers(call, axis))


def _own_rows(picked: Flow, by: Flow, axis: int) -> Rows:
    """Indices that are the rows' own numbers choose each row itself."""
    if isinstance(picked, Rows) and picked == Rows(axis) and isinstance(by, Rows):
        return Rows(axis + by.axis, by.outer, by.group)
    raise Unfollowed("it picks by the row's own number")


def _picked_rows(picked: Rows, by: Flow, axis: int, count: int) -> Rows:
    if isinstance(by, Count):
        raise Mixing("it picks by the number of rows")
    if picked.axis == axis:
        raise Mixing("it picks certain rows")
    shift = count - 1 if axis < picked.axis else 0
    return Rows(picked.axis + shift, picked.outer, picked.group)


def _picked_numbers(call: Call, axis: int) -> Contents | None:
    data = call.value(0)
    if data.contents is None and data.dtype not in INTEGERS:
        return None
    contents, places = call.contents(0), call.contents(1)
    if contents is None or places is None or not all(isinstance(n, int) for n in places.ravel()):
        return None
    return contents_of(contents.take(places.astype(int), axis=axis))


@rule("GatherElements")
def gather_elements(call: Call) -> Result:
    """out[i, j] = data[index[i, j], j] for axis 0; the result has the shape of ``indices``."""
    axis = normal_axis(call.int_("axis", 0), len(call.shape(0)))
    call.out(call.shape(1))
    return _elements(call, (0, 1), axis)


@rule("ScatterElements", "Scatter")
def scatter_elements(call: Call) -> Result:
    """data with data[index[i, j], j] = update[i, j] for axis 0."""
    axis = normal_axis(call.int_("axis", 0), len(call.shape(0)))
    call.out(call.shape(0))
    return _elements(call, (0, 1, 2), axis)


def _elements(call: Call, indices: tuple[int, ...], axis: int) -> Flow:
    """Inputs of one rank that are walked place by place; the axis ``axis`` is indexed."""
    flows = [call.flow(index) for index in indices]
    rows = [flow for flow in flows if isinstance(flow, Rows)]
    if not rows:
        result: Shared | Count = CONST
        for flow in flows:
            result = result if isinstance(flow, Rows) else joined(result, flow)
        return result
    if isinstance(flows[1], Rows):
        call.host.can_fail()
    if any(flow.axis != rows[0].axis for flow in rows):
        raise Mixing("it combines rows along one axis with rows along another")
    if any(isinstance(flow, Count) for flow in flows):
        raise Mixing("it computes with the number of rows")
    if len(indices) == 2 and isinstance(flows[0], Shared) and rows[0].axis == axis:
        return rows[0]  # rows choose among shared entries
    if rows[0].axis == axis:
        raise Mixing("the index chooses among the rows")
    if any(flow != rows[0] for flow in rows):
        raise Unfollowed("its inputs hold their rows in different orders")
    for index, flow in zip(indices, flows, strict=True):
        if isinstance(flow, Shared):
            _refuse_own(call, index, rows[0].axis)
    return rows[0]


def _refuse_own(call: Call, index: int, axis: int) -> None:
    length = call.shape(index)[axis]
    if length != call.host.batch or not is_uniform(call, index, axis):
        raise Mixing(f"its input {index} has entries of its own along the axis of the rows")


def _depth(call: Call) -> int:
    """The number of components of an index of GatherND and ScatterND."""
    depth = call.shape(1)[-1] if call.shape(1) else None
    if not isinstance(depth, int):
        raise Unfollowed("the number of components of its index is not known")
    return depth


@rule("GatherND", accepts=[Mark.ROW_INDEX])
def gather_nd(call: Call) -> Result:
    """Entries of ``data`` at the places that the last axis of ``indices`` holds."""
    data, indices = call.shape(0), call.shape(1)
    first, depth = call.int_("batch_dims", 0), _depth(call)
    call.out((*indices[:-1], *data[first + depth :]))
    picked, by = call.flow(0), call.flow(1)
    if not isinstance(picked, Rows) and not isinstance(by, Rows):
        return joined(picked, by)
    if isinstance(picked, Count) or isinstance(by, Count):
        raise Mixing("it computes with the number of rows")
    if isinstance(by, Rows):
        call.host.can_fail()
        if by.axis == len(indices) - 1:
            raise Mixing("rows are the components of its index")
    if Mark.ROW_INDEX in call.value(1).marks:
        if first == 0 and picked == Rows(0) == by:
            return Rows(0)
        raise Unfollowed("it picks by the row's own number")
    if not isinstance(picked, Rows):
        assert isinstance(by, Rows)  # noqa: S101
        if by.axis < first:
            _refuse_own(call, 0, by.axis)
        return by
    if picked.axis < first:
        return _nd_per_row(call, picked, by)
    if picked.axis < first + depth:
        raise Mixing("its index chooses among the rows")
    if isinstance(by, Rows):
        raise Mixing("rows choose among the entries of all rows")
    return Rows(len(indices) - 1 + picked.axis - first - depth, picked.outer, picked.group)


def _nd_per_row(call: Call, picked: Rows, by: Flow) -> Rows:
    """Rows on an axis that data and indices walk together (``batch_dims``)."""
    if isinstance(by, Rows):
        if by.axis != picked.axis:
            raise Mixing("it combines rows along one axis with rows along another")
        if by != picked:
            raise Unfollowed("its inputs hold their rows in different orders")
    else:
        _refuse_own(call, 1, picked.axis)
    return picked


@rule("ScatterND", accepts=[Mark.ROW_INDEX])
def scatter_nd(call: Call) -> Result:
    """data with entries replaced at the places that the last axis of ``indices`` holds."""
    data, indices, depth = call.shape(0), call.shape(1), _depth(call)
    call.out(data)
    old, by, new = call.flow(0), call.flow(1), call.flow(2)
    if not any(isinstance(flow, Rows) for flow in (old, by, new)):
        return _joined_all(old, by, new)
    if isinstance(by, Rows):
        call.host.can_fail()
    if any(isinstance(flow, Count) for flow in (old, by, new)):
        raise Mixing("it computes with the number of rows")
    if Mark.ROW_INDEX in call.value(1).marks:
        if old == by == new == Rows(0):
            return Rows(0)
        raise Unfollowed("it replaces by the row's own number")
    if not isinstance(old, Rows):
        raise Unfollowed("it writes rows into a tensor that is none")
    if old.axis < depth:
        raise Mixing("its index chooses among the rows")
    if isinstance(by, Rows):
        raise Mixing("rows choose the places that all rows are written to")
    expected = Rows(len(indices) - 1 + old.axis - depth, old.outer, old.group)
    if isinstance(new, Rows):
        if new.axis != expected.axis:
            raise Mixing("it combines rows along one axis with rows along another")
        if new != expected:
            raise Unfollowed("its inputs hold their rows in different orders")
    else:
        _refuse_own(call, 2, expected.axis)
    return old


def _joined_all(*flows: Flow) -> Shared | Count:
    result: Shared | Count = CONST
    for flow in flows:
        if isinstance(flow, Rows):
            raise Unfollowed("rows where none were expected")
        result = joined(result, flow)
    return result


@rule("OneHot")
def one_hot(call: Call) -> Result:
    """A new axis of ``depth`` entries, the same for all rows."""
    indices = call.shape(0)
    axis = normal_axis(call.int_("axis", -1), len(indices) + 1)
    depth: Expr = call.sizes(1)[0]
    call.out((*indices[:axis], depth, *indices[axis:]), call.dtype(2))
    given = call.whole(1, 2, what="depth or value")
    flow = call.flow(0)
    if not isinstance(flow, Rows):
        return joined(flow, given)
    return Rows(flow.axis + (axis <= flow.axis), flow.outer, flow.group)


@rule("ReverseSequence")
def reverse_sequence(call: Call) -> Result:
    """The start of each sequence is reversed, by its own length."""
    call.out(call.shape(0))
    batch, time = call.int_("batch_axis", 1), call.int_("time_axis", 0)
    flow, lengths = call.flow(0), call.flow(1)
    if not isinstance(flow, Rows):
        if isinstance(lengths, Rows):
            raise Unfollowed("its lengths carry rows and its data does not")
        return joined(flow, lengths)
    if flow.axis == time:
        raise Mixing("it reverses the axis of the rows")
    if isinstance(lengths, Rows):
        call.host.can_fail()
        if flow.axis != batch:
            raise Mixing("it combines rows along one axis with rows along another")
        if (lengths.outer, lengths.group) != (flow.outer, flow.group):
            raise Unfollowed("its inputs hold their rows in different orders")
        return flow
    if isinstance(lengths, Count):
        raise Mixing("it computes with the number of rows")
    if flow.axis == batch:
        _refuse_own(call, 1, 0)
    return flow
