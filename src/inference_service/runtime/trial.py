"""The second line of batch safety: whatever is merged is tried when it is loaded.

Rows of unlike kind are run alone, together, and among other rows, at several places and batch
sizes. In small graphs all inner tensors are looked at, too: an output can hide a dependence (a
label, a saturated probability). It is bounded in time; its result is kept with the verdict.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from inference_service.core.errors import InferenceServiceError, found_no_memory
from inference_service.core.rows import RowLayout
from inference_service.core.tensors import Array, DType, Tensors, TensorSpec
from inference_service.runtime.comparison import (
    COARSE,
    identical,
    largest_difference,
    magnitudes,
)
from inference_service.runtime.graph import read_nodes, with_outputs
from inference_service.runtime.probe import values
from inference_service.runtime.session import (
    Frame,
    OpenModel,
    RuntimeOptions,
    open_model,
)

ROWS = 17
"""More than any power of two up to 16: vector kernels take the rest of a batch another way."""
BUDGET = 0.5
"""Seconds, roughly: fewer rows are tried of slow models."""
_FEWEST = 3
_INNER_RUNS = 40
"""Runs of a row that looking at inner tensors takes as long as: it is not optimised."""
_FAILING = 3
_LARGEST_FILE = 8 * 2**20
"""Bytes of a file whose inner tensors are looked at: all of them are held in memory at once."""
_LARGEST_FILE_TO_BLAME = 256 * 2**20
_INTEGERS = (*range(1, 9), 16, 100, 1_000, 30_000, 200_000)
_SCALES = (1.0, 1e-3, 1e4)
_SMALL_SCALES = (1.0, 1e-3)
_LARGEST_SMALL = 16
"""Of a model whose runs cost by value: a large one may take all memory."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A model that is to be tried: its session, file, rows, the one batch size that it runs (if it
    is one), a row that runs, whether independence is proven, how many rows there is memory for, and
    whether its runs are known to cost by value."""

    model: OpenModel
    path: Path
    layout: RowLayout
    sizes: tuple[int, ...]
    row: Tensors
    proven: bool = False
    most: int = ROWS
    by_value: bool = False


class _Refuted(Exception):  # noqa: N818
    """Rows depend on each other; the message says how it showed."""


def refuted(tried: Tried, budget: float = BUDGET) -> str:
    """How rows have been found to depend on each other; "" where nothing was found."""
    try:
        seconds = _try_outputs(tried, budget)
    except _Refuted as found:
        node = mixing_node(tried)
        return f"{found}; the first node where it shows is the {node}" if node else str(found)
    except InferenceServiceError as error:
        return "" if found_no_memory(error) else f"a batch fails: {error}"
    # A proof need not be doubted for long; a declaration is all there is.
    affordable = (budget if tried.proven else 4 * budget) / _INNER_RUNS
    if seconds > affordable or tried.path.stat().st_size > _LARGEST_FILE:
        return ""
    node = mixing_node(tried)
    return f"a row's values at the {node} depend on the other rows of its batch" if node else ""


def _try_outputs(tried: Tried, budget: float) -> float:
    """The seconds of a run of one row. Raises _Refuted, or whatever a run raises."""
    alone = _Alone(tried)
    started = perf_counter()
    answers = [alone.run(tried.row)]
    rows = [tried.row]
    seconds = perf_counter() - started
    most = max(_FEWEST, min(tried.most, int(budget / (5 * seconds + 1e-6))))
    until = perf_counter() + 2 * budget
    largest, failing = _integers(tried, alone)
    for candidate in unlike_rows(tried, most, largest):
        if len(rows) >= most or perf_counter() > until:
            break
        try:
            answers.append(alone.run(candidate))
            rows.append(candidate)
        except InferenceServiceError:
            failing.append(candidate)
    if tried.sizes:
        _compare_fixed(tried, rows, answers)
        return seconds
    if seconds < budget / 10:
        for size in (2, 3, 5):
            if size < len(rows):
                _compare(tried, rows[:size], answers[:size])
    if len(rows) >= 2:
        _exchange(tried, rows, _compare(tried, rows, answers))
    for bad in failing[:_FAILING]:
        _must_fail(tried, rows[0], bad)
    return seconds


class _Alone:
    """Runs one row; a batch of one size is filled up with copies of it."""

    def __init__(self, tried: Tried) -> None:
        self._tried = tried

    def run(self, row: Tensors) -> Tensors:
        tried = self._tried
        if not tried.sizes:
            return tried.model.run(row)
        size = tried.sizes[0]
        outputs = tried.model.run(tried.layout.filled(row, 1, size))
        return _split(tried, outputs, size)[0]


def _split(tried: Tried, outputs: Tensors, count: int) -> list[Tensors]:
    try:
        return tried.layout.split(outputs, [1] * count)
    except InferenceServiceError as error:
        raise _Refuted(str(error)) from None


def _compare(tried: Tried, rows: Sequence[Tensors], answers: Sequence[Tensors]) -> Tensors:
    """Rows together, against each alone: other kernels may run, so there is a tolerance."""
    outputs = tried.model.run(tried.layout.assemble(rows))
    together = _split(tried, outputs, len(rows))
    columns = magnitudes(outputs, tried.layout)
    for got, wanted in zip(together, answers, strict=True):
        found = largest_difference(got, wanted, tried.layout, columns)
        if found.size > COARSE:
            raise _Refuted(
                f"a row's output '{found.output}' in a batch of {len(rows)} rows is not what it is "
                "alone"
            )
    return outputs


def _exchange(tried: Tried, rows: Sequence[Tensors], outputs: Tensors) -> None:
    """The same batch with all rows but one exchanged: that one's answer must keep its bits."""
    layout, count = tried.layout, len(rows)
    places = {0, count // 2, count - 1} if count > _FEWEST else {0, count - 1}
    for place in sorted(places):
        others = [rows[(index + 1) % count] for index in range(count)]
        others[place] = rows[place]
        second = tried.model.run(layout.assemble(others))
        try:
            _same_place(tried, outputs, second, place)
        except _Refuted:
            if name := identical(tried.model.run(layout.assemble(rows)), outputs):
                text = f"the model gives two answers for '{name}' to the same input"
                raise _Refuted(text) from None
            raise


def _same_place(tried: Tried, first: Tensors, second: Tensors, place: int) -> None:
    layout = tried.layout
    name = identical(
        layout.take_outputs(first, place, place + 1), layout.take_outputs(second, place, place + 1)
    )
    if name:
        raise _Refuted(f"a row's output '{name}' depends on the other rows of its batch")


def _compare_fixed(tried: Tried, rows: Sequence[Tensors], answers: Sequence[Tensors]) -> None:
    """A graph of one batch size: every row among copies of itself and among others, at all places.

    All runs are of one shape, so a place's answer has the same bits; another place may not.
    """
    size = tried.sizes[0]
    batch = [rows[index % len(rows)] for index in range(size)]
    outputs = tried.model.run(tried.layout.assemble(batch))
    together = _split(tried, outputs, size)
    columns = magnitudes(outputs, tried.layout)
    for place, got in enumerate(together):
        found = largest_difference(got, answers[place % len(rows)], tried.layout, columns)
        if found.size > COARSE:
            raise _Refuted(
                f"a row's output '{found.output}' at place {place} of the batch of {size} depends "
                "on the other rows"
            )
    for index, row in enumerate(rows[:size]):
        copies = tried.model.run(tried.layout.filled(row, 1, size))
        _same_place(tried, outputs, copies, index)


def _must_fail(tried: Tried, good: Tensors, bad: Tensors) -> None:
    """What fails alone and runs among others has taken something from them."""
    try:
        tried.model.run(tried.layout.assemble([good, good, bad, good, good]))
    except InferenceServiceError:
        return
    raise _Refuted("a row that fails alone runs in a batch")


# Rows


def unlike_rows(tried: Tried, count: int, largest: int = 2) -> Iterator[Tensors]:
    """Rows like ``tried.row`` in shape and of unlike kind: magnitudes, signs, zeros, NaN, repeated
    ones, integers from 0 to below ``largest``."""
    specs = {spec.name: spec for spec in tried.model.inputs if spec.name in tried.row}
    random = np.random.default_rng(1)
    scales = _SMALL_SCALES if tried.by_value else _SCALES
    for index in range(2 * count):
        kind = index % 7
        row = dict(tried.row)
        for name, array in tried.row.items():
            if tried.layout.axis(name) is not None:
                scale = scales[kind % len(scales)]
                varied = _varied(random, specs[name], array, kind, scale=scale, largest=largest)
                row[name] = tried.model.known.filled(random, specs[name], varied)
        yield row
        if kind == 6:
            yield row


def _varied(
    random: np.random.Generator,
    spec: TensorSpec,
    like: Array,
    kind: int,
    *,
    scale: float,
    largest: int,
) -> Array:
    if spec.dtype is DType.BYTES:
        known = sorted(set(like.ravel().tolist()))
        return np.asarray(random.choice(np.array(known, object), like.shape), object)
    if spec.dtype.is_integer:
        high = min(largest, spec.dtype.limits[1] + 1)
        high = high if kind != 4 else 1
        return np.asarray(random.integers(0, high, like.shape)).astype(spec.dtype.numpy)
    if not spec.dtype.is_float:
        return values(random, spec, like.shape, 1.0)
    if kind == 4:
        return np.zeros_like(like)
    array = np.asarray(random.standard_normal(like.shape) * scale)
    if kind == 3:
        array = -np.abs(array)
    if kind == 5 and array.size:
        array.flat[0] = np.nan
    with np.errstate(over="ignore"):
        return array.astype(spec.dtype.numpy)


def _integers(tried: Tried, alone: _Alone) -> tuple[int, list[Tensors]]:
    """The end of the range [0, n) of integers that the graph runs, and rows just outside of it."""
    specs = {spec.name: spec for spec in tried.model.inputs}
    names = [
        name
        for name in tried.row
        if specs[name].dtype.is_integer and tried.layout.axis(name) is not None
    ]

    def filled(value: int) -> Tensors:
        row = dict(tried.row)
        for name in names:
            least, most = specs[name].dtype.limits
            row[name] = np.full_like(row[name], max(least, min(value, most)))
        return row

    found = 2
    if not names:
        return found, []
    outside = []
    integers = (n for n in _INTEGERS if n <= _LARGEST_SMALL or not tried.by_value)
    for value in (-1, *integers):
        row = filled(value)
        try:
            alone.run(row)
        except InferenceServiceError:
            outside.append(row)
            if value > 0:
                break
        else:
            found = max(found, value + 1)
    return found, outside


# Inner tensors


def mixing_node(tried: Tried) -> str:
    """The first node whose values for a row change with the other row of a batch of two.

    A row-wise tensor of two rows has at least half of its values from the row that stays; wherever
    they are, they keep their bits when the other row is exchanged. "" where none is found, or the
    file is too large to run with all of its tensors as outputs.
    """
    if tried.sizes or tried.path.stat().st_size > _LARGEST_FILE_TO_BLAME:
        return ""
    rows = list(unlike_rows(tried, 4))
    stays, others = rows[0], (rows[1], rows[2])
    try:
        nodes = read_nodes(tried.path)
        known = {spec.name for spec in tried.model.outputs}
        names = [name for node in nodes for name in node.outputs if name and name not in known]
        opened = open_model(
            with_outputs(tried.path.read_bytes(), names),
            RuntimeOptions(
                1, optimise=False, frame=Frame(tried.model.axes, tried.model.constants),
                libraries=tried.model.options.libraries if tried.model.options else (),
            ),
            data=tried.path.parent,
        )  # fmt: skip
        assemble = tried.layout.assemble
        pairs = [
            [opened.run(assemble([stays, other])) for other in others],
            [opened.run(assemble([other, stays])) for other in others],
        ]
    except (InferenceServiceError, ValueError, OSError):
        return ""
    for node in nodes:
        for name in node.outputs:
            if any(name in one and not _half_equal(one[name], two[name]) for one, two in pairs):
                return str(node)
    return ""


def _half_equal(left: Array, right: Array) -> bool:
    if not isinstance(left, np.ndarray) or not isinstance(right, np.ndarray):
        return True  # sequences and maps are not looked into
    if left.shape != right.shape:
        return False
    same = left == right
    if left.dtype.kind == "f":
        same |= np.isnan(left) & np.isnan(right)
    return 2 * int(np.count_nonzero(same)) >= left.size
