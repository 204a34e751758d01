"""Directed cases that attack the proof as a whole: what the algebra says and what the graph computes.

Numbers of lengths that wrap around or round, states that count rows, empty lists of axes, zeros of
two signs. The mixing is in a branch that the exact numbers never take.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tests.safety.directed import FLOAT, INT64, MIXING, PROVEN, UNPROVEN, Case, f32, graph, one
from tests.safety.directed_onnx import T, node
from tests.safety.directed_traps import body

L: dict[str, Any] = {"x": (FLOAT, ["n", "l"])}
LENGTH = [node("Shape", "x", "s", start=1, end=2), node("Squeeze", "s", "l")]
"""l: the length of a row, a scalar."""
ZERO = np.array(0)


def steered(*before: onnx.NodeProto, inputs: Any = L, **constants: Any) -> onnx.ModelProto:  # fmt: skip
    """Neg of x where the truth c holds, else x without the mean of the rows."""
    ways = {
        "then_branch": body("then", [node("Neg", "x", "then_y")], {}, {"then_y": FLOAT}),
        "else_branch": body("else", [node("ReduceMean", "x axis0", "mean"), node("Sub", "x mean", "else_y")], {}, {"else_y": FLOAT}),
    }  # fmt: skip
    return graph([*LENGTH, *before, node("If", "c", "y", **ways)], inputs, axis0=np.array([0]), **constants)  # fmt: skip


def scanned(inside: list[onnx.NodeProto], *after: onnx.NodeProto, outputs: str = "last y", **constants: Any) -> onnx.ModelProto:  # fmt: skip
    """A scan along the rows r with a state v, of which w is the next."""
    inner = body("b", inside, {"v": INT64, "r": FLOAT}, {"w": INT64, "t": FLOAT})
    scan = node("Scan", "start x", outputs, num_scan_inputs=1, body=inner)
    return graph([scan, *after], T, start=ZERO, **constants)


def wrapped(dtype: int, factor: "np.ndarray") -> onnx.ModelProto:
    """Takes the mean where a product of l, which is above 0 in exact numbers, is 0."""
    return steered(
        node("Cast", "l", "a", to=dtype), node("Mul", "a k", "b"), node("Mul", "b k", "d"),
        node("Greater", "d z", "c"), k=factor, z=np.zeros((), factor.dtype),
    )  # fmt: skip


NUMBERS = [
    Case("a product of a length beyond int64", wrapped(INT64, np.array(2**32)), MIXING),
    Case("a product of a length beyond int32", wrapped(TensorProto.INT32, np.array(2**16, np.int32)), MIXING),
    Case("a product of a length within int64", wrapped(INT64, np.array(2**16)), PROVEN),
    Case("a length that is cast beyond int32", steered(node("Mul", "l k", "a"), node("Cast", "a", "b", to=TensorProto.INT32), node("Greater", "b z", "c"), k=np.array(2**32), z=np.zeros((), np.int32)), MIXING),
    Case("a sum of a length that float rounds", steered(node("Cast", "l", "f", to=FLOAT), node("Add", "f k", "a"), node("Add", "a u", "b"), node("Sub", "b k", "d"), node("Greater", "d f", "c"), k=np.float32(2**23), u=np.float32(0.25)), MIXING),
    Case("a small part of a length that float drops", steered(node("Cast", "l", "f", to=FLOAT), node("Mul", "f q", "a"), node("Mul", "a q", "b"), node("Mul", "b q", "d"), node("Add", "f d", "e"), node("Greater", "e f", "c"), q=np.float32(1 / 4096)), MIXING),
    Case("a range of numbers that float rounds", steered(node("Range", "k e u", "r"), node("Gather", "r one", "g"), node("Greater", "g k", "c"), k=np.float32(2**24), e=np.float32(2**24 + 4), u=np.float32(1), one=np.array(1), inputs=T), MIXING),
    Case("a product of lengths as one reduction beyond int64", steered(node("Concat", "s kk", "v", axis=0), node("ReduceProd", "v", "p", keepdims=0), node("Greater", "p z", "c"), kk=np.array([2**32, 2**32]), z=ZERO), MIXING, shows=False),
    Case("half of a length", steered(node("Cast", "l", "f", to=FLOAT), node("Mul", "f h", "a"), node("Less", "a f", "c"), h=np.float32(0.5)), PROVEN),
    Case("a number of a request that may be negative", steered(node("Concat", "s w", "v", axis=0), node("Gather", "v one", "g"), node("GreaterOrEqual", "g z", "c"), inputs={**T, "w": (INT64, [1])}, one=np.array(1), z=ZERO), MIXING),
    Case("a crop to a length that may be negative", graph([node("Shape", "x", "s", start=1), node("Sub", "s five", "d"), node("Expand", "u s", "r"), node("CenterCropPad", "r d", "q"), node("Shape", "q", "p"), node("Sub", "p d", "o"), node("Cast", "o", "f", to=FLOAT), node("Add", "x f", "y")], L, five=np.array([5]), u=f32(1)), UNPROVEN, shows=False),
]  # fmt: skip

COUNT = node("Add", "v one", "w")
STATES = [
    Case("a scan that counts its rows", scanned([COUNT, node("Cast", "v", "f", to=FLOAT), node("Add", "r f", "t")], one=np.array(1)), UNPROVEN),
    Case("a scan whose state counts rows, as a number of the result", scanned([COUNT, node("Neg", "r", "t")], node("Cast", "last", "f", to=FLOAT), node("Mul", "kept f", "y"), outputs="last kept", one=np.array(1)), UNPROVEN),
    Case("a scan whose state stays", scanned([node("Identity", "v", "w"), node("Neg", "r", "t")], node("Cast", "last", "f", to=FLOAT), node("Add", "kept f", "y"), outputs="last kept"), PROVEN),
]  # fmt: skip

EMPTY = np.zeros(0, np.int64)
THIN = {"x": (FLOAT, ["n", 1, 4])}
PLACES = [
    Case("Squeeze of no axes drops all of length 1", one("Squeeze", THIN, "x e", constants={"e": EMPTY}), MIXING),
    Case("zeros of two signs in a fixed batch", one("Div", {"x": (FLOAT, [2, 3])}, "x w", constants={"w": np.array([[0.0], [-0.0]], np.float32)}), MIXING),
]  # fmt: skip

CASES = [*NUMBERS, *STATES, *PLACES]
