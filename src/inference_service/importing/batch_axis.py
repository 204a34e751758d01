"""Make the batch axis free, and repair constants inside that admit one batch size.

An export for one batch size holds that size in three kinds of places: in the declared shapes, in
constant target shapes (Reshape to [1, 2048], Expand to [1, 1, 64]), and in constant tensors (a
class token [1, 1, 64] that is concatenated, the zero state [1, 1, 32] of an LSTM). Each is replaced
by what follows from the number of rows that came in:

- a target shape [n, …] becomes [-1, …], or, where it has a -1 already, [0, …] (as many as the input
  has there), or its first entry is taken from the input's own shape;
- a constant tensor with one entry on the batch axis is repeated for each row.

Whether an edit is right is not judged from its pattern. The analysis of `inference_service.safety`
must *prove* of the edited graph that every output's row depends on the same row of the inputs
alone, for any number of rows; and at the original batch size its answers must be the original's,
which the importer tries on random rows. Where the proof fails, the original graph is kept.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from inference_service import safety
from inference_service.core.errors import InvalidModel
from inference_service.importing.graph_edit import (
    Proto,
    forget_shapes,
    free_axis,
    inputs_of,
    shape_of,
)
from inference_service.runtime.graph_reader import read_graph
from inference_service.safety.verdict import Status, Verdict

MOST_REPAIRS = 16
"""Rounds of edits of one graph: each is followed by an analysis."""

_KINDS = ("Reshape", "Expand", "ConstantOfShape", "Concat", "LSTM", "GRU", "RNN")

_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
"""Inputs of recurrent nodes that hold a state [directions, batch, size]."""


@dataclass(frozen=True, slots=True)
class Freed:
    """The graph with its batch axis free, or the graph as it was, and why.

    ``changes`` tells each edit. ``verdict`` is the analysis's, of ``model``.
    """

    model: Proto
    verdict: Verdict
    changes: tuple[str, ...] = ()
    kept_because: str = ""


def free_batch(model: Proto) -> Freed:
    """The best that can be proven. ``model`` itself is not changed. Raises InvalidModel."""
    original = _verdict(model)
    fixed = _fixed_size(model)
    if original.status is Status.PROVEN and original.fixed_rows is None and fixed is None:
        named = _copy(model)
        _name_batch(named, original)
        return Freed(named, original)
    if fixed is None and original.status is not Status.FROZEN:
        return Freed(model, original)
    edit = _Edit(_copy(model), fixed)
    verdict = edit.freed()
    if verdict.status is Status.PROVEN and verdict.fixed_rows is None and verdict.inputs:
        return Freed(edit.model, verdict, tuple(edit.changes))
    where = f"{verdict.node}: " if verdict.node else ""
    return Freed(
        model, original, (), f"its rows are not proven to be independent ({where}{verdict.reason})"
    )


def _name_batch(model: Proto, verdict: Verdict) -> None:
    """Name the axes that hold rows, where they have no name, of inputs and outputs."""
    places = [(entry, verdict.inputs.get(entry.name)) for entry in inputs_of(model)]
    rows = verdict.outputs
    places += [
        (entry, rows[entry.name].axis if rows[entry.name].entries == 1 else None)
        for entry in model.graph.output
        if entry.name in rows
    ]
    for entry, axis in places:
        shape = shape_of(entry)
        if axis is not None and shape is not None and shape[axis : axis + 1] == [None]:
            free_axis(entry, axis)


def _copy(model: Proto) -> Proto:
    copy = type(model)()
    copy.CopyFrom(model)
    return copy


def _verdict(model: Proto) -> Verdict:
    try:
        return safety.analyse(read_graph(model.SerializeToString()))
    except (InvalidModel, ValueError) as error:
        return Verdict(Status.UNPROVEN, reason=str(error))


def _fixed_size(model: Proto) -> int | None:
    """The common length of the first axes of all inputs that have axes; None: there is none."""
    first = set()
    for entry in inputs_of(model):
        shape = shape_of(entry)
        if shape is None:
            return None
        if shape:
            first.add(shape[0])
    size = next(iter(first)) if len(first) == 1 else None
    return size if isinstance(size, int) else None


@dataclass
class _Edit:
    """Edits a copy of the graph until the analysis has nothing to blame, or blames what stays."""

    model: Proto
    fixed: int | None
    changes: list[str] = field(default_factory=list)
    _done: set[str] = field(default_factory=set)

    @property
    def _size(self) -> int:
        """The batch size of the export: constants of this length may be it."""
        return self.fixed or 1

    def freed(self) -> Verdict:
        """Free the declared axes, then repair what the analysis blames. The last verdict."""
        if self.fixed is not None:
            for entry in inputs_of(self.model):
                if shape_of(entry):
                    free_axis(entry, 0)
                    self.changes.append(f"input '{entry.name}': axis 0 was {self.fixed}, now free")
        for entry in self.model.graph.output:
            if (shape_of(entry) or [None])[0] == self._size:
                free_axis(entry, 0)
        forget_shapes(self.model)
        verdict = _verdict(self.model)
        for _ in range(MOST_REPAIRS):
            if verdict.status is Status.PROVEN or not self._repaired(verdict.node):
                break
            verdict = _verdict(self.model)
        return verdict

    def _repaired(self, blamed: str) -> bool:
        """Edit all nodes of one kind that can be: the blamed node's, or the first that has any.

        Editing more than the blamed one makes no difference to the proof, and one analysis for each
        kind is much less than one for each node.
        """
        nodes = list(self.model.graph.node)
        kinds = [node.op_type for node in nodes if _blamed(node, blamed)] + list(_KINDS)
        return any(self._repaired_kind(kind, nodes) for kind in kinds)

    def _repaired_kind(self, kind: str, nodes: list[Proto]) -> bool:
        found = False
        for node in nodes:
            key = node.output[0]
            if node.op_type != kind or key in self._done:
                continue
            change = self._repair(node)
            if change:
                found = True
                self._done.add(key)
                self.changes.append(f"{kind} node '{node.name or key}': {change}")
        return found

    def _repair(self, node: Proto) -> str:
        if node.domain not in {"", "ai.onnx"}:
            return ""
        if node.op_type == "Reshape":
            return self._reshape(node)
        if node.op_type in {"Expand", "ConstantOfShape"}:
            return self._target_shape(node)
        if node.op_type == "Concat":
            return self._concat(node)
        if node.op_type in _STATES:
            return self._states(node)
        return ""

    # The kinds of repair

    def _reshape(self, node: Proto) -> str:
        target = self._constant(node.input[1]) if len(node.input) > 1 else None
        if target is None or target.ndim != 1 or target.size < 1 or target[0] != self._size:
            return ""
        if self._constant(node.input[0]) is not None:
            return ""  # a constant's own shape
        changed = target.copy()
        if -1 not in target.tolist():
            changed[0] = -1
        elif _attribute(node, "allowzero"):
            return ""
        else:
            changed[0] = 0
        node.input[1] = self._add_constant(node.output[0] + "_shape", changed)
        return f"to {target.tolist()}, now {changed.tolist()}"

    def _target_shape(self, node: Proto) -> str:
        """The first entry becomes the number of rows of the graph's first input."""
        place = 1 if node.op_type == "Expand" else 0
        target = self._constant(node.input[place])
        if target is None or target.ndim != 1 or target.size < 2 or target[0] != self._size:
            return ""
        rest = self._add_constant(node.output[0] + "_rest", target[1:])
        shape = self._insert_before(
            node, "Concat", [self._rows(node), rest], node.output[0] + "_shape", axis=0
        )
        node.input[place] = shape
        return f"to {target.tolist()}, now the number of rows and {target[1:].tolist()}"

    def _concat(self, node: Proto) -> str:
        """A constant with one entry on the batch axis is repeated for each row."""
        if self._size != 1 or _attribute(node, "axis") == 0:
            return ""
        found = ""
        for index, name in enumerate(node.input):
            constant = self._constant(name)
            if constant is not None and constant.ndim > 1 and constant.shape[0] == 1:
                node.input[index] = self._repeated(node, name, constant, 0, index)
                found = f"the constant {list(constant.shape)} is repeated for each row"
        return found if len(node.input) > 1 else ""

    def _states(self, node: Proto) -> str:
        if self._size != 1:
            return ""
        found = ""
        for place in _STATES[node.op_type]:
            name = node.input[place] if len(node.input) > place else ""
            constant = self._constant(name) if name else None
            if constant is not None and constant.ndim == 3 and constant.shape[1] == 1:
                node.input[place] = self._repeated(node, name, constant, 1, place)
                found = "its initial state is repeated for each row"
        return found

    # Pieces of the graph

    def _constant(self, name: str) -> np.ndarray[Any, Any] | None:
        from onnx import numpy_helper

        for tensor in self.model.graph.initializer:
            if tensor.name == name:
                return np.asarray(numpy_helper.to_array(tensor))
        for node in self.model.graph.node:
            if name in node.output and node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        return np.asarray(numpy_helper.to_array(attribute.t))
                    if attribute.name == "value_ints":
                        return np.array(attribute.ints, np.int64)
        return None

    def _add_constant(self, name: str, value: np.ndarray[Any, Any]) -> str:
        from onnx import numpy_helper

        name = f"{name}_free_batch"
        self.model.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def _rows(self, node: Proto) -> str:
        """A tensor [1] that holds the number of rows that came in."""
        first = next(entry for entry in inputs_of(self.model) if shape_of(entry))
        name = f"{node.output[0]}_rows"
        return self._insert_before(node, "Shape", [first.name], f"{name}_shape", start=0, end=1)

    def _repeated(
        self, node: Proto, name: str, value: np.ndarray[Any, Any], axis: int, number: int
    ) -> str:
        stem = f"{node.output[0]}_{number}"
        before = self._add_constant(f"{stem}_before", np.array(value.shape[:axis], np.int64))
        after = self._add_constant(f"{stem}_after", np.array(value.shape[axis + 1 :], np.int64))
        rows = self._insert_before(
            node, "Shape", [self._first_input()], f"{stem}_rows", start=0, end=1
        )
        pieces = ((before, axis), (rows, 1), (after, value.ndim - axis - 1))
        parts = [piece for piece, size in pieces if size]
        shape = self._insert_before(node, "Concat", parts, f"{stem}_shape", axis=0)
        return self._insert_before(node, "Expand", [name, shape], f"{stem}_repeated")

    def _first_input(self) -> str:
        return str(next(entry.name for entry in inputs_of(self.model) if shape_of(entry)))

    def _insert_before(
        self, node: Proto, kind: str, inputs: list[str], output: str, **attributes: int
    ) -> str:
        from onnx import helper

        output = f"{output}_free_batch"
        made = helper.make_node(kind, inputs, [output], name=output)
        made.attribute.extend(helper.make_attribute(*one) for one in attributes.items())
        place = next(
            index for index, one in enumerate(self.model.graph.node)
            if one.output[0] == node.output[0]
        )  # fmt: skip
        self.model.graph.node.insert(place, made)
        return output


def _blamed(node: Proto, text: str) -> bool:
    """Whether a verdict's ``Reshape node 'flatten'`` is this node."""
    names = [node.name] if node.name else [name for name in node.output if name]
    return any(text == f"{node.op_type} node '{name}'" for name in names)


def _attribute(node: Proto, name: str) -> int:
    return next((int(one.i) for one in node.attribute if one.name == name), 0)
