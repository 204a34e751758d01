"""Random small graphs of many operators, each step run in ONNX Runtime for 2 and for 3 rows.

A step that the runtime refuses is taken back, so graphs run; what they compute is arbitrary. Axes,
shapes and indices are drawn without regard to the batch axis: most graphs mix rows, and a rule that
is too generous proves one of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

Env: TypeAlias = dict[str, "np.ndarray"]
OPSETS = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3),
          helper.make_opsetid("com.microsoft", 1)]  # fmt: skip
ROWS = (3, 2)
"""The numbers of rows that every step is run with; shapes in steps are those of the first."""
LARGEST = 4000
"""Elements of a tensor: larger ones are taken back."""

ort.set_default_logger_severity(4)

UNARY = ("Abs", "Neg", "Relu", "Sigmoid", "Tanh", "Exp", "Sqrt", "Floor", "Softplus", "Erf", "Sign",
         "Round", "Identity", "LeakyRelu", "Elu", "HardSigmoid", "Selu", "Gelu", "Mish")  # fmt: skip
BINARY = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu")
COMPARE = ("Greater", "Less", "GreaterOrEqual", "Equal")
REDUCE = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceLogSumExp")


@dataclass
class Build:
    """A graph that grows. ``envs`` holds every tensor's value for each number of rows."""

    random: Random
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    constants: Env = field(default_factory=dict)
    envs: tuple[Env, ...] = field(default_factory=lambda: tuple({} for _ in ROWS))
    count: int = 0

    def name(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def input(self, dtype: "type | np.dtype", shape: Sequence[int | str]) -> str:
        """``"N"`` is the free axis."""
        name = self.name()
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        for env, rows in zip(self.envs, ROWS, strict=True):
            lengths = [rows if n == "N" else int(n) for n in shape]
            values = np.random.default_rng(self.count).random(lengths)
            env[name] = (values * (3 if np.dtype(dtype).kind == "i" else 1)).astype(dtype)
        return name

    def constant(self, values: Any, dtype: "type | np.dtype" = np.int64) -> str:
        name = self.name()
        self.constants[name] = np.asarray(values, dtype)
        for env in self.envs:
            env[name] = self.constants[name]
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.envs[0][name].shape)

    def pick(self, kinds: str = "f", rank: int = 0) -> str | None:
        """A tensor of one of these kinds of dtype, recent ones more often."""
        found = [
            name for name, array in self.envs[0].items()
            if array.dtype.kind in kinds and array.ndim >= rank and name not in self.constants
        ]  # fmt: skip
        if not found:
            return None
        return self.random.choice(found[-4:] if self.random.random() < 0.8 else found)

    def add(
        self, op_type: str, inputs: Sequence[str], outputs: int = 1, domain: str = "", **more: Any
    ) -> list[str] | None:
        """The names of the outputs, None where the runtime refuses the step."""
        names = [self.name() for _ in range(outputs)]
        node = helper.make_node(op_type, inputs, names, names[0], domain=domain, **more)
        results = []
        for env in self.envs:
            found = run_node(node, {name: env[name] for name in inputs if name})
            if found is None or any(a.size > LARGEST or a.ndim > 5 for a in found):
                return None
            results.append(found)
        for env, found in zip(self.envs, results, strict=True):
            env.update(zip(names, found, strict=True))
        self.nodes.append(node)
        return names

    def model(self) -> onnx.ModelProto:
        """Its outputs are the last three tensors that nothing reads; what they need not is cut.

        (A node that reaches no output can fail a run, but not change an answer.)
        """
        read = {name for node in self.nodes for name in node.input}
        ends = [name for node in self.nodes for name in node.output if name not in read]
        wanted = set(ends[-3:])
        for node in reversed(self.nodes):
            if wanted.isdisjoint(node.output):
                self.nodes.remove(node)
            else:
                wanted.update(node.input)
        read = {name for node in self.nodes for name in node.input}
        outputs = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(self.envs[0][name].dtype), None
            )
            for name in ends[-3:]
        ]
        used = [value for value in self.inputs if value.name in read]
        held = [numpy_helper.from_array(v, k) for k, v in self.constants.items() if k in read]
        graph = helper.make_graph(self.nodes, "fuzz", used, outputs, held)
        return helper.make_model(graph, opset_imports=OPSETS, ir_version=9)


def run_node(node: onnx.NodeProto, values: Env) -> list["np.ndarray"] | None:
    """A node alone on these values; None where it fails or gives no plain tensors."""
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in values.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    graph = helper.make_graph([node], "step", inputs, outputs)
    model = helper.make_model(graph, opset_imports=OPSETS, ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        found = ort.InferenceSession(model.SerializeToString(), options).run(None, values)
    except Exception:
        return None
    return found if all(isinstance(a, np.ndarray) for a in found) else None


def graph(seed: int, steps: int = 8) -> onnx.ModelProto:
    """The random graph of a seed."""
    build = Build(Random(seed))
    random = build.random
    _inputs(build)
    for _ in range(steps * 4):
        random.choice(STEPS)(build)
        if len(build.nodes) >= steps:
            break
    if not build.nodes:
        build.add("Neg", [build.inputs[0].name])
    return build.model()


def _inputs(build: Build) -> None:
    random = build.random
    shapes: tuple[list[int | str], ...] = (
        ["N", 4], ["N", 4], ["N"], ["N", 4, 6], ["N", 2, 4, 4], [5, "N", 4], ["N", 1], ["N", 6, 4],
    )  # fmt: skip
    build.input(np.float32, random.choice(shapes))
    if random.random() < 0.5:
        build.input(np.float32, random.choice(shapes))
    if random.random() < 0.4:
        indices: tuple[list[int | str], ...] = (["N"], ["N", 1], ["N", 4], ["N", 2])
        build.input(np.int64, random.choice(indices))
    if random.random() < 0.15:
        build.input(np.float32, random.choice(([4], [4, 4], [1])))


def _axis(build: Build, name: str, extra: int = 0) -> int:
    rank = len(build.shape(name)) + extra
    return build.random.randrange(-rank, rank) if rank else 0


def _unary(build: Build) -> None:
    if x := build.pick():
        build.add(build.random.choice(UNARY), [x])


def _binary(build: Build) -> None:
    x, y = build.pick(), build.pick()
    if x is None or y is None:
        return
    if build.random.random() < 0.5:
        shape = [n if build.random.random() < 0.5 else 1 for n in build.shape(x)]
        y = build.constant(np.random.default_rng(build.count).random(shape) + 0.5, np.float32)
    pair = [x, y] if build.random.random() < 0.5 else [y, x]
    build.add(build.random.choice(BINARY), pair)


def _where(build: Build) -> None:
    x, y, z = build.pick(), build.pick(), build.pick()
    if x and y and z:
        found = build.add(build.random.choice(COMPARE), [x, y])
        if found:
            build.add("Where", [found[0], x, z])


def _softmax(build: Build) -> None:
    if x := build.pick(rank=1):
        name = build.random.choice(("Softmax", "LogSoftmax", "Hardmax", "LpNormalization"))
        build.add(name, [x], axis=_axis(build, x))


def _reduce(build: Build) -> None:
    if not (x := build.pick()):
        return
    keep = build.random.randrange(2)
    inputs = [x]
    if build.random.random() < 0.9:
        inputs.append(build.constant([_axis(build, x)]))
    build.add(build.random.choice(REDUCE), inputs, keepdims=keep)


def _arg(build: Build) -> None:
    if x := build.pick(rank=1):
        keep = build.random.randrange(2)
        name = build.random.choice(("ArgMax", "ArgMin"))
        build.add(name, [x], axis=_axis(build, x), keepdims=keep)


def _cumsum(build: Build) -> None:
    if x := build.pick(rank=1):
        build.add("CumSum", [x, build.constant(_axis(build, x))])


def _topk(build: Build) -> None:
    if x := build.pick(rank=1):
        build.add("TopK", [x, build.constant([1])], 2, axis=_axis(build, x))


def _norm(build: Build) -> None:
    if not (x := build.pick(rank=2)):
        return
    shape = build.shape(x)
    ones = build.constant(np.linspace(0.5, 1.5, shape[1]), np.float32)
    zeros = build.constant(np.zeros(shape[1]), np.float32)
    kind = build.random.randrange(5)
    if kind == 0:
        axis = build.random.randrange(len(shape))
        scale = build.constant(np.ones(shape[axis:]), np.float32)
        build.add("LayerNormalization", [x, scale], axis=axis)
    elif kind == 1:
        build.add("BatchNormalization", [x, ones, zeros, zeros, ones])
    elif kind == 2:
        build.add("InstanceNormalization", [x, ones, zeros])
    elif kind == 3:
        build.add("LRN", [x], size=3)
    else:
        build.add("MeanVarianceNormalization", [x], axes=[build.random.randrange(len(shape))])


def _matmul(build: Build) -> None:
    x, y = build.pick(rank=1), build.pick(rank=1)
    if x is None or y is None:
        return
    shape = build.shape(x)
    if build.random.random() < 0.6:
        y = build.constant(np.random.default_rng(1).random((shape[-1], 4)), np.float32)
    pair = [x, y]
    if build.random.random() < 0.3:
        pair.reverse()
    if build.random.random() < 0.3:
        flags: dict[str, Any] = {
            "transA": build.random.randrange(2),
            "transB": build.random.randrange(2),
        }
        build.add("Gemm", pair, **flags)
    elif build.add("MatMul", pair) is None:
        turned = build.add("Transpose", [pair[1]])
        if turned:
            build.add("MatMul", [pair[0], turned[0]])


def _einsum(build: Build) -> None:
    x, y = build.pick(rank=1), build.pick(rank=1)
    if not x or not y:
        return
    letters = "abcde"
    left = letters[: len(build.shape(x))]
    right = "".join(build.random.choice(letters) for _ in build.shape(y))
    both = sorted(set(left + right))
    out = "".join(build.random.sample(both, build.random.randint(1, len(both))))
    build.add("Einsum", [x, y], equation=f"{left},{right}->{out}")


def _conv(build: Build) -> None:
    if not (x := build.pick(rank=3)):
        return
    shape = build.shape(x)
    space = len(shape) - 2
    kind = build.random.randrange(5)
    if kind == 0:
        weight = np.random.default_rng(2).random((3, shape[1], *[1] * space))
        build.add("Conv", [x, build.constant(weight, np.float32)])
    elif kind == 1:
        outputs = build.random.choice((1, 2))
        build.add("MaxPool", [x], outputs, kernel_shape=[1] * (space - 1) + [2])
    elif kind == 2:
        build.add("GlobalAveragePool", [x])
    elif kind == 3:
        sizes = build.constant([n if i < 2 else 2 * n for i, n in enumerate(shape)])
        scales = build.constant([1, 1] + [2] * space, np.float32)
        fixed = build.random.random() < 0.3
        build.add("Resize", [x, "", "", sizes] if fixed else [x, "", scales], mode="nearest")
    else:
        build.add("DepthToSpace", [x], blocksize=2)


def _transpose(build: Build) -> None:
    if x := build.pick("fib", rank=2):
        perm = list(range(len(build.shape(x))))
        build.random.shuffle(perm)
        build.add("Transpose", [x], perm=perm)


def _squeeze(build: Build) -> None:
    if not (x := build.pick("fib")):
        return
    if build.random.random() < 0.5:
        build.add("Unsqueeze", [x, build.constant([_axis(build, x, 1)])])
    elif build.random.random() < 0.3:
        build.add("Squeeze", [x])
    elif build.shape(x):
        build.add("Squeeze", [x, build.constant([_axis(build, x)])])


def _flatten(build: Build) -> None:
    if x := build.pick(rank=1):
        build.add("Flatten", [x], axis=_axis(build, x))


def _lengths(build: Build, x: str, others: Sequence[int]) -> str | None:
    """A shape with some lengths of ``x`` taken from Shape, and constants."""
    shape = build.add("Shape", [x])
    if shape is None or not build.shape(x):
        return None
    axis = build.constant([_axis(build, x)])
    one = build.add("Gather", [shape[0], axis])
    if one is None:
        return None
    if build.random.random() < 0.4:
        by = build.constant([build.random.choice((2, 4, 6))])
        one = build.add("Mul", [one[0], by]) or one
    parts = [build.constant([n]) for n in others]
    parts.insert(build.random.randrange(len(parts) + 1), one[0])
    found = build.add("Concat", parts, axis=0)
    return found[0] if found else None


def _reshape(build: Build) -> None:
    if not (x := build.pick("fib")):
        return
    kind = build.random.randrange(3)
    shape = list(build.shape(x))
    target: str | None
    if kind == 0:
        rest = [n if build.random.random() < 0.5 else 0 for n in shape]
        if rest:
            rest[build.random.randrange(len(rest))] = -1
        target = build.constant(rest)
    elif kind == 1:
        target = build.constant(
            build.random.choice(([-1], [-1, 2], [2, -1], [-1, 4], [4, -1], [-1, 1, 4]))
        )
    else:
        target = _lengths(build, x, build.random.choice(([-1], [-1, 2], [4, -1], [-1, 4])))
    if target:
        build.add("Reshape", [x, target])


def _expand(build: Build) -> None:
    x, y = build.pick(), build.pick()
    if not x or not y:
        return
    target = _lengths(build, y, build.random.choice(([], [1], [4], [4, 1])))
    if not target:
        return
    kind = build.random.randrange(3)
    if kind == 0:
        build.add("Expand", [x, target])
    elif kind == 1:
        value = numpy_helper.from_array(np.array([0.5], np.float32))
        build.add("ConstantOfShape", [target], value=value)
    else:
        build.add("Tile", [x, target])


def _concat(build: Build) -> None:
    x, y = build.pick(rank=1), build.pick(rank=1)
    if not x or not y:
        return
    axis = _axis(build, x)
    if build.random.random() < 0.4:
        shape = list(build.shape(x))
        shape[axis] = 1
        y = build.constant(np.ones(shape), np.float32)
    build.add("Concat", [x, y] if build.random.random() < 0.7 else [y, x, x], axis=axis)


def _split(build: Build) -> None:
    if x := build.pick(rank=1):
        build.add("Split", [x], 2, axis=_axis(build, x), num_outputs=2)


def _slice(build: Build) -> None:
    if not (x := build.pick(rank=1)):
        return
    axis = build.constant([_axis(build, x)])
    random = build.random
    start, end = (
        build.constant([random.choice((0, 0, 1, -1, -2))]),
        build.constant([random.choice((1, 2, 2**31, -1))]),
    )
    inputs = [x, start, end, axis]
    if random.random() < 0.4:
        inputs = [x, build.constant([-1]), build.constant([-(2**31)]), axis, build.constant([-1])]
    build.add("Slice", inputs)


def _pad(build: Build) -> None:
    if x := build.pick(rank=1):
        rank = len(build.shape(x))
        pads = [0] * (2 * rank)
        pads[build.random.randrange(2 * rank)] = build.random.choice((1, 1, -1))
        mode = build.random.choice(("constant", "reflect", "edge"))
        build.add("Pad", [x, build.constant(pads)], mode=mode)


def _index(build: Build, limit: int) -> str | None:
    """Indices from a constant, from data (ArgMax), or from the number of rows."""
    kind = build.random.randrange(4)
    if kind == 0:
        return build.constant(build.random.choice(([0], [0, 0], [limit - 1], [[0], [0]])))
    if kind == 1 and (x := build.pick(rank=1)):
        found = build.add("ArgMax", [x], axis=_axis(build, x), keepdims=build.random.randrange(2))
        return found[0] if found else None
    if kind == 2 and (x := build.pick(rank=1)):
        shape = build.add("Shape", [x], start=0, end=1)
        scalar = build.add("Squeeze", [shape[0]]) if shape else None
        if scalar:
            found = build.add("Range", [build.constant(0), scalar[0], build.constant(1)])
            return found[0] if found else None
    return build.pick("i")


def _gather(build: Build) -> None:
    if not (x := build.pick(rank=1)):
        return
    axis = _axis(build, x)
    index = _index(build, build.shape(x)[axis])
    if index is None:
        return
    kind = build.random.randrange(5)
    if kind == 0:
        table = build.constant(np.random.default_rng(3).random((12, 4)), np.float32)
        build.add("Gather", [table, index])
    elif kind == 1:
        build.add("Gather", [x, index], axis=axis)
    elif kind == 2:
        build.add("GatherElements", [x, index], axis=axis)
    elif kind == 3:
        build.add("GatherND", [x, index], batch_dims=build.random.randrange(2))
    else:
        updates = build.pick(rank=1)
        if updates:
            name = build.random.choice(("ScatterElements", "ScatterND"))
            more: dict[str, Any] = {"axis": axis} if name == "ScatterElements" else {}
            build.add(name, [x, index, updates], **more)


def _onehot(build: Build) -> None:
    if index := build.pick("i"):
        depth = build.constant([4])
        if build.random.random() < 0.3 and (x := build.pick(rank=1)):
            depth = (build.add("Shape", [x], start=0, end=1) or [depth])[0]
        values = build.constant([0, 1], np.float32)
        build.add("OneHot", [index, depth, values], axis=_axis(build, index, 1))


def _count(build: Build) -> None:
    """The number of rows as a value."""
    if not (x := build.pick(rank=1)):
        return
    shape = build.add("Shape", [x], start=0, end=1)
    value = build.add("Cast", shape, to=onnx.TensorProto.FLOAT) if shape else None
    if value:
        build.add(build.random.choice(BINARY[:6]), [x, value[0]])


def _mixing(build: Build) -> None:
    if not (x := build.pick(rank=1)):
        return
    kind = build.random.randrange(5)
    if kind == 0:
        quantised = build.add("DynamicQuantizeLinear", [x], 3)
        if quantised:
            build.add("DequantizeLinear", quantised)
    elif kind == 1:
        build.add("NonZero", [x])
    elif kind == 2:
        build.add("Unique", [x], axis=_axis(build, x))
    elif kind == 3:
        condition = build.constant([True, True, False], np.bool_)
        build.add("Compress", [x, condition], axis=_axis(build, x))
    else:
        build.add("Trilu", [x], upper=build.random.randrange(2))


def _recurrent(build: Build) -> None:
    if not (x := build.pick(rank=3)) or len(build.shape(x)) != 3:
        return
    kind, gates = build.random.choice((("LSTM", 4), ("GRU", 3), ("RNN", 1)))
    width = build.shape(x)[2]
    random = np.random.default_rng(5)
    weights = [
        build.constant(random.standard_normal((1, gates * 3, n)) * 0.5, np.float32)
        for n in (width, 3)
    ]
    build.add(kind, [x, *weights], 2, hidden_size=3, layout=0)


def _ml(build: Build) -> None:
    if not (x := build.pick(rank=1)):
        return
    width = max(build.shape(x)[-1], 1)
    kind = build.random.randrange(5)
    ml = "ai.onnx.ml"
    if kind == 0:
        build.add("Normalizer", [x], domain=ml, norm=build.random.choice(("MAX", "L1", "L2")))
    elif kind == 1:
        build.add("Scaler", [x], domain=ml, offset=[0.1] * width, scale=[2.0] * width)
    elif kind == 2:
        build.add("Binarizer", [x], domain=ml, threshold=0.5)
    elif kind == 3:
        index = _index(build, width)
        if index:
            build.add("ArrayFeatureExtractor", [x, index], domain=ml)
    else:
        coefficients = [0.1 * i for i in range(width)]
        build.add("LinearRegressor", [x], domain=ml, coefficients=coefficients, targets=1)


STEPS: tuple[Callable[[Build], None], ...] = (
    _unary, _binary, _binary, _where, _softmax, _reduce, _arg, _cumsum, _topk, _norm, _matmul,
    _matmul, _einsum, _conv, _transpose, _transpose, _squeeze, _flatten, _reshape, _reshape,
    _reshape, _expand, _concat, _concat, _split, _slice, _pad, _gather, _gather, _onehot, _count,
    _mixing, _recurrent, _ml,
)  # fmt: skip
