"""Is the blamed node the one that mixes? Its inputs hold their rows apart, its outputs do not.

The node's inputs and outputs are made outputs of the graph, and rows are run alone and together.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper

from inference_service.safety.verdict import OutputRows, Status, Verdict
from tests.safety.soundness import Outputs, Row, Trial, difference, row_sets, split

ROW_WISE, COUNTS_ROWS, MIXES = "row-wise", "counts rows", "mixes"
RIGHT, WRONG, NOT_SHOWN, NOT_RUN = "right", "wrong", "not shown", "not run"
COUNTS = (2, 3, 5)


def judged(model: onnx.ModelProto, verdict: Verdict, examples: Mapping[str, "np.ndarray"]) -> str:
    """Whether a verdict "mixing" names a node whose inputs are row-wise and whose outputs are not.

    WRONG: an input of the node mixes already. NOT_SHOWN: its outputs are row-wise on the rows tried.
    NOT_RUN: the node is in a body, or the graph does not run.
    """
    node = _node(model, verdict.node)
    if node is None:
        return NOT_RUN
    made = {name for entry in model.graph.node for name in entry.output}
    inputs = [name for name in node.input if name in made]
    outputs = [name for name in node.output if name]
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    listed = {value.name for value in model.graph.output}
    for name in dict.fromkeys((*inputs, *outputs)):
        if name not in listed:
            shown.graph.output.append(helper.make_empty_tensor_value_info(name))
    found = _row_wise(shown, [*inputs, *outputs], examples)
    if found is None:
        return NOT_RUN
    if any(found[name] == MIXES for name in inputs):
        return WRONG
    return NOT_SHOWN if all(found[name] == ROW_WISE for name in outputs) else RIGHT


def _node(model: onnx.ModelProto, text: str) -> onnx.NodeProto | None:
    for node in model.graph.node:
        name = node.name or next((output for output in node.output if output), "")
        if f"{node.op_type} node '{name}'" == text:
            return node
    return None


def _row_wise(
    model: onnx.ModelProto, names: Sequence[str], examples: Mapping[str, "np.ndarray"]
) -> dict[str, str] | None:
    """What each tensor is: "row-wise" if a merged run holds what the rows give alone, along some axis.

    "counts rows" if it is the same for all runs of one number of rows: that is no mixing yet.
    """
    axes = {value.name: 0 for value in model.graph.input if _has_rows(value)}
    outputs = {name: OutputRows(None) for name in names}
    pretended = Verdict(Status.PROVEN, axes, outputs)
    trial = Trial(model.SerializeToString(), pretended, examples, 0)
    try:
        sets = list(row_sets(trial))
    except Exception:
        return None
    if not sets:
        return None
    runs = [(row, found) for row in sets[0] if not isinstance(found := trial.alone(row), Exception)]
    apart, counts = dict.fromkeys(names, True), dict.fromkeys(names, True)
    ran = False
    for count in COUNTS:
        first: Outputs | None = None
        for start in range(3):
            members = [runs[(start + 2 * step) % len(runs)] for step in range(count)]
            merged = trial.run(trial.merged([row for row, _ in members]))
            if isinstance(merged, Exception):
                continue
            ran, first = True, first or merged
            for name in names:
                apart[name] &= _is_row_wise(name, members, merged)
                counts[name] &= not difference(first[name], merged[name])
    if not ran:
        return None
    words = {name: COUNTS_ROWS if counts[name] else MIXES for name in names}
    return words | {name: ROW_WISE for name in names if apart[name]}


def _has_rows(value: onnx.ValueInfoProto) -> bool:
    shape = value.type.tensor_type.shape.dim
    return bool(shape) and not shape[0].HasField("dim_value")


def _is_row_wise(name: str, members: Sequence[tuple[Row, Outputs]], merged: Outputs) -> bool:
    array = merged[name]
    alone = [found[name] for _, found in members]
    if not isinstance(array, np.ndarray):
        return True  # sequences are not looked into
    if all(not difference(part, array) for part in alone):
        return True
    return any(
        all(not difference(part, piece) for part, piece in zip(alone, pieces, strict=True))
        for pieces in _divisions(array, len(members))
    )


def _divisions(array: "np.ndarray", count: int) -> Iterable[list["np.ndarray"]]:
    """All ways to take an array apart into rows: an axis of outer * count * group places."""
    for axis, length in enumerate(array.shape):
        if length % count:
            continue
        for outer in (n for n in range(1, length // count + 1) if not length // count % n):
            group = length // count // outer
            shape = (*array.shape[:axis], outer, count, group, *array.shape[axis + 1 :])
            folded = array.reshape(shape)
            yield [
                np.asarray(split(folded, OutputRows(axis + 1), place, count)).reshape(
                    *array.shape[:axis], outer * group, *array.shape[axis + 1 :]
                )
                for place in range(count)
            ]
