"""Operators of com.microsoft that ONNX Runtime's optimisers and exporters write: float ones.

Every input is named by its slot; a slot that is not named here is refused. Operators that no CPU
kernel has, and those that search (BeamSearch, GreedySearch, Sampling), have no rule.
"""

from inference_service.safety.align import broadcast_rows
from inference_service.safety.call import Call, Mixing, Result, normal_axis, rule
from inference_service.safety.poly import Unfollowed
from inference_service.safety.rules.attention import rows_or_one, same_rows
from inference_service.safety.rules.linear import (
    Labels,
    contracted,
    gemm,
    matrix_labels,
    matrix_shape,
)
from inference_service.safety.rules.reduction import without_axes
from inference_service.safety.rules.spatial import (
    convolution_shape,
    convolved,
    on_axis_0,
    together,
)
from inference_service.safety.value import Flow, Rows, Shape

MS = "com.microsoft"


# Element-wise


@rule("Gelu", "QuickGelu", domain=MS)
def activation(call: Call) -> Result:
    """Element by element."""
    call.out(call.shape(0))
    return call.flow(0)


@rule("BiasGelu", "FastGelu", domain=MS)
def bias_gelu(call: Call) -> Result:
    """A bias for each entry of the last axis."""
    shape = call.shape(0)
    call.out(shape)
    call.whole(1, what="bias")
    if call.has(1):
        return broadcast_rows(call, (0, 1), shape)
    return call.flow(0)


@rule("MurmurHash3", domain=MS)
def murmur_hash(call: Call) -> Result:
    """A hash of each element."""
    call.out(call.shape(0), "uint32" if call.int_("positive", 1) else "int32")
    return call.flow(0)


@rule("ExpandDims", domain=MS)
def expand_dims(call: Call) -> Result:
    """A new axis of length 1."""
    shape = call.shape(0)
    call.whole(1, what="axis")
    place = call.number(1)
    if place is None:
        raise Unfollowed("its axis is not known")
    axis = normal_axis(place, len(shape) + 1)
    call.out((*shape[:axis], 1, *shape[axis:]))
    flow = call.flow(0)
    if isinstance(flow, Rows) and flow.axis >= axis:
        return Rows(flow.axis + 1, flow.outer, flow.group)
    return flow


@rule("Inverse", domain=MS)
def inverse(call: Call) -> Result:
    """The last two axes are the matrix."""
    return _beside_matrix(call)


@rule("Trilu", domain=MS)
def trilu(call: Call) -> Result:
    """A triangle of the matrix of the last two axes."""
    call.whole(1, what="diagonal")
    return _beside_matrix(call)


def _beside_matrix(call: Call) -> Result:
    shape = call.shape(0)
    call.out(shape)
    axes = {len(shape) - 1, len(shape) - 2}
    return without_axes(call.flow(0), axes, True, "the axis of the rows is one of the matrix")


# Products


@rule("FusedMatMul", "TransposeMatMul", domain=MS)
def fused_matmul(call: Call) -> Result:
    """MatMul of transposed matrices; ``transBatch`` moves the first axis to the last but one."""
    shapes: list[Shape] = []
    orders: list[list[int]] = []
    for index, letter in ((0, "A"), (1, "B")):
        shape = call.shape(index)
        order = list(range(len(shape)))
        if call.int_(f"transBatch{letter}", 0) and len(shape) > 2:
            raise Unfollowed("it transposes the axes of the stack")
        if call.int_(f"trans{letter}", 0) and len(shape) > 1:
            order[-2:] = [order[-1], order[-2]]
        orders.append(order)
        shapes.append(tuple(shape[axis] for axis in order))
    call.out(matrix_shape(*shapes))
    left, right, output = matrix_labels(*shapes)
    operands = [
        (index, _unordered(labels, order))
        for index, (labels, order) in enumerate(zip((left, right), orders, strict=True))
    ]
    return contracted(call, operands, output)


def _unordered(labels: Labels, order: list[int]) -> Labels:
    """Names in the order of the input itself."""
    return tuple(labels[order.index(axis)] for axis in range(len(order)))


@rule("FusedGemm", domain=MS)
def fused_gemm(call: Call) -> Result:
    """Gemm with an activation."""
    return gemm(call)


@rule("MatMulNBits", "MatMulBnb4", domain=MS)
def matmul_bits(call: Call) -> Result:
    """A product with a weight of few bits: A is [..., K]; all other inputs are weights."""
    shape = call.shape(0)
    call.out((*shape[:-1], call.int_("N", 0)))
    call.whole(*range(1, len(call.inputs)))
    flow = call.flow(0)
    if isinstance(flow, Rows) and flow.axis == len(shape) - 1:
        raise Mixing("it sums over the axis of the rows")
    return flow


@rule("CDist", domain=MS)
def cdist(call: Call) -> Result:
    """Distances of the rows of A and the rows of B."""
    call.out((call.shape(0)[0], call.shape(1)[0]))
    return contracted(call, [(0, ("m", "k")), (1, ("n", "k"))], ("m", "n"))


@rule("FusedConv", domain=MS)
def fused_conv(call: Call) -> Result:
    """Convolution, bias, a tensor of the result's shape to add, activation."""
    call.out(convolution_shape(call, 0, 1))
    call.whole(1, 2)
    flow = convolved(call, 0, 1)
    same_rows(call, flow, 3)
    return flow


# Normalisation


@rule("SkipLayerNormalization", domain=MS)
def skip_layer_normalization(call: Call) -> Result:
    """Of the sum of input and skip (which may be the same for all rows), over the last axis."""
    return _skip_normalized(call, 2, 3, 4)


@rule("SkipSimplifiedLayerNormalization", domain=MS)
def skip_simplified_layer_normalization(call: Call) -> Result:
    """The same without a mean: it has no beta."""
    return _skip_normalized(call, 2, 3)


def _skip_normalized(call: Call, *weights: int) -> Result:
    shape = call.shape(0)
    call.out(shape)
    statistics = (*shape[:-1], 1)
    call.out(statistics, "float")
    call.out(statistics, "float")
    call.out(shape)
    call.whole(*weights)
    if len(call.shape(1)) > len(shape):
        raise Unfollowed("its second input has a higher rank than its first")
    flow = broadcast_rows(call, (0, 1), shape)
    if isinstance(flow, Rows) and flow != call.flow(0):
        raise Unfollowed("its second input carries rows and its first does not")
    last = {len(shape) - 1}
    return without_axes(flow, last, True, "it normalises over the axis of the rows")


# Attention: [batch, sequence, hidden] in most inputs, [2, batch, …] in the state


@rule("EmbedLayerNormalization", domain=MS)
def embed_layer_normalization(call: Call) -> Result:
    """Embeds words, segments and places, and normalises; the second output is the mask's length."""
    batch, length = _matrix(call.shape(0))
    hidden = call.shape(2)[-1]
    call.out((batch, length, hidden), call.dtype(2))
    call.out((batch,), "int32")
    call.out((batch, length, hidden), call.dtype(2))
    call.whole(2, 3, 4, 5, 6)
    flow = on_axis_0(call)
    same_rows(call, flow, 1, 7)
    rows_or_one(call, flow, 2, 8)
    if isinstance(flow, Rows):
        call.host.can_fail()  # an id beyond the table
    return flow


def _matrix(shape: Shape) -> Shape:
    if len(shape) != 2:
        raise Unfollowed("its first input is no matrix")
    return shape


@rule("Attention", domain=MS)
def attention(call: Call) -> Result:
    """Input, weights, bias, mask, past, attention bias, length of the past.

    A mask of rank 1 holds one length per row, or several blocks of them: [2 B] and [3 B + 2].
    """
    shape = call.shape(0)
    if len(shape) != 3:
        raise Unfollowed("its first input has not the rank 3")
    sizes = call.ints_("qkv_hidden_sizes")
    hidden = sizes[2] if sizes else call.shape(2)[0]
    if not sizes:
        hidden = call.unknown("hidden") if not isinstance(hidden, int) else hidden // 3
    call.out((*shape[:2], hidden))
    call.whole(1, 2, 6)
    flow = on_axis_0(call)
    _mask(call, flow, 3)
    if call.has(4) or len(call.node.outputs) > 1:
        raise Unfollowed("its state is not followed")
    rows_or_one(call, flow, 4, 5)
    return flow


def _mask(call: Call, flow: Flow, index: int) -> None:
    """A padding mask: [B], [B, T], [B, S, T] or [B, 1, T, T]; other forms are not followed."""
    if not call.has(index):
        return
    shape = call.shape(index)
    if isinstance(flow, Rows):
        if len(shape) == 1 and shape[0] != call.host.batch:
            raise Unfollowed("its mask holds several blocks of lengths")
        same_rows(call, flow, index)
    else:
        call.whole(index, what="mask")


@rule("MultiHeadAttention", domain=MS)
def multi_head_attention(call: Call) -> Result:
    """Query, key, value, bias, padding mask, attention bias, past key and value (all axis 0)."""
    query = call.shape(0)
    value = call.shape(2) if call.has(2) else ()
    if len(query) != 3 or (value and len(value) not in {3, 4}):
        raise Unfollowed("it packs query, key and value together")
    hidden = value[-1] if len(value) == 3 else query[-1]
    call.out((*query[:2], hidden))
    call.whole(3)
    flow = on_axis_0(call)
    same_rows(call, flow, 1, 2, 6, 7)
    _mask(call, flow, 4)
    rows_or_one(call, flow, 4, 5)
    if any(call.node.outputs[1:]):
        key = call.shape(1) if call.has(1) else ()
        heads = call.int_("num_heads", 1)
        for _ in range(2):
            call.out((query[0], heads, call.unknown("total"), call.unknown("head")))
        if len(key) not in {3, 4}:
            raise Unfollowed("its state is not followed")
    return flow


@rule("GroupQueryAttention", domain=MS)
def group_query_attention(call: Call) -> Result:
    """Query, key, value, past key and value, lengths per row, the longest total, rotation tables.

    All rows share the buffer of the state: its length is ``total``, the same for the whole run.
    """
    query = call.shape(0)
    if len(query) != 3 or not call.has(1):
        raise Unfollowed("it packs query, key and value together")
    call.out(query)
    flow = on_axis_0(call)
    same_rows(call, flow, 1, 2, 3, 4)
    if isinstance(flow, Rows):
        same_rows(call, flow, 5)
    call.whole(6, 7, 8, what="length of all rows")
    past = call.shape(3) if call.has(3) else None
    for _ in call.node.outputs[1:]:
        if past is None or len(past) != 4:
            raise Unfollowed("its state is not followed")
        call.out((*past[:2], call.unknown("total", 6), past[3]))
    return flow


@rule("RotaryEmbedding", domain=MS)
def rotary_embedding(call: Call) -> Result:
    """Input [B, S, H] or [B, heads, S, H]; places [B, S], or [1]: the first place of all rows."""
    shape = call.shape(0)
    call.out(shape)
    call.whole(2, 3)
    flow = on_axis_0(call)
    places = call.flow(1)
    if isinstance(places, Rows):
        same_rows(call, flow, 1)
        call.host.can_fail()  # a place beyond the tables
    else:
        call.whole(1, what="place")
        if isinstance(flow, Rows) and call.shape(1) != (1,):
            raise Unfollowed("its places are not per row")
    return flow


# Others


@rule("GridSample", domain=MS)
def grid_sample(call: Call) -> Result:
    """A grid for each row."""
    shape, grid = call.shape(0), call.shape(1)
    call.out((*shape[:2], *grid[1:-1]))
    return together(call, 0, 1)


@rule("NGramRepeatBlock", domain=MS)
def n_gram_repeat_block(call: Call) -> Result:
    """Ids and scores of each row; scores of repeated n-grams are taken away."""
    call.out(call.shape(1), call.dtype(1))
    flow = together(call, 0, 1)
    if isinstance(flow, Rows):
        call.host.can_fail()  # an id beyond the scores
    return flow


@rule("DynamicTimeWarping", domain=MS)
def dynamic_time_warping(call: Call) -> Result:
    """The cheapest path through one matrix: both of its axes are walked."""
    call.out(None, "int32")
    flow = call.flow(0)
    if isinstance(flow, Rows):
        raise Mixing("its path goes through the axis of the rows")
    return flow
