"""One vector of a text of the vectors of its tokens. Pure.

Source: sentence-transformers, models/Pooling.py, Dense.py and Normalize.py.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from inference_service.core.errors import InvalidModel

Floats: TypeAlias = NDArray[np.floating[Any]]

Pooling = Literal["mean", "cls", "last", "max", "mean_sqrt", "weighted", "none"]
Activation = Literal["identity", "tanh", "relu"]

_SMALLEST_NORM = 1e-12
_LARGEST = 2**28  # bytes of a layer's weights
_LARGEST_HEADER = 2**20
_NUMBERS = {"F32": np.float32, "F16": np.float16, "F64": np.float64}
_WEIGHT, _BIAS = "linear.weight", "linear.bias"


def pooled(states: Floats, lengths: NDArray[np.integer[Any]], pooling: Pooling) -> Floats:
    """[texts, numbers] of [texts, tokens, numbers]; ``lengths`` are those of the texts, in tokens.

    ``weighted`` counts a token by its place, ``mean_sqrt`` divides by the root of the length.
    """
    if pooling == "none":
        return states
    if pooling == "cls":
        return np.asarray(states[:, 0])
    if pooling == "last":
        return np.asarray(states[np.arange(len(lengths)), lengths - 1])
    places = np.arange(states.shape[1])
    mask = (places < lengths[:, None])[:, :, None]
    if pooling == "max":
        return np.asarray(np.where(mask, states, -np.inf).max(axis=1))
    if pooling == "weighted":
        weights = mask * (places + 1).astype(np.float32)[:, None]
        return np.asarray(np.sum(states * weights, axis=1) / weights.sum(axis=1))
    sums = np.sum(states * mask, axis=1)
    counts = lengths[:, None].astype(np.float32)
    return np.asarray(sums / (np.sqrt(counts) if pooling == "mean_sqrt" else counts))


def normalised(vectors: Floats) -> Floats:
    """Every vector 1 long."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)
    found: Floats = np.divide(vectors, np.maximum(norms, _SMALLEST_NORM))
    return found


class DenseOptions(BaseModel):
    """A layer behind the pooling: its weights are in a file of safetensors beside the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: str
    activation: Activation = "identity"


@dataclass(frozen=True, slots=True)
class Dense:
    """A layer: ``weight`` is [numbers out, numbers in]."""

    weight: Floats
    bias: Floats | None
    activation: Activation

    def __call__(self, vectors: Floats) -> Floats:
        """[texts, numbers out] of [texts, numbers in]."""
        found = vectors @ self.weight.T
        if self.bias is not None:
            found += self.bias
        if self.activation == "tanh":
            return np.asarray(np.tanh(found))
        return np.asarray(np.maximum(found, 0) if self.activation == "relu" else found)


def read_dense(path: Path, activation: Activation) -> Dense:
    """The layer in a file as sentence-transformers writes it. Raises InvalidModel.

    Source: https://github.com/huggingface/safetensors#format.
    """
    try:
        tensors = _tensors(path)
        weight = tensors[_WEIGHT]
        rows, _ = weight.shape
        bias = tensors[_BIAS].reshape(rows) if _BIAS in tensors else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidModel(
            f"pipeline.dense: {path.name} has no layer that can be read: {error}"
        ) from error
    return Dense(weight, bias, activation)


def _tensors(path: Path) -> dict[str, Floats]:
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"it has more than {_LARGEST} bytes")
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    if not 0 < size <= min(_LARGEST_HEADER, len(data) - 8):
        raise ValueError("it is no file of safetensors")
    header: dict[str, Any] = json.loads(data[8 : 8 + size])
    found: dict[str, Floats] = {}
    for name in (_WEIGHT, _BIAS):
        if name in header:
            begin, end = header[name]["data_offsets"]
            numbers = _NUMBERS[header[name]["dtype"]]
            part = memoryview(data)[8 + size :][begin:end]
            shaped = np.frombuffer(part, numbers).reshape(header[name]["shape"])
            found[name] = shaped.astype(np.float32)
    return found
