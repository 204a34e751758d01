"""Directed cases for ai.onnx: sequences, attention, signals."""

from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from tests.safety.directed import (
    FLOAT,
    INT64,
    MIXING,
    PROVEN,
    UNPROVEN,
    Case,
    f32,
    graph,
    one,
)
from tests.safety.directed_onnx import T, node

LATEST = {"": 24}
TWO = {**T, "z": (FLOAT, ["n", 3])}
PLACE: dict[str, Any] = {"p": np.array(1)}

SEQUENCES = [
    Case("SequenceConstruct", one("SequenceConstruct", TWO), PROVEN),
    Case("SequenceConstruct of rows and a stored tensor", one("SequenceConstruct", T, "x w", constants={"w": f32(3, 4)}), UNPROVEN, shows=False),
    Case("SequenceConstruct of rows on unlike axes", graph([node("Transpose", "x", "t"), node("SequenceConstruct", "x t", "y")], T), UNPROVEN, shows=False),
    Case("SequenceAt", graph([node("SequenceConstruct", "x z", "s"), node("SequenceAt", "s p", "y")], TWO, **PLACE), PROVEN),
    Case("SequenceAt a place that rows tell", graph([node("SequenceConstruct", "x z", "s"), node("ReduceMax", "i", "p", keepdims=0), node("SequenceAt", "s p", "y")], {"x": (FLOAT, ["n", 4]), "z": (FLOAT, ["n", 4]), "i": (INT64, ["n"])}), MIXING),
    Case("SequenceInsert", graph([node("SequenceEmpty", "", "e"), node("SequenceInsert", "e x", "a"), node("SequenceInsert", "a z", "y")], TWO), PROVEN),
    Case("SequenceInsert of a stored tensor", graph([node("SequenceConstruct", "x", "s"), node("SequenceInsert", "s w", "y")], T, w=f32(3, 4)), UNPROVEN, shows=False),
    Case("SequenceErase", graph([node("SequenceConstruct", "x z", "s"), node("SequenceErase", "s p", "y")], TWO, **PLACE), PROVEN),
    Case("SequenceLength", graph([node("SequenceConstruct", "x z", "s"), node("SequenceLength", "s", "l"), node("Cast", "l", "f", to=1), node("Add", "x f", "y")], TWO), PROVEN),
    Case("ConcatFromSequence beside the rows", graph([node("SequenceConstruct", "x z", "s"), node("ConcatFromSequence", "s", "y", axis=1)], TWO), PROVEN),
    Case("ConcatFromSequence of rows", graph([node("SequenceConstruct", "x x", "s"), node("ConcatFromSequence", "s", "t", axis=0), node("Softmax", "t", "u", axis=0), node("Split", "u", "y q", axis=0, num_outputs=2)], T), UNPROVEN),
    Case("ConcatFromSequence along a new axis in front", graph([node("SequenceConstruct", "x x", "s"), node("ConcatFromSequence", "s", "t", axis=0, new_axis=1), node("ReduceSum", "t p", "y", keepdims=0)], T, p=np.array([1])), MIXING),
    Case("Optional", graph([node("Optional", "x", "o"), node("OptionalGetElement", "o", "y")], T), PROVEN),
    Case("OptionalHasElement", graph([node("Optional", "x", "o"), node("OptionalHasElement", "o", "h"), node("Where", "h x w", "y")], T, w=f32(1, 4)), PROVEN),
]  # fmt: skip

Q4 = {name: (FLOAT, ["n", 2, 3, 4]) for name in ("q", "k", "v")}
Q3 = {name: (FLOAT, ["n", 3, 8]) for name in ("q", "k", "v")}
HEADS: dict[str, Any] = {"q_num_heads": 2, "kv_num_heads": 2}
TABLES: dict[str, Any] = {"c": f32(6, 2), "s": f32(6, 2)}
PICTURE: dict[str, Any] = {"w": f32(2, 3, 6, 6)}
PLACES = {"x": (FLOAT, ["n", 2, 3, 4]), "i": (INT64, ["n", 3])}

ATTENTION = [
    Case("Attention", one("Attention", Q4, opsets=LATEST), PROVEN),
    Case("Attention of rank 3", one("Attention", Q3, opsets=LATEST, **HEADS), PROVEN),
    Case("Attention with a causal mask for all", one("Attention", Q4, "q k v m", opsets=LATEST, constants={"m": f32(3, 3)}), PROVEN),
    Case("Attention with a mask for each row", one("Attention", {**Q4, "m": (FLOAT, ["n", 1, 3, 3])}, opsets=LATEST), PROVEN),
    Case("Attention: stored masks, one for each row", one("Attention", Q4, "q k v m", opsets=LATEST, constants={"m": f32(3, 1, 3, 3)}), MIXING, shows=False),
    Case("Attention over rows", one("Attention", {name: (FLOAT, [1, 2, "n", 4]) for name in "qkv"}, opsets=LATEST), MIXING, shows=False),
    Case("Attention of stored keys", one("Attention", {"q": (FLOAT, ["n", 2, 3, 4])}, "q k v", opsets=LATEST, constants={"k": f32(1, 2, 3, 4), "v": f32(1, 2, 3, 4)}), UNPROVEN, shows=False),
    Case("Attention: stored lengths, one for each row", one("Attention", Q4, "q k v - - - l", opsets=LATEST, constants={"l": np.array([1, 2, 3])}), UNPROVEN, shows=False),
    Case("RotaryEmbedding", one("RotaryEmbedding", PLACES, "x c s i", opsets=LATEST, constants=TABLES), PROVEN, partial=True, examples={"x": f32(3, 2, 3, 4), "i": np.array([[0, 1, 2], [3, 4, 5], [2, 1, 0]])}),
    Case("RotaryEmbedding: stored entries for each row", one("RotaryEmbedding", {"x": (FLOAT, ["n", 2, 3, 4])}, "x c s", opsets=LATEST, constants={"c": f32(3, 3, 2), "s": f32(3, 3, 2)}), UNPROVEN, shows=False),
    Case("RotaryEmbedding of rows as places", one("RotaryEmbedding", {"x": (FLOAT, [1, 2, "n", 4]), "i": (INT64, [1, "n"])}, "x c s i", opsets=LATEST, constants=TABLES), MIXING, shows=False),
    Case("TensorScatter", one("TensorScatter", {"x": (FLOAT, ["n", 4, 2]), "u": (FLOAT, ["n", 1, 2]), "i": (INT64, ["n"])}, opsets=LATEST), PROVEN, partial=True, examples={"x": f32(3, 4, 2), "u": f32(3, 1, 2), "i": np.array([0, 1, 3])}),
    Case("TensorScatter: one stored place for each row", one("TensorScatter", {"x": (FLOAT, ["n", 4, 2]), "u": (FLOAT, ["n", 1, 2])}, "x u i", opsets=LATEST, constants={"i": np.array([0, 1, 3])}), UNPROVEN, shows=False),
    Case("RoiAlign of stored pictures", one("RoiAlign", {"r": (FLOAT, ["n", 4]), "i": (INT64, ["n"])}, "w r i", constants=PICTURE, output_height=2, output_width=2), PROVEN, partial=True, examples={"r": np.array([[0, 0, 3, 3], [1, 1, 4, 4], [0, 1, 2, 5]], np.float32), "i": np.array([0, 1, 0])}),
    Case("RoiAlign of rows", one("RoiAlign", {"x": (FLOAT, ["n", 3, 6, 6]), "r": (FLOAT, ["n", 4]), "i": (INT64, ["n"])}, output_height=2, output_width=2), MIXING, examples={"x": f32(3, 3, 6, 6), "r": np.array([[0, 0, 3, 3], [1, 1, 4, 4], [0, 1, 2, 5]], np.float32), "i": np.array([0, 1, 0])}),
]  # fmt: skip

WAVE = {"x": (FLOAT, ["n", 16, 1])}

SIGNALS = [
    Case("DFT", one("DFT", WAVE), PROVEN),
    Case("DFT, half of it", one("DFT", WAVE, onesided=1), PROVEN),
    Case("DFT over rows", one("DFT", WAVE, "x - a", constants={"a": np.array(0)}), MIXING),
    Case("DFT over rows, before operator set 20", one("DFT", WAVE, opsets={"": 17}, axis=0), MIXING),
    Case("STFT", one("STFT", {"x": (FLOAT, ["n", 64, 1])}, "x s w", constants={"s": np.array(8), "w": np.hanning(16).astype(np.float32)}), PROVEN),
    Case("STFT over rows", one("STFT", {"x": (FLOAT, [1, "n", 1])}, "x s w", constants={"s": np.array(1), "w": np.ones(2, np.float32)}), MIXING, shows=False),
    *(Case(name, graph([node(name, "l", "w"), node("Mul", "x w", "y")], T, l=np.array(4)), PROVEN) for name in ("HannWindow", "HammingWindow", "BlackmanWindow")),
    Case("HannWindow of the number of rows", graph([node("Shape", "x", "s", start=0, end=1), node("Squeeze", "s", "l"), node("HannWindow", "l", "w"), node("ReduceSum", "w", "t", keepdims=0), node("Add", "x t", "y")], T), MIXING),
    Case("MelWeightMatrix", graph([node("MelWeightMatrix", "a b c d e", "w"), node("MatMul", "x w", "y")], {"x": (FLOAT, ["n", 9])}, a=np.array(4), b=np.array(16), c=np.array(16000), d=np.float32(0), e=np.float32(8000)), PROVEN),
]  # fmt: skip

LABELS = {"x": (FLOAT, ["n", 4]), "t": (INT64, ["n"])}

VARIOUS = [
    Case("Constant", graph([helper.make_node("Constant", [], ["c"], "c", value_floats=[1.0, 2.0, 3.0, 4.0]), node("Mul", "x c", "y")], T), PROVEN),
    Case("Constant with an entry for each row", graph([helper.make_node("Constant", [], ["c"], "c", value=numpy_helper.from_array(f32(3, 1))), node("Mul", "x c", "y")], T), MIXING, shows=False),
    Case("SoftmaxCrossEntropyLoss of each row", one("SoftmaxCrossEntropyLoss", LABELS, reduction="none"), PROVEN, partial=True, examples={"x": f32(4, 4), "t": np.array([0, 1, 2, 3])}),
    Case("SoftmaxCrossEntropyLoss of all rows", one("SoftmaxCrossEntropyLoss", LABELS), MIXING, examples={"x": f32(4, 4), "t": np.array([0, 1, 2, 3])}),
    Case("CenterCropPad of features", one("CenterCropPad", T, "x l", constants={"l": np.array([6])}, axes=[1]), PROVEN),
    Case("CenterCropPad of rows", one("CenterCropPad", T, "x l", constants={"l": np.array([2])}, axes=[0]), UNPROVEN),
]  # fmt: skip

CASES = [*SEQUENCES, *ATTENTION, *SIGNALS, *VARIOUS]
