"""Directed cases for ai.onnx: shapes, pieces, indices, control flow, and marks on values."""

from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.safety.directed import (
    BOOL,
    FLOAT,
    FROZEN,
    INT64,
    MIXING,
    PROVEN,
    UNPROVEN,
    Case,
    f32,
    graph,
    one,
)
from tests.safety.directed_onnx import CUBE, FLAT, TT, T, node

BATCH = node("Shape", "x", "b", start=0, end=1)
"""b: the number of rows, [1]."""
ROWS = [BATCH, node("Squeeze", "b", "b0"), node("Range", "zero b0 one", "r")]
"""r: the rows' own numbers."""
RANGE: dict[str, Any] = {"zero": np.array(0), "one": np.array(1)}


def reshape(inputs: Any, target: list[int], **more: Any) -> onnx.ModelProto:
    return one("Reshape", inputs, "x s", constants={"s": np.array(target)}, **more)


def numbered(
    *nodes: onnx.NodeProto, inputs: Any = T, outputs: tuple[str, ...] = ("y",), **constants: Any
) -> onnx.ModelProto:
    """Nodes behind the rows' own numbers."""
    return graph([*ROWS, *nodes], inputs, outputs, **RANGE, **constants)


SHAPES = [
    Case("Reshape of rows", reshape(CUBE, [-1, 12]), PROVEN),
    Case("Reshape copies the number of rows", reshape(CUBE, [0, 2, 6]), PROVEN),
    Case("Reshape to two entries per row", reshape(T, [-1, 2]), PROVEN, shows=False),
    Case("Reshape and back", graph([node("Reshape", "x f", "t"), node("Relu", "t", "u"), node("Reshape", "u s", "y")], CUBE, f=np.array([-1, 4]), s=np.array([-1, 3, 4])), PROVEN),
    Case("Reshape joins the rows", reshape(T, [1, -1]), PROVEN, shows=False),
    Case("Reshape joins the rows and sums", graph([node("Reshape", "x s", "t"), node("ReduceSum", "t a", "u"), node("Add", "x u", "y")], T, s=np.array([1, -1]), a=np.array([1])), MIXING),
    Case("Reshape crosses the rows", graph([node("Reshape", "x s", "t"), node("Softmax", "t", "u"), node("Reshape", "u o", "y")], T, s=np.array([4, -1]), o=np.array([-1, 4])), UNPROVEN),
    Case("Reshape puts rows together", graph([node("Reshape", "x s", "t"), node("Softmax", "t", "u"), node("Reshape", "u o", "y")], {"x": (FLOAT, ["n", 3])}, s=np.array([-1, 2]), o=np.array([-1, 3])), UNPROVEN, examples={"x": f32(4, 3)}, shows=False),
    Case("Reshape to one fixed batch", reshape(T, [2, 4]), FROZEN, shows=False),
    Case("Reshape by the number of rows", graph([BATCH, node("Concat", "b m", "s", axis=0), node("Reshape", "x s", "y")], CUBE, m=np.array([12])), PROVEN),
    Case("Flatten", one("Flatten", CUBE), PROVEN),
    Case("Flatten of all", one("Flatten", T, axis=0), PROVEN, shows=False),
    Case("Flatten of all, normalised", graph([node("Flatten", "x", "t", axis=0), node("Softmax", "t", "u"), node("Reshape", "u o", "y")], T, o=np.array([-1, 4])), MIXING),
    Case("Transpose", one("Transpose", CUBE, perm=[0, 2, 1]), PROVEN),
    Case("Transpose to time first", one("Transpose", CUBE, perm=[1, 0, 2]), PROVEN, shows=False),
    Case("Transpose and Softmax over rows", graph([node("Transpose", "x", "t"), node("Softmax", "t", "u"), node("Transpose", "u", "y")], T), MIXING),
    Case("Transpose and Softmax over features", graph([node("Transpose", "x", "t"), node("Softmax", "t", "u", axis=0), node("Transpose", "u", "y")], T), PROVEN),
    Case("Squeeze", one("Squeeze", {"x": (FLOAT, ["n", 1, 4])}, "x a", constants={"a": np.array([1])}), PROVEN),
    Case("Squeeze without axes", one("Squeeze", {"x": (FLOAT, ["n", 1, 4])}), MIXING),
    Case("Squeeze of the rows", one("Squeeze", T, "x a", constants={"a": np.array([0])}), FROZEN, shows=False),
    Case("Unsqueeze", one("Unsqueeze", T, "x a", constants={"a": np.array([1])}), PROVEN),
    Case("Unsqueeze, and a sum over the rows", graph([node("Unsqueeze", "x a", "t"), node("ReduceSum", "t q", "u", keepdims=0), node("Add", "u x", "y")], T, a=np.array([0]), q=np.array([1])), MIXING),
    Case("Expand by the number of rows", graph([BATCH, node("Concat", "b m", "s", axis=0), node("Expand", "w s", "t"), node("Concat", "t x", "y", axis=1)], T, m=np.array([1]), w=f32(1, 1)), PROVEN),
    Case("Expand of rows to a square", graph([BATCH, node("Concat", "b b", "s", axis=0), node("Expand", "x s", "t"), node("ReduceSum", "t a", "y")], {"x": (FLOAT, ["n", 1])}, a=np.array([1])), MIXING),
    Case("Expand: stored entries for each row", graph([BATCH, node("Concat", "b m", "s", axis=0), node("Expand", "w s", "y")], T, m=np.array([4]), w=f32(3, 4)), FROZEN, shows=False),
    Case("ConstantOfShape", graph([BATCH, node("Concat", "b m", "s", axis=0), node("ConstantOfShape", "s", "c"), node("Add", "x c", "y")], T, m=np.array([4])), PROVEN),
    Case("ConstantOfShape of a square", graph([BATCH, node("Concat", "b b", "s", axis=0), node("ConstantOfShape", "s", "c"), node("MatMul", "c x", "y")], T), MIXING, shows=False),
    Case("ConstantOfShape of the number of rows as features", graph([BATCH, node("Concat", "m b", "s", axis=0), node("ConstantOfShape", "s", "c", value=helper.make_tensor("v", FLOAT, [1], [2.0])), node("ReduceSum", "c", "t"), node("Add", "x t", "y")], T, m=np.array([4])), MIXING),
    Case("Tile of features", one("Tile", T, "x r", constants={"r": np.array([1, 2])}), PROVEN),
    Case("Tile of rows", graph([node("Tile", "x r", "t"), node("Slice", "t s e a", "y")], T, r=np.array([2, 1]), s=np.array([1]), e=np.array([2]), a=np.array([0])), MIXING),
    Case("Tile by the number of rows", graph([BATCH, node("Concat", "one b", "r", axis=0), node("Tile", "x r", "t"), node("ReduceSum", "t a", "y")], T, one=np.array([1]), a=np.array([1])), MIXING),
    Case("Shape of a row is the same for all", graph([node("Shape", "x", "s", start=1), node("Cast", "s", "f", to=1), node("Add", "x f", "y")], T), PROVEN),
    Case("Size counts the rows", graph([node("Size", "x", "s"), node("Cast", "s", "f", to=1), node("Add", "x f", "y")], T), MIXING),
    Case("Range of the number of rows", graph([*ROWS, node("Cast", "r", "f", to=1), node("Add", "x f", "y")], FLAT, **RANGE), UNPROVEN),
    Case("Range behind a square of rows", numbered(node("Unsqueeze", "r a", "u"), node("Cast", "u", "f", to=1), node("Mul", "x f", "y"), a=np.array([1])), UNPROVEN),
]  # fmt: skip

PIECES = [
    Case("Concat of features", one("Concat", TT, axis=1), PROVEN),
    Case("Concat of rows", one("Concat", TT, axis=0), UNPROVEN, shows=False),
    Case("Concat of rows and a stored row", one("Concat", T, "x w", constants={"w": f32(1, 4)}, axis=0), MIXING),
    Case("Concat of rows with stored rows beside them", one("Concat", T, "x w", constants={"w": f32(3, 4)}, axis=1), FROZEN, shows=False),
    Case("Concat of two axes of rows", one("Concat", {"x": (FLOAT, ["n", "n2"]), "y2": (FLOAT, ["n2", "n"])}, axis=0), MIXING, shows=False),
    Case("Concat of rows, cut back", graph([node("Concat", "x x", "t", axis=0), node("Split", "t", "y z", axis=0, num_outputs=2)], T, ("y", "z")), PROVEN),
    Case("Split of features", one("Split", T, outputs=("y", "z"), axis=1, num_outputs=2), PROVEN),
    Case("Split of rows", one("Split", T, "x l", constants={"l": np.array([1, 1])}, outputs=("y", "z"), axis=0), MIXING),
    Case("Slice of features", one("Slice", T, "x s e a", constants={"s": np.array([1]), "e": np.array([3]), "a": np.array([1])}), PROVEN),
    Case("Slice of the first row", one("Slice", T, "x s e a", constants={"s": np.array([0]), "e": np.array([1]), "a": np.array([0])}), MIXING),
    Case("Slice of all but the last row", one("Slice", T, "x s e a", constants={"s": np.array([0]), "e": np.array([-1]), "a": np.array([0])}), MIXING),
    Case("Slice of rows, backwards", one("Slice", T, "x s e a t", constants={"s": np.array([-1]), "e": np.array([-(2**62)]), "a": np.array([0]), "t": np.array([-1])}), MIXING),
    Case("Slice of every second row", one("Slice", T, "x s e a t", constants={"s": np.array([0]), "e": np.array([2**62]), "a": np.array([0]), "t": np.array([2])}), MIXING),
    Case("Slice of all rows", one("Slice", T, "x s e a", constants={"s": np.array([0]), "e": np.array([2**62]), "a": np.array([0])}), PROVEN),
    Case("Slice of features by the number of rows", graph([BATCH, node("Slice", "x z b a", "t"), node("ReduceSum", "t a", "y")], {"x": (FLOAT, ["n", 17])}, z=np.array([0]), a=np.array([1])), MIXING),
    Case("Pad of features", one("Pad", T, "x p", constants={"p": np.array([0, 1, 0, 1])}), PROVEN),
    Case("Pad of rows", one("Pad", T, "x p", constants={"p": np.array([1, 0, 0, 0])}), MIXING),
    Case("Pad that drops a row", one("Pad", T, "x p", constants={"p": np.array([-1, 0, 1, 0])}), MIXING),
    Case("Pad by a request's lengths", one("Pad", {**T, "p": (INT64, [4])}), UNPROVEN, equal=frozenset({"p"}), shows=False),
]  # fmt: skip

IDS = {"i": (INT64, ["n", 2])}
TABLE: dict[str, Any] = {"t": f32(10, 4)}

INDICES = [
    Case("Gather from a table by rows", one("Gather", IDS, "t i", constants=TABLE), PROVEN, partial=True),
    Case("Gather of features", one("Gather", T, "x i", constants={"i": np.array([2, 0])}, axis=1), PROVEN),
    Case("Gather of rows", one("Gather", T, "x i", constants={"i": np.array([0, 0])}), MIXING),
    Case("Gather of rows by rows", one("Gather", {**T, "i": (INT64, ["n"])}), MIXING),
    Case("Gather of rows in a request's order", one("Gather", {**T, "i": (INT64, [2])}), MIXING, equal=frozenset({"i"}), shows=False),
    Case("Gather of features by rows", one("Gather", {**T, "i": (INT64, ["n"])}, axis=1), MIXING, examples={"x": f32(3, 4), "i": np.array([0, 1, 2])}),
    Case("GatherElements of a row by itself", one("GatherElements", {**T, "i": (INT64, ["n", 2])}, axis=1), PROVEN, partial=True),
    Case("GatherElements across rows", one("GatherElements", {**T, "i": (INT64, ["n", 4])}, axis=0), MIXING, examples={"x": f32(3, 4), "i": np.array([[0, 1, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]])}),
    Case("GatherElements by stored indices", one("GatherElements", T, "x i", constants={"i": np.array([[0, 1]])}, axis=1), MIXING, shows=False),
    Case("ScatterElements in a row", one("ScatterElements", {**TT, "i": (INT64, ["n", 4])}, "x i y2", axis=1), PROVEN, partial=True, examples={"x": f32(3, 4), "y2": f32(3, 4), "i": np.array([[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2]])}),
    Case("ScatterElements across rows", one("ScatterElements", {**TT, "i": (INT64, ["n", 4])}, "x i y2", axis=0), MIXING, examples={"x": f32(3, 4), "y2": f32(3, 4), "i": np.array([[0, 1, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]])}),
    Case("GatherND from rows", one("GatherND", {**T, "i": (INT64, ["n", 1])}), MIXING),
    Case("GatherND with the batch beside", one("GatherND", {**T, "i": (INT64, ["n", 1])}, batch_dims=1), PROVEN, partial=True),
    Case("GatherND of a table by rows", one("GatherND", {"i": (INT64, ["n", 1])}, "t i", constants=TABLE), PROVEN, partial=True),
    Case("GatherND by the row's own number", numbered(node("Unsqueeze", "r a", "u"), node("Concat", "u i", "j", axis=1), node("GatherND", "x j", "y"), inputs={**T, "i": (INT64, ["n", 1])}, a=np.array([1])), PROVEN, partial=True),
    Case("GatherND by the row's own number as second component", numbered(node("Unsqueeze", "r a", "u"), node("Concat", "i u", "j", axis=1), node("GatherND", "x j", "y"), inputs={**T, "i": (INT64, ["n", 1])}, a=np.array([1])), UNPROVEN, shows=False),
    Case("GatherND by the row's own number plus one", numbered(node("Add", "r one", "r2"), node("Unsqueeze", "r2 a", "u"), node("Concat", "u i", "j", axis=1), node("GatherND", "x j", "y"), inputs={**T, "i": (INT64, ["n", 1])}, a=np.array([1])), UNPROVEN, shows=False),
    Case("ScatterND across rows", one("ScatterND", {**T, "i": (INT64, ["n", 1]), "u": (FLOAT, ["n", 4])}), MIXING),
    Case("ScatterND of rows into a stored table", one("ScatterND", {"i": (INT64, ["n", 1]), "u": (FLOAT, ["n", 4])}, "t i u", constants=TABLE), UNPROVEN),
    Case("OneHot", one("OneHot", {"i": (INT64, ["n"])}, "i d v", constants={"d": np.array(5), "v": np.array([0, 1], np.float32)}), PROVEN),
    Case("OneHot as deep as there are rows", graph([node("Shape", "i", "d"), node("OneHot", "i d v", "t"), node("ReduceSum", "t a", "y")], {"i": (INT64, ["n"])}, v=np.array([0, 1], np.float32), a=np.array([1])), MIXING),
    Case("OneHot as deep as the largest id", graph([node("ReduceMax", "i", "m", keepdims=1), node("Add", "m one", "d"), node("OneHot", "i d v", "y")], {"i": (INT64, ["n"])}, one=np.array([1]), v=np.array([0, 1], np.float32)), MIXING),
    Case("ReverseSequence, time first", one("ReverseSequence", {"x": (FLOAT, [3, "n", 2]), "l": (INT64, ["n"])}, time_axis=0, batch_axis=1), PROVEN, shows=False, partial=True),
    Case("ReverseSequence of the rows", one("ReverseSequence", {"x": (FLOAT, ["n", 3, 2])}, "x l", constants={"l": np.array([1, 1, 1])}, time_axis=0, batch_axis=1), MIXING, shows=False),
]  # fmt: skip


# Control flow


def body(
    nodes: list[onnx.NodeProto], outputs: list[str], inputs: tuple[tuple[str, int, Any], ...] = ()
) -> onnx.GraphProto:
    return helper.make_graph(
        nodes, "body", [helper.make_tensor_value_info(*spec) for spec in inputs],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )  # fmt: skip


def choose(
    condition: str,
    *before: onnx.NodeProto,
    inputs: Any = T,
    **constants: Any,
) -> onnx.ModelProto:
    """If(condition) -x else |x|."""
    branch = node(
        "If",
        condition,
        "y",
        then_branch=body([node("Neg", "x", "p")], ["p"]),
        else_branch=body([node("Abs", "x", "q")], ["q"]),
    )
    return graph([*before, branch], inputs, **constants)


def loop(
    count: str, *before: onnx.NodeProto, step: str = "Add", inputs: Any = T, **constants: Any
) -> onnx.ModelProto:
    """x doubled ``count`` times."""
    inner = body(
        [node("Identity", "c", "c2"), node(step, "v v", "v2")],
        ["c2", "v2"],
        (("i", INT64, []), ("c", BOOL, []), ("v", FLOAT, None)),
    )
    return graph([*before, node("Loop", f"{count} - x", "y", body=inner)], inputs, **constants)


def scan(*nodes: onnx.NodeProto, state: bool = False) -> onnx.ModelProto:
    """The rows one after the other."""
    inputs = ((("s", FLOAT, [4]),) if state else ()) + (("row", FLOAT, [4]),)
    inner = body(list(nodes), (["s2"] if state else []) + ["out"], inputs)
    outer = node(
        "Scan",
        "zero x" if state else "x",
        "last y" if state else "y",
        body=inner,
        num_scan_inputs=1,
    )
    constants: dict[str, Any] = {"zero": np.zeros(4, np.float32)} if state else {}
    return graph([outer], T, **constants)


MORE = [BATCH, node("Greater", "b two", "c")]

CONTROL = [
    Case("If on a stored truth", choose("c", c=np.array(True)), PROVEN),
    Case("If on a request's truth", choose("c", inputs={**T, "c": (BOOL, [])}), PROVEN, equal=frozenset({"c"})),
    Case("If on the largest of all rows", choose("c", node("ReduceMax", "x", "m", keepdims=0), node("Greater", "m one", "c"), one=np.float32(1)), MIXING),
    Case("If on the number of rows", choose("c", *MORE, two=np.array([2])), MIXING),
    Case("Loop of a stored count", loop("k", k=np.array(3)), PROVEN),
    Case("Loop of a request's count", loop("k", inputs={**T, "k": (INT64, [])}), PROVEN, equal=frozenset({"k"})),
    Case("Loop as often as there are rows", loop("b0", BATCH, node("Squeeze", "b", "b0")), MIXING),
    Case("Loop as often as the rows say", loop("k", node("ReduceMax", "x", "m", keepdims=0), node("Cast", "m", "k", to=7)), MIXING),
    Case("Loop: rows meet in its body", graph([node("Loop", "k - x", "y", body=body([node("Identity", "c", "c2"), node("Softmax", "v", "v2", axis=0)], ["c2", "v2"], (("i", INT64, []), ("c", BOOL, []), ("v", FLOAT, None))))], T, k=np.array(2)), MIXING),
    Case("Loop: ends by the rows", graph([node("Loop", "k - x", "y", body=body([node("ReduceMax", "v", "m", keepdims=0), node("Less", "m big", "c2"), node("Add", "v v", "v2")], ["c2", "v2"], (("i", INT64, []), ("c", BOOL, []), ("v", FLOAT, None))))], T, k=np.array(5), big=np.float32(3)), MIXING),
    Case("Scan of rows, each alone", scan(node("Softmax", "row", "out")), PROVEN),
    Case("Scan of rows with a running sum", scan(node("Add", "s row", "s2"), node("Identity", "s2", "out"), state=True), MIXING),
    Case("Scan along features", graph([node("Scan", "x", "y", num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1], body=body([node("Relu", "e", "out")], ["out"], (("e", FLOAT, None),)))], T), PROVEN),
    Case("Scan along features: rows meet in its body", graph([node("Scan", "x", "y", num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1], body=body([node("Softmax", "e", "out", axis=0)], ["out"], (("e", FLOAT, None),)))], T), MIXING),
    Case("Scan of rows with random numbers", scan(node("RandomNormalLike", "row", "out")), UNPROVEN),
    Case("Scan of rows, dynamically quantised alone", scan(node("DynamicQuantizeLinear", "row", "q s z"), node("DequantizeLinear", "q s z", "out")), PROVEN),
]  # fmt: skip

# Marks: the row's own number is not a value

MARKS = [
    Case("Conv of the rows' numbers", numbered(node("Cast", "r", "f", to=1), node("Reshape", "f s", "g"), node("Conv", "g w", "h"), node("Add", "x h", "y"), inputs={"x": (FLOAT, ["n", 1, 1])}, s=np.array([-1, 1, 1]), w=f32(1, 1, 1)), UNPROVEN),
    Case("Sum of an index with the rows' numbers", numbered(node("Unsqueeze", "r a", "u"), node("Concat", "u u", "j", axis=1), node("ReduceSum", "j a", "k"), node("Cast", "k", "f", to=1), node("Add", "x f", "y"), inputs={"x": (FLOAT, ["n", 1])}, a=np.array([1])), UNPROVEN),
    Case("The rows' numbers as the answer", numbered(node("Identity", "r", "y")), MIXING),
    Case("Gather from a table by the rows' numbers", numbered(node("Gather", "t r", "g"), node("Add", "x g", "y"), t=f32(64, 4)), UNPROVEN),
    Case("Gather of the rows by their own numbers", numbered(node("Gather", "x r", "y")), PROVEN),
]  # fmt: skip

CASES = [*SHAPES, *PIECES, *INDICES, *CONTROL, *MARKS]
