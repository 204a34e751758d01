"""Reads just enough of an ONNX file to name its nodes, without the onnx package.

ONNX is protobuf (onnx/onnx.proto3): ModelProto.graph is field 7; GraphProto.node is field 1,
.input 11, .output 12; NodeProto.input 1, .output 2, .name 3, .op_type 4, .attribute 5;
AttributeProto.name 1, .ints 8, .strings 9; ValueInfoProto.name 1, .type 2; TypeProto.tensor_type 1;
its shape is field 2. The file is mapped, and fields of no interest (the weights) are skipped, not
read.
"""

import mmap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH, _NODE, _GRAPH_INPUT, _GRAPH_OUTPUT = 7, 1, 11, 12


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


@dataclass(frozen=True, slots=True)
class Declared:
    """What a file says and onnxruntime doesn't pass on.

    ``shapeless`` inputs and outputs have no declared rank. ``classes`` are those of the ZipMap that
    makes an output, in the order of its scores. ``lists`` are put together of tensors at the end.
    """

    shapeless: frozenset[str] = frozenset()
    classes: Mapping[str, tuple[int, ...] | tuple[str, ...]] = field(default_factory=dict)
    lists: frozenset[str] = frozenset()


def read_declared(source: Path | bytes) -> Declared:
    """Raises ValueError for what is no ONNX."""
    if isinstance(source, bytes):
        return _declared(source)
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _declared(data)


def _declared(data: mmap.mmap | bytes) -> Declared:
    shapeless: set[str] = set()
    classes: dict[str, tuple[int, ...] | tuple[str, ...]] = {}
    lists: set[str] = set()
    for number, start, stop in _fields(data, 0, len(data)):
        if number != _GRAPH:
            continue
        for inner, at, end in _fields(data, start, stop):
            if inner in {_GRAPH_INPUT, _GRAPH_OUTPUT} and not _has(data, at, end, _TENSOR_SHAPE):
                shapeless.add(_text(data, at, end, 1))
            elif inner == _NODE and (kind := _text(data, at, end, 4)) in _COLLECTIONS:
                name = _text(data, at, end, 2)
                if kind == "ZipMap":
                    classes[name] = _zipmap_classes(data, at, end)
                else:
                    lists.add(name)
    return Declared(frozenset(shapeless), classes, frozenset(lists))


_COLLECTIONS = frozenset({"ZipMap", "SequenceConstruct"})


_TENSOR_SHAPE = (2, 1, 2)
"""From a ValueInfoProto: its type, its tensor_type, its shape."""


def _has(data: mmap.mmap | bytes, start: int, stop: int, path: tuple[int, ...]) -> bool:
    """Whether a message has a field, by the numbers that lead to it."""
    first, *rest = path
    return any(
        not rest or _has(data, at, end, tuple(rest))
        for _, at, end in _only(data, start, stop, first)
    )


def _zipmap_classes(
    data: mmap.mmap | bytes, start: int, stop: int
) -> tuple[int, ...] | tuple[str, ...]:
    for _, first, last in _only(data, start, stop, 5):
        name = _text(data, first, last, 1)
        if name == "classlabels_strings":
            return tuple(data[at:end].decode() for _, at, end in _only(data, first, last, 9))
        if name == "classlabels_int64s":
            return tuple(_integers(data, first, last, 8))
    return ()


def _only(
    data: mmap.mmap | bytes, start: int, stop: int, number: int
) -> Iterator[tuple[int, int, int]]:
    return (found for found in _fields(data, start, stop) if found[0] == number)


def _text(data: mmap.mmap | bytes, start: int, stop: int, number: int) -> str:
    """The first text with this number; "" where there is none."""
    return next((data[at:end].decode() for _, at, end in _only(data, start, stop, number)), "")


def _integers(data: mmap.mmap | bytes, start: int, stop: int, number: int) -> Iterator[int]:
    """A repeated int64, packed (in one field) or not."""
    at = start
    while at < stop:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            if tag >> 3 == number:
                yield _signed(value)
        elif kind == _BYTES:
            size, at = _varint(data, at)
            end = at + size
            while tag >> 3 == number and at < end:
                value, at = _varint(data, at)
                yield _signed(value)
            at = end
        else:
            at += 8 if kind == _FIXED64 else 4


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


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


def _fields(data: mmap.mmap | bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
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


def _varint(data: mmap.mmap | bytes, at: int) -> tuple[int, int]:
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
