"""Row by row: would rows be independent if it weren't for dynamic quantisation?

Dynamic quantisation takes its scale from the whole batch, so a row's answer depends on the others.
Everything else in such a graph is usually row-wise. Then rows may be told apart, though they may
not share a run: each is run alone, which is exact by definition.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from inference_service.safety.graph import Constant, Graph, Node

_UINT8 = 2
"""TensorProto.UINT8"""


def without_dynamic_quantisation(graph: Graph) -> Graph | None:
    """The graph with operators that compute one scale for all rows replaced by row-wise ones of the
    same shapes; None where it has none. Bodies are gone through. It is not for running.
    """
    if not any(_is_dynamic(node) for node in _nodes(graph)):
        return None
    return _replaced(graph)


def _is_dynamic(node: Node) -> bool:
    return (node.domain, node.op_type) in {
        ("", "DynamicQuantizeLinear"),
        ("com.microsoft", "DynamicQuantizeMatMul"),
    }


def _nodes(graph: Graph) -> Iterator[Node]:
    for node in graph.nodes:
        yield node
        for value in node.attributes.values():
            if isinstance(value, Graph):
                yield from _nodes(value)


def _replaced(graph: Graph) -> Graph:
    constants = dict(graph.constants)
    nodes = []
    for node in graph.nodes:
        if not _is_dynamic(node):
            nodes.append(_with_replaced_bodies(node))
        elif node.op_type == "DynamicQuantizeLinear":
            values, scale, zero = (*node.outputs, "", "")[:3]
            nodes.append(Node("Cast", "", node.name, node.inputs, (values,), {"to": _UINT8}))
            constants[scale] = _scalar("float")
            constants[zero] = _scalar("uint8")
        else:
            nodes.append(Node("MatMul", "", node.name, node.inputs[:2], node.outputs))
    constants.pop("", None)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _with_replaced_bodies(node: Node) -> Node:
    bodies = {
        name: _replaced(value)
        for name, value in node.attributes.items()
        if isinstance(value, Graph)
    }
    return replace(node, attributes={**node.attributes, **bodies}) if bodies else node


def _scalar(dtype: str) -> Constant:
    kind = np.float32 if dtype == "float" else np.uint8
    return Constant((), dtype, lambda: np.ones((), kind))
