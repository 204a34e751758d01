"""Slice: places along axes, by numbers that may be lengths."""

from collections.abc import Sequence

from inference_service.safety import algebra
from inference_service.safety.call import Call, Mixing, Result, joined, normal_axis, rule
from inference_service.safety.poly import Expr, Taint, Unfollowed, at_least, taint_of
from inference_service.safety.rules.pieces import cut_rows
from inference_service.safety.value import COUNT, INTEGERS, Contents, Rows, Shape, Value

ENDLESS = 2**31 - 1
"""An end of a slice from here on means "to the end"."""
LONGEST_AXIS = 10**9
"""No axis within a row has as many entries."""
FEWEST_ROWS = 1000
"""A slice of the rows that keeps at least these is meant as "all rows"."""


def slice_range(length: Expr, start: Expr, end: Expr, step: int) -> tuple[Expr, Expr] | None:
    """First place and number of places of a slice; None where it is not followed."""
    if step < 0:
        return _backwards(length, start, end, step)
    first, last = _bounded(start, length), _bounded(end, length)
    if first is None or last is None:
        return None
    return first, algebra.maximum(algebra.floor_divide(last - first + step - 1, step), 0)


def _bounded(place: Expr, length: Expr) -> Expr | None:
    """A start or end between 0 and the length; negative ones count from the end."""
    endless = LONGEST_AXIS if taint_of(length) is Taint.FREE else ENDLESS
    if isinstance(place, int) and place >= endless:
        return length
    if at_least(place, 0):
        return algebra.minimum(place, length)
    if at_least(-place, 1):
        return algebra.maximum(place + length, 0)
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
        return length - 1, -algebra.floor_divide(-length, -step)
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
