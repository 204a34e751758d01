"""What two clients may send at the same time, and what each of them must be answered.

Each case is asked as it is. Its graph has fixed shapes, so it is also served with a free axis, where
requests of unequal length may share a run. The right answer is ONNX Runtime's to the request alone,
or, where it takes one row only, to each row alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import onnx

from tests.conformance.comparison import difference, rounding
from tests.conformance.reference import Reference, Unanswered

Array = np.ndarray[Any, np.dtype[Any]]
Tensors = Mapping[str, Array]


class Question(NamedTuple):
    """A request and its answer; None where there is none.

    Not ``whole``: ONNX Runtime refuses the request, but answers its rows, or more rows, so that the
    service may answer as well as refuse.
    """

    request: Tensors
    answer: Tensors | None
    whole: bool = True


WHOLE, ROWS = "whole", "rows"
TITLES = {
    WHOLE: "whole requests",
    ROWS: "single rows, for a graph with a fixed number of rows",
    "first": "first axis of all inputs free",
    "alone": "first axis of the first input free",
    "second": "second axis of all inputs free",
}
_AXIS = "of_any_client"
_ROWS_TRIED = 3


@dataclass(frozen=True)
class Variant:
    """``model`` None: the case's own."""

    title: str
    questions: Sequence[Question]
    model: onnx.ModelProto | None = None


def variants(
    model: onnx.ModelProto, reference: Reference, inputs: Tensors, expected: Tensors
) -> Iterator[Variant]:
    """What is to be tried of a model for which ``expected`` is the answer to ``inputs``."""
    if not inputs:
        return
    mine = Question(inputs, expected)
    other = next((q for q in _asked(reference, others(inputs)) if q.answer is not None), None)
    both = [mine, other] if other else [mine]
    yield Variant(WHOLE, both * 2)
    rows = [row for question in both for row in _rows(reference, question)]
    if rows:
        yield Variant(ROWS, rows)
    for title, axis, first_alone in (("first", 0, False), ("alone", 0, True), ("second", 1, False)):
        names = along(inputs, axis)
        if not names or (first_alone and len(names) == 1):
            continue
        some = names[:1] if first_alone else names
        free = freed(model, inputs, some, axis)
        try:
            alone = Reference(free)
            alone.run(inputs)
        except Unanswered:
            continue
        questions = [
            question if question.answer else _row_by_row(alone, question.request, some, axis)
            for question in _asked(alone, _unequal(inputs, some, axis))
        ]
        yield Variant(title, questions, free)


def _asked(reference: Reference, requests: Sequence[Tensors]) -> Iterator[Question]:
    for request in requests:
        try:
            yield Question(request, reference.run(request))
        except Unanswered:
            yield Question(request, None)


def _unequal(inputs: Tensors, names: Sequence[str], axis: int) -> list[Tensors]:
    """Requests of as many, fewer and more rows, with the same values elsewhere or with others."""

    def each(change: Any) -> Tensors:
        return {name: change(a) if name in names else a for name, a in inputs.items()}

    one = each(lambda a: np.take(a, [0], axis))
    more = each(lambda a: np.concatenate([a, np.flip(a, axis)], axis))
    changed = others(inputs)
    return [inputs, *changed[:1], *changed[-1:], one, more, inputs]


def _rows(reference: Reference, question: Question) -> list[Question]:
    """Requests of one row each, where the first axis of everything is equally long.

    What belongs to a row is seen from the answer to the rows in another order. Where that shows
    nothing, as for rows that are all equal, there is nothing to ask; where the rows of an output
    depend on each other, one row has no answer.
    """
    inputs, expected = question.request, question.answer
    count = len(next(iter(inputs.values()))) if next(iter(inputs.values())).ndim else 0
    arrays = (*inputs.values(), *(expected or {}).values())
    if expected is None or count < 2 or any(not a.ndim or len(a) != count for a in arrays):
        return []
    turned = next(_asked(reference, [{n: a[::-1].copy() for n, a in inputs.items()}])).answer
    if turned is None:
        return []
    by_row = {name: _close(turned[name][::-1], array) for name, array in expected.items()}
    shared = {name: _close(turned[name], array) for name, array in expected.items()}
    if any(by_row[name] and shared[name] for name in expected):
        return []
    mixed = any(not by_row[name] and not shared[name] for name in expected)

    def row(index: int) -> Question:
        place = slice(index, index + 1)
        answer = {n: array[place] if by_row[n] else array for n, array in expected.items()}
        request = {n: array[place] for n, array in inputs.items()}
        return Question(request, None if mixed else answer, whole=False)

    return [row(index) for index in range(min(count, _ROWS_TRIED))]


def _close(one: Array, other: Array) -> bool:
    tolerance = rounding({"": one})
    return difference({"": one}, {"": other}, 1e-3, max(1e-7, tolerance)) is None


def _row_by_row(
    reference: Reference, request: Tensors, names: Sequence[str], axis: int
) -> Question:
    """What a request that ONNX Runtime refuses must be answered: nothing, or the answers to its rows."""
    count = request[names[0]].shape[axis]
    answers = []
    for index in range(count):
        row = {n: np.take(a, [index], axis) if n in names else a for n, a in request.items()}
        answers.append(next(_asked(reference, [row])).answer)
    if count < 2 or any(answer is None for answer in answers):
        return Question(request, None)
    known = [answer for answer in answers if answer is not None]
    try:
        answer = {n: np.concatenate([a[n] for a in known], axis) for n in known[0]}
    except ValueError:
        return Question(request, None)
    return Question(request, answer, whole=False)


def along(inputs: Tensors, axis: int) -> list[str]:
    """The inputs that have the axis and are as long there as the first of them."""
    lengths = {name: array.shape[axis] for name, array in inputs.items() if array.ndim > axis}
    count = next(iter(lengths.values()), 0)
    return [name for name, length in lengths.items() if length == count > 0]


def freed(
    model: onnx.ModelProto, inputs: Tensors, names: Sequence[str], axis: int
) -> onnx.ModelProto:
    """The model with an axis of free length in these inputs, and in the outputs that are as long."""
    count = inputs[names[0]].shape[axis]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for value in copy.graph.input:
        if value.name in names:
            value.type.tensor_type.shape.dim[axis].dim_param = _AXIS
    for value in copy.graph.output:
        axes = value.type.tensor_type.shape.dim
        if len(axes) > axis and axes[axis].dim_value == count:
            axes[axis].dim_param = _AXIS
    return copy


def others(inputs: Tensors) -> list[dict[str, Array]]:
    """What another client might send: the same shapes with the values in another order.

    First with all inputs changed, then with fewer of them, for graphs that refuse the first.
    """
    floats = [name for name, array in inputs.items() if array.dtype.kind == "f"]
    found = []
    for changed in (list(inputs), along(inputs, 0), floats, list(inputs)[:1]):
        some = {
            name: _another(array) if name in changed else array for name, array in inputs.items()
        }
        if any(not _same(some[name], inputs[name]) for name in inputs):
            found.append(some)
    return found


def _another(array: Array) -> Array:
    turned = array.reshape(-1)[::-1].reshape(array.shape).copy()
    if not _same(turned, array):
        return turned
    if array.dtype.kind == "f":
        return np.asarray(array * 0.5 + 0.25, array.dtype)
    return np.asarray(~array) if array.dtype == bool else array


def _same(one: Array, other: Array) -> bool:
    return bool(one.shape == other.shape and np.array_equal(one, other))
