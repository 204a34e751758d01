"""ONNX Runtime alone: whose answers the service's are held against."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

Array = np.ndarray[Any, np.dtype[Any]]


class Unanswered(Exception):  # noqa: N818 - no error of ours
    """ONNX Runtime takes no such model, or no such inputs, or its answer is no tensor."""


class Reference:
    """One model. Raises Unanswered where ONNX Runtime can't load it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise Unanswered(str(error)) from error
        self.outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Its answer. Raises Unanswered."""
        options = ort.RunOptions()
        options.log_severity_level = 4
        try:
            values = self._session.run(None, dict(inputs), options)
        except Exception as error:
            raise Unanswered(str(error)) from error
        if not all(isinstance(value, np.ndarray) for value in values):
            raise Unanswered("its answer holds something that is no tensor")
        return dict(zip(self.outputs, values, strict=True))


def leading(inputs: Mapping[str, Array]) -> int:
    """The length of the first axis of the first input that has one; 0 where none has."""
    return next((len(array) for array in inputs.values() if array.ndim), 0)


def rows_of(inputs: Mapping[str, Array]) -> list[str]:
    """The inputs whose first axis is as long as that."""
    count = leading(inputs)
    return [name for name, array in inputs.items() if array.ndim and len(array) == count > 0]


def freed(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> onnx.ModelProto | None:
    """The model with a batch axis of free length: the first axis of `rows_of` its inputs, and of
    the outputs whose first axis is as long. None where there is no such axis.
    """
    names, count = rows_of(inputs), leading(inputs)
    if not names:
        return None
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    values = [value for value in copy.graph.input if value.name in names]
    for value in (*values, *copy.graph.output):
        axes = value.type.tensor_type.shape.dim
        if axes and axes[0].dim_value == count:
            axes[0].dim_param = "rows_of_any_client"
    return copy


def others(inputs: Mapping[str, Array]) -> list[dict[str, Array]]:
    """What another client might send: the same shapes with the values in another order.

    First with all inputs changed, then with fewer of them, for graphs that refuse the first.
    """
    floats = [name for name, array in inputs.items() if array.dtype.kind == "f"]
    found = []
    for changed in (list(inputs), rows_of(inputs), floats, list(inputs)[:1]):
        some = {
            name: _another(array) if name in changed else array for name, array in inputs.items()
        }
        if any(not _same(some[name], inputs[name]) for name in inputs):
            found.append(some)
    return found


def _another(array: Array) -> Array:
    turned = array.reshape(-1)[::-1].reshape(array.shape).copy()
    if not _same(turned, array):
        return turned
    if array.dtype.kind == "f":
        return np.asarray(array * 0.5 + 0.25, array.dtype)
    return np.asarray(~array) if array.dtype == bool else array


def _same(one: Array, other: Array) -> bool:
    return bool(one.shape == other.shape and np.array_equal(one, other))
