"""Products that sum over an axis: MatMul, Gemm, Einsum and their integer forms."""

from collections.abc import Hashable, Sequence

from inference_service.safety import algebra
from inference_service.safety.align import broadcast_shape, is_uniform, meet, parted
from inference_service.safety.call import Call, Mixing, Result, rule
from inference_service.safety.poly import Expr, Unfollowed
from inference_service.safety.value import Count, Rows, Shape, Shared

Labels = tuple[Hashable, ...]
"""A name for each axis of a tensor; axes of one name are walked together, as in Einsum."""


def contracted(
    call: Call, operands: Sequence[tuple[int, Labels]], output: Labels
) -> Shared | Count | Rows:
    """The dependence of a sum of products; ``operands`` are inputs with the names of their axes.

    An axis whose name is not in ``output`` is summed over. Lengths of 1 broadcast.
    """
    named = dict(operands)
    rows, rest = parted(call, named)
    if not rows:
        return rest
    for index, flow in rows.items():
        label = named[index][flow.axis]
        if label not in output:
            raise Mixing("it sums over the axis of the rows")
        if named[index].count(label) > 1:
            raise Mixing("it combines the axis of the rows with another")
    found = meet(
        Rows(output.index(named[index][flow.axis]), flow.outer, flow.group)
        for index, flow in rows.items()
    )
    for index, labels in operands:
        if index not in rows and output[found.axis] in labels:
            _refuse_entries(call, index, labels.index(output[found.axis]))
    return found


def _refuse_entries(call: Call, index: int, axis: int) -> None:
    length = call.shape(index)[axis]
    if length != 1 and not (length == call.host.batch and is_uniform(call, index, axis)):
        raise Mixing(f"its input {index} has entries of its own along the axis of the rows")


def matrix_labels(a: Shape, b: Shape) -> tuple[Labels, Labels, Labels]:
    """Names of the axes of MatMul's inputs and output; a vector has no row or column axis."""
    if not a or not b:
        raise Unfollowed("a scalar in a matrix product")
    stack = max(len(a), len(b)) - 2
    front = tuple(range(-stack, 0)) if stack > 0 else ()
    left = (*front[len(front) - max(len(a) - 2, 0) :], *(("m",) if len(a) > 1 else ()), "k")
    right = (*front[len(front) - max(len(b) - 2, 0) :], "k", *(("n",) if len(b) > 1 else ()))
    output = (*front, *(("m",) if len(a) > 1 else ()), *(("n",) if len(b) > 1 else ()))
    return left, right, output


def matrix_shape(a: Shape, b: Shape) -> Shape:
    """The shape of MatMul's result."""
    if not a or not b:
        raise Unfollowed("a scalar in a matrix product")
    rows = a[-2:-1]
    columns = b[-1:] if len(b) > 1 else ()
    return (*broadcast_shape(a[:-2], b[:-2]), *rows, *columns)


def multiplied(call: Call, a: int, b: int) -> Shared | Count | Rows:
    """The dependence of the product of two inputs as MatMul takes them."""
    left, right, output = matrix_labels(call.shape(a), call.shape(b))
    return contracted(call, [(a, left), (b, right)], output)


def single(call: Call, *indices: int) -> Shared:
    """Inputs that are one number for the whole tensor (a scale, a zero point)."""
    for index in indices:
        if not call.has(index):
            continue
        if isinstance(call.flow(index), Rows):
            raise Unfollowed(f"its input {index} (a scale or zero point) depends on rows")
        if any(length != 1 for length in call.shape(index)):
            raise Unfollowed(f"its input {index} (a scale or zero point) has several entries")
    return call.whole(*indices, what="scale or zero point")


def scales(call: Call, tensor: int, *indices: int) -> Shared:
    """Scales and zero points of an input: several entries only if it is a weight."""
    if isinstance(call.flow(tensor), Rows):
        return single(call, *indices)
    return call.whole(*indices, what="scale or zero point")


@rule("MatMul")
def matmul(call: Call) -> Result:
    """Stacks of matrices; the axes of rows and columns may carry the batch, the inner may not."""
    call.out(matrix_shape(call.shape(0), call.shape(1)))
    return multiplied(call, 0, 1)


@rule("MatMulInteger")
def matmul_integer(call: Call) -> Result:
    """As MatMul, with zero points."""
    call.out(matrix_shape(call.shape(0), call.shape(1)), "int32")
    flow = multiplied(call, 0, 1)
    scales(call, 0, 2)
    scales(call, 1, 3)
    return flow


@rule("QLinearMatMul")
def qlinear_matmul(call: Call) -> Result:
    """a, scale, zero point; b, scale, zero point; scale and zero point of the result."""
    call.out(matrix_shape(call.shape(0), call.shape(3)), call.dtype(7))
    left, right, output = matrix_labels(call.shape(0), call.shape(3))
    flow = contracted(call, [(0, left), (3, right)], output)
    scales(call, 0, 1, 2)
    scales(call, 3, 4, 5)
    single(call, 6, 7)
    return flow


@rule("Gemm")
def gemm(call: Call) -> Result:
    """alpha * A' * B' + beta * C; C broadcasts."""
    a, b = call.shape(0), call.shape(1)
    if len(a) != 2 or len(b) != 2:
        raise Unfollowed("its inputs are no matrices")
    left = ("k", "m") if call.int_("transA", 0) else ("m", "k")
    right = ("n", "k") if call.int_("transB", 0) else ("k", "n")
    call.out((a[left.index("m")], b[right.index("n")]))
    operands: list[tuple[int, Labels]] = [(0, left), (1, right)]
    if call.has(2):
        operands.append((2, ("m", "n")[2 - len(call.shape(2)) :]))
    return contracted(call, operands, ("m", "n"))


@rule("Einsum")
def einsum(call: Call) -> Result:
    """Sums of products by named axes."""
    operands, output = equation(call)
    lengths: dict[Hashable, Expr] = {}
    for index, labels in operands:
        for label, length in zip(labels, call.shape(index), strict=True):
            lengths[label] = algebra.broadcast(lengths.get(label, 1), length)
    call.out(tuple(lengths[label] for label in output))
    return contracted(call, operands, output)


def equation(call: Call) -> tuple[list[tuple[int, Labels]], Labels]:
    """Einsum's equation: the names of the axes of every input and of the output."""
    text = call.text("equation").replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(call.inputs):
        raise Unfollowed("its equation has another number of inputs")
    operands = [(i, _expanded(term, len(call.shape(i)))) for i, term in enumerate(terms)]
    dots = max((sum(isinstance(entry, int) for entry in labels) for _, labels in operands))
    if arrow:
        output = _expanded(right, len(right.replace("...", "")) + (dots if "..." in right else 0))
        return operands, output
    seen = [label for _, labels in operands for label in labels if isinstance(label, str)]
    once = sorted(label for label in set(seen) if seen.count(label) == 1)
    return operands, (*range(-dots, 0), *once)


def _expanded(term: str, rank: int) -> Labels:
    """The names of a term; an ellipsis becomes numbers that align from the right."""
    front, dots, back = term.partition("...")
    count = rank - len(front) - len(back)
    if count < 0 or (count and not dots) or "." in front + back:
        raise Unfollowed("its equation does not fit the rank of its inputs")
    return (*front, *range(-count, 0), *back)


@rule("Det")
def det(call: Call) -> Result:
    """The last two axes are the matrix."""
    call.out(call.shape(0)[:-2])
    flow = call.flow(0)
    if isinstance(flow, Rows) and flow.axis >= len(call.shape(0)) - 2:
        raise Mixing("the axis of the rows is one of the matrix")
    return flow
