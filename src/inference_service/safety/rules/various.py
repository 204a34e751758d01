"""Losses, signals, regions: operators without a family."""

from inference_service.safety.call import Call, Mixing, Result, joined, normal_axis, rule
from inference_service.safety.poly import Unfollowed
from inference_service.safety.rules.reduction import without_axes
from inference_service.safety.rules.spatial import on_axis_0, together
from inference_service.safety.value import Rows


@rule("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
def loss(call: Call) -> Result:
    """Scores [N, C, …], labels [N, …]; reduced over the batch unless told otherwise."""
    scores = call.shape(0)
    reduced = call.text("reduction", "mean") != "none"
    call.out(() if reduced else (scores[0], *scores[2:]))
    call.out(scores)
    call.whole(2)
    call.host.can_fail()
    flow = together(call, 0, 1)
    if reduced and isinstance(flow, Rows):
        raise Mixing("it reduces over the axis of the rows")
    return flow


@rule("RoiAlign")
def roi_align(call: Call) -> Result:
    """Pictures, regions, and of which picture each region is: the regions may be rows."""
    shape, regions = call.shape(0), call.shape(1)
    size = call.int_("output_height", 1), call.int_("output_width", 1)
    call.out((regions[0], shape[1], *size))
    if isinstance(call.flow(0), Rows):
        raise Mixing("its regions choose among the rows")
    call.host.can_fail()
    flow = together(call, 1, 2)
    return flow if isinstance(flow, Rows) else joined(flow, call.whole(0))


@rule("CenterCropPad")
def center_crop_pad(call: Call) -> Result:
    """Crops or pads to lengths; the axis of the rows must keep its own."""
    shape, sizes = call.shape(0), call.sizes(1)
    axes = [normal_axis(axis, len(shape)) for axis in call.ints_("axes") or range(len(shape))]
    new = list(shape)
    for axis, length in zip(axes, sizes, strict=True):
        new[axis] = length
    call.out(tuple(new))
    call.sized(1)
    flow = call.flow(0)
    if isinstance(flow, Rows) and new[flow.axis] != shape[flow.axis]:
        raise Unfollowed("it may crop or pad the axis of the rows")
    return flow


@rule("DFT")
def dft(call: Call) -> Result:
    """Along one axis; the last axis holds real and imaginary part."""
    shape = call.shape(0)
    axis = call.number(2) if call.has(2) else call.int_("axis", 1 if call.opset < 20 else -2)
    call.whole(1, 2, what="length or axis")
    if axis is None:
        raise Unfollowed("its axis is not known")
    place = normal_axis(axis, len(shape))
    changed = call.has(1) or call.int_("onesided", 0)
    length = call.unknown("bins") if changed else shape[place]
    call.out((*shape[:place], length, *shape[place + 1 : -1], 2))
    axes = {place, len(shape) - 1}
    return without_axes(call.flow(0), axes, True, "it transforms the axis of the rows")


@rule("STFT")
def stft(call: Call) -> Result:
    """Frames of a signal [batch, length, parts]."""
    shape = call.shape(0)
    call.out((shape[0], call.unknown("frames"), call.unknown("bins"), 2))
    call.whole(1, 2, 3, what="window or length")
    return on_axis_0(call)


@rule("BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix")
def window(call: Call) -> Result:
    """Made from numbers that must be the same for all rows."""
    call.out(None)
    return call.whole(*range(len(call.inputs)), what="number")
