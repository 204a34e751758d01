"""Place the rows of several requests into one batch and split the outputs again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from inference_service.core.errors import RowsMismatch

if TYPE_CHECKING:  # `core.tensors` imports `core.rows`, which imports this module
    from inference_service.core.tensors import Tensors


def take(inputs: Tensors, start: int, stop: int) -> Tensors:
    """Rows ``start`` to ``stop`` of every input: views, nothing is copied."""
    return {name: array[start:stop] for name, array in inputs.items()}


def assemble(parts: Sequence[Tensors]) -> Tensors:
    """The parts one after the other along axis 0. A lone part is passed on without a copy."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def split(outputs: Tensors, counts: Sequence[int]) -> list[Tensors]:
    """Give each part its rows of every output, as views.

    Raises RowsMismatch where an output doesn't have one entry for each row that went in: then
    its entries can't be told apart.
    """
    rows = sum(counts)
    for name, array in outputs.items():
        if array.ndim == 0 or array.shape[0] != rows:
            raise RowsMismatch(
                f"output '{name}' has shape {list(array.shape)} for a batch of {rows} rows, "
                "so its rows can't be told apart"
            )
    if len(counts) == 1:
        return [outputs]
    parts: list[Tensors] = []
    start = 0
    for count in counts:
        stop = start + count
        parts.append({name: array[start:stop] for name, array in outputs.items()})  # as `take`
        start = stop
    return parts
