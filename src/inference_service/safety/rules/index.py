"""Indexing: Gather, Scatter and their kin. The question is always: which rows index which.

An index out of range makes the whole run fail, so rows that index are partial.
"""

from inference_service.safety.align import is_small, is_uniform, meet, parted
from inference_service.safety.call import Call, Mixing, Result, joined, normal_axis, rule
from inference_service.safety.poly import Expr, Unfollowed
from inference_service.safety.value import (
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
    contents = _picked_numbers(call, axis) if is_small(target) else None
    return Value(joined(picked, by), target, call.dtype(0), contents)


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
    rows, rest = parted(call, indices)
    if not rows:
        return rest
    if 1 in rows:
        call.host.can_fail()
    if rows.keys() == {1} and len(indices) == 2 and rows[1].axis == axis:
        return rows[1]  # rows choose among shared entries
    found = meet(rows.values())
    if found.axis == axis:
        raise Mixing("the index chooses among the rows")
    for index in indices:
        if index not in rows:
            _refuse_own(call, index, found.axis)
    return found


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
    rows, rest = parted(call, (0, 1))
    if not rows:
        return rest
    if Mark.ROW_INDEX in call.value(1).marks:
        if first or rows != {0: Rows(0), 1: Rows(0)}:
            raise Unfollowed("it picks by the row's own number")
        call.host.can_fail()
        return Rows(0)
    if 1 in rows:
        call.host.can_fail()
        if rows[1].axis == len(indices) - 1:
            raise Mixing("rows are the components of its index")
    if 0 not in rows:
        if rows[1].axis < first:
            _refuse_own(call, 0, rows[1].axis)
        return rows[1]
    return _nd_picked(call, rows, first, depth)


def _nd_picked(call: Call, rows: dict[int, Rows], first: int, depth: int) -> Rows:
    """Data of rows: along an axis that both walk together, one that is indexed, one behind."""
    picked = rows[0]
    if picked.axis < first:
        if 1 not in rows:
            _refuse_own(call, 1, picked.axis)
        return meet(rows.values())
    if picked.axis < first + depth:
        raise Mixing("its index chooses among the rows")
    if 1 in rows:
        raise Mixing("rows choose among the entries of all rows")
    shift = len(call.shape(1)) - 1 - first - depth
    return Rows(picked.axis + shift, picked.outer, picked.group)


@rule("ScatterND", accepts=[Mark.ROW_INDEX])
def scatter_nd(call: Call) -> Result:
    """data with entries replaced at the places that the last axis of ``indices`` holds."""
    data, indices, depth = call.shape(0), call.shape(1), _depth(call)
    call.out(data)
    rows, rest = parted(call, (0, 1, 2))
    if not rows:
        return rest
    if Mark.ROW_INDEX in call.value(1).marks:
        if rows != dict.fromkeys(range(3), Rows(0)):
            raise Unfollowed("it replaces by the row's own number")
        call.host.can_fail()
        return Rows(0)
    if 0 not in rows:
        raise Unfollowed("it writes rows into a tensor that is none")
    if rows[0].axis < depth:
        raise Mixing("its index chooses among the rows")
    if 1 in rows:
        raise Mixing("rows choose the places that all rows are written to")
    shift = len(indices) - 1 - depth
    expected = Rows(rows[0].axis + shift, rows[0].outer, rows[0].group)
    if 2 in rows:
        meet((rows[2], expected))
    else:
        _refuse_own(call, 2, expected.axis)
    return rows[0]


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
