"""What goes into a rule and what becomes of its result: the parts that hold for every node."""

from dataclasses import replace

from inference_service.safety.call import Call, Result, joined
from inference_service.safety.graph import Graph
from inference_service.safety.poly import Taint, origin_of, taint_of
from inference_service.safety.value import (
    CONST,
    COUNT,
    Contents,
    Count,
    Fault,
    Flow,
    Lost,
    Mark,
    Shared,
    Value,
)


def unscanned(value: Value | None) -> Value | None:
    """One row of a scan as a value like any other; `SCANNED` is put on the results again."""
    if value is None or Mark.SCANNED not in value.marks:
        return value
    return replace(value, marks=value.marks - {Mark.SCANNED})


def joined_shared(call: Call) -> Flow | None:
    """A node that is not followed but sees `Shared` alone gives `Shared`."""
    if any(isinstance(entry, Graph) for entry in call.node.attributes.values()):
        return None
    flow: Shared | Count = CONST
    for value in call.inputs:
        if value is None:
            continue
        if not isinstance(value.flow, Shared):
            return None
        flow = joined(flow, value.flow)
    return flow


def flow_of_numbers(contents: Contents, flow: Flow) -> Flow:
    """Numbers that are followed say exactly what they depend on."""
    if isinstance(flow, Lost):
        return flow
    worst = max(contents.ravel(), key=taint_of, default=0)
    taint = taint_of(worst)
    if taint is Taint.FREE:
        return flow if isinstance(flow, Shared) else CONST
    if taint is Taint.BATCH:
        return COUNT
    origin = origin_of(worst)
    return origin if isinstance(origin, Lost) else flow


def lost_before(call: Call) -> Lost | None:
    """The first input that has lost its rows: a better reason than what follows from it."""
    flows = (value.flow for value in call.inputs if value is not None)
    return next((flow for flow in flows if isinstance(flow, Lost)), None)


def lengths_of_lost(
    inputs: list[Value | None],
) -> tuple[list[Value | None], Lost | None]:
    """Lengths of tensors that have lost their rows are computed with, for the shapes and the cost.

    They go on as what their numbers say; the results must be lost where the tensors were.
    """
    lost: Lost | None = None
    result: list[Value | None] = []
    for value in inputs:
        if value is not None and isinstance(value.flow, Lost) and value.contents is not None:
            lost = lost or value.flow
            result.append(value.with_flow(flow_of_numbers(value.contents, CONST)))
        else:
            result.append(value)
    return result, lost


def unknown_size(call: Call) -> Lost:
    """The dependence of a result whose length comes from nowhere that is known."""
    return call.lost(Fault.UNFOLLOWED, "the size of its result is not known")


def all_outputs(call: Call, result: Result | None, flow: Flow | None) -> list[Value]:
    """The outputs; after a refusal those shapes are kept that the rule stated before it."""
    count = len(call.node.outputs)
    known = result if flow is None else flow
    if isinstance(known, Value):
        known = [known]
    if isinstance(known, list):
        if len(known) < count:
            lost = call.lost(Fault.UNFOLLOWED, "one of its outputs is not known to the analysis")
            known = known + [Value(lost)] * count
        return known[:count]
    if known is None:
        known = call.lost(Fault.UNFOLLOWED, "its rule says nothing")
    shapes = call.shapes + [None] * count
    dtypes = call.dtypes + [""] * count
    return [Value(known, shapes[place], dtypes[place]) for place in range(count)]
