"""An ONNX file as the plain graph of the batch-safety analysis.

The `onnx` package parses the file and inlines functions; it is imported inside `read_graph`, so a
start with cached verdicts does not pay for it. Weights are never decoded here: a `Constant` decodes
its contents when it is read, and external data is opened then.

Where a file can be understood in two ways, onnxruntime's way counts, for it runs the graph:

- Before IR version 4 an initialiser is a constant, even where it is listed as an input.
- A model-local function whose domain is one of onnxruntime's own (``Relu`` in ai.onnx) loses
  against the built-in operator of that name. Its calls get the domain `LOCAL_FUNCTION`, which no
  rule knows, as do calls of functions that cannot be inlined (another operator set version).
- The nodes of the main graph may stand in any order (those of a body may not).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from inference_service.core.errors import InvalidModel
from inference_service.runtime.graph_tensors import (
    Proto,
    constants_of,
    dtype_name,
    sparse_constant,
)
from inference_service.safety.graph import Attribute, Constant, Dim, Graph, Node, Value

LOCAL_FUNCTION = "local function"
"""The domain of a call of a model-local function that is not inlined: unknown to every rule."""

LARGEST_FILE = 2**31
"""Bytes; protobuf itself reads no message of 2 GiB."""
MOST_NODES = 200_000
"""Nodes of the graph, its bodies and its inlined functions together."""
DEEPEST = 16
"""Levels of bodies in bodies (If, Loop, Scan)."""

_BUILT_IN = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training")
_BUILT_IN_PREFIXES = ("com.microsoft", "com.ms.")


def read_graph(source: Path | bytes, folder: Path | None = None) -> Graph:
    """The graph of an ONNX file, given as a path or as its bytes.

    ``folder`` is where external data lies: by default the folder of the file; for bytes without a
    folder, reading a constant with external data raises ValueError. Raises InvalidModel for a file
    that is missing, no ONNX file, ambiguous, or beyond the bounds of this module.
    """
    model = _parse(source)
    if isinstance(source, Path) and folder is None:
        folder = source.parent
    model = _inlined(model)
    opsets = _opsets(model)
    reader = _Reader(folder, constants_of(folder), model.ir_version < 4, _uncalled(model))
    graph = reader.graph(model.graph, "the graph", 0)
    return replace(graph, nodes=_in_order(graph), opsets=opsets)


def _parse(source: Path | bytes) -> Proto:
    import onnx
    from google.protobuf.message import DecodeError

    if isinstance(source, Path):
        try:
            size = source.stat().st_size
            if size > LARGEST_FILE:
                raise InvalidModel(f"{source.name} has {size} bytes, more than {LARGEST_FILE}")
            source = source.read_bytes()
        except OSError as error:
            raise InvalidModel(f"{error.filename} can't be read: {error.strerror}") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(source)
    except DecodeError as error:
        raise InvalidModel(f"not an ONNX file: {error}") from None
    if not model.HasField("graph"):
        raise InvalidModel("not an ONNX file: it holds no graph")
    return model


def _opsets(model: Proto) -> dict[str, int]:
    """Versions by domain; a domain that only an inlined function imports is added."""
    found: dict[str, int] = {}
    for entry in model.opset_import:
        version = found.setdefault(_domain(entry.domain), entry.version)
        if version != entry.version:
            raise InvalidModel(f"two versions of the operator set '{entry.domain}' are imported")
    return found


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


# Model-local functions


def _function_key(proto: Proto) -> tuple[str, str, str]:
    """What a call and a function share: domain, name, overload (IR version 10)."""
    name = proto.op_type if hasattr(proto, "op_type") else proto.name
    return _domain(proto.domain), name, getattr(proto, "overload", "")


def _inlined(model: Proto) -> Proto:
    """The model without those functions that can be inlined; the others stay listed."""
    if not model.functions:
        return model
    from onnx import inliner

    _bound_expansion(model)
    kept = [function for function in model.functions if _is_built_in(function.domain)]
    imports = [entry for function in model.functions for entry in function.opset_import]
    slim = type(model)()
    slim.CopyFrom(model)
    for index in reversed(range(len(slim.functions))):
        if _is_built_in(slim.functions[index].domain):
            del slim.functions[index]
    _fill_defaults(slim)
    try:
        result = inliner.inline_local_functions(slim)
    except Exception as error:  # onnx raises RuntimeError and its own kinds for faulty functions
        raise InvalidModel(f"a function of the model can't be inlined: {error}") from None
    known = {entry.domain for entry in result.opset_import}
    for entry in imports:
        if entry.domain not in known:  # functions that stay may have other versions of their own
            known.add(entry.domain)
            result.opset_import.append(entry)
    result.functions.extend(kept)
    return result


def _fill_defaults(model: Proto) -> None:
    """Attributes that a call leaves out get the default of their function, which onnx drops.

    Raises InvalidModel for one that is left out only where the function around the call leaves it
    out in turn: what it then is depends on the caller.
    """
    defaults = {
        _function_key(function): {entry.name: entry for entry in function.attribute_proto}
        for function in model.functions
        if function.attribute_proto
    }
    if not defaults:
        return
    for nodes, optional in (
        (model.graph.node, frozenset()),
        *((function.node, frozenset(function.attribute)) for function in model.functions),
    ):
        for node in _all_nodes(nodes):
            known = defaults.get(_function_key(node), {})
            given = {attribute.name: attribute for attribute in node.attribute}
            for name, default in known.items():
                if name not in given:
                    node.attribute.append(default)
                elif given[name].ref_attr_name in optional:
                    raise InvalidModel(f"attribute '{name}' of a function may be absent twice over")


def _is_built_in(domain: str) -> bool:
    return domain in _BUILT_IN or domain.startswith(_BUILT_IN_PREFIXES)


def _uncalled(model: Proto) -> frozenset[tuple[str, str, str]]:
    return frozenset(_function_key(function) for function in model.functions)


def _bound_expansion(model: Proto) -> None:
    """Refuse functions that call each other in a circle, or that expand to too many nodes.

    Ten functions of ten calls each are a file of some kilobytes and 10^10 nodes.
    """
    bodies = {_function_key(function): function.node for function in model.functions}
    sizes: dict[tuple[str, str, str], int] = {}

    def size(key: tuple[str, str, str], callers: tuple[tuple[str, str, str], ...]) -> int:
        if key in callers or len(callers) > 100:
            raise InvalidModel(f"function '{key[1]}' calls itself or is nested too deeply")
        if key not in sizes:
            sizes[key] = total(bodies[key], (*callers, key))
        return sizes[key]

    def total(nodes: Iterable[Proto], callers: tuple[tuple[str, str, str], ...]) -> int:
        count = 0
        for node in _all_nodes(nodes):
            key = _function_key(node)
            count += size(key, callers) if key in bodies else 1
        if count > MOST_NODES:
            raise InvalidModel(f"the graph has more than {MOST_NODES} nodes, functions included")
        return count

    total(model.graph.node, ())


def _all_nodes(nodes: Iterable[Proto]) -> Iterator[Proto]:
    """The nodes and those of their bodies."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs) if attribute.type in {5, 10} else ():
                waiting.extend(body.node)


# Graphs and nodes


@dataclass(slots=True)
class _Reader:
    """Converts graphs. ``constant_inputs``: an initialiser that is an input is no input."""

    folder: Path | None
    constant: Callable[[Proto], Constant]
    constant_inputs: bool
    functions: frozenset[tuple[str, str, str]]
    nodes: int = 0

    def graph(self, proto: Proto, where: str, depth: int) -> Graph:
        if depth > DEEPEST:
            raise InvalidModel(f"{where}: bodies are nested more than {DEEPEST} levels deep")
        constants = self._initialisers(proto, where)
        inputs = tuple(
            _value(entry)
            for entry in proto.input
            if not (self.constant_inputs and entry.name in constants)
        )
        _unique((value.name for value in inputs), "input", where)
        made = {value.name for value in inputs} | set(constants)
        nodes = []
        for entry in proto.node:
            node = self._node(entry, depth)
            for name in node.outputs:
                if name in made:
                    raise InvalidModel(f"{where}: tensor '{name}' is made twice, by the {node}")
            made.update(name for name in node.outputs if name)
            nodes.append(node)
        return Graph(tuple(nodes), inputs, tuple(_value(v) for v in proto.output), constants)

    def _initialisers(self, proto: Proto, where: str) -> dict[str, Constant]:
        # onnxruntime takes the last of several dense initialisers of one name.
        constants = {tensor.name: self.constant(tensor) for tensor in proto.initializer}
        for sparse in proto.sparse_initializer:
            if sparse.values.name in constants:
                raise InvalidModel(f"{where}: initialiser '{sparse.values.name}' occurs twice")
            constants[sparse.values.name] = sparse_constant(sparse)
        return constants

    def _node(self, proto: Proto, depth: int) -> Node:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise InvalidModel(f"the graph has more than {MOST_NODES} nodes")
        local = _function_key(proto) in self.functions
        node = Node(
            proto.op_type,
            LOCAL_FUNCTION if local else _domain(proto.domain),
            proto.name,
            tuple(proto.input),
            tuple(proto.output),
        )
        _unique((attribute.name for attribute in proto.attribute), "attribute", str(node))
        attributes = {a.name: self._attribute(a, node, depth) for a in proto.attribute}
        return replace(node, attributes=attributes)

    def _attribute(self, proto: Proto, node: Node, depth: int) -> Attribute:
        where = f"{node}, attribute '{proto.name}'"
        kind = proto.AttributeType.Name(proto.type) if proto.type <= 14 else "UNDEFINED"
        if kind in _PLAIN:
            return _PLAIN[kind](proto)
        if kind == "TENSOR":
            return self.constant(proto.t)
        if kind == "SPARSE_TENSOR":
            return sparse_constant(proto.sparse_tensor)
        if kind == "GRAPH":
            return self.graph(proto.g, where, depth + 1)
        raise InvalidModel(f"{where}: an attribute of the type {kind} is not supported")


def _in_order(graph: Graph) -> tuple[Node, ...]:
    """The nodes so that each comes after those that make its inputs; stable."""
    makers = {
        name: index for index, node in enumerate(graph.nodes) for name in node.outputs if name
    }
    needs = [{makers[name] for name in _reads(node) if name in makers} for node in graph.nodes]
    if all(max(before, default=-1) < index for index, before in enumerate(needs)):
        return graph.nodes
    order: list[int] = []
    done: set[int] = set()
    for index in range(len(needs)):
        waiting = [index]
        while waiting:
            missing = needs[waiting[-1]] - done
            if len(waiting) > len(needs):
                raise InvalidModel(f"the {graph.nodes[index]} needs its own result")
            if missing:
                waiting.append(min(missing))
            else:
                last = waiting.pop()
                if last not in done:
                    done.add(last)
                    order.append(last)
    return tuple(graph.nodes[index] for index in order)


def _reads(node: Node) -> Iterator[str]:
    """The tensors that a node reads, its bodies included (also those that the bodies make)."""
    yield from node.inputs
    for attribute in node.attributes.values():
        if isinstance(attribute, Graph):
            yield from (output.name for output in attribute.outputs)
            for inner in attribute.nodes:
                yield from _reads(inner)


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


_PLAIN: dict[str, Callable[[Proto], Attribute]] = {
    "FLOAT": lambda proto: float(proto.f),
    "INT": lambda proto: int(proto.i),
    "STRING": lambda proto: _text(proto.s),
    "FLOATS": lambda proto: tuple(proto.floats),
    "INTS": lambda proto: tuple(proto.ints),
    "STRINGS": lambda proto: tuple(s.decode(errors="surrogateescape") for s in proto.strings),
    "TYPE_PROTO": lambda proto: _kind(proto.tp)[1],
}


def _unique(names: Iterable[str], what: str, where: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidModel(f"{where}: {what} '{name}' occurs twice")
        seen.add(name)


def _value(proto: Proto) -> Value:
    kind, dtype, tensor = _kind(proto.type)
    shape = None
    if tensor is not None and tensor.HasField("shape"):
        shape = tuple(_dim(dim) for dim in tensor.shape.dim)
    return Value(proto.name, dtype, shape, kind)


def _dim(proto: Proto) -> Dim:
    """A negative length is unknown, as in onnxruntime; "?" is no name: unlike axes share it."""
    if proto.HasField("dim_value"):
        return int(proto.dim_value) if proto.dim_value >= 0 else None
    return None if proto.dim_param in {"", "?"} else str(proto.dim_param)


def _kind(proto: Proto) -> tuple[str, str, Proto | None]:
    """Kind, dtype of the (innermost) elements, and the tensor type of a plain or sparse tensor."""
    kind = {"tensor_type": "tensor", "sparse_tensor_type": "sparse"}
    found = proto.WhichOneof("value")
    if found in kind:
        tensor = getattr(proto, found)
        return kind[found], dtype_name(tensor.elem_type), tensor
    if found in {"sequence_type", "optional_type"}:
        return found.removesuffix("_type"), _kind(getattr(proto, found).elem_type)[1], None
    if found == "map_type":
        return "map", _kind(proto.map_type.value_type)[1], None
    return "tensor", "undefined", None
