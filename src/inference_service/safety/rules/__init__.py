"""One transfer rule per operator, by family. Importing this package fills `call.RULES`.

How to add a rule
-----------------
Write a small function of one `Call` and enter it with ``@rule("Name", …, domain="…")`` in a module
of this package; import the module below. The function

1. states the shape (and dtype) of every output with ``call.out``, using ``call.shape(i)`` and
   ``call.sizes(i)`` (the numbers of a length input). These never refuse because of dependence, so
   shapes stay known after rows are lost;
2. asks for the dependence of every input by name and slot:

   - ``call.whole(i, …)``: a weight; neither rows nor their number may reach it;
   - ``call.sized(i, …)``: lengths whose algebra was followed into the stated shape;
   - ``call.flow(i)``: the dependence itself, `Shared`, `Count` or `Rows`;
   - ``align.broadcast_rows``: element-wise inputs that broadcast;
   - ``linear.contracted`` / ``multiplied``: sums of products with named axes;
   - ``linear.single`` / ``scales``: scales and zero points;
   - ``spatial.on_axis_0`` / ``together``: [batch, …] tensors whose other axes are combined;
   - ``recurrent.per_row``: inputs with an own batch axis each;
   - ``reduction.without_axes``, ``layer_normalized``, ``quantisation.scaled``;
   - ``pieces.cut_rows``, ``repetition.spread`` (`Shared` entries repeated per row);
   - ``call.unknown(slot, i, …)``: a length that comes from the values of inputs i;
   - ``call.number(i)``, ``call.contents(i)``: numbers that are known;
   - ``align.refuse_own_entries``, ``align.is_uniform``;

3. returns the dependence (for all outputs), a `Value`, or a list of Values, one per output.

Refuse with ``Mixing(why)`` only where the node is known to combine rows, with ``Frozen(why)`` where
a constant admits one number of rows only, with ``Unfollowed(why)`` in every other case. An input
that the rule did not look at, a mark that ``accepts`` does not name, and an exception make the node
unproven. Operators of which one row's values can make the run fail call ``call.host.can_fail()``;
rules of operators with a cost by value ``call.host.cost_by_value(reason)``.

The interpreter checks every result: rows fit their shape, and no other length may depend on the
number of rows.
"""

from inference_service.safety.rules import (
    attention,
    control,
    elementwise,
    index,
    linear,
    microsoft,
    microsoft_quantised,
    ml,
    pieces,
    quantisation,
    recurrent,
    reduction,
    repetition,
    sequences,
    shapes,
    signals,
    slicing,
    spatial,
    text,
    various,
)

__all__ = [
    "attention",
    "control",
    "elementwise",
    "index",
    "linear",
    "microsoft",
    "microsoft_quantised",
    "ml",
    "pieces",
    "quantisation",
    "recurrent",
    "reduction",
    "repetition",
    "sequences",
    "shapes",
    "signals",
    "slicing",
    "spatial",
    "text",
    "various",
]
