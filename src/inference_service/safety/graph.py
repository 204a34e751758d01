"""A graph as plain data: what the analysis reads, independent of protobuf and of onnxruntime."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from inference_service.core.tensors import Array

Dim: TypeAlias = int | str | None
"""A length, the name of a symbolic length, or unknown."""

Attribute: TypeAlias = (
    "int | float | str | bytes | Constant | Graph | Sequence[int] | Sequence[float] | Sequence[str]"
)


@dataclass(frozen=True, slots=True)
class Constant:
    """A tensor that is stored in the file. ``read`` decodes its contents; they may be large.

    Strings are an object array of str. Raises ValueError where the file lacks the contents.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Array] = field(repr=False, compare=False)

    @property
    def size(self) -> int:
        """The number of elements."""
        size = 1
        for length in self.shape:
            size *= length
        return size


@dataclass(frozen=True, slots=True)
class Value:
    """A graph's input or output. ``shape`` None: the rank is unknown. ``dtype`` as ONNX names it.

    ``kind`` is "tensor", "sequence", "map", "optional" or "sparse".
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...] | None
    kind: str = "tensor"


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. An absent optional input or output is the empty string.

    ``domain`` is "" for ai.onnx. Names of tensors are unique in a graph; a body (If, Loop, Scan)
    reads tensors of the graphs around it by name.
    """

    op_type: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    def __str__(self) -> str:
        name = self.name or next((output for output in self.outputs if output), "")
        return f"{self.op_type} node '{name}'"


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph or the body of a control-flow node; model-local functions are inlined.

    ``inputs`` lists initialisers that are inputs too (a default that a request may replace).
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    constants: Mapping[str, Constant] = field(default_factory=dict)
    opsets: Mapping[str, int] = field(default_factory=dict)
    """Operator set versions by domain ("" is ai.onnx); given for the main graph alone."""
