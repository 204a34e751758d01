"""Signals: Fourier transforms, windows; and old element-wise operators."""

from inference_service.safety.algebra import floor_divide
from inference_service.safety.call import Call, Mixing, Result, normal_axis, rule
from inference_service.safety.poly import Expr, Unfollowed
from inference_service.safety.rules.spatial import on_axis_0
from inference_service.safety.value import Rows


@rule("Affine", "ParametricSoftplus", "ScaledTanh", "Scale")
def element_wise(call: Call) -> Result:
    """Element by element, with numbers of the file."""
    call.out(call.shape(0))
    return call.flow(0)


@rule("ImageScaler")
def image_scaler(call: Call) -> Result:
    """A scale, and a bias for each channel (axis 1)."""
    call.out(call.shape(0))
    return on_axis_0(call)


@rule("DFT")
def dft(call: Call) -> Result:
    """Along one axis; the last axis holds real and imaginary parts."""
    shape = call.shape(0)
    rank = len(shape)
    given = call.whole(1, 2, what="length or axis")
    axis: int | None = call.int_("axis", 1 if call.opset < 20 else -2)
    if call.has(2):
        axis = call.number(2)
    if axis is None:
        raise Unfollowed("its axis is not known")
    axis = normal_axis(axis, rank)
    length: Expr = call.sizes(1)[0] if call.has(1) else shape[axis]
    inverse, one_sided = call.int_("inverse", 0), call.int_("onesided", 0)
    if one_sided and not inverse:
        length = floor_divide(length, 2) + 1
    call.out((*shape[:axis], length, *shape[axis + 1 : -1], 1 if one_sided and inverse else 2))
    flow = call.flow(0)
    if isinstance(flow, Rows) and flow.axis in {axis, rank - 1}:
        raise Mixing("it transforms along the axis of the rows")
    return flow if isinstance(flow, Rows) or not given.given else given


@rule("STFT")
def stft(call: Call) -> Result:
    """Signals [batch, samples, 1 or 2]; step, window and length are the same for all."""
    shape = call.shape(0)
    call.out(
        (
            shape[0],
            call.unknown("frames", 1),
            call.unknown("bins", *([3] if call.has(3) else [])),
            2,
        )
    )
    call.whole(1, 2, 3, what="step, window or length")
    return on_axis_0(call)


@rule("BlackmanWindow", "HammingWindow", "HannWindow")
def window(call: Call) -> Result:
    """A window of a length that is the same for all rows."""
    call.out((call.sizes(0)[0],), "float")
    return call.whole(0, what="length")


@rule("MelWeightMatrix")
def mel_weight_matrix(call: Call) -> Result:
    """A matrix from numbers that are the same for all rows."""
    call.out((call.unknown("bins", 1), call.unknown("bands", 0)), "float")
    return call.whole(0, 1, 2, 3, 4, what="number")
