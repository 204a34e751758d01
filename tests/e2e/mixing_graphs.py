"""Graphs in which a careless server gives one client another client's numbers.

Each is tiny and of a kind of its own: rows that meet along axis 0, first axes that are not rows,
counts that depend on the data, tensors of every kind that a batch is not easily made of. They are
in the text form of ONNX (https://onnx.ai/onnx/repo-docs/Syntax.html).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import parser

Inputs = Mapping[str, "np.ndarray"]
_ROWS = (1, 2, 3, 1, 5, 2)
_DTYPES: dict[int, "np.dtype"] = {
    onnx.TensorProto.FLOAT: np.dtype(np.float32), onnx.TensorProto.INT64: np.dtype(np.int64),
    onnx.TensorProto.BOOL: np.dtype(bool), onnx.TensorProto.FLOAT16: np.dtype(np.float16),
    onnx.TensorProto.UINT8: np.dtype(np.uint8), onnx.TensorProto.DOUBLE: np.dtype(np.float64),
    onnx.TensorProto.INT32: np.dtype(np.int32), onnx.TensorProto.STRING: np.dtype(object),
    onnx.TensorProto.INT8: np.dtype(np.int8),
}  # fmt: skip
WORDS = ("a", "bb c", "", "d e f g", "stop", "h")


@dataclass(frozen=True)
class Graph:
    """``text`` is the graph. ``axes`` are lengths of its free axes, one after the other; other
    axes have the lengths of ``_ROWS``. ``largest`` bounds integers."""

    text: str
    axes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    largest: int = 4
    ir_version: int = 9
    opset: int = 18

    def model(self) -> onnx.ModelProto:
        """The file."""
        head = (
            f'<ir_version: {self.ir_version}, opset_import: ["" : {self.opset}, '
            '"com.microsoft" : 1, "ai.onnx.ml" : 3]>'
        )
        return parser.parse_model(f"{head} g {self.text}")

    def request(self, seed: int) -> Inputs:
        """Inputs with other lengths and magnitudes for each seed."""
        random = np.random.default_rng(seed)
        found: dict[str, np.ndarray] = {}
        for value in self.model().graph.input:
            tensor = value.type.tensor_type
            dims = tensor.shape.dim
            shape = [dim.dim_value if not dim.dim_param else self._length(dim.dim_param, seed)
                     for dim in dims]  # fmt: skip
            found[value.name] = _values(
                random, _DTYPES[tensor.elem_type], shape, seed, self.largest
            )
        return found

    def _length(self, name: str, seed: int) -> int:
        lengths = self.axes.get(name, _ROWS)
        return lengths[seed % len(lengths)]


def _values(
    random: np.random.Generator, dtype: "np.dtype", shape: list[int], seed: int, largest: int
) -> "np.ndarray":
    if dtype.kind == "O":
        return np.array(random.choice(WORDS, shape), object)
    if dtype.kind == "b":
        return np.asarray(random.random(shape) < 0.3 + 0.2 * (seed % 3))
    if dtype.kind in "iu":
        return np.asarray(random.integers(0, largest + seed % 3, shape)).astype(dtype)
    return np.asarray(random.standard_normal(shape) * 10.0 ** (seed % 3)).astype(dtype)


ACROSS_ROWS = {
    "prefix-sum-flat": Graph("""(float[batch,4] x) => (float[batch,4] y)
        <int64[1] flat = {-1}, int64 zero = {0}>
        { f = Reshape(x, flat)  c = CumSum(f, zero)  s = Shape(x)  y = Reshape(c, s) }"""),
    "softmax-turned": Graph("""(float[batch,4] x) => (float[batch,4] y)
        { t = Transpose<perm=[1,0]>(x)  s = Softmax<axis=1>(t)  y = Transpose<perm=[1,0]>(s) }"""),
    "softmax-flat": Graph("""(float[batch,4] x) => (float[1,n] y)
        { f = Flatten<axis=0>(x)  y = Softmax<axis=1>(f) }"""),
    "softmax-11": Graph(
        """(float[batch,4] x) => (float[batch,4] y)
        { y = Softmax<axis=0>(x) }""",
        opset=11,
    ),
    "less-the-first": Graph("""(float[batch,4] x) => (float[batch,4] y) <int64 zero = {0}>
        { f = Gather<axis=0>(x, zero)  y = Sub(x, f) }"""),
    "turned-around": Graph("""(float[batch,4] x) => (float[batch,4] y)
        <int64[1] from = {-1}, int64[1] to = {-1000000}, int64[1] axis = {0}, int64[1] by = {-1}>
        { y = Slice(x, from, to, axis, by) }"""),
    "running-sum": Graph("""(float[batch,4] x) => (float[batch,4] y) <float[4] start = {0,0,0,0}>
        { last, y = Scan<num_scan_inputs=1, body=step (float[4] before, float[4] row)
            => (float[4] after, float[4] told)
            { after = Add(before, row)  told = Identity(after) }>(start, x) }"""),
    "cumulated": Graph("""(float[batch,4] x) => (float[batch,4] y) <int64 zero = {0}>
        { y = CumSum(x, zero) }"""),
    "top-of-all": Graph("""(float[batch,4] x) => (float[1,4] y, int64[1,4] place)
        <int64[1] one = {1}> { y, place = TopK<axis=0>(x, one) }"""),
    "places": Graph("""(float[batch,4] x) => (int64[2,n] y) { y = NonZero(x) }"""),
    "different": Graph("""(int64[batch,4] x) => (int64[n] y, int64[n] count)
        { y, first, back, count = Unique<sorted=1>(x) }"""),
    "different-ms": Graph("""(float[batch] x) => (float[n] y, int64[batch] back, int64[n] count)
        { y, back, count = com.microsoft.Unique(x) }"""),
    "norm-of-all": Graph("""(float[batch,4] x) => (float[batch,4] y) <int64[1] zero = {0}>
        { n = ReduceL2<keepdims=1>(x, zero)  y = Div(x, n) }"""),
    "batch-statistics": Graph("""(float[batch,4] x) => (float[batch,4] y)
        <float[4] scale = {1,1,1,1}, float[4] bias = {0,0,0,0},
         float[4] mean = {0,0,0,0}, float[4] variance = {1,1,1,1}>
        { y, m, v = BatchNormalization<training_mode=1>(x, scale, bias, mean, variance) }"""),
    "similarities": Graph("""(float[batch,4] x) => (float[batch,n] y)
        { t = Transpose<perm=[1,0]>(x)  y = MatMul(x, t) }"""),
    "similarities-ms": Graph("""(float[batch,4] x) => (float[batch,n] y)
        { y = com.microsoft.FusedMatMul<transB=1>(x, x) }"""),
    "similarities-einsum": Graph("""(float[batch,4] x) => (float[batch,n] y)
        { y = Einsum<equation="bi,ci->bc">(x, x) }"""),
    "attention-of-rows": Graph("""(float[batch,4] x) => (float[batch,4] y)
        { t = Transpose<perm=[1,0]>(x)  s = MatMul(x, t)  a = Softmax<axis=1>(s)
          y = MatMul(a, x) }"""),
    "as-often-as-rows": Graph("""(float[batch,4] x) => (float[batch,4] y)
        <int64 zero = {0}, bool go = {1}, float[1] half = {0.5}>
        { s = Shape(x)  n = Gather(s, zero)
          y = Loop<body=step (int64 i, bool again, float[a,b] before)
            => (bool more, float[a,b] after)
            { more = Identity(again)  after = Mul(before, half) }>(n, go, x) }"""),
    "instance-of-turned": Graph("""(float[batch,4,2] x) => (float[batch,4,2] y)
        <float[4] one = {1,1,1,1}, float[4] zero = {0,0,0,0}>
        { t = Transpose<perm=[2,1,0]>(x)  n = InstanceNormalization(t, one, zero)
          y = Transpose<perm=[2,1,0]>(n) }"""),
    "channels-of-turned": Graph("""(float[batch,4] x) => (float[batch,4] y)
        <int64[2] axes = {0,3}>
        { u = Unsqueeze(x, axes)  n = LRN<size=3, alpha=1.0>(u)  y = Squeeze(n, axes) }"""),
    "pooled-rows": Graph("""(float[batch,4] x) => (float[m,2] y) <int64[2] axes = {0,1}>
        { u = Unsqueeze(x, axes)
          p = MaxPool<kernel_shape=[2,2], strides=[1,2], pads=[1,0,0,0]>(u)
          y = Squeeze(p, axes) }"""),
    "rows-resized": Graph("""(float[batch,4] x) => (float[m,4] y) <float[2] by = {2,1}>
        { y = Resize<mode="nearest">(x, , by) }"""),
    "best-row": Graph("""(float[batch,4] x) => (int64[4] y)
        { y = ArgMax<axis=0, keepdims=0>(x) }"""),
    "one-hot-rows": Graph("""(float[batch,4] x) => (float[batch,4] y)
        { y = Hardmax<axis=0>(x) }"""),
    "numbered": Graph("""(float[batch,4] x) => (float[batch,4] y)
        <int64 zero = {0}, int64 one = {1}, int64[1] axis = {1}>
        { s = Shape(x)  n = Gather(s, zero)  r = Range(zero, n, one)  f = Cast<to=1>(r)
          c = Unsqueeze(f, axis)  y = Add(x, c) }"""),
    "by-their-number": Graph("""(float[batch,4] x) => (float[batch,4] y) <int64 zero = {0}>
        { s = Shape(x)  n = Gather(s, zero)  f = Cast<to=1>(n)  y = Div(x, f) }"""),
    "rows-written-over": Graph("""(float[batch,4] x, int64[batch,1] place) => (float[6,4] y)
        <int64[2] all = {6,4}> { z = ConstantOfShape(all)  y = ScatterND(z, place, x) }"""),
    "rows-picked": Graph(
        """(float[batch,4] x, int64[batch] place) => (float[batch,4] y)
        { y = Gather<axis=0>(x, place) }""",
        largest=1,
    ),
    "time-is-first": Graph("""(float[time,2,3] x) => (float[time,1,2,2] y)
        <float[1,8,3] w = {1,2,3,1,2,3,1,2,3,1,2,3,1,2,3,1,2,3,1,2,3,1,2,3},
         float[1,8,2] r = {1,0,0,1,1,0,0,1,1,0,0,1,1,0,0,1}>
        { y = LSTM<hidden_size=2>(x, w, r) }"""),
    "time-by-length": Graph(
        """(float[time,batch,2] x, int64[batch] n) => (float[time,batch,2] y)
        { y = ReverseSequence<time_axis=0, batch_axis=1>(x, n) }""",
        axes={"time": (5,)},
    ),
    "triangle": Graph("""(float[batch,4] x) => (float[batch,4] y) { y = Trilu<upper=0>(x) }"""),
    "cropped": Graph("""(float[batch,4] x) => (float[3,4] y) <int64[1] three = {3}>
        { y = CenterCropPad<axes=[0]>(x, three) }"""),
    "waves": Graph(
        """(float[batch,4,1] x) => (float[batch,4,2] y)
        { y = DFT<axis=0>(x) }""",
        opset=17,
    ),
    "quantised-together": Graph("""(float[batch,4] x) => (uint8[batch,4] y, float s, uint8 z)
        { y, s, z = DynamicQuantizeLinear(x) }"""),
    "quantised-product": Graph(
        """(float[batch,4] x) => (float[batch,2] y)
        <int8[4,2] w = {1,2,3,4,5,6,7,8}, float[1] s = {0.1}>
        { y = com.microsoft.DynamicQuantizeMatMul(x, w, s) }""",
        axes={"batch": (1,)},
    ),
    "any-row": Graph("""(float[batch,4] x) => (float[batch,4] y) <float five = {5}>
        { m = ReduceMax<keepdims=0>(x)  g = Greater(m, five)
          y = If<then_branch=t () => (float[a,b] o) { o = Neg(x) },
                 else_branch=e () => (float[a,b] q) { q = Identity(x) }>(g) }"""),
    "modulo-of-all": Graph("""(int64[batch,4] x) => (int64[batch,4] y) <int64 one = {1}>
        { m = ReduceMax<keepdims=0>(x)  n = Add(m, one)  t = Add(x, n)  y = Mod(t, n) }"""),
    "groups-of-rows": Graph("""(float[batch,4] x) => (float[batch,4] y)
        <int64[3] apart = {1,-1,4}, int64[2] rows = {-1,4}, int64[1] axis = {1}>
        { r = Reshape(x, apart)  m = ReduceMean<keepdims=1>(r, axis)  d = Sub(r, m)
          y = Reshape(d, rows) }"""),
    "ones-on-the-diagonal": Graph("""(float[batch,4] x) => (float[batch,4] y)
        { e = EyeLike(x)  y = Add(x, e) }"""),
    "places-through-the-batch": Graph("""(float[batch,1,4] x) => (float[batch,1,2] y, int64[batch,1,2] i)
        { y, i = MaxPool<kernel_shape=[2], strides=[2]>(x) }"""),
    "weights-from-rows": Graph(
        """(float[batch,2,3] x) => (float[batch,m,1] y) { y = Conv(x, x) }"""
    ),
    "less-each-other": Graph("""(float[batch,4] x) => (float[batch,n] y) <int64[1] one = {1}>
        { s = ReduceSum<keepdims=1>(x, one)  t = Transpose(s)  y = Sub(s, t) }"""),
    "as-many-as-are-kept": Graph("""(float[batch,4] x) => (float[batch,4] y)
        { r = Relu(x)  n = NonZero(r)  s = Shape<start=1>(n)  f = Cast<to=1>(s)  y = Mul(x, f) }"""),
    "a-round-each": Graph("""(int64[batch] n, float[batch,4] x) => (float[batch,4] y) <bool go = {1}>
        { m = ReduceMax<keepdims=0>(n)
          y = Loop<body=step (int64 i, bool again, float[a,b] before)
            => (bool more, float[a,b] after)
            { more = Identity(again)  after = Add(before, before) }>(m, go, x) }"""),
    "padded-rows": Graph("""(float[batch,4] x) => (float[m,4] y) <int64[4] by = {1,0,0,0}>
        { y = Pad(x, by) }"""),
    "rolled-ms": Graph("""(float[batch,4] x) => (float[m,4] y) <int64[4] by = {1,0,0,0}>
        { y = com.microsoft.Pad(x, by) }"""),
}
"""Rows meet."""

ODD_AXES = {
    "scalar": Graph("""(float[batch,4] x) => (float y) { y = ReduceMean<keepdims=0>(x) }"""),
    "size": Graph("""(float[batch,4] x) => (int64 y) { y = Size(x) }"""),
    "scaled": Graph("""(float[batch,4] x, float by) => (float[batch,4] y) { y = Mul(x, by) }"""),
    "two-lists": Graph(
        """(float[a,4] x, float[b,4] z) => (float[a,b] y)
        { t = Transpose<perm=[1,0]>(z)  y = MatMul(x, t) }""",
        axes={"b": (2, 3)},
    ),
    "joined": Graph(
        """(float[a,4] x, float[b,4] z) => (float[c,4] y)
        { y = Concat<axis=0>(x, z) }""",
        axes={"b": (2, 3)},
    ),
    "broadcast": Graph(
        """(float[a,4] x, float[b,4] z) => (float[c,4] y) { y = Add(x, z) }""",
        axes={"a": (1, 5, 1, 1, 5, 2), "b": (5, 5, 1, 1, 1, 3)},
    ),
    "twice-as-many": Graph(
        """(float[a,4] x, float[b,2] z) => (float[a,4] y)
        <int64[2] pairs = {-1,4}> { w = Reshape(z, pairs)  y = Add(x, w) }""",
        axes={"a": (1, 2, 3), "b": (2, 4, 6)},
    ),
    "twice": Graph("""(float[batch,4] x) => (float[b2,4] y) { y = Concat<axis=0>(x, x) }"""),
    "time-first": Graph(
        """(float[time,batch,2] x) => (float[time,batch,2] y)
        { y = Neg(x) }""",
        axes={"time": (3, 2)},
    ),
    "time-last": Graph(
        """(float[1,5,2] x) => (float[5,1,2] y) { y = Transpose<perm=[1,0,2]>(x) }"""
    ),
    "boxes": Graph("""(float[batch,4] x) => (float[n,4] y) <float zero = {0}, int64[1] axis = {1}>
        { m = ReduceMax<keepdims=0>(x, axis)  g = Greater(m, zero)  y = Compress<axis=0>(x, g) }"""),
    "suppressed": Graph(
        """(float[1,boxes,4] x, float[1,1,boxes] score) => (int64[n,3] y)
        <int64 most = {3}, float over = {0.5}, float least = {0.1}>
        { y = NonMaxSuppression(x, score, most, over, least) }""",
        axes={"boxes": (4, 5)},
    ),
    "nothing-in-it": Graph(
        """(float[batch,n] x) => (float[batch,n] y) { y = Neg(x) }""",
        axes={"n": (0, 2, 3), "batch": (2, 1, 0)},
    ),
    "no-rows": Graph(
        """(float[batch,4] x) => (float[batch,4] y) { y = Neg(x) }""", axes={"batch": (0, 2, 0, 1)}
    ),
    "sum-of-none": Graph(
        """(float[batch,n] x) => (float[batch,1] y) <int64[1] axis = {1}>
        { y = ReduceSum<keepdims=1>(x, axis) }""",
        axes={"n": (0, 2, 3)},
    ),
    "square": Graph("""(float[n,n] x) => (float[n,n] y) { y = Transpose<perm=[1,0]>(x) }"""),
    "to-a-size-that-is-sent": Graph(
        """(float[batch,1] x, int64[2] s) => (float[m,n] y) { y = Expand(x, s) }""", largest=1
    ),
    "split-places": Graph("""(float[batch,4] x) => (float[batch,3] a, float[batch,1] b)
        <int64[2] at = {3,1}> { a, b = Split<axis=1>(x, at) }"""),
    "three-rows": Graph("""(float[3,4] x) => (float[3,4] y) <int64[1] zero = {0}>
        { m = ReduceMean<keepdims=1>(x, zero)  y = Sub(x, m) }"""),
    "four-at-once": Graph("""(float[4,2] x) => (float[4,2] y) { y = Neg(x) }"""),
}
"""First axes that are not rows, or not the same ones, and lengths of 0."""

KINDS = {
    "text-joined": Graph(
        """(string[batch,2] x, string[batch,2] z) => (string[batch,2] y)
        { y = StringConcat(x, z) }""",
        opset=20,
        ir_version=9,
    ),
    "text-split": Graph(
        """(string[batch] x) => (string[batch,n] y, int64[batch] count)
        { y, count = StringSplit(x) }""",
        opset=20,
    ),
    "text-left-out": Graph("""(string[words] x) => (string[n] y)
        { y = StringNormalizer<stopwords=["stop"], case_change_action="UPPER", locale="C">(x) }"""),
    "text-same": Graph("""(string[batch,2] x) => (string[batch,2] y) { y = Identity(x) }"""),
    "any-true": Graph("""(bool[batch,4] x) => (bool[batch,4] y) <int64[1] zero = {0}>
        { i = Cast<to=6>(x)  m = ReduceMax<keepdims=1>(i, zero)  b = Cast<to=9>(m)
          y = Xor(x, b) }"""),
    "not": Graph("""(bool[batch,4] x) => (bool[batch,4] y) { y = Not(x) }"""),
    "half": Graph("""(float16[batch,4] x) => (float16[batch,4] y)
        { m = ReduceMean<keepdims=1>(x)  y = Sub(x, m) }"""),
    "half-rows": Graph("""(float16[batch,4] x) => (float16[batch,4] y) { y = Neg(x) }"""),
    "double": Graph("""(double[batch,4] x) => (double[batch,4] y) { y = Mul(x, x) }"""),
    "bytes": Graph(
        """(uint8[batch,4] x) => (uint8[batch,4] y) <uint8 one = {1}>
        { m = ReduceMax<keepdims=0>(x)  n = Max(m, one)  y = Div(x, n) }""",
        largest=200,
    ),
    "bytes-rows": Graph(
        """(uint8[batch,4] x) => (uint8[batch,4] y) { y = BitwiseNot(x) }""", largest=200
    ),
    "signed-bytes": Graph("""(int8[batch,4] x) => (int8[batch,4] y) { y = Neg(x) }"""),
    "of-each-kind": Graph("""(float[batch,2] x, int64[batch,2] i, bool[batch,2] b, string[batch,2] s)
        => (float[batch,2] p, int64[batch,2] q, bool[batch,2] r, string[batch,2] t)
        { p = Neg(x)  q = Neg(i)  r = Not(b)  t = Identity(s) }"""),
}
"""Types of values."""

GRAPHS = ACROSS_ROWS | ODD_AXES | KINDS
