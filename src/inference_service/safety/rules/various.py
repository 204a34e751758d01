"""Losses and cropping: operators without a family."""

from inference_service.safety.call import Call, Mixing, Result, normal_axis, rule
from inference_service.safety.poly import Unfollowed, at_least
from inference_service.safety.rules.spatial import together
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


@rule("CenterCropPad")
def center_crop_pad(call: Call) -> Result:
    """Crops or pads to lengths; the axis of the rows must keep its own."""
    shape, sizes = call.shape(0), call.sizes(1, lower=None)
    if not all(at_least(length, 0) for length in sizes):
        raise Unfollowed("a length of its result may be negative, which it takes for 0")
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
