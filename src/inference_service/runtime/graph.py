"""Reads just enough of an ONNX file to name its nodes, without the onnx package.

ONNX is protobuf (onnx/onnx.proto3): ModelProto.graph is field 7; GraphProto.node is field 1,
.output field 12; NodeProto.input 1, .output 2, .name 3, .op_type 4. The file is mapped, and fields
of no interest (the weights) are skipped, not read.
"""

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH, _NODE, _GRAPH_OUTPUT = 7, 1, 12


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of the graph."""

    op_type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.op_type} node '{self.name or self.outputs[0]}'"


def read_nodes(path: Path) -> list[Node]:
    """The nodes of the main graph in their order. Raises ValueError for a file that is no ONNX."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        nodes = []
        for number, start, stop in _fields(data, 0, len(data)):
            if number == _GRAPH:
                for inner, node_start, node_stop in _fields(data, start, stop):
                    if inner == _NODE:
                        nodes.append(_node(data, node_start, node_stop))
        return nodes


def with_outputs(model: bytes, names: Iterable[str]) -> bytes:
    """The same model with more of its tensors as graph outputs.

    Protobuf merges a message field that occurs twice and concatenates its repeated fields, so the
    new outputs are simply appended.
    """
    graph = b"".join(
        _tagged(_GRAPH_OUTPUT, _tagged(1, name.encode())) for name in names
    )  # ValueInfoProto.name is field 1; onnxruntime infers the type
    return model + _tagged(_GRAPH, graph)


def _node(data: mmap.mmap, start: int, stop: int) -> Node:
    lists: dict[int, list[str]] = {1: [], 2: [], 3: [], 4: []}
    for number, inner_start, inner_stop in _fields(data, start, stop):
        if number in lists:
            lists[number].append(data[inner_start:inner_stop].decode())
    return Node(
        op_type="".join(lists[4]),
        name="".join(lists[3]),
        inputs=tuple(lists[1]),
        outputs=tuple(lists[2]),
    )


def _fields(data: mmap.mmap, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Field number, start and end of every length-delimited field; the others are skipped."""
    at = start
    while at < stop:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _BYTES:
            size, at = _varint(data, at)
            if at + size > stop:
                raise ValueError("a field runs past the end of the file")
            yield tag >> 3, at, at + size
            at += size
        elif kind == _VARINT:
            _, at = _varint(data, at)
        elif kind in {_FIXED64, _FIXED32}:
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"not a protobuf file: wire type {kind}")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("not a protobuf file: a number has more than 64 bits")


def _tagged(number: int, payload: bytes) -> bytes:
    return _encode_varint(number << 3 | _BYTES) + _encode_varint(len(payload)) + payload


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
