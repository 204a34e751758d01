"""May rows of different requests meet in one run? Try it, rather than believe the file.

Many files declare a batch axis that they can't use: a Reshape to a fixed shape breaks at the second
row, a dynamically quantised layer computes one scale over the whole batch, so that a row's result
depends on its batch-mates. The probe runs random rows one by one and together and compares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference_service.core.assembly import assemble
from inference_service.core.errors import InferenceServiceError
from inference_service.core.tensors import (
    Array,
    BatchMode,
    DType,
    Tensors,
    TensorSpec,
    render_shape,
)
from inference_service.runtime.graph import read_nodes, with_outputs
from inference_service.runtime.session import (
    Frame,
    OpenModel,
    RuntimeOptions,
    failed_node,
    open_model,
)

ROWS = 3
_FREE_SIZES = (8, 32, 224, 64, 1, 3)
_SCALES = (1.0, 4.0, 0.5)  # rows of unlike magnitude show a scale that is shared by the batch
_WORDS = ("alpha", "bravo", "charlie", "delta")
_LARGEST_TO_DIAGNOSE = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found: the mode, why it is not `MERGE`, and inputs of one row that ran.

    ``sizes`` has the batch size of a graph that runs no other.
    """

    mode: BatchMode
    warnings: Sequence[str] = ()
    row: Tensors | None = None
    sizes: tuple[int, ...] = ()


def probe(model: OpenModel, path: Path, shapes: Mapping[str, Sequence[int]]) -> Probe:
    """Find how rows may be batched. ``shapes`` gives row shapes for inputs with free axes."""
    if any(not spec.shape for spec in model.inputs):
        names = ", ".join(spec.name for spec in model.inputs if not spec.shape)
        return _whole(model, shapes, f"input {names} is a scalar: there is no batch axis")
    first = {spec.shape[0] for spec in model.inputs}
    if first == {1}:
        rows, error = _find_rows(model, shapes)
        why = "the graph has a fixed batch of 1: every row runs alone"
        return _probed(BatchMode.SPLIT, rows, [why, *_unprobed(error)])
    if len(first) == 1 and (size := next(iter(first))) is not None:
        return _fixed(model, shapes, size)
    if first != {None}:
        listed = ", ".join(str(spec) for spec in model.inputs)
        return _whole(model, shapes, f"axis 0 is not free in every input ({listed})")
    rows, error = _find_rows(model, shapes)
    if rows is None:
        return Probe(BatchMode.WHOLE, _unprobed(error))
    return _compare(model, path, rows)


def random_rows(
    model: OpenModel, free: int, shapes: Mapping[str, Sequence[int]], seed: int = 0
) -> list[Tensors]:
    """ROWS single rows. Free axes get the length ``free`` unless ``shapes`` says otherwise.

    Where the graph looks values up, they are values that it knows, and so are their lengths where
    the model's owner gives an example.
    """
    shapes = {name: array.shape[1:] for name, array in model.known.row.items()} | dict(shapes)
    random = np.random.default_rng(seed)

    def one(spec: TensorSpec, scale: float) -> Array:
        array = _values(random, spec, _shape(spec, free, shapes), scale)
        return model.known.filled(random, spec, array)

    return [{spec.name: one(spec, scale) for spec in model.inputs} for scale in _SCALES[:ROWS]]


def _shape(spec: TensorSpec, free: int, shapes: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    if not spec.shape:
        return ()
    given = shapes.get(spec.name)
    rest = tuple(given) if given is not None else tuple(n or free for n in spec.shape[1:])
    return (spec.shape[0] or 1, *rest)


def _values(
    random: np.random.Generator, spec: TensorSpec, shape: tuple[int, ...], scale: float
) -> Array:
    if spec.dtype is DType.BYTES:
        return np.array(random.choice(_WORDS, shape), dtype=object)
    if spec.dtype.is_float:
        return np.asarray(random.standard_normal(shape) * scale).astype(spec.dtype.numpy)
    # 0 and 1 are valid as token ids, categories, masks and pixels alike.
    return np.asarray(random.integers(0, 2, shape)).astype(spec.dtype.numpy)


def _find_rows(
    model: OpenModel, shapes: Mapping[str, Sequence[int]]
) -> tuple[list[Tensors] | None, Exception | None]:
    """Random rows that the model runs one by one, trying several lengths for the free axes."""
    free_axes = any(n is None for spec in model.inputs for n in spec.shape[1:])
    error: Exception | None = None
    for size in _FREE_SIZES if free_axes else _FREE_SIZES[:1]:
        rows = random_rows(model, size, shapes)
        try:
            for row in rows:
                model.run(row)
        except InferenceServiceError as failure:
            error = error or failure
        else:
            return rows, None
    if model.known.row:
        try:
            model.run(model.known.row)
        except InferenceServiceError as failure:
            error = failure
        else:
            return [model.known.row] * ROWS, None
    return None, error


def _unprobed(error: Exception | None) -> list[str]:
    if error is None:
        return []
    return [
        f"it could not be run on random input, so its batching is not verified ({error}); "
        "give one row in model.toml, [example] input = .., or the shapes of its free axes, "
        "[warmup] shapes = { input = [..] }"
    ]


def _probed(mode: BatchMode, rows: list[Tensors] | None, warnings: list[str]) -> Probe:
    return Probe(mode, warnings, rows[0] if rows else None)


def _whole(model: OpenModel, shapes: Mapping[str, Sequence[int]], why: str) -> Probe:
    rows, error = _find_rows(model, shapes)
    why += "; requests are not batched"
    return _probed(BatchMode.WHOLE, rows, [why, *_unprobed(error)])


def _fixed(model: OpenModel, shapes: Mapping[str, Sequence[int]], size: int) -> Probe:
    """A graph whose batch has one fixed size: do its rows depend on each other or on their place?

    A row is run first among copies of itself and then among others, at either end of the batch.
    """
    found, error = _find_rows(model, shapes)
    if found is None:
        return Probe(BatchMode.WHOLE, _unprobed(error))
    # Of a fixed batch, a "row" of the probe is the whole of it: random rows.
    whole = found[0]
    alone = {name: np.repeat(array[:1], size, axis=0) for name, array in whole.items()}
    turned = {name: np.roll(array, size - 1, axis=0) for name, array in whole.items()}
    row = {name: array[:1] for name, array in whole.items()}
    runs = [model.run(inputs) for inputs in (alone, whole, turned)]
    for spec in model.outputs:
        first, second, last = (run[spec.name] for run in runs)
        same = first.ndim > 0 and len(first) == len(second) == size
        if not (same and equal(first[:1], second[:1]) and equal(first[:1], last[-1:])):
            why = (
                f"the graph has a fixed batch of {size} and a row's output '{spec.name}' depends "
                "on the other rows; requests are not batched"
            )
            return Probe(BatchMode.WHOLE, [why], whole)
    why = f"the graph has a fixed batch of {size}: smaller batches are filled up with copies"
    return Probe(BatchMode.MERGE, [why], row, (size,))


def _compare(model: OpenModel, path: Path, rows: list[Tensors]) -> Probe:
    singles = [model.run(row) for row in rows]
    for spec in model.outputs:
        shape = singles[0][spec.name].shape
        if not shape or shape[0] != 1:
            why = (
                f"output '{spec.name}' has shape {render_shape(shape)} for one row, "
                "so axis 0 is no batch axis; requests are not batched"
            )
            return _probed(BatchMode.WHOLE, rows, [why])
    if not _agree(model.run(rows[0]), singles[0]):
        why = "the model gives two answers to one input, so batching can't be verified"
        return _probed(BatchMode.WHOLE, rows, [why + "; requests are not batched"])
    for count in (2, ROWS):
        try:
            together = model.run(assemble(rows[:count]))
        except InferenceServiceError as error:
            node = failed_node(error) or "a node"
            why = f"a batch of {count} rows fails in the {node}, so every row runs alone ({error})"
            return _probed(BatchMode.SPLIT, rows, [why])
        if fault := _mixed(together, singles[:count]):
            node = _mixing_node(model, path, rows)
            why = f"{fault}; {node}; requests are not batched"
            return _probed(BatchMode.WHOLE, rows, [why])
    return _probed(BatchMode.MERGE, rows, [])


def _mixed(together: Mapping[str, Array], singles: Sequence[Tensors]) -> str | None:
    """Why the outputs of a batch are not those of its rows one by one."""
    count = len(singles)
    for name, array in together.items():
        if array.ndim == 0 or array.shape[0] != count:
            shape = render_shape(array.shape)
            return f"output '{name}' has shape {shape} for a batch of {count} rows"
        for index, single in enumerate(singles):
            if not equal(array[index : index + 1], single[name]):
                return f"a row's output '{name}' depends on the other rows of its batch"
    return None


def _agree(left: Tensors, right: Tensors) -> bool:
    return all(equal(left[name], right[name]) for name in left)


def equal(left: Array, right: Array) -> bool:
    """Equal up to the rounding of a different order of summation."""
    if left.shape != right.shape:
        return False
    if left.dtype.kind != "f":
        return bool(np.array_equal(left, right))
    coarse = left.dtype == np.float16
    a, b = left.astype(np.float64), right.astype(np.float64)
    finite = b[np.isfinite(b)]
    largest = float(np.abs(finite).max()) if finite.size else 0.0
    relative = 2e-2 if coarse else 1e-3
    return bool(np.allclose(a, b, rtol=relative, atol=relative * 0.1 * largest, equal_nan=True))


def _mixing_node(model: OpenModel, path: Path, rows: Sequence[Tensors]) -> str:
    """The first node whose output for a row changes with the other rows, by running every node."""
    if path.stat().st_size > _LARGEST_TO_DIAGNOSE:
        return "the file is too large to look for the node"
    known = {spec.name for spec in model.outputs}
    nodes = read_nodes(path)
    names = [name for node in nodes for name in node.outputs if name and name not in known]
    try:
        opened = open_model(
            with_outputs(path.read_bytes(), names),
            RuntimeOptions(1, optimise=False, frame=Frame(model.axes, model.constants)),
            data=path.parent,
        )
        left, right, both = (
            opened.run(inputs) for inputs in (rows[0], rows[1], assemble(rows[:2]))
        )
    except InferenceServiceError as error:
        return f"the node could not be found ({error})"
    for node in nodes:
        for name in node.outputs:
            if name in both and not _rowwise(left[name], right[name], both[name]):
                return f"the first node to mix them is the {node}"
    return "no single node mixes them without the graph's optimisations"


def _rowwise(left: Array, right: Array, both: Array) -> bool:
    """Whether a tensor of the batch consists of the rows' tensors along some axis."""
    if not isinstance(both, np.ndarray) or left.ndim != both.ndim:
        return True  # sequences and maps are not looked into
    if left.shape == both.shape and equal(left, right):
        return equal(left, both)  # no row axis: a constant of the graph
    for axis in range(both.ndim):
        edge = left.shape[axis]
        if edge + right.shape[axis] == both.shape[axis]:
            parts = np.split(both, [edge], axis=axis)
            if equal(parts[0], left) and equal(parts[1], right):
                return True
    return False
