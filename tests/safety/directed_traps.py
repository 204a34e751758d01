"""Directed cases of several nodes: ways in which rows meet that no single rule shows."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

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
from tests.safety.directed_onnx import CUBE, T, node
from tests.safety.directed_shapes import BATCH, RANGE, numbered

SQUEEZED = [BATCH, node("Squeeze", "b", "n")]
"""n: the number of rows, a scalar."""
WIDE = {"x": (FLOAT, ["n", 64])}
FIXED = {"x": (FLOAT, [4, 3])}
IDS = {"x": (INT64, ["n", 4])}
NUMBERS: dict[str, Any] = {"zero1": np.array([0]), "one1": np.array([1]), "two1": np.array([2])}


def body(
    name: str, nodes: list[onnx.NodeProto], inputs: dict[str, int], outputs: dict[str, int]
) -> onnx.GraphProto:
    """A body: integers and truths are scalars, the shapes of floats are not declared."""

    def declared(entries: dict[str, int]) -> list[onnx.ValueInfoProto]:
        scalars = (None if kind == FLOAT else () for kind in entries.values())
        return [
            helper.make_tensor_value_info(name, kind, shape)
            for (name, kind), shape in zip(entries.items(), scalars, strict=True)
        ]

    return helper.make_graph(nodes, name, declared(inputs), declared(outputs))


def sliced(*before: onnx.NodeProto, inputs: Any = WIDE, **constants: Any) -> onnx.ModelProto:
    """x[:, s:e] with s and e from the nodes before."""
    cut = node("Slice", "x s e one1", "y")
    return graph([BATCH, *before, cut], inputs, **NUMBERS, **constants)


def branch(name: str, op_type: str) -> onnx.GraphProto:
    return body(name, [node(op_type, "x", f"{name}_y")], {}, {f"{name}_y": FLOAT})


def chosen(*before: onnx.NodeProto, inputs: Any = T, **constants: Any) -> onnx.ModelProto:
    """Neg or Abs of x, by the truth c."""
    ways = {"then_branch": branch("then", "Neg"), "else_branch": branch("else", "Abs")}
    return graph([*before, node("If", "c", "y", **ways)], inputs, **constants)


BY_NUMBER = [
    Case("a window of features at the number of rows", sliced(node("Identity", "b", "s"), node("Add", "b one1", "e")), MIXING),
    Case("a window of features counted from the end", sliced(node("Neg", "b", "s"), node("Sub", "s one1", "s0"), node("Identity", "s", "e"), node("Identity", "s0", "s1")), MIXING, shows=False),
    Case("a window that no row moves", sliced(node("Sub", "b b", "s"), node("Add", "s two1", "e")), PROVEN),
    Case("a padding that the number of rows moves", graph([BATCH, node("Sub", "c b", "d"), node("Concat", "zero1 b zero1 d", "p", axis=0), node("Pad", "x p", "y")], T, c=np.array([64]), **NUMBERS), MIXING),
    Case("a table's entry at the number of rows", graph([BATCH, node("Gather", "w b", "t"), node("Add", "x t", "y")], T, w=f32(64, 4)), MIXING),
    Case("x divided by the number of rows", graph([*SQUEEZED, node("Cast", "n", "f", to=FLOAT), node("Div", "x f", "y")], T), MIXING),
    Case("x with the number of rows as a feature", graph([BATCH, node("Cast", "b", "f", to=FLOAT), node("Reshape", "f one_one", "g"), node("Shape", "x", "s"), node("Mul", "x zero", "o"), node("ReduceSum", "o one1", "z"), node("Add", "z g", "h"), node("Concat", "x h", "y", axis=1)], T, one_one=np.array([1, 1]), zero=np.float32(0), **NUMBERS), MIXING),
    Case("a branch by the number of rows", chosen(*SQUEEZED, node("Less", "n five", "c"), five=np.array(5)), MIXING),
    Case("a branch by the rest of the number of rows", chosen(*SQUEEZED, node("Mod", "n two", "m"), node("Cast", "m", "c", to=BOOL), two=np.array(2)), MIXING),
    Case("a branch by the number of elements of a row", chosen(node("Shape", "x", "s", start=1, end=2), node("Squeeze", "s", "n"), node("Less", "n five", "c"), five=np.array(5)), PROVEN),
    Case("a choice by the number of rows", graph([*SQUEEZED, node("Less", "n five", "c"), node("Neg", "x", "m"), node("Where", "c x m", "y")], T, five=np.array(5)), MIXING),
    Case("a positional table cut to the number of rows", graph([BATCH, node("Slice", "w zero1 b", "t"), node("Add", "x t", "y")], T, w=f32(64, 4), **NUMBERS), UNPROVEN),
    Case("a table tiled to the number of rows", graph([BATCH, node("Concat", "b one1", "r", axis=0), node("Tile", "w r", "t"), node("Add", "x t", "y")], T, w=f32(1, 4), **NUMBERS), PROVEN),
    Case("a table of two entries tiled to the number of rows", graph([BATCH, node("Concat", "b one1", "r", axis=0), node("Tile", "w r", "t"), node("ReduceMean", "t zero1", "u"), node("Add", "x u", "y")], T, w=f32(2, 4), **NUMBERS), MIXING, shows=False),
    Case("a third of the number of rows, three times", graph([BATCH, node("Cast", "b", "f", to=FLOAT), node("Div", "f three", "t"), node("Mul", "t three", "u"), node("Cast", "u", "e", to=INT64), node("Slice", "x zero1 e zero1", "y")], T, three=np.float32(3), **NUMBERS), UNPROVEN, shows=False),
    Case("the number of elements by way of Size", graph([node("Size", "x", "s"), node("Cast", "s", "f", to=FLOAT), node("Div", "x f", "y")], T), MIXING),
    Case("a loop of one round for each row", graph([*SQUEEZED, node("Loop", "n - x", "y", body=body("b", [node("Identity", "c", "d"), node("Neg", "v", "w")], {"i": INT64, "c": BOOL, "v": FLOAT}, {"d": BOOL, "w": FLOAT}))], T), MIXING),
    Case("a grid of the number of rows", graph([BATCH, node("Concat", "b b", "s", axis=0), node("Expand", "v s", "g"), node("ReduceSum", "g one1", "t"), node("Add", "x t", "y")], T, v=np.float32(1), **NUMBERS), MIXING),
]  # fmt: skip

BY_PLACE = [
    Case("row numbers added to rows", numbered(node("Cast", "r", "f", to=FLOAT), node("Unsqueeze", "f one1", "u"), node("Add", "x u", "y"), **NUMBERS), UNPROVEN),
    Case("row numbers by way of truth", numbered(node("Cast", "r", "t", to=BOOL), node("Cast", "t", "i", to=INT64), node("Gather", "x i", "y")), UNPROVEN),
    Case("row numbers by way of bytes", numbered(node("Cast", "r", "t", to=TensorProto.INT8), node("Cast", "t", "i", to=INT64), node("Gather", "x i", "y")), UNPROVEN, shows=False),
    Case("row numbers as 32-bit integers", numbered(node("Cast", "r", "t", to=TensorProto.INT32), node("Gather", "x t", "y")), PROVEN),
    Case("row numbers summed", numbered(node("ReduceSum", "r", "t", keepdims=0), node("Cast", "t", "f", to=FLOAT), node("Add", "x f", "y")), UNPROVEN),
    Case("row numbers compared", numbered(node("Equal", "r zero", "e"), node("Unsqueeze", "e one1", "u"), node("Neg", "x", "m"), node("Where", "u x m", "y"), **NUMBERS), UNPROVEN),
    Case("row numbers from the running sum of ones", graph([node("Shape", "x", "s"), node("ConstantOfShape", "s", "o", value=helper.make_tensor("v", FLOAT, [1], [1.0])), node("CumSum", "o zero", "c"), node("Add", "x c", "y")], T, zero=np.array(0)), MIXING),
    Case("row numbers as places that are not zero", graph([node("Shape", "x", "s", end=1), node("ConstantOfShape", "s", "o", value=helper.make_tensor("v", INT64, [1], [1])), node("NonZero", "o", "p"), node("Transpose", "p", "q"), node("Cast", "q", "f", to=FLOAT), node("Add", "x f", "y")], T), MIXING),
    Case("row numbers times rows", numbered(node("Cast", "r", "f", to=FLOAT), node("MatMul", "f x", "y")), UNPROVEN),
    Case("row numbers as the largest's place", graph([node("Transpose", "x", "t"), node("ArgMax", "t", "a", axis=1, keepdims=0), node("Cast", "a", "f", to=FLOAT), node("Add", "x f", "y")], T), MIXING),
    Case("a place for each row of a fixed batch", graph([node("Add", "x w", "y")], FIXED, w=np.arange(4, dtype=np.float32)[:, None]), MIXING),
    Case("one number for each row of a fixed batch", graph([node("Add", "x w", "y")], FIXED, w=np.full((4, 3), 2, np.float32)), PROVEN),
    Case("the numbers of a fixed batch", graph([node("Range", "zero four one", "r"), node("Cast", "r", "f", to=FLOAT), node("Unsqueeze", "f one1", "u"), node("Add", "x u", "y")], FIXED, four=np.array(4), **RANGE, **NUMBERS), MIXING),
    Case("a fixed batch, turned round", graph([node("Gather", "x p", "y")], FIXED, p=np.array([1, 2, 3, 0])), MIXING),
    Case("a fixed batch, cut and joined", graph([node("Split", "x", "a c", axis=0, num_outputs=2), node("Concat", "c a", "y", axis=0)], FIXED), MIXING),
]  # fmt: skip

MEETING = [
    Case("rows shifted by one", graph([BATCH, node("Concat", "x x", "d", axis=0), node("Add", "b one1", "e"), node("Slice", "d one1 e zero1", "y")], T, **NUMBERS), MIXING),
    Case("rows doubled and cut back", graph([BATCH, node("Concat", "x x", "d", axis=0), node("Add", "b b", "e"), node("Slice", "d b e zero1", "y")], T, **NUMBERS), PROVEN),
    Case("rows as time, unturned", graph([node("Shape", "x", "s"), node("Gather", "s order", "t"), node("Reshape", "x t", "u"), node("ReduceMean", "u zero1", "y", keepdims=0)], CUBE, order=np.array([1, 0, 2]), **NUMBERS), UNPROVEN),
    Case("rows as time, turned", graph([node("Transpose", "x", "u", perm=[1, 0, 2]), node("ReduceMean", "u zero1", "y", keepdims=0)], CUBE, **NUMBERS), PROVEN),
    Case("Softmax over rows and places together", graph([node("Reshape", "x s", "u"), node("Softmax", "u", "v", axis=0), node("Shape", "x", "t"), node("Reshape", "v t", "y")], CUBE, s=np.array([-1, 4])), MIXING),
    Case("windows over rows as one signal", graph([node("Transpose", "x", "t"), node("Unsqueeze", "t zero1", "u"), node("Conv", "u w", "v", pads=[1, 1]), node("Squeeze", "v zero1", "s"), node("Transpose", "s", "y")], T, w=f32(4, 4, 3), **NUMBERS), MIXING),
    Case("attention among rows", graph([node("Transpose", "x", "t"), node("MatMul", "x t", "s"), node("Softmax", "s", "p"), node("MatMul", "p x", "y")], T), MIXING),
    Case("rows in the order of a key", graph([BATCH, node("Slice", "x zero1 one1 one1", "k"), node("Squeeze", "k one1", "l"), node("Shape", "l", "m"), node("TopK", "l m", "v i", axis=0), node("Gather", "x i", "y")], T, **NUMBERS), MIXING),
    Case("normalised by the largest of all", graph([node("ReduceMax", "x", "m", keepdims=0), node("Div", "x m", "y")], T), MIXING),
    Case("as many classes as the largest id", graph([node("ReduceMax", "x", "m", keepdims=0), node("Range", "zero m one", "r"), node("Size", "r", "s"), node("Add", "x s", "y")], IDS, **RANGE), MIXING),
    Case("as many as are found", graph([node("NonZero", "x", "p"), node("Shape", "p", "s"), node("Cast", "s", "t", to=FLOAT), node("ReduceSum", "t", "u", keepdims=0), node("Add", "x u", "y")], T), MIXING),
    Case("as many as are kept", graph([node("ReduceMax", "x one1", "m", keepdims=0), node("Greater", "m zero", "k"), node("Compress", "x k", "c", axis=0), node("Shape", "c", "s", end=1), node("Cast", "s", "f", to=FLOAT), node("Add", "x f", "y")], T, zero=np.float32(0), **NUMBERS), MIXING),
    Case("the number of rows kept by a stored condition", graph([node("Compress", "x k", "c", axis=0), node("Shape", "c", "s", end=1), node("Cast", "s", "f", to=FLOAT), node("Add", "x f", "y")], T, k=np.array([True, True, False])), MIXING),
    Case("the number of windows over rows", graph([node("Transpose", "x", "t"), node("Unsqueeze", "t zero1", "u"), node("MaxPool", "u", "p", kernel_shape=[2], strides=[2], pads=[1, 1], ceil_mode=1), node("Shape", "p", "s", start=2), node("Cast", "s", "f", to=FLOAT), node("Add", "x f", "y")], T, **NUMBERS), MIXING),
    Case("the rank of what is found", graph([node("NonZero", "x", "p"), node("Shape", "p", "s", end=1), node("Cast", "s", "f", to=FLOAT), node("Add", "x f", "y")], T), MIXING, shows=False),
    Case("a row in a sequence of rows", graph([node("SplitToSequence", "x one", "q", axis=0), node("SequenceAt", "q zero", "r"), node("Add", "x r", "y")], T, **RANGE), MIXING),
    Case("a row of a loop's number", graph([node("Loop", "two - x", "y", body=body("b", [node("Identity", "c", "d"), node("Gather", "v i", "g"), node("Add", "v g", "w")], {"i": INT64, "c": BOOL, "v": FLOAT}, {"d": BOOL, "w": FLOAT}))], T, two=np.array(2)), MIXING),
    Case("a loop's number, row by row", graph([node("Loop", "two - x", "y", body=body("b", [node("Identity", "c", "d"), node("Cast", "i", "f", to=FLOAT), node("Add", "v f", "w")], {"i": INT64, "c": BOOL, "v": FLOAT}, {"d": BOOL, "w": FLOAT}))], T, two=np.array(2)), PROVEN),
    Case("a loop that ends when all rows are done", graph([node("Loop", "nine yes x", "y", body=body("b", [node("ReduceMin", "v", "m", keepdims=0), node("Less", "m ten", "d"), node("Add", "v v", "w")], {"i": INT64, "c": BOOL, "v": FLOAT}, {"d": BOOL, "w": FLOAT}))], T, nine=np.array(9), yes=np.array(True), ten=np.float32(10)), MIXING),
    Case("a state of one for a free batch", one("GRU", {"x": (FLOAT, [3, "n", 4])}, "x w r - - h", outputs=("y", ""), constants={"w": f32(1, 6, 4), "r": f32(1, 6, 2), "h": f32(1, 1, 2)}, hidden_size=2), FROZEN, shows=False),
    Case("a class token for each row", graph([BATCH, node("Concat", "b one1 w4", "s", axis=0), node("Expand", "t s", "u"), node("Concat", "u x", "y", axis=1)], CUBE, t=f32(1, 1, 4), w4=np.array([4]), **NUMBERS), PROVEN),
    Case("a class token for one row", graph([node("Concat", "t x", "y", axis=1)], CUBE, t=f32(1, 1, 4)), FROZEN, shows=False),
]  # fmt: skip

CASES = [*BY_NUMBER, *BY_PLACE, *MEETING]
