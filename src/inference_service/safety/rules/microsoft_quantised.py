"""Quantised operators of com.microsoft. What quantises at run time mixes rows by its scale."""

from collections.abc import Sequence

from inference_service.safety.align import broadcast_rows, broadcast_shape
from inference_service.safety.call import Call, Mixing, Result, normal_axis, rule
from inference_service.safety.poly import Expr, Unfollowed
from inference_service.safety.rules.linear import (
    contracted,
    matrix_shape,
    multiplied,
    scales,
    single,
)
from inference_service.safety.rules.reduction import without_axes
from inference_service.safety.rules.spatial import convolved, on_axis_0, window_shape
from inference_service.safety.value import Flow, Rows, Shape

MS = "com.microsoft"


# Scales from the values of all rows


@rule("DynamicQuantizeMatMul", domain=MS)
def dynamic_quantize_matmul(call: Call) -> Result:
    """Quantises its first input by the smallest and largest value of all rows."""
    call.out(matrix_shape(call.shape(0), call.shape(1)))
    call.whole(1, 2, 3, 4)
    flow = call.flow(0)
    if isinstance(flow, Rows):
        raise Mixing("its scale comes from the values of all rows")
    return flow


@rule("DynamicQuantizeLSTM", domain=MS)
def dynamic_quantize_lstm(call: Call) -> Result:
    """Quantises its input by the smallest and largest value of all rows."""
    shape, hidden = call.shape(0), call.int_("hidden_size", 0)
    directions = 2 if call.text("direction", "forward") == "bidirectional" else 1
    call.out((shape[0], directions, shape[1], hidden))
    call.out((directions, shape[1], hidden))
    call.out((directions, shape[1], hidden))
    call.whole(1, 2, 3, 7, 8, 9, 10, 11)
    for index in (0, 4, 5, 6):
        if call.has(index) and isinstance(call.flow(index), Rows):
            raise Mixing("its scale comes from the values of all rows")
    return call.whole(0, 4, 5, 6, what="input")


# Element-wise


@rule("QuantizeLinear", "DequantizeLinear", domain=MS)
def quantise(call: Call) -> Result:
    """One scale for all, or (without rows) for each entry of an axis."""
    dtype = "float"
    if call.node.op_type == "QuantizeLinear":
        dtype = call.dtype(2) if call.has(2) else "uint8"
    call.out(call.shape(0), dtype)
    scales(call, 0, 1, 2)
    return call.flow(0)


@rule("QLinearAdd", "QLinearMul", domain=MS)
def qlinear_binary(call: Call) -> Result:
    """a, scale, zero point; b, scale, zero point; scale and zero point of the result."""
    shape = broadcast_shape(call.shape(0), call.shape(3))
    call.out(shape)
    single(call, 1, 2, 4, 5, 6, 7)
    return broadcast_rows(call, (0, 3), shape)


@rule("QLinearSigmoid", "QLinearLeakyRelu", domain=MS)
def qlinear_unary(call: Call) -> Result:
    """x, scale, zero point; scale and zero point of the result."""
    call.out(call.shape(0))
    single(call, 1, 2, 3, 4)
    return call.flow(0)


@rule("QLinearWhere", domain=MS)
def qlinear_where(call: Call) -> Result:
    """condition; x, scale, zero point; y, scale, zero point; those of the result."""
    shape = broadcast_shape(call.shape(0), call.shape(1), call.shape(4))
    call.out(shape, call.dtype(1))
    single(call, 2, 3, 5, 6, 7, 8)
    return broadcast_rows(call, (0, 1, 4), shape)


@rule("QLinearSoftmax", domain=MS)
def qlinear_softmax(call: Call) -> Result:
    """As Softmax of the operator set in its attribute ``opset``: before 13 over all later axes."""
    shape = call.shape(0)
    call.out(shape)
    single(call, 1, 2, 3, 4)
    flow = call.flow(0)
    alone = call.int_("opset", 0) >= 13
    axis = normal_axis(call.int_("axis", -1), len(shape))
    axes = {axis} if alone else set(range(axis, len(shape)))
    return without_axes(flow, axes, True, "it normalises over the axis of the rows")


@rule("QLinearConcat", domain=MS)
def qlinear_concat(call: Call) -> Result:
    """Scale and zero point of the result, then a tensor, a scale and a zero point each."""
    tensors = range(2, len(call.inputs), 3)
    first = call.shape(2)
    axis = normal_axis(call.int_("axis", 0), len(first))
    total: Expr = 0
    for index in tensors:
        total = total + call.shape(index)[axis]
    call.out((*first[:axis], total, *first[axis + 1 :]), call.dtype(2))
    single(call, 0, 1, *(index + step for index in tensors for step in (1, 2)))
    return joined_rows(call, tensors, axis)


def joined_rows(call: Call, tensors: Sequence[int], axis: int) -> Flow:
    """The dependence of tensors side by side: all carry the same rows beside the axis, or none."""
    flows = [call.flow(index) for index in tensors]
    if not any(isinstance(flow, Rows) for flow in flows):
        return call.whole(*tensors, what="part")
    if any(flow != flows[0] for flow in flows):
        raise Unfollowed("some of its parts carry rows and others do not")
    if isinstance(flows[0], Rows) and flows[0].axis == axis:
        raise Mixing("it joins along the axis of the rows")
    return flows[0]


# Products


@rule("MatMulIntegerToFloat", domain=MS)
def matmul_integer_to_float(call: Call) -> Result:
    """a, b, scale of a, scale of b, zero point of a, of b, bias.

    The scale of ``a`` is one number of the file. Where it is computed from rows, it mixes them.
    """
    call.out(matrix_shape(call.shape(0), call.shape(1)), call.dtype(2))
    flow = multiplied(call, 0, 1)
    if isinstance(call.flow(2), Rows):
        raise Unfollowed("the scale of its first input depends on rows")
    single(call, 2, 4)
    scales(call, 1, 3, 5)
    call.whole(6)
    return flow


@rule("MatMulInteger16", domain=MS)
def matmul_integer_16(call: Call) -> Result:
    """MatMul of 16-bit integers."""
    call.out(matrix_shape(call.shape(0), call.shape(1)), "int32")
    return multiplied(call, 0, 1)


@rule("QGemm", domain=MS)
def qgemm(call: Call) -> Result:
    """a, scale, zero point; b, scale, zero point; c; scale and zero point of the result."""
    a, b = call.shape(0), call.shape(3)
    if len(a) != 2 or len(b) != 2:
        raise Unfollowed("its inputs are no matrices")
    left = ("k", "m") if call.int_("transA", 0) else ("m", "k")
    right = ("n", "k") if call.int_("transB", 0) else ("k", "n")
    call.out((a[left.index("m")], b[right.index("n")]), call.dtype(0) if call.has(8) else "float")
    single(call, 1, 2, 7, 8)
    scales(call, 3, 4, 5)
    call.whole(6)
    return contracted(call, [(0, left), (3, right)], ("m", "n"))


@rule("GatherBlockQuantized", domain=MS)
def gather_block_quantized(call: Call) -> Result:
    """Rows of a quantised table by ids; an id beyond the table fails the run."""
    shape, indices = call.shape(0), call.shape(1)
    axis = normal_axis(call.int_("gather_axis", 0), len(shape))
    last = call.unknown("width") if axis != len(shape) - 1 else None
    rest = shape[axis + 1 :] if last is None else (*shape[axis + 1 : -1], last)
    call.out((*shape[:axis], *indices, *rest), call.dtype(2))
    call.whole(0, 2, 3, what="table")
    flow = call.flow(1)
    if isinstance(flow, Rows):
        call.host.can_fail()
        return Rows(flow.axis + axis, flow.outer, flow.group)
    return flow


# Convolution and pools; ``channels_last`` moves the channels behind the places


@rule("QLinearConv", domain=MS)
def qlinear_conv(call: Call) -> Result:
    """x, scale, zero point; w, scale, zero point; scale, zero point of the result; bias."""
    shape, kernel = call.shape(0), call.shape(3)
    if len(shape) != len(kernel) or len(shape) < 3:
        raise Unfollowed("its input and its weight have different ranks")
    if call.int_("channels_last", 0):
        call.out((shape[0], *window_shape(call, shape[1:-1], kernel[2:]), kernel[0]))
    else:
        call.out((shape[0], kernel[0], *window_shape(call, shape[2:], kernel[2:])))
    single(call, 1, 2, 6, 7)
    call.whole(3, 4, 5, 8)
    return on_axis_0(call) if call.int_("channels_last", 0) else convolved(call, 0, 3)


@rule("QLinearAveragePool", domain=MS)
def qlinear_average_pool(call: Call) -> Result:
    """x, scale, zero point; scale and zero point of the result."""
    shape, kernel = call.shape(0), call.ints_("kernel_shape")
    if kernel is None or len(kernel) != len(shape) - 2:
        raise Unfollowed("its window does not fit its rank")
    if call.int_("channels_last", 0):
        call.out((shape[0], *window_shape(call, shape[1:-1], kernel), shape[-1]))
    else:
        call.out((*shape[:2], *window_shape(call, shape[2:], kernel)))
    single(call, 1, 2, 3, 4)
    return on_axis_0(call)


@rule("QLinearGlobalAveragePool", domain=MS)
def qlinear_global_average_pool(call: Call) -> Result:
    """x, scale, zero point; scale and zero point of the result."""
    shape = call.shape(0)
    ones: Shape = (1,) * (len(shape) - 2)
    last = call.int_("channels_last", 0)
    call.out((shape[0], *ones, shape[-1]) if last else (*shape[:2], *ones))
    single(call, 1, 2, 3, 4)
    return on_axis_0(call)


@rule("NhwcMaxPool", domain=MS)
def nhwc_max_pool(call: Call) -> Result:
    """Windows over the places; channels are last."""
    shape, kernel = call.shape(0), call.ints_("kernel_shape")
    if kernel is None or len(kernel) != len(shape) - 2:
        raise Unfollowed("its window does not fit its rank")
    call.out((shape[0], *window_shape(call, shape[1:-1], kernel), shape[-1]))
    return on_axis_0(call)


@rule("QAttention", domain=MS)
def q_attention(call: Call) -> Result:
    """Input, weight, bias, scales, mask [B] or [B, T], zero points; no past.

    Its scale of the input is one number of the file.
    """
    shape = call.shape(0)
    if len(shape) != 3:
        raise Unfollowed("its first input has not the rank 3")
    width = call.shape(1)[-1]
    hidden = width // 3 if isinstance(width, int) else call.unknown("hidden")
    call.out((*shape[:2], hidden), call.dtype(3))
    call.whole(1, 2, 4, 7)
    single(call, 3, 6)
    flow = on_axis_0(call)
    if call.has(5):
        mask = call.shape(5)
        if call.flow(5) != flow or (len(mask) == 1 and mask[0] != call.host.batch):
            raise Unfollowed("its mask does not hold one length or one line for each row")
    if call.has(8) or any(call.node.outputs[1:]):
        raise Unfollowed("its state is not followed")
    return flow
