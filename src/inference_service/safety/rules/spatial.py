"""Convolution, pooling, resizing: tensors of [batch, channels, spatial axes …]."""

from collections.abc import Sequence

from inference_service.safety import algebra
from inference_service.safety.align import parted
from inference_service.safety.call import Call, Mixing, Result, normal_axis, rule
from inference_service.safety.poly import Expr, Unfollowed
from inference_service.safety.rules.linear import scales, single
from inference_service.safety.value import Count, Fault, Rows, Shape, Shared, Value


def on_axis_0(call: Call, index: int = 0) -> Shared | Count | Rows:
    """An input whose rows may lie along axis 0 alone: everything else is combined."""
    flow = call.flow(index)
    if isinstance(flow, Rows) and flow.axis != 0:
        raise Mixing(f"it combines the entries of axis {flow.axis}, which holds the rows")
    return flow


# Convolution


def window_shape(call: Call, spatial: Shape, kernel: Sequence[Expr]) -> Shape:
    """Lengths after sliding a window: Conv and the pools."""
    count = len(spatial)
    strides = call.ints_("strides") or (1,) * count
    dilations = call.ints_("dilations") or (1,) * count
    pads = call.ints_("pads") or (0,) * 2 * count
    mode = call.text("auto_pad", "NOTSET")
    if min(len(kernel), len(strides), len(dilations), len(pads) // 2) < count:
        raise Unfollowed("its attributes do not fit its rank")
    result: list[Expr] = []
    for place, length in enumerate(spatial):
        stride, reach = strides[place], dilations[place] * (kernel[place] - 1) + 1
        if mode.startswith("SAME"):
            result.append(-algebra.floor_divide(-length, stride))
        elif call.int_("ceil_mode", 0):
            result.append(call.unknown(f"ceil {place}"))
        else:
            padding = pads[place] + pads[place + count] if mode == "NOTSET" else 0
            result.append(algebra.floor_divide(length + padding - reach, stride) + 1)
    return tuple(result)


def convolution_shape(call: Call, data: int, weight: int) -> Shape:
    """The shape of Conv's result."""
    shape, kernel = call.shape(data), call.shape(weight)
    if len(shape) != len(kernel) or len(shape) < 3:
        raise Unfollowed("its input and its weight have different ranks")
    return (shape[0], kernel[0], *window_shape(call, shape[2:], kernel[2:]))


def convolved(call: Call, data: int, weight: int) -> Shared | Count | Rows:
    """The dependence of a convolution: channels and places are summed over, axis 0 is not."""
    flow = call.flow(data)
    if isinstance(flow, Rows) and flow.axis != 0:
        kernel = call.shape(weight)
        apart = call.int_("group", 1) != 1 if flow.axis == 1 else kernel[flow.axis] == 1
        if apart:
            raise Unfollowed(f"its rows lie along axis {flow.axis}")
    return on_axis_0(call, data)


@rule("Conv")
def conv(call: Call) -> Result:
    """Data, weight, bias."""
    call.out(convolution_shape(call, 0, 1))
    call.whole(1, 2)
    return convolved(call, 0, 1)


@rule("ConvInteger")
def conv_integer(call: Call) -> Result:
    """Data, weight, their zero points."""
    call.out(convolution_shape(call, 0, 1), "int32")
    call.whole(1)
    scales(call, 0, 2)
    call.whole(3)
    return convolved(call, 0, 1)


@rule("QLinearConv")
def qlinear_conv(call: Call) -> Result:
    """x, scale, zero point; w, scale, zero point; scale, zero point of the result; bias."""
    call.out(convolution_shape(call, 0, 3), call.dtype(7))
    single(call, 1, 2, 6, 7)
    call.whole(3, 4, 5, 8)
    return convolved(call, 0, 3)


@rule("ConvTranspose")
def conv_transpose(call: Call) -> Result:
    """The spatial lengths are those of the gradient of Conv."""
    call.out(_transposed_shape(call))
    call.whole(1, 2)
    return on_axis_0(call)


def _transposed_shape(call: Call) -> Shape:
    shape, weight = call.shape(0), call.shape(1)
    count = len(shape) - 2
    channels = weight[1] * call.int_("group", 1)
    fixed = call.ints_("output_shape")
    if fixed is not None:
        return (shape[0], channels, *fixed[-count:])
    strides = call.ints_("strides") or (1,) * count
    dilations = call.ints_("dilations") or (1,) * count
    pads = call.ints_("pads") or (0,) * 2 * count
    extra = call.ints_("output_padding") or (0,) * count
    mode = call.text("auto_pad", "NOTSET")
    result: list[Expr] = []
    for place in range(count):
        stride, reach = strides[place], dilations[place] * (weight[place + 2] - 1) + 1
        if mode.startswith("SAME"):
            result.append(shape[place + 2] * stride)
            continue
        padding = pads[place] + pads[place + count] if mode == "NOTSET" else 0
        result.append((shape[place + 2] - 1) * stride + extra[place] + reach - padding)
    return (shape[0], channels, *result)


@rule("DeformConv")
def deform_conv(call: Call) -> Result:
    """Offsets and masks are per row, weights are not."""
    call.out(convolution_shape(call, 0, 1))
    call.whole(1, 3)
    return together(call, 0, 2, 4)


def together(call: Call, *indices: int) -> Shared | Count | Rows:
    """Inputs that carry rows along axis 0 in one order; each has one entry per row there.

    A `Shared` one beside rows has entries of its own along the axis: not followed.
    """
    present = [index for index in indices if call.has(index)]
    flows = [on_axis_0(call, index) for index in present]
    rows, rest = parted(call, present)
    if rows and any(flow != flows[0] for flow in flows):
        raise Unfollowed("some of its inputs carry rows and others do not")
    return flows[0] if rows else rest


# Pools


@rule("AveragePool", "LpPool")
def pool(call: Call) -> Result:
    """Windows over the spatial axes."""
    call.out(_pool_shape(call))
    return _per_channel(call)


@rule("MaxPool")
def max_pool(call: Call) -> Result:
    """The second output counts its indices through the whole batch."""
    shape = _pool_shape(call)
    call.out(shape)
    call.out(shape, "int64")
    flow = _per_channel(call)
    second: Shared | Count | Rows | None = None if isinstance(flow, Rows) else flow
    lost = call.lost(Fault.MIXING, "its indices count through the whole batch")
    return [
        Value(flow, shape, call.dtype(0)),
        Value(second or lost, shape, "int64"),
    ][: len(call.node.outputs)]


def _pool_shape(call: Call) -> Shape:
    shape, kernel = call.shape(0), call.ints_("kernel_shape")
    if kernel is None or len(kernel) != len(shape) - 2:
        raise Unfollowed("its window does not fit its rank")
    return (*shape[:2], *window_shape(call, shape[2:], kernel))


def _per_channel(call: Call) -> Shared | Count | Rows:
    flow = call.flow(0)
    if isinstance(flow, Rows) and flow.axis > 1:
        raise Mixing("its windows go over the axis of the rows")
    return flow


@rule("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool")
def global_pool(call: Call) -> Result:
    """One number for each channel."""
    shape = call.shape(0)
    call.out((*shape[:2], *(1,) * (len(shape) - 2)))
    return _per_channel(call)


@rule("MaxUnpool")
def max_unpool(call: Call) -> Result:
    """Its indices count through the whole batch."""
    call.out(None)
    call.host.cost_by_value(f"the {call.node} takes a size from values")
    call.whole(2)
    for index in (0, 1):
        if isinstance(call.flow(index), Rows):
            raise Mixing("its indices count through the whole batch")
    raise Unfollowed("its result is not followed")


# Resizing and sampling


@rule("Resize", "Upsample")
def resize(call: Call) -> Result:
    """The axis of the rows keeps its length; roi, scales and lengths are not per row."""
    shape = call.shape(0)
    new = _resized_shape(call, shape)
    call.out(new)
    upsample = call.node.op_type == "Upsample" or call.opset < 11
    call.whole(1, what="scales" if upsample else "region")
    if not upsample:
        call.whole(2, what="scales")
        call.sized(3)
    flow = call.flow(0)
    if not isinstance(flow, Rows):
        return flow
    if new[flow.axis] != shape[flow.axis]:
        raise Unfollowed("it may resize the axis of the rows")
    if call.text("coordinate_transformation_mode") == "tf_half_pixel_for_nn":
        raise Unfollowed("it moves places by half, also those of the rows")
    return flow


def _resized_shape(call: Call, shape: Shape) -> Shape:
    upsample = call.node.op_type == "Upsample" or call.opset < 11
    rank = len(shape)
    axes = [normal_axis(axis, rank) for axis in call.ints_("axes") or range(rank)]
    scale_input, size_input = (1, 9) if upsample else (2, 3)
    new = list(shape)
    crops = call.text("coordinate_transformation_mode") == "tf_crop_and_resize"
    if crops or call.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        for axis in axes:  # lengths by the region or by the smallest scale, also of the rows
            new[axis] = call.unknown(axis, *(index for index in (1, 2, 3) if call.has(index)))
        return tuple(new)
    if call.has(size_input):
        for axis, length in zip(axes, call.sizes(size_input), strict=True):
            new[axis] = length
        return tuple(new)
    factors = call.contents(scale_input) if call.has(scale_input) else None
    known: Sequence[Expr] | None = None if factors is None else list(factors.ravel())
    if upsample and not call.has(scale_input):  # before operator set 9
        known = call.numbers_("scales")
        if len(known) != rank:
            raise Unfollowed("its scales are not those of its axes")
    for place, axis in enumerate(axes):
        if known is None:
            new[axis] = call.unknown(axis, scale_input)
        elif known[place] != 1:
            new[axis] = algebra.floor_divide(shape[axis] * known[place], 1)
    return tuple(new)


@rule("GridSample")
def grid_sample(call: Call) -> Result:
    """A grid for each row."""
    shape, grid = call.shape(0), call.shape(1)
    call.out((*shape[:2], *grid[1:-1]))
    return together(call, 0, 1)


@rule("AffineGrid")
def affine_grid(call: Call) -> Result:
    """A matrix for each row; the lengths state the number of rows too."""
    sizes = call.sizes(1)
    call.out((sizes[0], *sizes[2:], len(sizes) - 2))
    call.sized(1)
    return on_axis_0(call)


@rule("DepthToSpace", "SpaceToDepth")
def blocks(call: Call) -> Result:
    """Blocks of places become channels, or the reverse."""
    shape, size = call.shape(0), call.int_("blocksize", 1)
    if len(shape) != 4 or size < 1:
        raise Unfollowed("its input is no picture")
    n, c, h, w = shape
    if call.node.op_type == "DepthToSpace":
        call.out((n, algebra.floor_divide(c, size * size), h * size, w * size))
    else:
        call.out((n, c * size * size, algebra.floor_divide(h, size), algebra.floor_divide(w, size)))
    return on_axis_0(call)


@rule("Col2Im")
def col2im(call: Call) -> Result:
    """Blocks of a row are added up to its picture."""
    shape = call.shape(0)
    image, block = call.sizes(1), call.sizes(2)
    total: Expr = 1
    for length in block:
        total = total * length
    call.out((shape[0], algebra.floor_divide(shape[1], total), *image))
    call.whole(1, 2, what="size")
    return on_axis_0(call)
