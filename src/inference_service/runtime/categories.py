"""The values that a graph knows: categories and words, read from its nodes.

A graph of scikit-learn's encoders refuses values that it was not trained on, and a text that holds
none of a vectoriser's words says nothing of the model. So rows for the probe and the warm-up, and
the example of the docs page, are made of values that stand in the graph. An input's column is
followed through nodes that move values about without changing them, up to the node that looks them
up.
"""

import logging
import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper

from inference_service.core.tensors import Array, DType, Tensors, TensorSpec

log = logging.getLogger(__name__)

Source: TypeAlias = tuple[str, int | None]
"""An input and the place on its last axis; None: every place."""

_Sources: TypeAlias = tuple[Source, ...]

_LARGEST = 256 * 2**20
_MOST_VALUES = 1_000
_FEW = 8
_ENCODER = b"OneHotEncoder"
_PASSES_ON = frozenset(
    {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "StringConcat", "StringNormalizer",
     "StringSplit", "Tokenizer", "Transpose", "Unsqueeze"}
)  # fmt: skip
_VALUES = {
    "OneHotEncoder": ("cats_strings", "cats_int64s"),
    "LabelEncoder": ("keys_strings", "keys_int64s", "keys_tensor"),
    "CategoryMapper": ("cats_strings",),
    "DictVectorizer": ("string_vocabulary",),
    "TfIdfVectorizer": ("pool_strings",),
}


@dataclass(frozen=True, slots=True)
class Encoder:
    """A node that knows these values of an input; ``strict``: it refuses all others."""

    name: str
    sources: _Sources
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
    yield from _encoders(onnx.load_from_string(source).graph, inputs)


def _mentions(path: Path, words: bytes) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(words) >= 0


def _encoders(graph: onnx.GraphProto, inputs: Sequence[TensorSpec]) -> Iterator[Encoder]:
    """Follow every input's columns, in the order of the nodes, which is that of their use."""
    constants = {one.name: one for one in graph.initializer}
    known: dict[str, _Sources] = {spec.name: ((spec.name, None),) for spec in inputs}
    for node in graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant" and isinstance(attributes.get("value"), onnx.TensorProto):
            constants[node.output[0]] = attributes["value"]
        sources = [known[name] for name in node.input if name in known]
        if not sources:
            continue
        if node.op_type in _VALUES:
            values = _values(attributes, _VALUES[node.op_type])
            strict = node.op_type == "OneHotEncoder" and attributes.get("zeros", 1) == 0
            yield Encoder(node.name, sources[0], values, strict)
        elif node.op_type == "Equal":
            values = tuple(v for name in node.input for v in _strings(constants.get(name)))
            yield Encoder(node.name, sources[0], values, strict=False)
        known |= _passed(node, attributes, sources, constants)


def _passed(
    node: onnx.NodeProto,
    attributes: Mapping[str, Any],
    sources: Sequence[_Sources],
    constants: Mapping[str, onnx.TensorProto],
) -> dict[str, _Sources]:
    """The outputs that hold an input's values, and which."""
    kind = node.op_type
    if kind == "Split" and attributes.get("axis", 0) in {1, -1}:
        return _parts(node, sources[0], constants)
    found: _Sources = ()
    if kind == "Concat" and len(sources) == len(node.input):
        found = tuple(one for some in sources for one in some)
    elif kind == "ArrayFeatureExtractor" or (kind == "Gather" and attributes.get("axis", 0) != 0):
        found = _columns(sources[0], constants.get(node.input[1]))
    elif kind in _PASSES_ON or kind == "Gather":  # along axis 0, rows are picked
        found = sources[0]
    return {node.output[0]: found} if found else {}


def _columns(sources: _Sources, index: onnx.TensorProto | None) -> _Sources:
    """The columns that a constant index picks."""
    if index is None or _size(index) > _MOST_VALUES:
        return sources
    places = numpy_helper.to_array(index).ravel().tolist()
    return tuple(_at(sources, place) for place in places)


def _parts(
    node: onnx.NodeProto, sources: _Sources, constants: Mapping[str, onnx.TensorProto]
) -> dict[str, _Sources]:
    """A Split's outputs: equal parts of one column each, or as its second input says."""
    sizes = [1] * len(node.output)
    given = constants.get(node.input[1]) if len(node.input) > 1 else None
    if given is not None and _size(given) == len(sizes):
        sizes = numpy_helper.to_array(given).ravel().tolist()
    found: dict[str, _Sources] = {}
    start = 0
    for name, size in zip(node.output, sizes, strict=True):
        places = range(start, start + min(size, _MOST_VALUES))
        found[name] = tuple(_at(sources, place) for place in places)
        start += size
    return found


def _at(sources: _Sources, place: int) -> Source:
    """One column of a tensor whose columns come from these sources."""
    name, column = sources[0]
    if len(sources) == 1:
        return (name, place if column is None and place >= 0 else column)
    return sources[place] if -len(sources) <= place < len(sources) else (name, column)


def _values(attributes: Mapping[str, Any], names: Sequence[str]) -> tuple[str | int, ...]:
    for name in names:
        found = attributes.get(name)
        if isinstance(found, onnx.TensorProto):
            found = _strings(found)
        if found:
            some = list(found)[:_MOST_VALUES]
            return tuple(v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in some)
    return ()


def _strings(tensor: onnx.TensorProto | None) -> tuple[str, ...]:
    if tensor is None or tensor.data_type != onnx.TensorProto.STRING:
        return ()
    return tuple(value.decode("utf-8", "replace") for value in tensor.string_data[:_MOST_VALUES])


def _size(tensor: onnx.TensorProto) -> int:
    size = 1
    for length in tensor.dims:
        size *= length
    return size
