"""Element-wise operators with broadcasting, casts and selections."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from inference_service.safety import algebra
from inference_service.safety.align import (
    broadcast_rows,
    broadcast_shape,
    broadcast_uniform,
    is_small,
)
from inference_service.safety.call import (
    Call,
    Mixing,
    Result,
    exact_number,
    joined,
    normal_axis,
    rule,
)
from inference_service.safety.poly import Expr, Unfollowed
from inference_service.safety.value import INTEGERS, Contents, Mark, Rows, Value, contents_of

FOLLOWED = frozenset({Mark.ROW_NUMBER, Mark.ROW_INDEX})

EXACT = frozenset({"int64", "int32"})
"""Types that hold the number of every row."""
FOLLOWED_TYPES = EXACT | {"bool", "float", "double"}
"""Types of numbers of lengths: others wrap around or round early."""

CAST_NAMES = (
    "undefined", "float", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool",
    "float16", "double", "uint32", "uint64", "complex64", "complex128", "bfloat16",
)  # fmt: skip
"""TensorProto.DataType by number; the 8-bit floats and smaller ones need no name here."""


def type_name(number: int) -> str:
    """The dtype of a TensorProto.DataType."""
    return CAST_NAMES[number] if 0 <= number < len(CAST_NAMES) else "undefined"


@rule(
    "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Celu", "Cos", "Cosh", "Elu",
    "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "Reciprocal",
    "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign",
    "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
)  # fmt: skip
def unary(call: Call) -> Result:
    """One tensor in, one of the same shape out."""
    call.out(call.shape(0))
    value = call.value(0)
    return Value(call.flow(0), value.shape, value.dtype, uniform=value.uniform)


@rule("IsInf", "IsNaN", "RegexFullMatch")
def test(call: Call) -> Result:
    """A truth value for each element."""
    call.out(call.shape(0), "bool")
    return call.flow(0)


@rule(
    "Identity",
    accepts=[*FOLLOWED, Mark.PADDED],
    kinds=["sequence", "map", "optional"],
)
def identity(call: Call) -> Result:
    """The same tensor."""
    call.out(call.value(0).shape)
    call.flow(0)
    return call.value(0)


def _absolute(a: Expr) -> Expr:
    return algebra.maximum(a, -a)


def _floor(a: Expr) -> Expr:
    return algebra.floor_divide(a, 1)


def _ceil(a: Expr) -> Expr:
    return -algebra.floor_divide(-a, 1)


UNARY: dict[str, Callable[[Expr], Expr]] = {
    "Abs": _absolute,
    "Ceil": _ceil,
    "Floor": _floor,
    "Neg": lambda a: -a,
    "Not": lambda a: 1 - a,
}


@rule(*UNARY)
def unary_number(call: Call) -> Result:
    """As `unary`, and numbers of lengths are followed."""
    value = call.value(0)
    call.out(call.shape(0))
    contents = value.contents if value.dtype in FOLLOWED_TYPES else None
    if contents is not None:
        contents = _map(UNARY[call.node.op_type], contents)
    return Value(call.flow(0), value.shape, value.dtype, contents, uniform=value.uniform)


@rule("Cast", accepts=FOLLOWED)
def cast(call: Call) -> Result:
    """Another element type; numbers are truncated towards zero."""
    return _cast(call, type_name(call.int_("to", 0)))


@rule("CastLike", accepts=FOLLOWED)
def cast_like(call: Call) -> Result:
    """As Cast; of the second input only the type counts."""
    return _cast(call, call.dtype(1))


@rule("BitCast")
def bit_cast(call: Call) -> Result:
    """The same bits of another type of the same width."""
    call.out(call.shape(0), type_name(call.int_("to", 0)))
    return call.flow(0)


def _cast(call: Call, dtype: str) -> Result:
    value = call.value(0)
    call.out(call.shape(0), dtype)
    if value.marks and (value.dtype not in EXACT or dtype not in EXACT):
        raise Unfollowed(f"it casts the row's own number to {dtype}, which can't hold each")
    contents = call.contents(0)
    if contents is not None:
        contents = _cast_numbers(contents, dtype)
    return Value(call.flow(0), value.shape, dtype, contents, value.marks, value.uniform)


def _cast_numbers(contents: Contents, dtype: str) -> Contents | None:
    if dtype == "bool":
        return _map(lambda a: 1 - algebra.equal(a, 0), contents)
    if dtype in {"int64", "int32"}:
        return _map(lambda a: algebra.truncate_divide(a, 1) if _fraction(a) else a, contents)
    return contents if dtype in {"float", "double"} else None


def _fraction(a: Expr) -> bool:
    return algebra.floor_divide(a, 1) != a


def _map(function: Callable[..., Expr], *arrays: Contents) -> Contents | None:
    """Numbers element by element; None where one is not followed."""
    try:
        return contents_of(np.frompyfunc(function, len(arrays), 1)(*arrays))
    except Unfollowed:
        return None


@rule("Atan2", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Pow", "StringConcat")
def binary(call: Call) -> Result:
    """Two tensors that broadcast."""
    return _broadcast(call, None)


def _pick(condition: Expr, a: Expr, b: Expr) -> Expr:
    return condition * a + (1 - condition) * b


BINARY: dict[str, tuple[str, Callable[..., Expr]]] = {
    "Add": ("", lambda a, b: a + b),
    "Sub": ("", lambda a, b: a - b),
    "Mul": ("", lambda a, b: a * b),
    "Max": ("", algebra.maximum),
    "Min": ("", algebra.minimum),
    "Equal": ("bool", algebra.equal),
    "Less": ("bool", algebra.less),
    "Greater": ("bool", lambda a, b: algebra.less(b, a)),
    "LessOrEqual": ("bool", lambda a, b: 1 - algebra.less(b, a)),
    "GreaterOrEqual": ("bool", lambda a, b: 1 - algebra.less(a, b)),
    "And": ("bool", lambda a, b: a * b),
    "Or": ("bool", lambda a, b: a + b - a * b),
    "Xor": ("bool", lambda a, b: a + b - 2 * a * b),
}


@rule(*BINARY)
def binary_number(call: Call) -> Result:
    """As `binary`, and numbers of lengths are followed."""
    dtype, function = BINARY[call.node.op_type]
    return _broadcast(call, _folding(function), dtype)


@rule("Sum", "Mean")
def variadic(call: Call) -> Result:
    """Any number of tensors that broadcast."""
    return _broadcast(call, None)


@rule("Where")
def where(call: Call) -> Result:
    """Elements of two tensors, chosen by a third."""
    return _broadcast(call, _pick, call.dtype(1))


@rule("Div")
def divide(call: Call) -> Result:
    """Integers are divided towards zero; one row's zero makes the run fail."""
    whole = call.dtype(0) in INTEGERS
    _integer_division(call)
    return _broadcast(call, algebra.truncate_divide if whole else _quotient)


@rule("Mod")
def modulo(call: Call) -> Result:
    """The rest has the divisor's sign, with ``fmod`` the dividend's."""
    _integer_division(call)
    return _broadcast(call, None if call.int_("fmod", 0) else algebra.modulo)


def _integer_division(call: Call) -> None:
    if call.dtype(0) in INTEGERS and isinstance(call.value(1).flow, Rows):
        call.host.can_fail()


def _quotient(a: Expr, b: Expr) -> Expr:
    if not isinstance(b, int | Fraction) or exact_number(1 / float(b or 3)) is None:
        raise Unfollowed("a quotient that floats round")
    return a * (1 / Fraction(b))


def _folding(function: Callable[[Expr, Expr], Expr]) -> Callable[..., Expr]:
    def fold(first: Expr, *others: Expr) -> Expr:
        for other in others:
            first = function(first, other)
        return first

    return fold


def _broadcast(call: Call, function: Callable[..., Expr] | None, dtype: str = "") -> Result:
    if call.int_("broadcast", 0) or (call.opset < 7 and "axis" in call.node.attributes):
        raise Unfollowed("broadcasting as before operator set 7")
    indices = range(len(call.inputs))
    shape = broadcast_shape(*(call.shape(index) for index in indices))
    call.out(shape, dtype or None)
    flow = broadcast_rows(call, indices, shape)
    small = not isinstance(flow, Rows) and is_small(shape)
    contents = _numbers(call, function) if function and small else None
    uniform = broadcast_uniform([call.value(index) for index in indices], len(shape))
    return Value(flow, shape, dtype or call.dtype(0), contents, uniform=uniform)


def _numbers(call: Call, function: Callable[..., Expr]) -> Contents | None:
    """Followed where an input holds lengths, or where all are small stored integers."""
    values: list[Any] = [call.value(index) for index in range(len(call.inputs))]
    lengths = any(value.contents is not None for value in values)
    if any(value.dtype not in (FOLLOWED_TYPES if lengths else EXACT) for value in values):
        return None
    arrays = [call.contents(index) for index in range(len(values))]
    known = [array for array in arrays if array is not None]
    if len(known) < len(arrays):
        return None
    return _map(function, *known)


@rule("PRelu")
def prelu(call: Call) -> Result:
    """The slope broadcasts; before operator set 7 it goes along axis 1."""
    if call.opset >= 7:
        return _broadcast(call, None)
    call.out(call.shape(0))
    call.whole(1)
    flow = call.flow(0)
    if isinstance(flow, Rows) and flow.axis != 0:
        raise Mixing("its slopes go along the axis of the rows")
    return flow


@rule("Clip")
def clip(call: Call) -> Result:
    """Bounds are scalars."""
    call.out(call.shape(0))
    bounds = call.whole(1, 2, what="bound")
    flow = call.flow(0)
    return flow if isinstance(flow, Rows) else joined(flow, bounds)


@rule("Dropout")
def dropout(call: Call) -> Result:
    """Does nothing at inference; in training mode it is random."""
    call.out(call.shape(0))
    call.out(call.shape(0), "bool")
    call.whole(1, 2, what="mode")
    if call.has(2) and call.number(2) != 0:
        raise Mixing("it is random in training mode")
    if call.opset < 7 and not call.int_("is_test", 0):
        raise Mixing("it is random in training mode")
    return call.flow(0)


@rule(
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
)  # fmt: skip
def random(call: Call) -> Result:
    """Random numbers: they depend on the place of a row in its run."""
    for index in range(len(call.inputs)):
        call.value(index)
    raise Mixing("its random numbers depend on the place in the run")


@rule("CumSum", "CumProd")
def cumulative(call: Call) -> Result:
    """Along one axis, which is not that of the rows."""
    call.out(call.shape(0))
    call.whole(1, what="axis")
    flow = call.flow(0)
    if not isinstance(flow, Rows):
        return flow
    axis = call.number(1)
    if axis is None:
        raise Unfollowed("its axis is not known")
    if normal_axis(axis, len(call.shape(0))) == flow.axis:
        raise Mixing("it accumulates along the axis of the rows")
    return flow
