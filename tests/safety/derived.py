"""Cases made from the directed ones by rule, so that no input of no operator is left out.

- Every constant becomes an input whose axes carry the rows, one after the other: weights, scales,
  indices, lengths from a client.
- Every input of rows is replaced by the rows' own numbers, of the same shape and type.

Their verdicts are what the analysis says; where it says "proven", numbers must agree.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from inference_service.safety.verdict import Status
from tests.safety.directed import Case


def derived(cases: Sequence[Case]) -> Iterator[Case]:
    """Variants of the positive cases."""
    for case in cases:
        if case.status is Status.PROVEN:
            yield from _constants_as_inputs(case)
            yield from _numbers_as_inputs(case)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _constants_as_inputs(case: Case) -> Iterator[Case]:
    for index, tensor in enumerate(case.model.graph.initializer):
        for axis in range(len(tensor.dims)):
            model = _copy(case.model)
            del model.graph.initializer[index]
            shape: list[int | str] = [*tensor.dims[:axis], "n", *tensor.dims[axis + 1 :]]
            model.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, shape)
            )
            stored = numpy_helper.to_array(tensor)
            examples = {**case.examples, tensor.name: stored}
            name = f"{case.name}: {tensor.name} from rows on axis {axis}"
            yield Case(name, model, Status.UNPROVEN, examples=examples)


def _numbers_as_inputs(case: Case) -> Iterator[Case]:
    for index, value in enumerate(case.model.graph.input):
        kind = value.type.tensor_type
        dims = kind.shape.dim
        if not dims or dims[0].dim_param != "n" or any(dim.dim_param for dim in dims[1:]):
            continue
        lengths = [dim.dim_value for dim in dims[1:]]
        if kind.elem_type == onnx.TensorProto.STRING:
            continue
        model = _copy(case.model)
        del model.graph.input[index]
        model.graph.input.append(helper.make_tensor_value_info("rows", 1, ["n"]))
        numbers = _numbers(value.name, kind.elem_type, lengths)
        for place, node in enumerate(numbers):
            model.graph.node.insert(place, node)
        arrays = {
            "rn_zero": np.array(0), "rn_one": np.array(1),
            "rn_ones": np.array([-1, *[1] * len(lengths)]),
            "rn_sizes": np.array([1, *lengths]),
        }  # fmt: skip
        model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in arrays.items())
        examples = {name: a for name, a in case.examples.items() if name != value.name}
        name = f"{case.name}: {value.name} is the row's number"
        yield Case(name, model, Status.UNPROVEN, examples=examples)


def _numbers(name: str, kind: int, lengths: Sequence[int]) -> list[onnx.NodeProto]:
    """Nodes that fill the tensor ``name`` of [n, *lengths] with the rows' own numbers."""
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Shape", ["rows"], "rn_shape", {"start": 0, "end": 1}),
        ("Squeeze", ["rn_shape"], "rn_count", {}),
        ("Range", ["rn_zero", "rn_count", "rn_one"], "rn_range", {}),
        ("Reshape", ["rn_range", "rn_ones"], "rn_column", {}),
        ("Expand", ["rn_column", "rn_sizes"], "rn_full", {}),
        ("Cast", ["rn_full"], name, {"to": kind}),
    ]
    return [helper.make_node(op, ins, [out], **more) for op, ins, out, more in steps]
