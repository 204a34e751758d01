"""Quantisation with given scales; scales from the data (dynamic quantisation) mix."""

from inference_service.safety.align import refuse_own_entries
from inference_service.safety.call import Call, Mixing, Result, joined, normal_axis, rule
from inference_service.safety.value import Rows


@rule("QuantizeLinear")
def quantize(call: Call) -> Result:
    """To the type of the zero point."""
    return scaled(call, call.dtype(2) if call.has(2) else "uint8")


@rule("DequantizeLinear")
def dequantize(call: Call) -> Result:
    """To the type of the scale."""
    return scaled(call, call.dtype(1))


def scaled(call: Call, dtype: str) -> Result:
    """x, scale, zero point: one for the tensor, one per place of an axis, or one per block."""
    shape = call.shape(0)
    call.out(shape, dtype)
    given = call.whole(1, 2, what="scale")
    flow = call.flow(0)
    if not isinstance(flow, Rows):
        return joined(flow, given)
    for index in (1, 2):
        if not call.has(index):
            continue
        scale = call.shape(index)
        if len(scale) == 1 and scale[0] != 1:
            if normal_axis(call.int_("axis", 1), len(shape)) == flow.axis:
                raise Mixing("it has a scale for each place of the axis of the rows")
        elif len(scale) > 1:
            refuse_own_entries(call, index, flow.axis - len(shape))
    return flow
