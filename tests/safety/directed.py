"""Directed cases: for every operator small graphs with the verdict that is true of them.

A positive case is proven and checked in numbers. A counter-example is a graph that a careless rule
would prove; where it mixes, numbers show it too (`Case.shows`). The mutation run breaks the rules
one at a time and asks these cases to notice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from inference_service.safety.verdict import OutputRows, Status, Verdict

FLOAT, INT64, INT32, UINT8, INT8, STRING, BOOL = 1, 7, 6, 2, 3, 8, 9
OPSETS = {"": 20, "ai.onnx.ml": 3, "com.microsoft": 1}
PROVEN, MIXING, UNPROVEN = Status.PROVEN, Status.MIXING, Status.UNPROVEN
FROZEN, SINGLE = Status.FROZEN, Status.SINGLE


@dataclass(frozen=True)
class Case:
    """A graph and its verdict. ``equal``: the inputs that must be equal in a run.

    ``shows``: for a counter-example, whether running it with rows on axis 0 of all inputs shows the
    mixing in numbers; the others are refused for what the analysis can't know.
    """

    name: str
    model: onnx.ModelProto
    status: Status
    equal: frozenset[str] = frozenset()
    shows: bool = True
    partial: bool = False
    examples: Mapping[str, "np.ndarray"] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def pretended(self) -> Verdict:
        """The verdict of a careless rule: rows on axis 0 of every input and output."""
        inputs = {v.name: 0 for v in self.model.graph.input if v.name not in self.equal}
        outputs = {v.name: OutputRows(0) for v in self.model.graph.output}
        first = self.model.graph.input[0].type.tensor_type.shape.dim[:1]
        fixed = next((dim.dim_value for dim in first if dim.dim_value > 1), None)
        return Verdict(Status.PROVEN, inputs, outputs, self.equal, fixed_rows=fixed)


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Any],
    outputs: Sequence[str] = ("y",),
    opsets: Mapping[str, int] = OPSETS,
    **constants: Any,
) -> onnx.ModelProto:
    """A model; constants are arrays, outputs have no declared type.

    An input is its element type and its shape: ``(FLOAT, ["n", 4])``.

    The rows of an input are on its axis "n". Where that is not the first, the input has it first
    all the same, and a Transpose moves it there: no other axis is then taken for the batch.
    """
    turns = [_moved(name, spec[1]) for name, spec in inputs.items() if "n" in spec[1][1:]]
    front = {node.output[0]: node.input[0] for node in turns}
    made = helper.make_graph(
        [*turns, *nodes],
        "directed",
        [
            helper.make_tensor_value_info(front.get(name, name), kind, _first(shape))
            for name, (kind, shape) in inputs.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    imports = [helper.make_opsetid(*entry) for entry in opsets.items()]
    return helper.make_model(made, opset_imports=imports, ir_version=9)


def _first(shape: Sequence[int | str]) -> list[int | str]:
    return ["n", *(n for n in shape if n != "n")] if shape.count("n") == 1 else list(shape)


def _moved(name: str, shape: Sequence[int | str]) -> onnx.NodeProto:
    axis = list(shape).index("n", 1)
    order = [*range(1, axis + 1), 0, *range(axis + 1, len(shape))]
    return helper.make_node("Transpose", [f"{name}_rows"], [name], f"turn_{name}", perm=order)


def one(
    op_type: str,
    inputs: Mapping[str, Any],
    names: str | None = None,
    *,
    domain: str = "",
    outputs: Sequence[str] = ("y",),
    opsets: Mapping[str, int] = OPSETS,
    constants: Mapping[str, Any] | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node. ``names``: its inputs, "-" is an absent one (default: all inputs)."""
    listed = list(inputs) if names is None else names.split()
    wanted = ["" if name == "-" else name for name in listed]
    node = helper.make_node(op_type, wanted, outputs, "n", domain=domain, **attributes)
    return graph([node], inputs, outputs, opsets, **(constants or {}))


def f32(*shape: int) -> "np.ndarray":
    """Floats between -1 and 1, the same ones for the same shape."""
    return np.asarray(np.random.default_rng(0).uniform(-1, 1, shape), np.float32)
