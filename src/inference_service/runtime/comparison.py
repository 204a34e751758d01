"""Is a row's answer among others its own? Runs are compared, with rounding told from dependence.

Two runs of one shape go through the same kernels: a row that keeps its place has the same bits,
whatever the other rows are, unless it depends on them. So *other rows, same shape* is compared bit
by bit. Only *another number of rows* needs a tolerance, for other kernels sum up in another order:
per element, from the magnitude of that element's column, so that pixels beside probabilities don't
hide a difference.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from inference_service.core.rows import OutputRows, RowLayout
from inference_service.core.tensors import Array, Tensors
from inference_service.engine.interfaces import Audit

Magnitude: TypeAlias = NDArray[np.float64]

FINE, COARSE = 1.0, 500.0
"""Multiples of the tolerance. Up to `FINE` is rounding. Between the two it may be, in a graph that
amplifies rounding (a network of bytes, a threshold): then the bits of runs of one shape decide."""

_RELATIVE = {2: 2e-2, 4: 1e-3, 8: 1e-6}
_FLOOR = 1e-3
"""Of the relative tolerance: a column that is nearly zero is so by cancellation."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far apart two answers are, in multiples of the tolerance; inf: not of one shape or kind
    of value, or integers, booleans or texts that differ."""

    output: str
    size: float


def largest_difference(
    got: Tensors, wanted: Tensors, layout: RowLayout, columns: Mapping[str, Magnitude] | None = None
) -> Difference:
    """The largest difference between a row's answers.

    ``columns`` are magnitudes of the outputs' columns (`magnitudes`), by default of ``wanted``.
    """
    worst = Difference("", 0.0)
    for name, array in wanted.items():
        where = layout.outputs.get(name, OutputRows())
        scale = None if columns is None else columns.get(name)
        size = _difference(got[name], array, _magnitude(array, where) if scale is None else scale)
        if size > worst.size:
            worst = Difference(name, size)
    return worst


def magnitudes(outputs: Tensors, layout: RowLayout) -> dict[str, Magnitude]:
    """The largest finite magnitude of each column of each output, over all rows."""
    return {
        name: _magnitude(array, layout.outputs.get(name, OutputRows()))
        for name, array in outputs.items()
    }


def identical(left: Tensors, right: Tensors) -> str:
    """The first output whose bits differ; "" where none does. Any NaN is like any other."""
    for name, array in left.items():
        other = right[name]
        if array.shape != other.shape or array.dtype != other.dtype:
            return name
        if not np.array_equal(array, other, equal_nan=array.dtype.kind == "f"):
            return name
    return ""


def audited(audit: Audit, layout: RowLayout, run: Callable[[Tensors], Tensors]) -> str:
    """What differs between a row's answer from a run with others and its answer alone; "" nothing.

    ``run`` runs rows as they are. What may be rounding is decided by two more runs, of the size of
    the one that was: among copies of itself, and among the rows that were there.
    """
    part = audit.job.parts[audit.part]
    outcome = audit.outcomes[audit.part]
    if isinstance(outcome, Exception):
        return ""
    row = layout.take(part, audit.row, audit.row + 1)
    merged = layout.take_outputs(outcome, audit.row, audit.row + 1)
    answers = [found for found in audit.outcomes if not isinstance(found, Exception)]
    alone = run(row)
    found = largest_difference(alone, merged, layout, _columns(answers, layout))
    if found.size <= FINE:
        return ""
    text = f"a row's output '{found.output}' alone is not what it was among other requests'"
    if found.size > COARSE:
        return text
    if audit.job.length:  # rows were padded, and are not of one shape
        return ""
    place = sum(layout.rows(other) for other in audit.job.parts[: audit.part]) + audit.row
    together = layout.assemble(audit.job.parts)
    copies = layout.repeated(row, layout.rows(together))
    one, two = run(together), run(copies)
    here = (place, place + 1)
    differs = identical(layout.take_outputs(one, *here), layout.take_outputs(two, *here))
    return text if differs else ""


def _columns(answers: list[Tensors], layout: RowLayout) -> dict[str, Magnitude]:
    found = magnitudes(answers[0], layout)
    for answer in answers[1:]:
        for name, scale in magnitudes(answer, layout).items():
            if scale.shape == found[name].shape:
                found[name] = np.maximum(found[name], scale)
    return found


def _magnitude(array: Array, where: OutputRows) -> Magnitude:
    if array.dtype.kind != "f":
        return np.zeros(())
    sizes = np.abs(array.astype(np.float64))
    sizes[~np.isfinite(sizes)] = 0.0
    if where.axis is None or array.ndim <= where.axis or array.size == 0:
        return np.asarray(sizes)
    return np.asarray(sizes.max(axis=where.axis, keepdims=True))


def _difference(got: Array, wanted: Array, scale: Magnitude) -> float:
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return np.inf
    if got.dtype.kind != "f":
        return 0.0 if np.array_equal(got, wanted) else np.inf
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if not np.all(finite | same):
        return np.inf
    relative = _RELATIVE.get(got.dtype.itemsize, 1e-3)
    largest = float(scale.max()) if scale.size else 0.0
    if np.broadcast_shapes(scale.shape, b.shape) != b.shape:
        scale = np.asarray(largest)
    size = np.maximum(np.abs(b), 0.1 * scale) + _FLOOR * largest
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(finite & ~same, np.abs(a - b) / (relative * size), 0.0)
    return float(ratio.max()) if ratio.size else 0.0
