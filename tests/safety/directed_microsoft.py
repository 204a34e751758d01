"""Directed cases for com.microsoft."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from tests.safety.directed import (
    FLOAT,
    INT32,
    INT64,
    MIXING,
    PROVEN,
    UINT8,
    UNPROVEN,
    Case,
    f32,
    one,
)

TABLE = {"x": (FLOAT, ["n", 4])}
SIDE = {"x": (FLOAT, [4, "n"])}
CUBE = {"x": (FLOAT, ["n", 3, 4])}
IMAGE = {"x": (FLOAT, ["n", 2, 5, 5])}
BYTES = {"x": (UINT8, ["n", 4])}
BYTE_IMAGE = {"x": (UINT8, ["n", 2, 5, 5])}
LAST_IMAGE = {"x": (UINT8, ["n", 5, 5, 2])}
SCALE, ZERO = np.float32(0.05), np.uint8(100)
QUANT = {"s": SCALE, "z": ZERO}
W4 = f32(4, 4)
B4 = np.arange(16, dtype=np.uint8).reshape(4, 4)


def ms(op_type: str, inputs: Any, names: str | None = None, **more: Any) -> onnx.ModelProto:
    return one(op_type, inputs, names, domain="com.microsoft", **more)


def bits(**more: Any) -> dict[str, Any]:
    """A weight [4, 32] of 4 bits with one scale for each block of 32."""
    blobs = np.arange(4 * 16, dtype=np.uint8).reshape(4, 1, 16)
    return {"K": 32, "N": 4, "bits": 4, "block_size": 32,
            "constants": {"w": blobs, "s": f32(4, 1).ravel()}, **more}  # fmt: skip


ELEMENTWISE = [
    Case("Gelu", ms("Gelu", TABLE), PROVEN),
    Case("QuickGelu", ms("QuickGelu", TABLE, alpha=1.5), PROVEN),
    Case("FastGelu", ms("FastGelu", TABLE), PROVEN),
    Case("FastGelu with a bias", ms("FastGelu", TABLE, "x b", constants={"b": f32(4)}), PROVEN),
    Case("BiasGelu", ms("BiasGelu", TABLE, "x b", constants={"b": f32(4)}), PROVEN),
    Case("BiasGelu: a bias for each row", ms("BiasGelu", SIDE, "x b", constants={"b": f32(3)}), MIXING, shows=False),
    Case("MurmurHash3", ms("MurmurHash3", {"x": (INT32, ["n", 2])}), PROVEN),
    Case("ExpandDims", ms("ExpandDims", TABLE, "x a", constants={"a": np.array(1, np.int32)}), PROVEN),
    Case("Inverse", ms("Inverse", {"x": (FLOAT, ["n", 2, 2])}), PROVEN, examples={"x": f32(4, 2, 2)}),
    Case("Trilu", ms("Trilu", {"x": (FLOAT, ["n", 3, 3])}), PROVEN),
    Case("Trilu of rows", ms("Trilu", TABLE), MIXING),
    Case("Trilu: the diagonal comes from an input", ms("Trilu", {"x": (FLOAT, ["n", 3, 3]), "k": (INT64, [])}), PROVEN, equal=frozenset({"k"})),
]  # fmt: skip

PRODUCTS = [
    Case("FusedMatMul", ms("FusedMatMul", TABLE, "x w", constants={"w": W4}, transB=1), PROVEN),
    Case("FusedMatMul: sums over rows", ms("FusedMatMul", TABLE, "x w", constants={"w": f32(1, 4)}, transA=1), MIXING, shows=False),
    Case("FusedMatMul: rows times rows", ms("FusedMatMul", TABLE, "x x", transB=1), MIXING),
    Case("FusedMatMul of stacks", ms("FusedMatMul", CUBE, "x x", transB=1), PROVEN),
    Case("FusedMatMul of stacks, transposed", ms("FusedMatMul", CUBE, "x x", transA=1), PROVEN),
    Case("FusedMatMul: a stack that is turned", ms("FusedMatMul", CUBE, "x w", transBatchA=1, constants={"w": f32(3, 4, 2)}), UNPROVEN, shows=False),
    Case("FusedGemm", ms("FusedGemm", TABLE, "x w b", constants={"w": W4, "b": f32(4)}, activation="Relu"), PROVEN),
    Case("FusedGemm: rows times rows", ms("FusedGemm", TABLE, "x x", transB=1, activation="Relu"), MIXING),
    Case("FusedGemm: sums over rows", ms("FusedGemm", TABLE, "x w", constants={"w": f32(1, 4)}, transA=1, activation="Relu"), MIXING, shows=False),
    Case("MatMulNBits", ms("MatMulNBits", {"x": (FLOAT, ["n", 32])}, "x w s", **bits()), PROVEN),
    Case("MatMulNBits: sums over rows", ms("MatMulNBits", {"x": (FLOAT, [3, "n"])}, "x w s", **bits()), MIXING, shows=False),
    Case("CDist against stored points", ms("CDist", TABLE, "x w", constants={"w": W4}, metric="euclidean"), PROVEN),
    Case("CDist of rows", ms("CDist", TABLE, "x x", metric="euclidean"), MIXING),
    Case("FusedConv", ms("FusedConv", IMAGE, "x w", constants={"w": f32(3, 2, 3, 3)}, activation="Relu"), PROVEN),
    Case("FusedConv with a sum", ms("FusedConv", {**IMAGE, "z": (FLOAT, ["n", 3, 3, 3])}, "x w b z", constants={"w": f32(3, 2, 3, 3), "b": f32(3)}, activation="Relu"), PROVEN),
    Case("FusedConv: a stored sum", ms("FusedConv", IMAGE, "x w b z", constants={"w": f32(3, 2, 3, 3), "b": f32(3), "z": f32(2, 3, 3, 3)}, activation="Relu"), UNPROVEN, shows=False),
    Case("FusedConv: rows as channels", ms("FusedConv", {"x": (FLOAT, [2, "n", 5, 5])}, "x w", constants={"w": f32(3, 2, 3, 3)}, activation="Relu"), MIXING, shows=False),
]  # fmt: skip

NORMALISED = [
    Case("SkipLayerNormalization", ms("SkipLayerNormalization", {**CUBE, "s": (FLOAT, ["n", 3, 4])}, "x s g b", constants={"g": f32(4), "b": f32(4)}, epsilon=1e-5), PROVEN),
    Case("SkipLayerNormalization, the same skip for all", ms("SkipLayerNormalization", CUBE, "x s g", constants={"s": f32(1, 3, 4), "g": f32(4)}, epsilon=1e-5), PROVEN),
    Case("SkipLayerNormalization: a skip for each row", ms("SkipLayerNormalization", {"x": (FLOAT, [2, "n", 4])}, "x s g", constants={"s": f32(3, 4), "g": f32(4)}), MIXING, shows=False),
    Case("SkipLayerNormalization over rows", ms("SkipLayerNormalization", {"x": (FLOAT, [2, 3, "n"]), "s": (FLOAT, [2, 3, "n"])}, "x s g", constants={"g": np.ones(1, np.float32)}), MIXING, shows=False),
    Case("SkipSimplifiedLayerNormalization", ms("SkipSimplifiedLayerNormalization", {**CUBE, "s": (FLOAT, ["n", 3, 4])}, "x s g", constants={"g": f32(4)}, epsilon=1e-5), PROVEN),
]  # fmt: skip

HEADS: dict[str, Any] = {"num_heads": 2}
SEQUENCE = {"x": (FLOAT, ["n", 3, 8])}
TRIPLE = {name: (FLOAT, ["n", 3, 8]) for name in ("q", "k", "v")}
ATTENTION_WEIGHTS = {"w": f32(8, 24), "b": f32(24)}
BY_TIME = {name: (FLOAT, [3, "n", 8]) for name in ("q", "k", "v")}
EMBEDDING = {"word": f32(10, 8), "place": f32(6, 8), "g": f32(8), "b": f32(8)}

ATTENTION = [
    Case("Attention", ms("Attention", SEQUENCE, "x w b", constants=ATTENTION_WEIGHTS, **HEADS), PROVEN),
    Case("Attention with a mask for each row", ms("Attention", {**SEQUENCE, "m": (INT32, ["n", 3])}, "x w b m", constants=ATTENTION_WEIGHTS, **HEADS), PROVEN, examples={"x": f32(4, 3, 8), "m": np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]], np.int32)}),
    Case("Attention with a length for each row", ms("Attention", {**SEQUENCE, "m": (INT32, ["n"])}, "x w b m", constants=ATTENTION_WEIGHTS, **HEADS), PROVEN, examples={"x": f32(3, 3, 8), "m": np.array([1, 2, 3], np.int32)}),
    Case("Attention over rows", ms("Attention", {"x": (FLOAT, [3, "n", 8])}, "x w b", constants=ATTENTION_WEIGHTS, **HEADS), MIXING, shows=False),
    Case("MultiHeadAttention", ms("MultiHeadAttention", TRIPLE, **HEADS), PROVEN),
    Case("MultiHeadAttention with a mask for each row", ms("MultiHeadAttention", {**TRIPLE, "m": (INT32, ["n", 3])}, "q k v - m", **HEADS), PROVEN, examples={**{n: f32(3, 3, 8) for n in "qkv"}, "m": np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0]], np.int32)}),
    Case("MultiHeadAttention with the same bias for all", ms("MultiHeadAttention", TRIPLE, "q k v - - a", constants={"a": f32(1, 2, 3, 3)}, **HEADS), PROVEN),
    Case("MultiHeadAttention: a bias for each row", ms("MultiHeadAttention", TRIPLE, "q k v - - a", constants={"a": f32(3, 2, 3, 3)}, **HEADS), MIXING, shows=False),
    Case("MultiHeadAttention over rows", ms("MultiHeadAttention", BY_TIME, **HEADS), MIXING, shows=False),
    Case("MultiHeadAttention of stored keys", ms("MultiHeadAttention", {"q": (FLOAT, ["n", 3, 8])}, "q k v", constants={"k": f32(1, 3, 8), "v": f32(1, 3, 8)}, **HEADS), UNPROVEN, shows=False),
    Case("EmbedLayerNormalization", ms("EmbedLayerNormalization", {"i": (INT32, ["n", 5])}, "i - word place - g b", outputs=("y", "m"), constants=EMBEDDING), PROVEN, partial=True),
    Case("EmbedLayerNormalization: rows as places", ms("EmbedLayerNormalization", {"i": (INT32, [5, "n"])}, "i - word place - g b", outputs=("y", "m"), constants=EMBEDDING), MIXING, shows=False),
    Case("RotaryEmbedding", ms("RotaryEmbedding", {"x": (FLOAT, ["n", 3, 8]), "p": (INT64, ["n", 3])}, "x p c s", constants={"c": f32(6, 4), "s": f32(6, 4)}), PROVEN, partial=True, examples={"x": f32(3, 3, 8), "p": np.array([[0, 1, 2], [3, 4, 5], [1, 2, 3]])}),
    Case("RotaryEmbedding from a first place", ms("RotaryEmbedding", {"x": (FLOAT, ["n", 3, 8])}, "x p c s", constants={"p": np.array([1]), "c": f32(6, 4), "s": f32(6, 4)}), PROVEN),
    Case("RotaryEmbedding: rows as places", ms("RotaryEmbedding", {"x": (FLOAT, [2, "n", 8])}, "x p c s", constants={"p": np.array([1]), "c": f32(6, 4), "s": f32(6, 4)}), MIXING, shows=False),
]  # fmt: skip

GRID = {"x": (FLOAT, ["n", 2, 5, 5]), "g": (FLOAT, ["n", 3, 3, 2])}

QUANTISED = [
    Case("DynamicQuantizeMatMul", ms("DynamicQuantizeMatMul", TABLE, "x w s z", constants={"w": B4, **QUANT}), MIXING),
    Case("QuantizeLinear", ms("QuantizeLinear", TABLE, "x s z", constants=QUANT), PROVEN),
    Case("DequantizeLinear", ms("DequantizeLinear", BYTES, "x s z", constants=QUANT), PROVEN),
    Case("QuantizeLinear: a scale from rows", ms("QuantizeLinear", {**TABLE, "s": (FLOAT, ["n"])}, "x s z", constants={"z": np.zeros(3, np.uint8)}, axis=0), UNPROVEN, shows=False),
    Case("QLinearAdd", ms("QLinearAdd", {**BYTES, "w": (UINT8, ["n", 4])}, "x s z w s z s z", constants=QUANT), PROVEN),
    Case("QLinearMul with a stored row", ms("QLinearMul", BYTES, "x s z w s z s z", constants={**QUANT, "w": B4[:1]}), PROVEN),
    Case("QLinearAdd: a stored entry for each row", ms("QLinearAdd", BYTES, "x s z w s z s z", constants={**QUANT, "w": B4}), MIXING, shows=False),
    Case("QLinearSigmoid", ms("QLinearSigmoid", BYTES, "x s z s z", constants=QUANT), PROVEN),
    Case("QLinearLeakyRelu", ms("QLinearLeakyRelu", BYTES, "x s z s z", constants=QUANT, alpha=0.1), PROVEN),
    Case("QLinearSoftmax", ms("QLinearSoftmax", BYTES, "x s z s z", constants=QUANT, axis=1, opset=13), PROVEN),
    Case("QLinearSoftmax over rows", ms("QLinearSoftmax", BYTES, "x s z s z", constants=QUANT, axis=0, opset=13), MIXING),
    Case("QLinearSoftmax before operator set 13", ms("QLinearSoftmax", {"x": (UINT8, ["n", 3, 4])}, "x s z s z", constants=QUANT, axis=0, opset=12), MIXING),
    Case("QLinearConcat beside the rows", ms("QLinearConcat", {**BYTES, "w": (UINT8, ["n", 3])}, "s z x s z w s z", constants=QUANT, axis=1), PROVEN),
    Case("QLinearConcat of rows", ms("QLinearConcat", BYTES, "s z x s z x s z", constants=QUANT, axis=0), MIXING),
    Case("QLinearWhere", ms("QLinearWhere", {"c": (9, ["n", 4]), **BYTES}, "c x s z w s z s z", constants={**QUANT, "w": B4[:1]}), PROVEN),
    Case("MatMulIntegerToFloat", ms("MatMulIntegerToFloat", BYTES, "x w s s z z b", constants={**QUANT, "w": B4, "b": f32(4)}), PROVEN),
    Case("MatMulIntegerToFloat: a scale from rows", ms("MatMulIntegerToFloat", {**BYTES, "t": (FLOAT, ["n"])}, "x w t s", constants={**QUANT, "w": B4}), UNPROVEN, shows=False),
    Case("MatMulIntegerToFloat: sums over rows", ms("MatMulIntegerToFloat", {"x": (UINT8, [4, "n"])}, "x w s s", constants={**QUANT, "w": B4}), MIXING, shows=False),
    Case("QGemm", ms("QGemm", BYTES, "x s z w s z - s z", constants={**QUANT, "w": B4}), PROVEN),
    Case("QGemm: sums over rows", ms("QGemm", BYTES, "x s z w s z", constants={**QUANT, "w": B4[:1]}, transA=1), MIXING, shows=False),
    Case("QLinearConv", ms("QLinearConv", BYTE_IMAGE, "x s z w s z s z", constants={**QUANT, "w": np.arange(8, dtype=np.uint8).reshape(1, 2, 2, 2)}), PROVEN),
    Case("QLinearConv, channels last", ms("QLinearConv", LAST_IMAGE, "x s z w s z s z", constants={**QUANT, "w": np.arange(8, dtype=np.uint8).reshape(1, 2, 2, 2)}, channels_last=1), PROVEN),
    Case("QLinearConv: rows as channels", ms("QLinearConv", {"x": (UINT8, [1, 5, 5, "n"])}, "x s z w s z s z", constants={**QUANT, "w": np.ones((1, 2, 2, 2), np.uint8)}, channels_last=1), MIXING, shows=False),
    Case("QLinearAveragePool", ms("QLinearAveragePool", BYTE_IMAGE, "x s z s z", constants=QUANT, kernel_shape=[2, 2]), PROVEN),
    Case("QLinearAveragePool over rows", ms("QLinearAveragePool", {"x": (UINT8, [1, 1, "n", 5])}, "x s z s z", constants=QUANT, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), MIXING, shows=False),
    Case("QLinearGlobalAveragePool", ms("QLinearGlobalAveragePool", BYTE_IMAGE, "x s z s z", constants=QUANT), PROVEN),
    Case("QLinearGlobalAveragePool, channels last", ms("QLinearGlobalAveragePool", LAST_IMAGE, "x s z s z", constants=QUANT, channels_last=1), PROVEN),
    Case("QLinearGlobalAveragePool over rows", ms("QLinearGlobalAveragePool", {"x": (UINT8, [1, 2, "n", 5])}, "x s z s z", constants=QUANT), MIXING, shows=False),
    Case("NhwcMaxPool", ms("NhwcMaxPool", LAST_IMAGE, kernel_shape=[2, 2]), PROVEN),
    Case("NhwcMaxPool over rows", ms("NhwcMaxPool", {"x": (UINT8, [1, "n", 5, 2])}, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), MIXING, shows=False),
    Case("GatherBlockQuantized by rows", ms("GatherBlockQuantized", {"i": (INT64, ["n", 2])}, "w i s", constants={"w": np.arange(10 * 32, dtype=np.uint8).reshape(10, 32) % 16, "s": f32(10, 1)}, block_size=32, bits=8, quantize_axis=1), PROVEN, partial=True),
    Case("GridSample", ms("GridSample", GRID), PROVEN),
    Case("GridSample: one stored grid", ms("GridSample", IMAGE, "x g", constants={"g": f32(2, 3, 3, 2)}), UNPROVEN, shows=False),
    Case("QAttention", ms("QAttention", {"x": (UINT8, ["n", 3, 8])}, "x w b s s - z z", constants={**QUANT, "w": np.arange(192, dtype=np.uint8).reshape(8, 24), "b": f32(24)}, num_heads=2), PROVEN),
    Case("QAttention over rows", ms("QAttention", {"x": (UINT8, [3, "n", 8])}, "x w b s s - z z", constants={**QUANT, "w": np.arange(192, dtype=np.uint8).reshape(8, 24), "b": f32(24)}, num_heads=2), MIXING, shows=False),
]  # fmt: skip

Q_PAST = {name: (FLOAT, ["n", 1, 16]) for name in ("q", "k", "v")} | {
    name: (FLOAT, ["n", 2, 3, 8]) for name in ("pk", "pv")
} | {"l": (INT32, ["n"])}  # fmt: skip
LENGTHS = {
    "q": f32(3, 1, 16),
    "k": f32(3, 1, 16),
    "v": f32(3, 1, 16),
    "pk": f32(3, 2, 3, 8),
    "pv": f32(3, 2, 3, 8),
    "l": np.array([3, 3, 3], np.int32),
}
GROUPS: dict[str, Any] = {"num_heads": 2, "kv_num_heads": 2, "outputs": ("y", "nk", "nv")}
QUANT_LSTM = {
    "w": np.ones((1, 4, 8), np.int8),
    "r": np.ones((1, 2, 8), np.int8),
    "s": np.ones(1, np.float32),
    "z": np.zeros(1, np.int8),
}

OTHERS = [
    Case("GroupQueryAttention with a state", ms("GroupQueryAttention", Q_PAST, "q k v pk pv l t", constants={"t": np.array(4, np.int32)}, **GROUPS), PROVEN, examples=LENGTHS),
    Case("GroupQueryAttention: a total from rows", ms("GroupQueryAttention", {**Q_PAST, "t": (INT32, ["n"])}, **GROUPS), MIXING, shows=False),
    Case("GroupQueryAttention: one stored state for each row", ms("GroupQueryAttention", {n: Q_PAST[n] for n in "qkvl"}, "q k v pk pv l t", constants={"pk": f32(3, 2, 3, 8), "pv": f32(3, 2, 3, 8), "t": np.array(4, np.int32)}, **GROUPS), UNPROVEN, shows=False),
    Case("NGramRepeatBlock", ms("NGramRepeatBlock", {"i": (INT64, ["n", 4]), "x": (FLOAT, ["n", 10])}, ngram_size=2), PROVEN, partial=True, examples={"i": np.array([[1, 2, 1, 2], [3, 3, 3, 3], [5, 6, 7, 8]]), "x": f32(3, 10)}),
    Case("NGramRepeatBlock: stored scores for each row", ms("NGramRepeatBlock", {"i": (INT64, ["n", 4])}, "i x", ngram_size=2, constants={"x": f32(3, 10)}), UNPROVEN, shows=False),
    Case("MatMulInteger16", ms("MatMulInteger16", {"x": (5, ["n", 4])}, "x w", constants={"w": np.arange(16, dtype=np.int16).reshape(4, 4)}), PROVEN),
    Case("MatMulInteger16: sums over rows", ms("MatMulInteger16", {"x": (5, [4, "n"])}, "x w", constants={"w": np.ones((1, 4), np.int16)}), MIXING, shows=False),
    Case("DynamicTimeWarping", ms("DynamicTimeWarping", {"x": (FLOAT, ["n", 4])}), MIXING),
    Case("DynamicQuantizeLSTM", ms("DynamicQuantizeLSTM", {"x": (FLOAT, [3, "n", 4])}, "x w r - - - - - s z s z", constants=QUANT_LSTM, hidden_size=2), MIXING, shows=False),
]  # fmt: skip

CASES = [
    replace(case, name=f"com.microsoft {case.name}")
    for case in (*ELEMENTWISE, *PRODUCTS, *NORMALISED, *ATTENTION, *QUANTISED, *OTHERS)
]
