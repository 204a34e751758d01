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
