"""The classification extension: scores as the best classes with their labels. Pure.

Source: triton-inference-server/server, docs/protocol/extension_classification.md.
"""

from collections.abc import Sequence

import numpy as np

from inference_service.core.errors import InvalidInput
from inference_service.core.tensors import Array


def classified(scores: Array, classes: int, labels: Sequence[str]) -> Array:
    """``"<score>:<index>[:<label>]"`` of the ``classes`` highest scores of each row, falling.

    Scores [rows, ...] are flattened to [rows, classes]; equal scores keep their order. Raises
    InvalidInput for what are no scores.
    """
    if scores.dtype.kind not in "iuf" or not scores.ndim:
        raise InvalidInput("a classification needs numbers, with one row for each row of the input")
    rows = scores.reshape(scores.shape[0], -1)
    order = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :classes]
    texts = np.empty(order.shape, object)
    for row, best in enumerate(order):
        for column, index in enumerate(best):
            label = f":{labels[index]}" if index < len(labels) else ""
            value = rows[row, index]
            score = f"{value:f}" if rows.dtype.kind == "f" else str(value)
            texts[row, column] = f"{score}:{index}{label}"
    return texts
