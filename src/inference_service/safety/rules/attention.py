"""Attention, rotation and state of ai.onnx: [batch, …] tensors whose other axes are combined."""

from inference_service.safety.align import refuse_own_entries
from inference_service.safety.call import Call, Mixing, Result, normal_axis, rule
from inference_service.safety.poly import Expr, Unfollowed
from inference_service.safety.rules.spatial import on_axis_0
from inference_service.safety.value import Flow, Rows, Shape


def same_rows(call: Call, flow: Flow, *indices: int) -> None:
    """Further inputs of one entry per row along axis 0; absent ones are fine.

    Raises Unfollowed where one carries rows and the first input does not, or the reverse.
    """
    for index in indices:
        if call.has(index) and (call.flow(index) != flow):
            raise Unfollowed(f"its input {index} does not hold the same rows as its first input")


def rows_or_one(call: Call, flow: Flow, rank: int, *indices: int) -> None:
    """Further inputs that broadcast to ``rank`` axes, of which the first is the batch.

    They carry the same rows there, or are the same for all rows.
    """
    for index in indices:
        if not call.has(index):
            continue
        other = call.flow(index)
        if isinstance(other, Rows):
            if other != flow or len(call.shape(index)) != rank:
                raise Unfollowed(f"its input {index} does not hold the rows of its first input")
        else:
            call.whole(index, what="input")
            if isinstance(flow, Rows):
                refuse_own_entries(call, index, -rank)


@rule("Attention")
def attention(call: Call) -> Result:
    """Q, K, V, mask (broadcasts to [B, H, S, T]), past key and value, lengths without padding.

    Q, K and V are [B, H, S, D], or [B, S, H * D] with the numbers of heads as attributes.
    """
    query, value = call.shape(0), call.shape(2)
    if len(query) not in {3, 4} or len(value) != len(query):
        raise Unfollowed("its inputs have not the rank 3 or 4")
    call.out((*query[:-1], _width(call, query, value)))
    flow = on_axis_0(call)
    same_rows(call, flow, 1, 2, 4, 5, 6)
    rows_or_one(call, flow, 4, 3)
    past = [call.shape(index) if call.has(index) else None for index in (4, 5)]
    for place, state in enumerate(past):
        kept = call.shape(place + 1)
        if len(kept) == 4:
            length: Expr = kept[2] if state is None else state[2] + kept[2]
            call.out((*kept[:2], length, kept[3]))
        else:
            heads = call.int_("kv_num_heads", 1)
            call.out(
                (kept[0], heads, call.unknown(f"total {place}"), call.unknown(f"head {place}"))
            )
    total = call.shapes[1][2] if call.shapes[1] is not None else call.unknown("total")
    heads_of_query: Expr = query[1] if len(query) == 4 else call.int_("q_num_heads", 1)
    call.out((query[0], heads_of_query, query[-2], total))
    return flow


def _width(call: Call, query: Shape, value: Shape) -> Expr:
    """The last length of the result: of the values, times the heads of the query in rank 3."""
    if len(query) == 4:
        return value[-1]
    heads, kept = call.int_("q_num_heads", 1), call.int_("kv_num_heads", 1)
    width = value[-1]
    if heads == kept:
        return width
    return width // kept * heads if isinstance(width, int) else call.unknown("width")


@rule("RotaryEmbedding")
def rotary_embedding(call: Call) -> Result:
    """X, cosines and sines: tables with places for each row, or entries for each row."""
    shape = call.shape(0)
    call.out(shape)
    flow = on_axis_0(call)
    if call.has(3):
        call.whole(1, 2)
        same_rows(call, flow, 3)
        if isinstance(flow, Rows):
            call.host.can_fail()  # a place beyond the tables
    else:
        same_rows(call, flow, 1, 2)
    return flow


@rule("TensorScatter")
def tensor_scatter(call: Call) -> Result:
    """State, new entries, the place of them for each row; they replace along another axis."""
    shape = call.shape(0)
    call.out(shape)
    axis = normal_axis(call.int_("axis", -2), len(shape))
    if axis == 0:
        raise Unfollowed("it writes along axis 0")
    flow = on_axis_0(call)
    same_rows(call, flow, 1, 2)
    if isinstance(flow, Rows) and call.has(2):
        call.host.can_fail()  # a place beyond the state
    return flow


@rule("RoiAlign", "MaxRoiPool")
def regions(call: Call) -> Result:
    """Regions of pictures: the regions may be rows, the pictures they point to may not."""
    pictures, boxes = call.shape(0), call.shape(1)
    sizes = call.ints_("pooled_shape") or (
        call.int_("output_height", 1),
        call.int_("output_width", 1),
    )
    call.out((boxes[0], pictures[1], *sizes))
    if call.node.op_type == "RoiAlign" and call.int_("sampling_ratio", 0) <= 0:
        call.host.cost_by_value(f"the {call.node} takes as many samples as its regions are large")
    if isinstance(call.flow(0), Rows):
        raise Mixing("its regions point to pictures of all rows")
    call.whole(0, what="picture")
    flow = on_axis_0(call, 1)
    same_rows(call, flow, 2)
    if isinstance(flow, Rows):
        call.host.can_fail()  # a region of a picture that does not exist
    return flow
