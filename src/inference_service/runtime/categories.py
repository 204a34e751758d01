"""The values that a graph knows: categories and words, read from its nodes.

A graph of scikit-learn's encoders refuses values that it was not trained on, and a text that holds
none of a vectoriser's words says nothing of the model. So rows for the probe and the warm-up, and
the example of the docs page, are made of values that stand in the graph. An input's column is
followed through nodes that move values about without changing them, up to the node that looks them
up.
"""

import logging
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from inference_service.core.tensors import Array, DType, Tensors, TensorSpec

log = logging.getLogger(__name__)

Source: TypeAlias = tuple[str, int | None]
"""An input and the place on its last axis; None: every place."""

Sources: TypeAlias = tuple[Source, ...]

_LARGEST = 256 * 2**20
_FEW = 8
_ENCODER = b"OneHotEncoder"


@dataclass(frozen=True, slots=True)
class Encoder:
    """A node that knows these values of an input; ``strict``: it refuses all others."""

    name: str
    sources: Sources
    values: tuple[str | int, ...]
    strict: bool


@dataclass(frozen=True, slots=True)
class KnownValues:
    """What is known of values that a graph takes. ``row`` is one row from model.toml."""

    encoders: tuple[Encoder, ...] = ()
    row: Tensors = field(default_factory=dict)

    def with_row(self, row: Tensors) -> "KnownValues":
        """The same with a row that the model's owner gives."""
        return replace(self, row=row)

    def filled(self, random: np.random.Generator, spec: TensorSpec, array: Array) -> Array:
        """The array [rows, ...] with known values wherever the graph looks values up."""
        strict = [encoder for encoder in self.encoders if encoder.strict]
        loose = [encoder for encoder in self.encoders if not encoder.strict]
        if spec.dtype is DType.BYTES:
            given = self.row.get(spec.name)
            if given is not None:
                array = np.array(random.choice(given.ravel(), array.shape), object)
            for encoder in [*loose, *strict]:  # what a strict one says goes last, and counts
                array = _placed(random, spec, array, encoder)
            return array
        for encoder in strict:
            array = _placed(random, spec, array, encoder)
        return array

    def advice(self, node: str) -> tuple[str, str] | None:
        """The input that a strict node looks up, and the values it knows, for an error message."""
        found = [one for one in self.encoders if one.strict and one.name == node]
        if len(found) != 1:  # names of nodes are optional
            return None
        (encoder,) = found
        few = ", ".join(repr(value) for value in encoder.values[:_FEW])
        more = len(encoder.values) - _FEW
        names = "' and '".join(dict.fromkeys(name for name, _ in encoder.sources))
        return names, few + (f" and {more} more" if more > 0 else "")


def _placed(random: np.random.Generator, spec: TensorSpec, array: Array, encoder: Encoder) -> Array:
    is_text = spec.dtype is DType.BYTES
    values = [value for value in encoder.values if isinstance(value, str) is is_text]
    if not values:
        return array
    for name, place in encoder.sources:
        if name != spec.name:
            continue
        if place is None or array.ndim < 2:
            array[...] = _picked(random, values, array.shape)
        elif place < array.shape[-1]:
            array[..., place] = _picked(random, values, array.shape[:-1])
    return array


def _picked(
    random: np.random.Generator, values: Sequence[str | int], shape: tuple[int, ...]
) -> Array:
    return np.array(values, object)[random.integers(0, len(values), shape)]


def known_values(source: Path | bytes, inputs: Sequence[TensorSpec]) -> KnownValues:
    """The values that a file's nodes know. Nothing is known of very large and of odd files."""
    try:
        return KnownValues(tuple(_read(source, inputs)))
    except Exception:  # onnxruntime could read it: what it knows is a help and no condition
        log.debug("the values that a graph knows can't be read", exc_info=True)
        return KnownValues()


def _read(source: Path | bytes, inputs: Sequence[TensorSpec]) -> Iterator[Encoder]:
    texts = any(spec.dtype is DType.BYTES for spec in inputs)
    if isinstance(source, Path):
        if source.stat().st_size > _LARGEST or not (texts or _mentions(source, _ENCODER)):
            return
        source = source.read_bytes()
    elif not (texts or _ENCODER in source):
        return
    # onnx is slow to import, and few graphs have such nodes
    from inference_service.runtime.category_reader import encoders

    yield from encoders(source, inputs)


def _mentions(path: Path, words: bytes) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(words) >= 0
