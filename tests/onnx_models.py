"""Small ONNX files with known answers and known faults."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, STRING, BOOL = (
    TensorProto.FLOAT,
    TensorProto.INT64,
    TensorProto.STRING,
    TensorProto.BOOL,
)
Axis = int | str


def build(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, int, Sequence[Axis]]],
    outputs: Sequence[tuple[str, int, Sequence[Axis]]],
    **constants: "np.ndarray | np.generic",
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*spec) for spec in inputs],
        [helper.make_tensor_value_info(*spec) for spec in outputs],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def doubler(width: int = 3) -> onnx.ModelProto:
    """y = 2 x for rows of ``width`` floats."""
    return build(
        [helper.make_node("Mul", ["x", "two"], ["y"], "double")],
        [("x", FLOAT, ["batch", width])],
        [("y", FLOAT, ["batch", width])],
        two=np.float32(2),
    )


def multiplier(factor: float) -> onnx.ModelProto:
    """y = factor x for rows of two floats."""
    return build(
        [helper.make_node("Mul", ["x", "factor"], ["y"], "multiply")],
        [("x", FLOAT, ["batch", 2])],
        [("y", FLOAT, ["batch", 2])],
        factor=np.float32(factor),
    )


def half_doubler() -> onnx.ModelProto:
    """y = 2 x for rows of two half-precision floats."""
    half = TensorProto.FLOAT16
    return build(
        [helper.make_node("Mul", ["x", "two"], ["y"], "double")],
        [("x", half, ["batch", 2])],
        [("y", half, ["batch", 2])],
        two=np.float16(2),
    )


def embedding(words: int = 10) -> onnx.ModelProto:
    """Looks ids up in a table of ``words`` rows; the row of id i is [i, i]. Other ids fail."""
    table = np.repeat(np.arange(words, dtype=np.float32)[:, None], 2, axis=1)
    return build(
        [helper.make_node("Gather", ["table", "id"], ["vector"], "look_up")],
        [("id", INT64, ["batch"])],
        [("vector", FLOAT, ["batch", 2])],
        table=table,
    )


def text_encoder(words: int = 30, width: int = 8) -> onnx.ModelProto:
    """A vector for each token from a table of random ones, 0 where the mask is."""
    table = np.random.default_rng(0).normal(size=(words, width)).astype(np.float32)
    return build(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["found"], "look_up"),
            helper.make_node("Cast", ["attention_mask"], ["floats"], "cast", to=FLOAT),
            helper.make_node("Unsqueeze", ["floats", "axis"], ["mask"], "unsqueeze"),
            helper.make_node("Mul", ["found", "mask"], ["last_hidden_state"], "mask"),
        ],
        [("input_ids", INT64, ["batch", "tokens"]), ("attention_mask", INT64, ["batch", "tokens"])],
        [("last_hidden_state", FLOAT, ["batch", "tokens", width])],
        table=table,
        axis=np.array([2]),
    )


def widening() -> onnx.ModelProto:
    """A thousand copies of each number: answers that are much larger than their requests."""
    return build(
        [
            helper.make_node("Reshape", ["x", "column"], ["c"]),
            helper.make_node("Expand", ["c", "wide"], ["y"]),
        ],
        [("x", FLOAT, ["batch"])],
        [("y", FLOAT, ["batch", 1000])],
        column=np.array([-1, 1]),
        wide=np.array([1, 1000]),
    )


def any_length() -> onnx.ModelProto:
    """The sum of each row, of any length."""
    return build(
        [helper.make_node("ReduceSum", ["x", "axis"], ["sum"], "sum", keepdims=0)],
        [("x", FLOAT, ["batch", "length"])],
        [("sum", FLOAT, ["batch"])],
        axis=np.array([1]),
    )


def fixed_reshape() -> onnx.ModelProto:
    """Declares a batch axis, but reshapes to [1, 4] inside: the zoo's ResNet-50 in small."""
    return build(
        [
            helper.make_node("Relu", ["x"], ["r"], "relu"),
            helper.make_node("Reshape", ["r", "shape"], ["y"], "flatten"),
        ],
        [("x", FLOAT, ["batch", 2, 2])],
        [("y", FLOAT, ["batch", 4])],
        shape=np.array([1, 4]),
    )


def dynamically_quantised() -> onnx.ModelProto:
    """One scale for the whole batch, so that a row's result depends on its batch-mates."""
    random = np.random.default_rng(0)
    weights = random.integers(-127, 128, (8, 4)).astype(np.int8)
    return build(
        [
            helper.make_node("Relu", ["x"], ["positive"], "relu"),
            helper.make_node(
                "DynamicQuantizeLinear", ["positive"], ["q", "scale", "zero"], "quantise"
            ),
            helper.make_node("MatMulInteger", ["q", "weights", "zero"], ["sums"], "matmul"),
            helper.make_node("Cast", ["sums"], ["float_sums"], "cast", to=FLOAT),
            helper.make_node("Mul", ["float_sums", "scale"], ["y"], "scale"),
        ],
        [("x", FLOAT, ["batch", 8])],
        [("y", FLOAT, ["batch", 4])],
        weights=weights,
    )


def over_the_batch() -> onnx.ModelProto:
    """Axis 0 is no batch: one number for all rows."""
    return build(
        [helper.make_node("ReduceMean", ["x"], ["mean"], "mean", axes=[0], keepdims=0)],
        [("x", FLOAT, ["n", 3])],
        [("mean", FLOAT, [3])],
    )


def batch_of_one() -> onnx.ModelProto:
    """A fixed batch of 1."""
    return build(
        [helper.make_node("Mul", ["x", "two"], ["y"], "double")],
        [("x", FLOAT, [1, 3])],
        [("y", FLOAT, [1, 3])],
        two=np.float32(2),
    )


def noise() -> onnx.ModelProto:
    """Another answer each time."""
    return build(
        [
            helper.make_node("RandomNormalLike", ["x"], ["n"], "noise"),
            helper.make_node("Add", ["x", "n"], ["y"], "add"),
        ],
        [("x", FLOAT, ["batch", 3])],
        [("y", FLOAT, ["batch", 3])],
    )


def regions() -> onnx.ModelProto:
    """Regions of one picture, each with as many samples as it is large."""
    return build(
        [helper.make_node("RoiAlign", ["x", "boxes", "of"], ["y"], "regions")],
        [("x", FLOAT, [1, 1, 4, 4]), ("boxes", FLOAT, ["n", 4]), ("of", INT64, ["n"])],
        [("y", FLOAT, ["n", 1, 1, 1])],
    )


def sum_of_two(one: str, other: str) -> onnx.ModelProto:
    """y = x + z, whose first axes have these names."""
    return build(
        [helper.make_node("Add", ["x", "z"], ["y"], "add")],
        [("x", FLOAT, [one, 2]), ("z", FLOAT, [other, 2])],
        [("y", FLOAT, ["rows", 2])],
    )


def every_kind(*, column: bool = False) -> onnx.ModelProto:
    """Three inputs of three kinds, passed through: a name, a flag and a vector of ints.

    ``column``: rows of one name and one flag instead of bare ones.
    """
    one: list[Axis] = ["batch", 1] if column else ["batch"]
    return build(
        [
            helper.make_node("Identity", ["name"], ["name_out"]),
            helper.make_node("Identity", ["flag"], ["flag_out"]),
            helper.make_node("Identity", ["counts"], ["counts_out"]),
        ],
        [("name", STRING, one), ("flag", BOOL, one), ("counts", INT64, ["batch", 2])],
        [
            ("name_out", STRING, one),
            ("flag_out", BOOL, one),
            ("counts_out", INT64, ["batch", 2]),
        ],
    )


def scalar_switch() -> onnx.ModelProto:
    """An input without axes beside one with a batch axis."""
    return build(
        [helper.make_node("Mul", ["x", "factor"], ["y"], "times")],
        [("x", FLOAT, ["batch", 3]), ("factor", FLOAT, [])],
        [("y", FLOAT, ["batch", 3])],
    )


def zipmap() -> onnx.ModelProto:
    """What skl2onnx makes by default: scores as a list of dicts."""
    graph = helper.make_graph(
        [
            helper.make_node("Softmax", ["x"], ["p"], "softmax", axis=1),
            helper.make_node(
                "ZipMap", ["p"], ["scores"], "zip", domain="ai.onnx.ml",
                classlabels_strings=["cat", "dog"],
            ),
        ],
        "test",
        [helper.make_tensor_value_info("x", FLOAT, ["batch", 2])],
        [
            helper.make_value_info(
                "scores",
                helper.make_sequence_type_proto(
                    helper.make_map_type_proto(
                        STRING, helper.make_tensor_type_proto(FLOAT, None)
                    )
                ),
            )
        ],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def heavy(width: int = 2048, layers: int = 3) -> onnx.ModelProto:
    """Slow enough on purpose to have requests in flight: some milliseconds a run."""
    random = np.random.default_rng(0)
    nodes, source = [], "x"
    constants = {}
    for i in range(layers):
        constants[f"w{i}"] = (random.standard_normal((width, width)) / width).astype(np.float32)
        nodes.append(helper.make_node("MatMul", [source, f"w{i}"], [f"h{i}"], f"layer{i}"))
        source = f"h{i}"
    nodes.append(helper.make_node("ReduceSum", [source, "axis"], ["y"], "sum", keepdims=0))
    return build(
        nodes,
        [("x", FLOAT, ["batch", width])],
        [("y", FLOAT, ["batch"])],
        axis=np.array([1]),
        **constants,
    )


def deep(width: int = 256, layers: int = 400) -> onnx.ModelProto:
    """Slow for its size: thousands of rows keep it busy for seconds, yet fit into a small body."""
    weights = np.eye(width, dtype=np.float32)
    nodes = [
        helper.make_node("MatMul", ["x" if i == 0 else f"h{i}", "w"], [f"h{i + 1}"])
        for i in range(layers)
    ]
    nodes.append(helper.make_node("ReduceSum", [f"h{layers}", "axis"], ["y"], "sum", keepdims=0))
    return build(
        nodes,
        [("x", FLOAT, ["batch", width])],
        [("y", FLOAT, ["batch"])],
        axis=np.array([1]),
        w=weights,
    )


def tokens(*, masked: bool = True) -> onnx.ModelProto:
    """Doubles each token and sums each row, of any length; unmasked: the mean, which padding moves."""
    return build(
        [
            helper.make_node("Mul", ["ids", "mask"], ["kept"], "keep"),
            helper.make_node("Mul", ["kept", "two"], ["doubled"], "double"),
            helper.make_node("Cast", ["kept"], ["floats"], "cast", to=FLOAT),
            helper.make_node("ReduceSum", ["floats", "axis"], ["pooled"], "sum", keepdims=0)
            if masked
            else helper.make_node("ReduceMean", ["floats"], ["pooled"], "mean", axes=[1], keepdims=0),
        ],
        [("ids", INT64, ["batch", "length"]), ("mask", INT64, ["batch", "length"])],
        [("doubled", INT64, ["batch", "length"]), ("pooled", FLOAT, ["batch"])],
        two=np.array(2, np.int64),
        **({"axis": np.array([1])} if masked else {}),
    )  # fmt: skip


def fixed_batch(size: int = 4, *, mixing: bool = False) -> onnx.ModelProto:
    """A batch of one size only; ``mixing``: less the mean of the batch."""
    nodes = [helper.make_node("Mul", ["x", "two"], ["y" if not mixing else "d"], "double")]
    if mixing:
        nodes += [
            helper.make_node("ReduceMean", ["d"], ["mean"], "mean", axes=[0], keepdims=1),
            helper.make_node("Sub", ["d", "mean"], ["y"], "centre"),
        ]
    return build(nodes, [("x", FLOAT, [size, 3])], [("y", FLOAT, [size, 3])], two=np.float32(2))


def brightest_channel(size: int = 8) -> onnx.ModelProto:
    """The mean of each of three channels, times 10: a classifier of colours."""
    return build(
        [
            helper.make_node("ReduceMean", ["image"], ["means"], "mean", axes=[2, 3], keepdims=0),
            helper.make_node("Mul", ["means", "ten"], ["logits"], "scale"),
        ],
        [("image", FLOAT, ["batch", 3, size, size])],
        [("logits", FLOAT, ["batch", 3])],
        ten=np.float32(10),
    )


def letter_counter(letters: str = "xyz") -> onnx.ModelProto:
    """How often each letter is in a row of characters: a classifier of texts."""
    count = len(letters)
    return build(
        [
            helper.make_node(
                "TfIdfVectorizer",
                ["characters"],
                ["counts"],
                "count",
                mode="TF",
                min_gram_length=1,
                max_gram_length=1,
                max_skip_count=0,
                ngram_counts=[0],
                ngram_indexes=list(range(count)),
                pool_int64s=[ord(letter) for letter in letters],
            )
        ],
        [("characters", INT64, ["batch", "length"])],
        [("counts", FLOAT, ["batch", count])],
    )


def repeating() -> onnx.ModelProto:
    """y = x + as many ones as the row says: cheap for 0, dear for 10^12."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["sum", "one"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", INT64, []),
            helper.make_tensor_value_info("go", BOOL, []),
            helper.make_tensor_value_info("sum", FLOAT, ["batch", 1]),
        ],
        [
            helper.make_tensor_value_info("go_on", BOOL, []),
            helper.make_tensor_value_info("next", FLOAT, ["batch", 1]),
        ],
    )
    return build(
        [
            helper.make_node("ReduceMax", ["x"], ["most"], "most", keepdims=0),
            helper.make_node("Cast", ["most"], ["count"], "cast", to=INT64),
            helper.make_node("Loop", ["count", "yes", "x"], ["y"], "loop", body=body),
        ],
        [("x", FLOAT, ["batch", 1])],
        [("y", FLOAT, ["batch", 1])],
        one=np.float32(1),
        yes=np.array(True),
    )


def allocating() -> onnx.ModelProto:
    """The sum of as many ones as the row says: 4 bytes of memory for each."""
    return build(
        [
            helper.make_node("Reshape", ["n", "flat"], ["shape"], "shape"),
            helper.make_node("Expand", ["one", "shape"], ["ones"], "ones"),
            helper.make_node("ReduceSum", ["ones"], ["y"], "sum", keepdims=0),
        ],
        [("n", INT64, [1, 1])],
        [("y", FLOAT, [])],
        one=np.float32(1),
        flat=np.array([-1]),
    )


def pairs() -> onnx.ModelProto:
    """The products of all pairs of a row's numbers: answers grow with the square of its length."""
    return build(
        [
            helper.make_node("Unsqueeze", ["x", "two"], ["columns"], "columns"),
            helper.make_node("Unsqueeze", ["x", "one"], ["rows"], "rows"),
            helper.make_node("Mul", ["columns", "rows"], ["y"], "pairs"),
        ],
        [("x", FLOAT, ["batch", "length"])],
        [("y", FLOAT, ["batch", "length", "length"])],
        one=np.array([1]),
        two=np.array([2]),
    )


def squared() -> onnx.ModelProto:
    """All pairs of a row's numbers: memory grows with the square of its length."""
    return build(
        [
            helper.make_node("Unsqueeze", ["x", "two"], ["columns"], "columns"),
            helper.make_node("Unsqueeze", ["x", "one"], ["rows"], "rows"),
            helper.make_node("Mul", ["columns", "rows"], ["pairs"], "pairs"),
            helper.make_node("ReduceSum", ["pairs", "both"], ["y"], "sum", keepdims=0),
        ],
        [("x", FLOAT, ["batch", "length"])],
        [("y", FLOAT, ["batch"])],
        one=np.array([1]),
        two=np.array([2]),
        both=np.array([1, 2]),
    )
