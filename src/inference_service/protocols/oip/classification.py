"""The classification extension: scores as the best classes with their labels. Pure.

Source: triton-inference-server/server, docs/protocol/extension_classification.md.
"""

import math
from collections.abc import Sequence

import numpy as np

from inference_service.core.errors import InvalidInput
from inference_service.core.tensors import Array


def classified(
    scores: Array, classes: int, labels: Sequence[str], *, has_rows: bool = True
) -> Array:
    """``"<score>:<index>[:<label>]"`` of the ``classes`` highest scores of each row, falling.

    Scores [rows, ...] are flattened to [rows, classes]; without rows the whole tensor is one row,
    and the answer [classes]. Equal scores keep their order. Raises InvalidInput for what are no
    scores.
    """
    if scores.dtype.kind not in "iuf":
        raise InvalidInput("a classification needs numbers, these are none")
    if has_rows and not scores.ndim:
        raise InvalidInput("a classification needs a row of numbers for each row of the input")
    if not has_rows:
        scores = scores.reshape(1, scores.size)
    rows = scores.reshape(scores.shape[0], math.prod(scores.shape[1:]))
    order = np.argsort(_falling(rows), axis=1, kind="stable")[:, :classes]
    best = np.take_along_axis(rows, order, axis=1)
    write = _float if rows.dtype.kind == "f" else str
    texts = np.empty(order.shape, object)
    for row, (values, indices) in enumerate(zip(best.tolist(), order.tolist(), strict=True)):
        for column, (value, index) in enumerate(zip(values, indices, strict=True)):
            label = f":{labels[index]}" if index < len(labels) else ""
            texts[row, column] = f"{write(value)}:{index}{label}"
    return texts if has_rows else texts[0]


def _falling(rows: Array) -> Array:
    """What sorts the highest first, also of integers that no float holds."""
    if rows.dtype.kind == "f":
        return -rows.astype(np.float64)
    return np.invert(rows)


def _float(value: float) -> str:
    return f"{value:f}"
