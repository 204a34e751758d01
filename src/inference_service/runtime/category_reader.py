"""Reads the values that a graph's nodes know, with the onnx package: see `categories`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx
from onnx import helper, numpy_helper

from inference_service.core.tensors import TensorSpec
from inference_service.runtime.categories import Encoder, Source, Sources

_MOST_VALUES = 1_000
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


def encoders(source: bytes, inputs: Sequence[TensorSpec]) -> Iterator[Encoder]:
    """Follow every input's columns, in the order of the nodes, which is that of their use."""
    graph = onnx.load_from_string(source).graph
    constants = {one.name: one for one in graph.initializer}
    known: dict[str, Sources] = {spec.name: ((spec.name, None),) for spec in inputs}
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
    sources: Sequence[Sources],
    constants: Mapping[str, onnx.TensorProto],
) -> dict[str, Sources]:
    """The outputs that hold an input's values, and which."""
    kind = node.op_type
    if kind == "Split" and attributes.get("axis", 0) in {1, -1}:
        return _parts(node, sources[0], constants)
    found: Sources = ()
    if kind == "Concat" and len(sources) == len(node.input):
        found = tuple(one for some in sources for one in some)
    elif kind == "ArrayFeatureExtractor" or (kind == "Gather" and attributes.get("axis", 0) != 0):
        found = _columns(sources[0], constants.get(node.input[1]))
    elif kind in _PASSES_ON or kind == "Gather":  # along axis 0, rows are picked
        found = sources[0]
    return {node.output[0]: found} if found else {}


def _columns(sources: Sources, index: onnx.TensorProto | None) -> Sources:
    """The columns that a constant index picks."""
    if index is None or _size(index) > _MOST_VALUES:
        return sources
    places = numpy_helper.to_array(index).ravel().tolist()
    return tuple(_at(sources, place) for place in places)


def _parts(
    node: onnx.NodeProto, sources: Sources, constants: Mapping[str, onnx.TensorProto]
) -> dict[str, Sources]:
    """A Split's outputs: equal parts of one column each, or as its second input says."""
    sizes = [1] * len(node.output)
    given = constants.get(node.input[1]) if len(node.input) > 1 else None
    if given is not None and _size(given) == len(sizes):
        sizes = numpy_helper.to_array(given).ravel().tolist()
    found: dict[str, Sources] = {}
    start = 0
    for name, size in zip(node.output, sizes, strict=True):
        places = range(start, start + min(size, _MOST_VALUES))
        found[name] = tuple(_at(sources, place) for place in places)
        start += size
    return found


def _at(sources: Sources, place: int) -> Source:
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
