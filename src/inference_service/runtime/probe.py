"""Inputs that a model runs: random ones, for the warm-up and for the check of its batching."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inference_service.core.errors import InferenceServiceError
from inference_service.core.rows import RowLayout
from inference_service.core.tensors import Array, DType, Tensors, TensorSpec
from inference_service.runtime.session import OpenModel

_FREE_SIZES = (8, 32, 224, 64, 1, 3)
_WORDS = ("alpha", "bravo", "charlie", "delta")


@dataclass(frozen=True, slots=True)
class Sample:
    """Inputs of one row that ran; or None, and the first error."""

    inputs: Tensors | None
    error: Exception | None = None


def sample(model: OpenModel, layout: RowLayout, shapes: Mapping[str, Sequence[int]]) -> Sample:
    """One random row that the model runs, trying several lengths for the free axes.

    A free batch axis has length 1. ``shapes`` gives row shapes, without the batch axis, for inputs
    with free axes.
    """
    specs = model.inputs
    free_axes = any(None in spec.shape[1:] or not spec.ranked for spec in specs)
    error: Exception | None = None
    for size in _FREE_SIZES if free_axes or layout.inputs else _FREE_SIZES[:1]:
        row = random_row(model, size, shapes, layout)
        try:
            model.run(row)
        except InferenceServiceError as failure:
            error = error or failure
        else:
            return Sample(row)
    if model.known.row:
        try:
            model.run(model.known.row)
        except InferenceServiceError as failure:
            error = failure
        else:
            return Sample(model.known.row)
    return Sample(None, error)


def random_row(
    model: OpenModel,
    free: int,
    shapes: Mapping[str, Sequence[int]],
    layout: RowLayout | None = None,
    *,
    seed: int = 0,
    scale: float = 1.0,
) -> Tensors:
    """One random row. Free axes get the length ``free`` unless ``shapes`` says otherwise.

    Where the graph looks values up, they are values that it knows, and so are their lengths where
    the model's owner gives an example.
    """
    shapes = {name: array.shape[1:] for name, array in model.known.row.items()} | dict(shapes)
    random = np.random.default_rng(seed)
    layout = layout or RowLayout()

    def one(spec: TensorSpec) -> Array:
        array = values(random, spec, row_shape(spec, free, shapes, layout), scale)
        return model.known.filled(random, spec, array)

    return {spec.name: one(spec) for spec in model.inputs}


def row_shape(
    spec: TensorSpec, free: int, shapes: Mapping[str, Sequence[int]], layout: RowLayout
) -> tuple[int, ...]:
    """The shape of one row, or of the whole of a fixed batch."""
    if not spec.ranked:
        return tuple(shapes.get(spec.name, (1, free)))
    if not spec.shape:
        return ()
    axis = layout.axis(spec.name)
    given = list(shapes.get(spec.name, ()))
    shape = []
    for at, length in enumerate(spec.shape):
        if at == axis:
            shape.append(length or 1)
        elif given:
            shape.append(given.pop(0))
        else:
            shape.append(free if length is None else length)
    return tuple(shape)


def values(
    random: np.random.Generator, spec: TensorSpec, shape: tuple[int, ...], scale: float
) -> Array:
    """Random values of the input's type that most graphs accept."""
    if spec.dtype is DType.BYTES:
        return np.array(random.choice(_WORDS, shape), dtype=object)
    if spec.dtype.is_float:
        return np.asarray(random.standard_normal(shape) * scale).astype(spec.dtype.numpy)
    # 0 and 1 are valid as token ids, categories, masks and pixels alike.
    return np.asarray(random.integers(0, 2, shape)).astype(spec.dtype.numpy)
