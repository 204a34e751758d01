"""The models of the benchmark, written as ONNX files with random weights of a fixed seed.

What a run costs depends on the shapes of the weights, not on their values; accuracy is measured
elsewhere (models/*/train.py). Every model has one input ``x`` and one output ``y``.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES = 32
VOCABULARY = 30_522
_OPSET = 17
_HIDDEN, _HEADS, _LAYERS, _INNER = 384, 12, 6, 1536  # all-MiniLM-L6-v2


class Graph:
    """Nodes and weights as they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(7)

    def constant(self, array: np.ndarray) -> str:
        """The name of a new weight."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def random(self, *shape: int) -> str:
        """Weights that keep the size of what passes through them."""
        fan_in = int(np.prod(shape[1:])) if len(shape) == 4 else shape[0]
        return self.constant(
            (self._random.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)
        )

    def zeros(self, *shape: int) -> str:
        """A bias."""
        return self.constant(np.zeros(shape, np.float32))

    def ints(self, *values: int) -> str:
        """A shape or axes."""
        return self.constant(np.array(values, np.int64))

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: object) -> str:
        """A node; returns the name of its output."""
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def dense(self, value: str, size_in: int, size_out: int, output: str = "") -> str:
        """``value @ w + b`` over the last axis."""
        product = self.add("MatMul", value, self.random(size_in, size_out))
        return self.add("Add", product, self.zeros(size_out), output=output)

    def save(
        self, path: Path, kind: int, shape_in: Sequence[object], shape_out: Sequence[object],
        opsets: Sequence[onnx.OperatorSetIdProto] = (),
    ) -> None:  # fmt: skip
        """Write the file."""
        graph = helper.make_graph(
            self.nodes,
            path.parent.parent.name,
            [helper.make_tensor_value_info("x", kind, shape_in)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape_out)],
            self.weights,
        )
        opsets = opsets or [helper.make_opsetid("", _OPSET)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


def mlp(*sizes: int) -> Callable[[Path], None]:
    """Dense layers with ReLU between them."""

    def build(path: Path) -> None:
        graph, value = Graph(), "x"
        for layer, (size_in, size_out) in enumerate(pairwise(sizes)):
            last = layer == len(sizes) - 2
            value = graph.dense(value, size_in, size_out, output="y" if last else "")
            value = value if last else graph.add("Relu", value)
        graph.save(path, TensorProto.FLOAT, ["batch", sizes[0]], ["batch", sizes[-1]])

    return build


def transformer(path: Path) -> None:
    """An encoder of MiniLM's size over token numbers; 0 is padding. The mean of the vectors."""
    graph = Graph()
    present = graph.add("Cast", graph.add("Greater", "x", graph.ints(0)), to=TensorProto.FLOAT)
    mask = graph.add("Unsqueeze", present, graph.ints(1, 2))
    absent = graph.add("Sub", mask, graph.constant(np.array(1, np.float32)))
    bias = graph.add("Mul", absent, graph.constant(np.array(1e9, np.float32)))
    value = graph.add("Gather", graph.random(VOCABULARY, _HIDDEN), "x")
    for _ in range(_LAYERS):
        value = _norm(graph, graph.add("Add", value, _attention(graph, value, bias)))
        inner = graph.dense(value, _HIDDEN, _INNER)
        erf = graph.add(
            "Erf", graph.add("Mul", inner, graph.constant(np.float32(0.7071).reshape(())))
        )
        half = graph.add("Mul", inner, graph.constant(np.float32(0.5).reshape(())))
        gelu = graph.add(
            "Mul", half, graph.add("Add", erf, graph.constant(np.float32(1).reshape(())))
        )
        value = _norm(graph, graph.add("Add", value, graph.dense(gelu, _INNER, _HIDDEN)))
    weights = graph.add("Unsqueeze", present, graph.ints(2))
    total = graph.add("ReduceSum", graph.add("Mul", value, weights), graph.ints(1), keepdims=0)
    count = graph.add("ReduceSum", weights, graph.ints(1), keepdims=0)
    graph.add("Div", total, count, output="y")
    graph.save(path, TensorProto.INT64, ["batch", "length"], ["batch", _HIDDEN])


def _norm(graph: Graph, value: str) -> str:
    scale = graph.constant(np.ones(_HIDDEN, np.float32))
    return graph.add("LayerNormalization", value, scale, graph.zeros(_HIDDEN))


def _attention(graph: Graph, value: str, bias: str) -> str:
    def heads(order: Sequence[int]) -> str:
        projected = graph.dense(value, _HIDDEN, _HIDDEN)
        split = graph.add("Reshape", projected, graph.ints(0, 0, _HEADS, _HIDDEN // _HEADS))
        return graph.add("Transpose", split, perm=order)

    scores = graph.add("MatMul", heads((0, 2, 1, 3)), heads((0, 2, 3, 1)))
    scale = graph.constant(np.float32((_HIDDEN // _HEADS) ** -0.5).reshape(()))
    masked = graph.add("Add", graph.add("Mul", scores, scale), bias)
    mixed = graph.add("MatMul", graph.add("Softmax", masked, axis=-1), heads((0, 2, 1, 3)))
    joined = graph.add("Transpose", mixed, perm=(0, 2, 1, 3))
    return graph.dense(graph.add("Reshape", joined, graph.ints(0, 0, _HIDDEN)), _HIDDEN, _HIDDEN)


def resnet50(path: Path) -> None:
    """ResNet-50 with the normalisations folded into the convolutions, as exporters do."""
    graph = Graph()

    def conv(value: str, size_in: int, size_out: int, kernel: int, stride: int = 1) -> str:
        pad = kernel // 2
        return graph.add(
            "Conv", value, graph.random(size_out, size_in, kernel, kernel), graph.zeros(size_out),
            kernel_shape=[kernel, kernel], strides=[stride, stride], pads=[pad] * 4,
        )  # fmt: skip

    value = graph.add("Relu", conv("x", 3, 64, 7, 2))
    value = graph.add("MaxPool", value, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    size = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for block in range(blocks):
            stride = 2 if block == 0 and stage > 0 else 1
            inner = graph.add("Relu", conv(value, size, width, 1))
            inner = graph.add("Relu", conv(inner, width, width, 3, stride))
            inner = conv(inner, width, 4 * width, 1)
            if block == 0:
                value = conv(value, size, 4 * width, 1, stride)
            size = 4 * width
            value = graph.add("Relu", graph.add("Add", value, inner))
    pooled = graph.add("Flatten", graph.add("GlobalAveragePool", value))
    graph.dense(pooled, size, 1000, output="y")
    graph.save(path, TensorProto.FLOAT, ["batch", 3, 224, 224], ["batch", 1000])


def trees(path: Path, count: int = 200, depth: int = 7) -> None:
    """A regression forest of complete trees over `FEATURES` features."""
    random = np.random.default_rng(7)
    inner, leaves = 2**depth - 1, 2**depth
    nodes = inner + leaves
    ids = np.tile(np.arange(nodes), count)
    is_leaf = ids >= inner
    owners = np.repeat(np.arange(count), nodes)
    attributes = {
        "nodes_treeids": owners,
        "nodes_nodeids": ids,
        "nodes_featureids": np.where(is_leaf, 0, random.integers(0, FEATURES, ids.size)),
        "nodes_values": np.where(is_leaf, 0.0, random.random(ids.size)).astype(np.float32),
        "nodes_modes": ["LEAF" if leaf else "BRANCH_LEQ" for leaf in is_leaf],
        "nodes_truenodeids": np.where(is_leaf, 0, 2 * ids + 1),
        "nodes_falsenodeids": np.where(is_leaf, 0, 2 * ids + 2),
        "target_treeids": owners[is_leaf],
        "target_nodeids": ids[is_leaf],
        "target_ids": np.zeros(count * leaves, np.int64),
        "target_weights": random.standard_normal(count * leaves).astype(np.float32),
    }
    graph = Graph()
    graph.add(
        "TreeEnsembleRegressor", "x", output="y", domain="ai.onnx.ml", n_targets=1,
        **{key: v if isinstance(v, list) else v.tolist() for key, v in attributes.items()},
    )  # fmt: skip
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
    graph.save(path, TensorProto.FLOAT, ["batch", FEATURES], ["batch", 1], opsets)


MODELS: dict[str, Callable[[Path], None]] = {
    "tiny": mlp(64, 128, 10),
    "mlp": mlp(1024, 4096, 4096, 1000),
    "transformer": transformer,
    "resnet": resnet50,
    "trees": trees,
}
_TOML = {
    "transformer": "[padding.x]\naxis = 1\nvalue = 0\nmax_length = 128\n",
}


def repository(folder: Path, name: str) -> Path:
    """A model repository with this one model; made when it is not there yet."""
    root = folder / f"models-{name}"
    path = root / name / "1" / "model.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        (root / name / "model.toml").write_text(_TOML.get(name, ""))
        part = path.with_suffix(".part")
        MODELS[name](part)
        part.replace(path)
    return root


def row(name: str, random: np.random.Generator, length: int = 32) -> np.ndarray:
    """One row of input, without the batch axis."""
    if name == "transformer":
        return random.integers(1, VOCABULARY, length)
    shape = {"tiny": (64,), "mlp": (1024,), "resnet": (3, 224, 224), "trees": (FEATURES,)}[name]
    return random.random(shape, np.float32).round(4)
