"""Edits of an ONNX graph: names of tensors, lengths of axes. They never touch a weight."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

Proto: TypeAlias = Any
"""A message of the `onnx` package, which has no types."""

BATCH = "batch"
"""The name of a batch axis that import has made free."""

_GENERATED = re.compile(
    r"^(?:keras_tensor(?:_\d+)?|input_layer(?:_\d+)?|serving_default_.*|args_\d+|input_\d+"
    r"|(?:input|x|onnx::\w+)\.\d+|\d+|statefulpartitionedcall.*|identity(?:_\d+)?(?::\d+)?"
    r"|output_\d+|functional.*|sequential.*)$",
    re.IGNORECASE,
)
_UNFIT = re.compile(r"[^A-Za-z0-9_.\-]+")


def sensible(name: str, what: str) -> str:
    """The name without what exporters add; ``what`` where nothing is left that tells something."""
    name = re.sub(r":\d+$", "", name)
    for prefix in ("serving_default_", "serving_"):
        name = name.removeprefix(prefix)
    if not name or _GENERATED.match(name):
        return what
    return _UNFIT.sub("_", name).strip("_") or what


def sensible_names(names: Sequence[str], what: str, taken: Iterable[str] = ()) -> list[str]:
    """Names for all inputs (or outputs); those that are alike get a number."""
    found: list[str] = []
    used = set(taken)
    wanted = [sensible(name, what) for name in names]
    for name in wanted:
        numbered = wanted.count(name) > 1 and name == what
        candidate, number = (f"{name}_0" if numbered else name), 0
        while candidate in used:
            number += 1
            candidate = f"{name}_{number}"
        used.add(candidate)
        found.append(candidate)
    return found


def inputs_of(model: Proto) -> list[Proto]:
    """The graph's inputs without initialisers that are listed as inputs."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [entry for entry in model.graph.input if entry.name not in constants]


def rename(model: Proto, names: Mapping[str, str]) -> None:
    """Give inputs and outputs other names, everywhere in the graph and in its bodies.

    A tensor inside that has one of the new names already gets another one.
    """
    changes = {old: new for old, new in names.items() if old != new}
    if not changes:
        return
    present = set(_tensor_names(model.graph))
    moved = dict(changes)
    for new in changes.values():
        if new in present and new not in moved:
            number = 0
            while f"{new}_inner{number}" in present:
                number += 1
            moved[new] = f"{new}_inner{number}"
    _rename(model.graph, moved)


def _tensor_names(graph: Proto) -> Iterator[str]:
    yield from (entry.name for part in (graph.input, graph.output) for entry in part)
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from node.input
        yield from node.output
        for body in bodies(node):
            yield from _tensor_names(body)


def bodies(node: Proto) -> Iterator[Proto]:
    """The graphs inside a node (If, Loop, Scan)."""
    for attribute in node.attribute:
        if attribute.type == 5:  # GRAPH
            yield attribute.g
        elif attribute.type == 10:  # GRAPHS
            yield from attribute.graphs


def _rename(graph: Proto, names: Mapping[str, str]) -> None:
    for part in (graph.input, graph.output, graph.value_info, graph.initializer):
        for entry in part:
            entry.name = names.get(entry.name, entry.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = names.get(sparse.values.name, sparse.values.name)
    for node in graph.node:
        for part in (node.input, node.output):
            for index, name in enumerate(part):
                part[index] = names.get(name, name)
        for body in bodies(node):
            _rename(body, names)


def shape_of(entry: Proto) -> list[int | str | None] | None:
    """Lengths, names of lengths, or None for unknown ones; None where the rank is unknown."""
    tensor = entry.type.tensor_type
    if not entry.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    return [
        dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None)
        for dim in tensor.shape.dim
    ]


def free_axis(entry: Proto, axis: int, name: str = BATCH) -> None:
    """Make the length of an axis free, with this name."""
    dim = entry.type.tensor_type.shape.dim[axis]
    dim.Clear()
    dim.dim_param = name


def forget_shapes(model: Proto) -> None:
    """Remove what the file says of the shapes of tensors inside: they follow from the inputs."""
    del model.graph.value_info[:]


def without_zipmap(model: Proto) -> dict[str, list[str]]:
    """Replace ZipMaps at outputs by the scores themselves; the classes by output.

    Scores stay in the order of the classes, [rows, classes].
    """
    import onnx

    found: dict[str, list[str]] = {}
    outputs = {entry.name: entry for entry in model.graph.output}
    for node in model.graph.node:
        if node.op_type != "ZipMap" or node.output[0] not in outputs:
            continue
        classes: list[str] = []
        for attribute in node.attribute:
            if attribute.name == "classlabels_strings":
                classes = [one.decode() for one in attribute.strings]
            elif attribute.name == "classlabels_int64s":
                classes = [str(one) for one in attribute.ints]
        name = node.output[0]
        entry = onnx.helper.make_tensor_value_info(name, 1, [None, len(classes) or None])
        outputs[name].CopyFrom(entry)
        node.op_type, node.domain = "Identity", ""
        del node.attribute[:]
        found[name] = classes
    return found


def without_sequences(model: Proto) -> list[str]:
    """Replace outputs that are lists of tensors by an output for each tensor; what was changed.

    Of a list ``scores`` they are called ``scores_0`` and so on. Lists that are made at run time, in
    a loop say, stay.
    """
    import onnx

    graph = model.graph
    made = {
        node.output[0]: node for node in graph.node if node.op_type == "SequenceConstruct"
    }  # fmt: skip
    taken, outputs, changes = set(_tensor_names(graph)), [], []
    for entry in graph.output:
        node = made.get(entry.name)
        if node is None:
            outputs.append(entry)
            continue
        kind = entry.type.sequence_type.elem_type.tensor_type.elem_type
        names = []
        for place, inner in enumerate(node.input):
            name = _free(f"{entry.name}_{place}", taken)
            graph.node.append(onnx.helper.make_node("Identity", [inner], [name], f"out_{name}"))
            outputs.append(onnx.helper.make_tensor_value_info(name, kind, None))
            names.append(name)
        changes.append(f"the list '{entry.name}' became the outputs {', '.join(names)}")
    if changes:
        del graph.output[:]
        graph.output.extend(outputs)
    return changes


def _free(name: str, taken: set[str]) -> str:
    """The name, or one that is not taken; it is taken then."""
    found = name
    number = 0
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found
