"""Reductions, softmax, normalisation and sorting along axes that must not be those of the rows."""

from collections.abc import Callable
from functools import reduce as fold

import numpy as np

from inference_service.safety import algebra
from inference_service.safety.align import refuse_own_entries
from inference_service.safety.call import Call, Mixing, Result, joined, normal_axis, rule
from inference_service.safety.poly import Expr, Unfollowed
from inference_service.safety.rules.spatial import on_axis_0
from inference_service.safety.value import Count, Rows, Shape, Shared, Value

Flow = Shared | Count | Rows

NUMBERS: dict[str, Callable[[Expr, Expr], Expr]] = {
    "ReduceMax": algebra.maximum,
    "ReduceMin": algebra.minimum,
    "ReduceProd": lambda a, b: a * b,
    "ReduceSum": lambda a, b: a + b,
}


@rule(
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
def reduce(call: Call) -> Result:
    """Over the axes given; over all of them if none are."""
    shape = call.shape(0)
    axes = reduced_axes(call, len(shape))
    keep = call.int_("keepdims", 1) == 1
    call.out(reduced_shape(shape, axes, keep))
    flow = without_axes(call.flow(0), axes, keep, "it reduces over the axis of the rows")
    if axes == {0} and len(shape) == 1 and not isinstance(flow, Rows):
        return _numbers(call, flow, keep)
    return flow


def _numbers(call: Call, flow: Shared | Count, keep: bool) -> Result:
    """The product of a list of lengths is followed."""
    known, function = call.value(0).contents, NUMBERS.get(call.node.op_type)
    if call.dtype(0) not in {"int32", "int64"}:
        known = None  # floats round after each step
    contents = None
    if known is not None and known.size and function is not None:
        number = fold(function, known)
        contents = np.empty((1,) if keep else (), object)
        contents[...] = number  # object arrays hold one expression each
    return Value(flow, call.shapes[0], call.dtype(0), contents)


def reduced_axes(call: Call, rank: int) -> set[int]:
    """The axes of a reduction: an attribute, or an input since operator set 18 (ReduceSum: 13)."""
    listed = call.ints_("axes")
    if call.has(1):
        call.whole(1, what="axis list")
        contents = call.contents(1)
        if contents is None and call.shape(1) != (0,):
            raise Unfollowed("its axes are not known")
        listed = () if contents is None else tuple(int(axis) for axis in contents.ravel())
    if not listed:
        return set() if call.int_("noop_with_empty_axes", 0) else set(range(rank))
    return {normal_axis(axis, rank) for axis in listed}


def reduced_shape(shape: Shape, axes: set[int], keep: bool) -> Shape:
    """Reduced axes have length 1 or go."""
    if keep:
        return tuple(1 if axis in axes else length for axis, length in enumerate(shape))
    return tuple(length for axis, length in enumerate(shape) if axis not in axes)


def without_axes(flow: Flow, axes: set[int], keep: bool, reason: str) -> Flow:
    """Rows beside reduced axes. Raises Mixing with ``reason`` if their own axis is reduced."""
    if not isinstance(flow, Rows):
        return flow
    if flow.axis in axes:
        raise Mixing(reason)
    if keep:
        return flow
    return Rows(flow.axis - sum(axis < flow.axis for axis in axes), flow.outer, flow.group)


@rule("ArgMax", "ArgMin")
def arg(call: Call) -> Result:
    """The place of the largest along one axis."""
    shape = call.shape(0)
    axis = normal_axis(call.int_("axis", 0), len(shape))
    keep = call.int_("keepdims", 1) == 1
    call.out(reduced_shape(shape, {axis}, keep), "int64")
    return without_axes(call.flow(0), {axis}, keep, "it compares rows with each other")


@rule("Hardmax", "LogSoftmax", "Softmax")
def softmax(call: Call) -> Result:
    """Before operator set 13 over all axes from ``axis`` on, since then over it alone."""
    shape = call.shape(0)
    call.out(shape)
    flow = call.flow(0)
    if not isinstance(flow, Rows):
        return flow
    single = call.opset >= 13
    axis = normal_axis(call.int_("axis", -1 if single else 1), len(shape))
    if flow.axis == axis or (not single and flow.axis > axis):
        raise Mixing("it normalises over the axis of the rows")
    return flow


@rule("LpNormalization")
def lp_normalization(call: Call) -> Result:
    """Over one axis."""
    shape = call.shape(0)
    call.out(shape)
    axis = normal_axis(call.int_("axis", -1), len(shape))
    return without_axes(call.flow(0), {axis}, True, "it normalises over the axis of the rows")


@rule("MeanVarianceNormalization")
def mean_variance(call: Call) -> Result:
    """The default axes hold the batch."""
    shape = call.shape(0)
    call.out(shape)
    axes = {normal_axis(axis, len(shape)) for axis in call.ints_("axes") or (0, 2, 3)}
    return without_axes(call.flow(0), axes, True, "it normalises over the axis of the rows")


@rule("TopK")
def top_k(call: Call) -> Result:
    """Sorts along one axis; k is the same for all rows."""
    shape = call.shape(0)
    axis = normal_axis(call.int_("axis", -1), len(shape))
    length: Expr = call.int_("k", 0) if call.opset < 10 else call.sizes(1)[0]
    new = (*shape[:axis], length, *shape[axis + 1 :])
    call.out(new)
    call.out(new, "int64")
    given = call.whole(1, what="k")
    flow = without_axes(call.flow(0), {axis}, True, "it sorts rows")
    return flow if isinstance(flow, Rows) else joined(flow, given)


# Normalisation


@rule("BatchNormalization")
def batch_normalization(call: Call) -> Result:
    """At inference each channel is scaled; in training mode by statistics of the batch."""
    shape = call.shape(0)
    call.out(shape)
    call.whole(1, 2, 3, 4)
    training = call.int_("training_mode", 0) if call.opset >= 14 else 0
    if call.opset < 7:
        training = not call.int_("is_test", 0)
    if training or any(call.node.outputs[1:]):
        raise Mixing("it uses the statistics of the batch (training mode)")
    flow = call.flow(0)
    if isinstance(flow, Rows) and (flow.axis == 1 or not call.int_("spatial", 1)):
        return on_axis_0(call)
    return flow


@rule("InstanceNormalization", "GroupNormalization")
def instance_normalization(call: Call) -> Result:
    """Over the places (and channels) of one row."""
    call.out(call.shape(0))
    call.whole(1, 2)
    return on_axis_0(call)


@rule("LRN")
def lrn(call: Call) -> Result:
    """Over neighbouring channels."""
    call.out(call.shape(0))
    return without_axes(call.flow(0), {1}, True, "it normalises over the axis of the rows")


@rule("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def layer_normalization(call: Call) -> Result:
    """Over all axes from ``axis`` on; the second and third outputs are the statistics."""
    return layer_normalized(call, call.int_("axis", -1), 1, 2)


def layer_normalized(call: Call, axis: int, *weights: int) -> Result:
    """Layer normalisation of input 0 with the inputs ``weights`` (which broadcast)."""
    shape = call.shape(0)
    first = normal_axis(axis, len(shape))
    call.out(shape)
    statistics = (*shape[:first], *(1,) * (len(shape) - first))
    call.out(statistics, "float")
    call.out(statistics, "float")
    call.whole(*weights)
    flow = call.flow(0)
    if isinstance(flow, Rows):
        for weight in weights:
            if call.has(weight):
                refuse_own_entries(call, weight, flow.axis - len(shape))
    axes = set(range(first, len(shape)))
    return without_axes(flow, axes, True, "it normalises over the axis of the rows")


# Data-dependent sizes


@rule("NonZero")
def non_zero(call: Call) -> Result:
    """The number of results depends on the values of all rows."""
    rank = max(len(call.shape(0)), 1)
    call.host.cost_by_value(f"the {call.node} finds as many places as there are")
    call.out((rank, call.unknown("found", 0)), "int64")
    return _not_of_rows(call, 0)


@rule("Unique")
def unique(call: Call) -> Result:
    """The number of results depends on the values of all rows."""
    call.host.cost_by_value(f"the {call.node} keeps as many values as there are")
    count = call.unknown("found", 0)
    shape: Shape = (count,)
    if "axis" in call.node.attributes:
        data = call.shape(0)
        axis = normal_axis(call.int_("axis", 0), len(data))
        shape = (*data[:axis], count, *data[axis + 1 :])
    call.out(shape)
    for _ in range(3):
        call.out(None, "int64")
    return _not_of_rows(call, 0)


def _not_of_rows(call: Call, *indices: int) -> Flow:
    flow: Shared | Count = Shared(given=False)
    for index in indices:
        found = call.flow(index)
        if isinstance(found, Rows):
            raise Mixing("its results are those of all rows together")
        flow = joined(flow, found)
    return flow


@rule("Compress")
def compress(call: Call) -> Result:
    """Keeps the places that a condition chooses: of the rows' axis, it drops rows."""
    shape = call.shape(0)
    call.host.cost_by_value(f"the {call.node} keeps as many entries as its condition says")
    count = call.unknown("kept", 1)
    if "axis" not in call.node.attributes:
        call.out((count,))
        call.whole(1, what="condition")
        return _not_of_rows(call, 0)
    axis = normal_axis(call.int_("axis", 0), len(shape))
    call.out((*shape[:axis], count, *shape[axis + 1 :]))
    given = call.whole(1, what="condition")
    flow = without_axes(call.flow(0), {axis}, True, "it drops rows")
    return flow if isinstance(flow, Rows) else joined(flow, given)


@rule("NonMaxSuppression")
def non_max_suppression(call: Call) -> Result:
    """Boxes and scores of the whole batch in, a list of all that are kept out."""
    call.host.cost_by_value(f"the {call.node} keeps as many boxes as there are")
    call.out((call.unknown("kept", 0, 1), 3), "int64")
    call.whole(2, 3, 4, what="threshold")
    return _not_of_rows(call, 0, 1)


@rule("DynamicQuantizeLinear")
def dynamic_quantize(call: Call) -> Result:
    """The scale comes from the smallest and largest value of all rows."""
    call.out(call.shape(0), "uint8")
    call.out((), "float")
    call.out((), "uint8")
    if isinstance(call.flow(0), Rows):
        raise Mixing("its scale comes from the values of all rows")
    return call.flow(0)
