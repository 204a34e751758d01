"""Rows to compare models on: the user's own, the framework's, or random ones."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inference_service.core.errors import InferenceServiceError, InvalidInput, InvalidModel, quoted
from inference_service.core.rows import RowLayout
from inference_service.core.tensors import Array, Signature, Tensors, TensorSpec
from inference_service.importing.frameworks.common import read_arrays
from inference_service.protocols.json_tensors import from_columns
from inference_service.runtime.probe import random_row, sample
from inference_service.runtime.session import OpenModel

ROWS = 16
"""Rows of a random sample."""
LARGEST_FILE = 2**30
"""Bytes of a file with inputs."""


def random_rows(model: OpenModel, layout: RowLayout, rows: int) -> Tensors:
    """Rows that the model runs: different ones, of one shape. Raises InvalidModel for none."""
    found = sample(model, layout, {})
    if found.inputs is None:
        raise InvalidModel(
            f"it could not be run on random input ({found.error}): give rows with --inputs FILE"
        )
    shapes = {}
    for spec in model.inputs:
        axis = layout.axis(spec.name)
        shape = list(found.inputs[spec.name].shape)
        if axis is not None and axis < len(shape):
            del shape[axis]
        shapes[spec.name] = shape
    parts = [random_row(model, 1, shapes, layout, seed=seed) for seed in range(rows)]
    return layout.assemble(parts)


def framework_rows(path: Path, specs: Sequence[TensorSpec]) -> Tensors:
    """The rows that the helper process has made, in the order of the graph's inputs."""
    arrays = read_arrays(str(path))
    return {
        spec.name: array.astype(spec.dtype.numpy) for spec, array in zip(specs, arrays, strict=True)
    }


def given_rows(path: Path, specs: Sequence[TensorSpec]) -> Tensors:
    """The rows of a file: .npz or JSON by input name, .npy or a JSON array for a single input.

    Raises InvalidModel.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InvalidModel(f"{path.name} is larger than {LARGEST_FILE} bytes")
        found = _read(path, specs)
    except (OSError, ValueError) as error:
        raise InvalidModel(f"{path.name} can't be read: {error}") from None
    except InvalidInput as error:
        raise InvalidModel(f"{path.name}: {error}") from None
    missing = [spec.name for spec in specs if spec.name not in found]
    if missing:
        raise InvalidModel(
            f"{path.name} has no rows for {quoted(missing)}; the model takes "
            f"{quoted(spec.name for spec in specs)}"
        )
    return {spec.name: _fitted(found[spec.name], spec, path) for spec in specs}


def _read(path: Path, specs: Sequence[TensorSpec]) -> Mapping[str, Array]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    if path.suffix == ".npy":
        return {specs[0].name: np.load(path, allow_pickle=False)}
    content: Any = json.loads(path.read_text())
    if isinstance(content, dict) and set(content) & {"instances", "inputs"} and len(content) == 1:
        content = content.get("instances", content.get("inputs"))
    if isinstance(content, list) and content and isinstance(content[0], dict):
        content = {name: [row[name] for row in content] for name in content[0]}
    columns = content if isinstance(content, dict) else {specs[0].name: content}
    return from_columns(columns, Signature(tuple(specs), ()), ())


def _fitted(array: Array, spec: TensorSpec, path: Path) -> Array:
    if array.dtype.kind == "U":
        array = array.astype(object)
    if len(spec.shape) == array.ndim + 1 and spec.shape[-1] == 1:
        array = array[..., None]  # a column of values, one for each row
    if spec.ranked and len(spec.shape) != array.ndim:
        raise InvalidModel(
            f"{path.name}: input '{spec.name}' has {array.ndim} axes, the model takes {spec}"
        )
    return array.astype(spec.dtype.numpy)


def runs(model: OpenModel, rows: Tensors) -> bool:
    """Whether the model takes these rows in one run."""
    try:
        model.run(rows)
    except InferenceServiceError:
        return False
    return True
