"""Directed cases for ai.onnx, by family: element-wise, sums, reductions, pictures, recurrent."""

from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.safety.directed import (
    BOOL,
    FLOAT,
    FROZEN,
    INT32,
    INT64,
    MIXING,
    PROVEN,
    UINT8,
    UNPROVEN,
    Case,
    f32,
    graph,
    one,
)

T = {"x": (FLOAT, ["n", 4])}
TT = {**T, "y2": (FLOAT, ["n", 4])}
FLAT = {"x": (FLOAT, ["n"])}
SIDE = {"x": (FLOAT, [4, "n"])}
CUBE = {"x": (FLOAT, ["n", 3, 4])}
IMAGE = {"x": (FLOAT, ["n", 2, 5, 5])}
BYTES = {"x": (UINT8, ["n", 4])}
INTS = {"x": (INT64, ["n", 4])}
ROW, COLUMN = f32(1, 4), f32(3, 1)
QUANT: dict[str, Any] = {"s": np.float32(0.05), "z": np.uint8(100)}


def node(op_type: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node; names are separated by blanks, "-" is an absent input."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(
        op_type, names, outputs.split(), outputs.split(maxsplit=1)[0], **attributes
    )


def opset(version: int) -> dict[str, int]:
    return {"": version}


def pair(name: str, good: onnx.ModelProto, bad: onnx.ModelProto, **more: Any) -> list[Case]:
    """A positive case and a counter-example that mixes."""
    return [Case(name, good, PROVEN), Case(f"{name}: rows meet", bad, MIXING, **more)]


# Element-wise

COUNTED = [node("Shape", "x", "s", start=0, end=1), node("Cast", "s", "f", to=1)]
"""f: the number of rows as a float."""

ELEMENTWISE = [
    *(Case(name, one(name, T), PROVEN) for name in ("Relu", "Tanh", "Neg", "Floor", "Identity", "IsNaN")),
    Case("Cast", one("Cast", T, to=7), PROVEN),
    Case("CastLike", one("CastLike", T, "x w", constants={"w": np.array(1)}), PROVEN),
    *(Case(f"{name} of rows", one(name, TT), PROVEN) for name in ("Add", "Pow", "Max", "Sum", "Mean", "Greater")),
    *(Case(f"{name} with a stored row", one(name, T, "x w", constants={"w": ROW}), PROVEN) for name in ("Sub", "Pow", "Min", "Sum")),
    *(Case(f"{name}: an entry for each row", one(name, T, "x w", constants={"w": COLUMN}), MIXING, shows=False) for name in ("Add", "Mul", "Pow", "Less", "Sum", "Div", "PRelu")),
    *(Case(f"{name}: crossed axes", one(name, {"x": (FLOAT, ["n", 1]), "y2": (FLOAT, ["n"])}), MIXING) for name in ("Add", "Pow", "Mean", "Equal", "Div")),
    *(Case(f"{name} with the number of rows", graph([*COUNTED, node(name, "x f", "y")], T), MIXING) for name in ("Div", "Add", "Pow", "Greater", "Sum")),
    Case("Where", one("Where", {"c": (BOOL, ["n", 4]), **TT}), PROVEN),
    Case("Where: crossed axes", one("Where", {"c": (BOOL, ["n"]), "x": (FLOAT, ["n", 1]), "y2": (FLOAT, ["n", 1])}), MIXING),
    Case("Where: an entry for each row", one("Where", {"c": (BOOL, ["n", 4]), **T}, "c x w", constants={"w": COLUMN}), MIXING, shows=False),
    Case("Div of integers by a row's number", one("Div", {**INTS, "y2": (INT64, ["n", 4])}), PROVEN, partial=True),
    Case("Mod of integers by a row's number", one("Mod", {**INTS, "y2": (INT64, ["n", 4])}), PROVEN, partial=True),
    Case("Mod: crossed axes", one("Mod", {"x": (FLOAT, ["n", 1]), "y2": (FLOAT, ["n"])}, fmod=1), MIXING),
    Case("Mod: an entry for each row", one("Mod", T, "x w", constants={"w": COLUMN}, fmod=1), MIXING, shows=False),
    Case("PRelu", one("PRelu", T, "x w", constants={"w": ROW}), PROVEN),
    Case("Clip", one("Clip", T, "x w", constants={"w": np.float32(0)}), PROVEN),
    Case("Clip by the number of rows", graph([*COUNTED, node("Squeeze", "f", "g"), node("Clip", "x g", "y")], T), MIXING),
    Case("Clip by the largest of all rows", graph([node("ReduceMean", "x", "m", keepdims=0), node("Clip", "x m", "y")], T), MIXING),
    Case("Dropout", one("Dropout", T), PROVEN),
    Case("Dropout in training mode", one("Dropout", T, "x r t", constants={"r": np.float32(0.5), "t": np.array(True)}), MIXING),
    *(Case(f"{name} of a row's shape", one(name, T), MIXING) for name in ("RandomNormalLike", "RandomUniformLike")),
    Case("CumSum", one("CumSum", T, "x a", constants={"a": np.array(1)}), PROVEN),
    Case("CumSum over rows", one("CumSum", T, "x a", constants={"a": np.array(0)}), MIXING),
    Case("CumSum over rows, counted from the end", one("CumSum", T, "x a", constants={"a": np.array(-2)}), MIXING),
    Case("CumSum along an axis that a request gives", one("CumSum", {**T, "a": (INT64, [])}), UNPROVEN, equal=frozenset({"a"}), shows=False),
    Case("BitwiseAnd: crossed axes", one("BitwiseAnd", {"x": (INT64, ["n", 1]), "y2": (INT64, ["n"])}), MIXING),
    Case("a request without rows, the same for all", one("Add", {**T, "b": (FLOAT, [4])}), PROVEN, equal=frozenset({"b"})),
]  # fmt: skip


# Sums of products

W = f32(4, 4)
SUMS = [
    *pair("MatMul", one("MatMul", T, "x w", constants={"w": W}), graph([node("Transpose", "x", "t"), node("MatMul", "x t", "y")], T)),
    Case("MatMul: sums over rows", graph([node("Transpose", "x", "t"), node("MatMul", "t x", "m"), node("MatMul", "x m", "y")], T), MIXING),
    Case("MatMul of stacks", graph([node("Transpose", "x", "t", perm=[0, 2, 1]), node("MatMul", "x t", "y")], CUBE), PROVEN),
    Case("MatMul: a stored matrix for each row", one("MatMul", CUBE, "x w", constants={"w": f32(3, 4, 4)}), MIXING, shows=False),
    Case("MatMul: rows as columns", one("MatMul", SIDE, "w x", constants={"w": W}), PROVEN, shows=False),
    Case("MatMul of vectors of rows", one("MatMul", {"x": (FLOAT, ["n"]), "y2": (FLOAT, ["n"])}), MIXING),
    *pair("Gemm", one("Gemm", T, "x w b", constants={"w": W, "b": f32(4)}), one("Gemm", T, "x x", transB=1)),
    Case("Gemm: sums over rows", graph([node("Gemm", "x x", "m", transA=1), node("MatMul", "x m", "y")], T), MIXING),
    Case("Gemm: an addend for each row", one("Gemm", T, "x w b", constants={"w": W, "b": COLUMN}), MIXING, shows=False),
    *pair("Einsum", one("Einsum", T, "x w", constants={"w": W}, equation="ij,jk->ik"), one("Einsum", T, equation="ij->j")),
    Case("Einsum: rows times rows", one("Einsum", TT, equation="ij,kj->ik"), MIXING),
    Case("Einsum of rows, each with its own", one("Einsum", TT, equation="ij,ij->i"), PROVEN),
    Case("Einsum: the diagonal of rows", graph([node("Transpose", "x", "t"), node("MatMul", "x t", "m"), node("Einsum", "m", "y", equation="ii->i")], T), MIXING, shows=False),
    Case("Einsum with an ellipsis", one("Einsum", CUBE, "x w", constants={"w": W}, equation="...j,jk->...k"), PROVEN),
    *pair("MatMulInteger", one("MatMulInteger", BYTES, "x w z", constants={"w": np.arange(16, dtype=np.uint8).reshape(4, 4), "z": np.uint8(1)}),
          graph([node("Transpose", "x", "t"), node("MatMulInteger", "x t", "y")], BYTES)),
    Case("MatMulInteger: a zero point for each row", one("MatMulInteger", BYTES, "x w z", constants={"w": np.ones((4, 4), np.uint8), "z": np.arange(3, dtype=np.uint8)}), UNPROVEN, shows=False),
    Case("QLinearMatMul", one("QLinearMatMul", BYTES, "x s z w s z s z", constants={**QUANT, "w": np.arange(16, dtype=np.uint8).reshape(4, 4)}), PROVEN),
    Case("QLinearMatMul: rows times rows", graph([node("Transpose", "x", "t"), node("QLinearMatMul", "x s z t s z s z", "y")], BYTES, **QUANT), MIXING),
    *pair("Det", one("Det", {"x": (FLOAT, ["n", 3, 3])}), one("Det", {"x": (FLOAT, [2, 2, "n"])}), shows=False),
]  # fmt: skip


# Reductions, normalisation, sorting


def reduced(name: str, axis: int, **more: Any) -> onnx.ModelProto:
    return one(name, T, "x a", constants={"a": np.array([axis])}, **more)


REDUCTIONS = [
    *(case for name in ("ReduceSum", "ReduceMax", "ReduceMean", "ReduceL2") for case in pair(name, reduced(name, 1), reduced(name, 0))),
    Case("ReduceSum over an axis counted from the end", reduced("ReduceSum", -2), MIXING),
    Case("ReduceSum over all axes", one("ReduceSum", T), MIXING),
    Case("ReduceSum over no axis", one("ReduceSum", T, noop_with_empty_axes=1), PROVEN),
    Case("ReduceMean with axes as an attribute", one("ReduceMean", T, opsets=opset(13), axes=[0]), MIXING),
    Case("ReduceSum over axes of a request", one("ReduceSum", {**T, "a": (INT64, [1])}), UNPROVEN, equal=frozenset({"a"}), shows=False),
    *pair("ArgMax", one("ArgMax", T, axis=1), one("ArgMax", T, axis=0)),
    Case("ArgMax over its default axis", one("ArgMax", T), MIXING),
    *pair("Softmax", one("Softmax", T), one("Softmax", T, axis=0)),
    Case("Softmax over axis -2", one("Softmax", T, axis=-2), MIXING),
    Case("Softmax before operator set 13 over axis 0 and all behind it", one("Softmax", CUBE, opsets=opset(11), axis=0), MIXING),
    Case("Softmax before operator set 13 over the axes from 1 on", one("Softmax", CUBE, opsets=opset(11)), PROVEN),
    Case("Softmax before operator set 13 with rows behind its axis", one("Softmax", {"x": (FLOAT, [2, 3, "n"])}, opsets=opset(11)), MIXING, shows=False),
    *pair("LpNormalization", one("LpNormalization", T), one("LpNormalization", T, axis=0)),
    *pair("MeanVarianceNormalization", one("MeanVarianceNormalization", IMAGE, axes=[1, 2, 3]), one("MeanVarianceNormalization", IMAGE)),
    *pair("TopK", one("TopK", T, "x k", constants={"k": np.array([2])}, outputs=("y", "i")), one("TopK", T, "x k", constants={"k": np.array([1])}, axis=0, outputs=("y", "i"))),
    Case("TopK of as many as there are rows", graph([node("Shape", "x", "k", start=0, end=1), node("TopK", "x k", "y i")], {"x": (FLOAT, ["n", 17])}, ("y", "i")), MIXING),
    Case("TopK of as many as a row says", graph([node("ReduceMax", "k2", "k", keepdims=1), node("TopK", "x k", "y i")], {**T, "k2": (INT64, ["n"])}, ("y", "i")), MIXING, examples={"x": f32(3, 4), "k2": np.array([1, 2, 3])}),
    Case("BatchNormalization", one("BatchNormalization", T, "x w b m v", constants={"w": f32(4), "b": f32(4), "m": f32(4), "v": np.ones(4, np.float32)}), PROVEN),
    Case("BatchNormalization in training mode", one("BatchNormalization", T, "x w w b v", outputs=("y", "m", "s"), training_mode=1, constants={"w": f32(4), "b": f32(4), "v": np.ones(4, np.float32)}), MIXING),
    Case("BatchNormalization: a statistic for each row", one("BatchNormalization", {"x": (FLOAT, [1, "n", 4])}, "x w w b v", constants={"w": f32(2), "b": f32(2), "v": np.ones(2, np.float32)}), MIXING, shows=False),
    Case("InstanceNormalization", one("InstanceNormalization", IMAGE, "x w b", constants={"w": f32(2), "b": f32(2)}), PROVEN),
    Case("InstanceNormalization over rows", one("InstanceNormalization", {"x": (FLOAT, [1, 2, "n"])}, "x w b", constants={"w": f32(2), "b": f32(2)}), MIXING, shows=False),
    Case("LRN", one("LRN", IMAGE, size=3), PROVEN),
    Case("LRN over rows", one("LRN", {"x": (FLOAT, [1, "n", 5, 5])}, size=3), MIXING, shows=False),
    *pair("LayerNormalization", one("LayerNormalization", T, "x w", constants={"w": f32(4)}, outputs=("y", "m")), one("LayerNormalization", T, "x w", constants={"w": np.ones((1, 4), np.float32)}, axis=0)),
    Case("LayerNormalization: a weight for each row", one("LayerNormalization", CUBE, "x w", constants={"w": f32(3, 1, 4)}), MIXING, shows=False),
    Case("NonZero", one("NonZero", T), MIXING),
    Case("Unique", one("Unique", T), MIXING),
    Case("Unique rows", one("Unique", T, axis=0), MIXING),
    Case("Compress of features", one("Compress", T, "x c", constants={"c": np.array([True, False, True, True])}, axis=1), PROVEN),
    Case("Compress of rows", one("Compress", T, "x c", constants={"c": np.array([False, True])}, axis=0), MIXING),
    Case("Compress of all values", one("Compress", T, "x c", constants={"c": np.array([True, False, True])}), MIXING),
    Case("NonMaxSuppression", one("NonMaxSuppression", {"x": (FLOAT, ["n", 3, 4]), "q": (FLOAT, ["n", 1, 3])}, "x q k", constants={"k": np.array([2])}), MIXING),
    Case("DynamicQuantizeLinear", one("DynamicQuantizeLinear", T, outputs=("y", "s", "z")), MIXING),
    Case("QuantizeLinear", one("QuantizeLinear", T, "x s z", constants=QUANT), PROVEN),
    Case("QuantizeLinear by features", one("QuantizeLinear", T, "x s z", constants={"s": np.full(4, 0.1, np.float32), "z": np.zeros(4, np.uint8)}, axis=1), PROVEN),
    Case("QuantizeLinear: a scale for each row", one("QuantizeLinear", T, "x s z", constants={"s": np.linspace(0.1, 0.3, 3, dtype=np.float32), "z": np.zeros(3, np.uint8)}, axis=0), MIXING, shows=False),
    Case("QuantizeLinear by the largest of all rows", graph([node("ReduceMax", "x", "m", keepdims=0), node("QuantizeLinear", "x m", "y")], T), MIXING),
    Case("DequantizeLinear", one("DequantizeLinear", BYTES, "x s z", constants=QUANT), PROVEN),
    Case("DequantizeLinear: a scale for each row", one("DequantizeLinear", BYTES, "x s z", constants={"s": np.linspace(0.1, 0.3, 3, dtype=np.float32), "z": np.zeros(3, np.uint8)}, axis=0), MIXING, shows=False),
]  # fmt: skip


# Pictures

KERNEL = f32(3, 2, 3, 3)
CHANNELS = {"x": (FLOAT, [1, "n", 5, 5])}
PLACES = {"x": (FLOAT, [1, 2, "n", 5])}
GRID = {**IMAGE, "g": (FLOAT, ["n", 3, 3, 2])}

PICTURES = [
    Case("Conv", one("Conv", IMAGE, "x w b", constants={"w": KERNEL, "b": f32(3)}), PROVEN),
    Case("Conv over rows", one("Conv", PLACES, "x w", constants={"w": KERNEL}), MIXING, shows=False),
    Case("Conv of rows as channels", one("Conv", CHANNELS, "x w", constants={"w": KERNEL}), MIXING, shows=False),
    Case("Conv: weights from rows", graph([node("ReduceMean", "x", "m", axes=[0], keepdims=1), node("Conv", "x m", "y")], IMAGE, opsets={"": 17}), MIXING),
    Case("ConvTranspose", one("ConvTranspose", IMAGE, "x w", constants={"w": f32(2, 3, 3, 3)}), PROVEN),
    Case("ConvTranspose over rows", one("ConvTranspose", PLACES, "x w", constants={"w": f32(2, 3, 3, 3)}), MIXING, shows=False),
    Case("ConvTranspose: weights from rows", graph([node("ReduceMean", "x", "m", axes=[0], keepdims=1), node("Transpose", "m", "t", perm=[1, 0, 2, 3]), node("ConvTranspose", "x t", "y")], IMAGE, opsets={"": 17}), MIXING),
    Case("ConvInteger", one("ConvInteger", {"x": (UINT8, ["n", 2, 5, 5])}, "x w z", constants={"w": np.arange(8, dtype=np.uint8).reshape(1, 2, 2, 2), "z": np.uint8(1)}), PROVEN),
    Case("ConvInteger over rows", one("ConvInteger", {"x": (UINT8, [1, 2, "n", 5])}, "x w", constants={"w": np.arange(8, dtype=np.uint8).reshape(1, 2, 2, 2)}), MIXING, shows=False),
    Case("QLinearConv", one("QLinearConv", {"x": (UINT8, ["n", 2, 5, 5])}, "x s z w s z s z", constants={**QUANT, "w": np.arange(8, dtype=np.uint8).reshape(1, 2, 2, 2)}), PROVEN),
    Case("QLinearConv over rows", one("QLinearConv", {"x": (UINT8, [1, 2, "n", 5])}, "x s z w s z s z", constants={**QUANT, "w": np.arange(8, dtype=np.uint8).reshape(1, 2, 2, 2)}), MIXING, shows=False),
    Case("DeformConv", one("DeformConv", {**IMAGE, "o": (FLOAT, ["n", 8, 4, 4])}, "x w o", opsets=opset(19), constants={"w": f32(3, 2, 2, 2)}), PROVEN),
    Case("DeformConv over rows", one("DeformConv", {**PLACES, "o": (FLOAT, [1, 8, "n", 4])}, "x w o", opsets=opset(19), constants={"w": f32(3, 2, 1, 2)}), MIXING, shows=False),
    *(Case(name, one(name, IMAGE, kernel_shape=[2, 2]), PROVEN) for name in ("AveragePool", "MaxPool", "LpPool")),
    *(Case(f"{name} over rows", one(name, PLACES, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), MIXING, shows=False) for name in ("AveragePool", "MaxPool", "LpPool")),
    Case("MaxPool: its indices count through the batch", one("MaxPool", IMAGE, kernel_shape=[2, 2], outputs=("v", "y")), MIXING),
    Case("MaxUnpool", graph([node("MaxPool", "x", "v i", kernel_shape=[2, 2], strides=[2, 2]), node("MaxUnpool", "v i", "y", kernel_shape=[2, 2], strides=[2, 2])], {"x": (FLOAT, ["n", 2, 4, 4])}), MIXING, shows=False),
    Case("GlobalAveragePool", one("GlobalAveragePool", IMAGE), PROVEN),
    Case("GlobalAveragePool over rows", one("GlobalAveragePool", PLACES), MIXING, shows=False),
    Case("Resize", one("Resize", IMAGE, "x - f", constants={"f": np.array([1, 1, 2, 2], np.float32)}, mode="linear"), PROVEN),
    Case("Upsample by attributes", one("Upsample", IMAGE, opsets={"": 7}, scales=[1.0, 1.0, 2.0, 1.5]), PROVEN),
    Case("Upsample of rows by attributes", one("Upsample", IMAGE, opsets={"": 7}, scales=[2.0, 1.0, 2.0, 2.0]), UNPROVEN),
    Case("Resize of rows", one("Resize", T, "x - f", constants={"f": np.array([2, 1], np.float32)}), UNPROVEN),
    Case("Resize to lengths that state the number of rows", graph([node("Shape", "x", "b", start=0, end=2), node("Concat", "b to", "l", axis=0), node("Resize", "x - - l", "y", mode="nearest")], IMAGE, to=np.array([9, 9])), PROVEN),
    Case("Resize to a fixed number of rows", one("Resize", T, "x - - l", constants={"l": np.array([3, 4])}), UNPROVEN, shows=False),
    Case("Resize by the policy of the largest", graph([node("Shape", "x", "b", start=0, end=1), node("Concat", "b to", "l", axis=0), node("Resize", "x - - l", "y", keep_aspect_ratio_policy="not_larger")], T, to=np.array([8])), UNPROVEN, shows=False),
    Case("GridSample", one("GridSample", GRID), PROVEN),
    Case("GridSample over rows", one("GridSample", {"x": (FLOAT, [1, 2, "n", 5]), "g": (FLOAT, [1, "n", 3, 2])}), MIXING, shows=False),
    Case("GridSample of one stored picture", one("GridSample", {"g": (FLOAT, ["n", 3, 3, 2])}, "p g", constants={"p": f32(1, 2, 5, 5)}), UNPROVEN, shows=False),
    Case("DepthToSpace", one("DepthToSpace", {"x": (FLOAT, ["n", 4, 3, 3])}, blocksize=2), PROVEN),
    Case("DepthToSpace of rows", one("SpaceToDepth", {"x": (FLOAT, [1, 4, "n", 4])}, blocksize=2), MIXING, shows=False),
    Case("Col2Im", one("Col2Im", {"x": (FLOAT, ["n", 4, 4])}, "x i b", constants={"i": np.array([3, 3]), "b": np.array([2, 2])}), PROVEN),
    Case("Col2Im over rows", one("Col2Im", {"x": (FLOAT, [1, 4, "n"])}, "x i b", constants={"i": np.array([3, 3]), "b": np.array([2, 2])}), MIXING, shows=False),
    Case("AffineGrid to a stated number of rows", one("AffineGrid", {"x": (FLOAT, ["n", 2, 3])}, "x l", constants={"l": np.array([2, 2, 4, 4])}), UNPROVEN, shows=False),
    Case("Trilu", one("Trilu", CUBE), PROVEN),
    Case("Trilu of rows", one("Trilu", T), MIXING),
    Case("EyeLike", one("EyeLike", T), MIXING),
]  # fmt: skip


# Recurrent networks: X [time, batch, width], state [1, batch, hidden]

SEQUENCE = {"x": (FLOAT, [3, "n", 4])}


def weights(gates: int) -> dict[str, Any]:
    return {"w": f32(1, gates * 2, 4), "r": f32(1, gates * 2, 2)}


RECURRENT = [
    *(Case(f"{name}, time first", one(name, SEQUENCE, "x w r", constants=weights(g), hidden_size=2), PROVEN, shows=False) for name, g in (("RNN", 1), ("GRU", 3), ("LSTM", 4))),
    *(Case(f"{name} along the rows", one(name, {"x": (FLOAT, ["n", 3, 4])}, "x w r", constants=weights(g), hidden_size=2), MIXING) for name, g in (("RNN", 1), ("GRU", 3), ("LSTM", 4))),
    Case("LSTM with a state", one("LSTM", {**SEQUENCE, "h": (FLOAT, [1, "n", 2]), "c": (FLOAT, [1, "n", 2])}, "x w r - - h c", constants=weights(4), hidden_size=2), PROVEN, shows=False),
    Case("LSTM with a length for each row", one("LSTM", {**SEQUENCE, "l": (INT32, ["n"])}, "x w r - l", constants=weights(4), hidden_size=2), PROVEN, shows=False, partial=True),
    Case("LSTM: one stored state for each row", one("LSTM", SEQUENCE, "x w r - - h c", constants={**weights(4), "h": f32(1, 2, 2), "c": f32(1, 2, 2)}, hidden_size=2), FROZEN, shows=False),
    Case("LSTM: weights from rows", graph([node("ReduceMean", "x", "m", axes=[0, 1], keepdims=1), node("Mul", "w m", "v"), node("LSTM", "x v r", "y", hidden_size=2)], SEQUENCE, opsets={"": 17}, **weights(4)), MIXING, shows=False),
]  # fmt: skip

CASES = [*ELEMENTWISE, *SUMS, *REDUCTIONS, *PICTURES, *RECURRENT]
