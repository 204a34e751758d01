"""Does what model.toml says of tensors fit the graph? Told by `check` and by `serve` alike."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from inference_service.core.errors import InvalidModel, quoted
from inference_service.core.tensors import (
    Array,
    DType,
    Signature,
    Tensors,
    TensorSpec,
    render_shape,
    shape_fits,
)

LARGEST_ROW = 2**26
"""Elements of one input's row in the probe and the warm-up (256 MB of float32)."""

LARGEST_BATCH = 2**30
"""Bytes of a batch in the warm-up."""


def check_row_shapes(shapes: Mapping[str, Sequence[int]], inputs: Sequence[TensorSpec]) -> None:
    """``[warmup] shapes``. Raises InvalidModel before any row is made."""
    known = {spec.name: spec for spec in inputs}
    for name, shape in shapes.items():
        where = f"warmup.shapes.{name}"
        spec = known.get(name)
        if spec is None:
            raise InvalidModel(f"{where}: no such input; there are {quoted(known)}")
        if not shape_fits(tuple(shape), spec.shape[1:]):
            raise InvalidModel(
                f"{where}: expected a row shape that fits {render_shape(spec.shape[1:])}, got "
                f"{render_shape(tuple(shape))}"
            )
        if _product(shape) > LARGEST_ROW:
            raise InvalidModel(
                f"{where}: a row of {_product(shape)} elements is larger than {LARGEST_ROW}"
            )


def check_batch(rows: int, row: Tensors) -> None:
    """The smallest batch that model.toml allows must fit into memory. Raises InvalidModel."""
    size = rows * sum(array.nbytes for array in row.values())
    if size > LARGEST_BATCH:
        raise InvalidModel(
            f"batching.allowed_batch_sizes: a batch of {rows} rows has {size} bytes, more than "
            f"{LARGEST_BATCH}"
        )


def check_labels(
    labels: Mapping[str, Sequence[str]], signature: Signature, outputs: Tensors
) -> None:
    """``[labels]``: one for each index of an output's last axis at least. Raises InvalidModel.

    ``outputs`` are those of a run, which show the length of an axis that the graph leaves free.
    """
    known = {spec.name: spec for spec in signature.outputs}
    for name, names in labels.items():
        spec = known.get(name)
        if spec is None:
            raise InvalidModel(f"labels.{name}: no such output; there are {quoted(known)}")
        classes = spec.shape[-1] if len(spec.shape) > 1 else None
        if classes is None and name in outputs and outputs[name].ndim > 1:
            classes = outputs[name].shape[-1]
        if classes is not None and len(names) < classes:
            raise InvalidModel(f"labels.{name}: {len(names)} labels for {classes} classes")


def example_row(
    example: Mapping[str, Any], signature: Signature, others: Collection[str] = ()
) -> Tensors:
    """``[example]`` as the tensors of one row; none where it is of ``others`` alone.

    ``others`` are names that mean something to the model's tasks. Raises InvalidModel where a name
    is unknown or missing, and where values don't fit their input.
    """
    known = {spec.name: spec for spec in signature.inputs}
    unknown = [name for name in example if name not in known and name not in others]
    if unknown:
        names = quoted(dict.fromkeys([*known, *others]))
        raise InvalidModel(f"example.{unknown[0]}: no such input; there are {names}")
    given = [name for name in example if name in known]
    missing = [name for name in known if name not in given]
    if given and missing:
        raise InvalidModel(f"example: one row needs a value for {quoted(missing)}, too")
    rows = signature.has_row_axis
    return {name: _row(example[name], known[name], rows=rows) for name in given}


def plain_row(row: Tensors, signature: Signature) -> dict[str, Any]:
    """A row of the probe as ``[example]`` would have it."""
    values = {
        name: (array.astype(np.float64).round(3) if array.dtype.kind == "f" else array).tolist()
        for name, array in row.items()
    }
    return {name: value[0] for name, value in values.items()} if signature.has_row_axis else values


def _row(value: Any, spec: TensorSpec, *, rows: bool) -> Array:
    where = f"example.{spec.name}"
    wanted = spec.shape[1:] if rows else spec.shape
    for leaf in _leaves(value):
        _check_value(where, leaf, spec.dtype)
    try:
        array = np.array(value, spec.dtype.numpy)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidModel(f"{where}: no {spec.dtype.label}: {error}") from None
    if array.ndim == 0 and wanted in {(1,), (None,)}:
        array = array[None]  # a bare value is a row of one
    if not shape_fits(array.shape, wanted):
        raise InvalidModel(
            f"{where}: expected a row of shape {render_shape(wanted)}, got "
            f"{render_shape(array.shape)}"
        )
    if not rows:
        return array
    return np.repeat(array[None], spec.shape[0] or 1, axis=0)


def _leaves(value: Any) -> Iterable[Any]:
    level = [value]
    while any(isinstance(one, list) for one in level):
        level = list(chain.from_iterable(one if isinstance(one, list) else [one] for one in level))
    return level


def _check_value(where: str, value: Any, dtype: DType) -> None:
    if dtype is DType.BYTES:
        fits = isinstance(value, str)
    elif dtype is DType.BOOL:
        fits = isinstance(value, bool)
    elif dtype.is_integer:
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        fits = fits and bool(np.isfinite(float(value)))
    if not fits:
        shown = repr(value)[:40]
        raise InvalidModel(f"{where}: expected {dtype.label}, got {shown}")


def _product(shape: Sequence[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
