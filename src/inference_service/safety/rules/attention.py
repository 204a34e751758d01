"""Attention, rotary embeddings, key-value caches: axis 0 is the batch, always."""

from inference_service.safety.align import refuse_own_entries
from inference_service.safety.call import Call, Result, normal_axis, rule
from inference_service.safety.poly import Expr, Unfollowed
from inference_service.safety.rules.spatial import together
from inference_service.safety.value import Rows, Shape


@rule("Attention")
def attention(call: Call) -> Result:
    """Q, K, V, mask, past key, past value, lengths of the sequences (one for each row)."""
    _attention_shapes(call)
    flow = together(call, 0, 1, 2, 4, 5, 6)
    if not call.has(3):
        return flow
    mask = call.flow(3)
    if isinstance(mask, Rows):
        if len(call.shape(3)) != 4 or mask != flow:
            raise Unfollowed("its mask holds rows in another way than its queries")
    elif isinstance(flow, Rows):
        call.whole(3, what="mask")
        refuse_own_entries(call, 3, -4)
    return flow


def _attention_shapes(call: Call) -> None:
    q, k, v = call.shape(0), call.shape(1), call.shape(2)
    past: Expr = call.shape(4)[2] if call.has(4) else 0
    if len(q) == 4 and len(k) == 4 and len(v) == 4:
        heads, keys = q[1], k[1]
        key, value, length = k[3], v[3], k[2] + past
        call.out((*q[:3], value))
    elif len(q) == 3 and len(k) == 3 and len(v) == 3:
        heads, keys = call.int_("q_num_heads", 0), call.int_("kv_num_heads", 0)
        key, value, length = _part(k[2], keys), _part(v[2], keys), k[1] + past
        call.out((*q[:2], value * heads))
    else:
        raise Unfollowed("its inputs have unlike ranks")
    call.out((q[0], keys, length, key))
    call.out((q[0], keys, length, value))
    call.out((q[0], heads, q[-2], length))


def _part(width: Expr, heads: int) -> Expr:
    if not isinstance(width, int) or heads < 1:
        raise Unfollowed("the width of its heads is not known")
    return width // heads


@rule("RotaryEmbedding")
def rotary(call: Call) -> Result:
    """With position ids the caches are tables; without them they have an entry for each row."""
    call.out(call.shape(0))
    if not call.has(3):
        return together(call, 0, 1, 2)
    call.whole(1, 2, what="cache")
    call.host.can_fail()
    return together(call, 0, 3)


@rule("TensorScatter")
def tensor_scatter(call: Call) -> Result:
    """Writes into a cache, at a place for each row."""
    shape: Shape = call.shape(0)
    call.out(shape)
    if normal_axis(call.int_("axis", -2), len(shape)) == 0:
        raise Unfollowed("it writes along the axis of the rows")
    call.host.can_fail()
    return together(call, 0, 1, 2)
