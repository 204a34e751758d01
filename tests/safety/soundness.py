"""Is a verdict "proven" true in numbers? One row alone against the same row among others.

`check` runs a model in ONNX Runtime as the verdict allows: rows of unlike kinds (zeros, 1e-3, 1e4,
negative, NaN where it runs, integers over the accepted range, repeated rows, strings) alone and
merged in different orders and numbers, and compares every row's part of every output. A row that
the graph refuses alone and accepts among others is a leak too: what it got there came from others.

A difference is measured per element against the element itself and the largest element of the same
row's part, computed alone: rows of other sizes do not widen the tolerance.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
import onnx
import onnxruntime as ort

from inference_service.runtime.graph_reader import read_graph
from inference_service.safety.graph import Dim, Value
from inference_service.safety.verdict import OutputRows, Verdict

Row: TypeAlias = dict[str, "np.ndarray"]
"""The arrays of one row, by input, with a batch axis of length 1."""
Output: TypeAlias = "np.ndarray | list[object] | dict[object, object] | None"
Outputs: TypeAlias = dict[str, Output]

LENGTHS = (8, 4, 3, 1, 32, 64, 224, 512)
"""Tried one after the other for axes without a length."""
MERGED = (2, 3, 5, 7, 17)
ROUNDED = 200.0
"""Times the tolerance: up to here a difference may be rounding that the network magnifies."""
RELATIVE = {"f2": 2e-2, "f4": 2e-4, "f8": 1e-9}
DTYPES: dict[str, "type | np.dtype"] = {
    "float": np.dtype(np.float32), "double": np.dtype(np.float64), "string": np.dtype(object),
    "bool": np.dtype(bool),
}  # fmt: skip
WORDS = ("alpha", "bravo charlie", "", "delta echo foxtrot golf", "a", "x\x00y", "7")

ort.set_default_logger_severity(4)


@dataclass(frozen=True)
class Leak:
    """A row's part of an output that is not what the row gets alone."""

    output: str
    rows: int
    place: int
    detail: str

    def __str__(self) -> str:
        return f"'{self.output}', row {self.place} of {self.rows}: {self.detail}"


@dataclass
class Report:
    """What was compared. ``refused``: merged runs that fail though each of their rows runs alone."""

    compared: int = 0
    leaks: list[Leak] = field(default_factory=list)
    rounded: int = 0
    """Rows that differ as much as rounding explains (`_is_rounding`)."""
    refused: list[str] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)


@dataclass
class Trial:
    """A session with the way that a verdict merges its rows."""

    model: bytes
    verdict: Verdict
    examples: Mapping[str, "np.ndarray"]
    seed: int

    @cached_property
    def session(self) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return ort.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])

    @cached_property
    def inputs(self) -> list[Value]:
        """Those that a request must give."""
        required = {entry.name for entry in self.session.get_inputs()}
        return [value for value in read_graph(self.model).inputs if value.name in required]

    @cached_property
    def random(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def run(self, row: Row) -> Outputs | Exception:
        names = list(self.verdict.outputs)
        try:
            return dict(zip(names, self.session.run(names, row), strict=True))
        except Exception as error:
            return error

    def merged(self, rows: Sequence[Row]) -> Row:
        """Rows joined along their batch axes; the other inputs are those of the first row."""
        merged = dict(rows[0])
        for name, axis in self.verdict.inputs.items():
            if name in merged:
                merged[name] = np.concatenate([row[name] for row in rows], axis=axis)
        return merged

    def alone(self, row: Row) -> Outputs | Exception:
        """A row's own answer. A fixed batch is filled up with copies, and gives the first row's."""
        count = self.verdict.fixed_rows
        if count is None:
            return self.run(row)
        found = self.run(self.merged([row] * count))
        if isinstance(found, Exception):
            return found
        return {name: self.part(name, output, 0, count) for name, output in found.items()}

    def part(self, name: str, output: Output, place: int, count: int) -> Output:
        """A row's part of a merged output. Raises ValueError where it does not divide into rows."""
        return split(output, self.verdict.outputs[name], place, count)


def split(output: Output, rows: OutputRows, place: int, count: int) -> Output:
    """The part of row ``place`` of ``count``; sequences of maps are split, of tensors each."""
    if rows.axis is None:
        return output
    if isinstance(output, list):
        if output and isinstance(output[0], dict):
            if len(output) != count * rows.entries:
                raise ValueError(f"{len(output)} maps for {count} rows")
            return output[place * rows.entries : (place + 1) * rows.entries]
        return [split(part, rows, place, count) for part in output]  # type: ignore[arg-type]
    if not isinstance(output, np.ndarray):
        raise ValueError(f"a {type(output).__name__} has no rows")  # noqa: TRY004
    if output.ndim <= rows.axis or output.shape[rows.axis] != count * rows.entries:
        raise ValueError(f"shape {list(output.shape)} for {count} rows along axis {rows.axis}")
    edges = slice(place * rows.entries, (place + 1) * rows.entries)
    return output[(slice(None),) * rows.axis + (edges,)]


def difference(alone: Output, merged: Output, coarse: float = 1) -> str:
    """How the two differ, "" if they do not. ``coarse`` multiplies the tolerance of floats."""
    if isinstance(alone, list) and isinstance(merged, list):
        if len(alone) != len(merged):
            return f"{len(merged)} elements instead of {len(alone)}"
        pairs = zip(alone, merged, strict=True)
        return next(filter(None, (difference(a, b, coarse) for a, b in pairs)), "")  # type: ignore[arg-type]
    if isinstance(alone, dict) and isinstance(merged, dict):
        if alone.keys() != merged.keys():
            return f"keys {sorted(map(str, merged))} instead of {sorted(map(str, alone))}"
        left, right = (
            np.array([float(str(entry[key])) for key in alone], np.float32)
            for entry in (alone, merged)
        )
        return _array_difference(left, right, coarse)
    if alone is None or merged is None:
        return "" if alone is merged else "one of both is absent"
    return _array_difference(np.asarray(alone), np.asarray(merged), coarse)


def _array_difference(left: "np.ndarray", right: "np.ndarray", coarse: float = 1) -> str:
    if left.shape != right.shape:
        return f"shape {list(right.shape)} instead of {list(left.shape)}"
    if left.dtype.kind not in "fcOUSiub":  # bfloat16 and smaller types
        left, right = left.astype(np.float32), right.astype(np.float32)
    same = np.asarray(left == right)
    if left.dtype.kind in "fc":
        relative = RELATIVE.get(left.dtype.str[1:], 2e-4) * coarse
        with np.errstate(all="ignore"):
            size = np.abs(left)
            largest = np.max(size, where=np.isfinite(size), initial=0)
            near = np.abs(left - right) <= relative * (size + largest)
        same = same | (near & np.isfinite(left)) | (np.isnan(left) & np.isnan(right))
    return "" if bool(np.all(same)) else _first(left, right, ~same)


def _first(left: "np.ndarray", right: "np.ndarray", unlike: "np.ndarray") -> str:
    place = tuple(int(i) for i in np.argwhere(unlike)[0]) if unlike.ndim else ()
    return f"{right[place]!r} instead of {left[place]!r} at {list(place)}"


def check(
    model: onnx.ModelProto | bytes,
    verdict: Verdict,
    *,
    examples: Mapping[str, "np.ndarray"] | None = None,
    seed: int = 0,
    counts: Sequence[int] = MERGED,
) -> Report:
    """Compare as the verdict merges. ``examples``: inputs that the graph accepts, of any size."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    trial = Trial(data, verdict, examples or {}, seed)
    report = Report()
    if verdict.fixed_rows is not None:
        counts = [verdict.fixed_rows]
    elif verdict.max_rows is not None:
        counts = [count for count in counts if count <= verdict.max_rows]
    for rows in row_sets(trial):
        runs: list[tuple[Row, Outputs]] = []
        fails: list[Row] = []
        for row in rows:
            found = trial.alone(row)
            if isinstance(found, Exception):
                fails.append(row)
            else:
                runs.append((row, found))
        for count in counts if runs else ():
            _compare(trial, runs, count, report)
        if runs:
            _compare_failing(trial, fails, [row for row, _ in runs], report)
        if report.compared and not trial.verdict.equal:
            break
    if not report.compared and verdict.fixed_rows is None:
        _compare_hopeless(trial, counts, report)
    return report


def _compare_hopeless(trial: Trial, counts: Sequence[int], report: Report) -> None:
    """No row runs alone: then none may run among others."""
    for length in (None, *LENGTHS[:2]) if trial.examples else LENGTHS[:3]:
        lengths = _lengths(trial, length)
        if not all(condition.holds(lengths) for condition in trial.verdict.conditions):
            continue
        rows = list(_rows(trial, lengths, 0))
        mixed = [rows[place : place + count] for count in counts for place in (0, 1)]
        alike = [[row] * count for count in counts for row in rows[:9]]
        for members in (*mixed, *alike):
            if not isinstance(trial.run(trial.merged(members)), Exception):
                detail = "fails alone and runs among others"
                report.leaks.append(Leak("", len(members), 0, detail))


def row_sets(trial: Trial) -> Iterator[list[Row]]:
    """Sets of rows that may meet: their inputs that must be equal are equal, as are their shapes."""
    found = 0
    for length in (None, *LENGTHS) if trial.examples else LENGTHS:
        lengths = _lengths(trial, length)
        shapes = {v.name: lengths[v.name] for v in trial.inputs}
        if lengths and not all(condition.holds(shapes) for condition in trial.verdict.conditions):
            continue
        for attempt in range(3 if trial.verdict.equal else 1):
            rows = list(_rows(trial, lengths, attempt))
            if any(not isinstance(trial.alone(row), Exception) for row in rows[:6]):
                found += 1
                yield rows
        if found:
            return


def _lengths(trial: Trial, length: int | None) -> dict[str, tuple[int, ...]]:
    """The shapes of one row's inputs. ``length`` None: the lengths of the examples."""
    shapes = {}
    for value in trial.inputs:
        example = trial.examples.get(value.name)
        declared: tuple[Dim, ...] = value.shape or ()
        if length is None and example is not None:
            shape = list(example.shape)
        else:
            shape = [n if isinstance(n, int) else (length or 8) for n in declared]
        if (axis := trial.verdict.inputs.get(value.name)) is not None:
            shape[axis] = 1
        shapes[value.name] = tuple(shape)
    return shapes


def _rows(trial: Trial, shapes: Mapping[str, tuple[int, ...]], attempt: int) -> Iterator[Row]:
    """Rows of every kind, the examples' own rows first."""
    shared = {
        value.name: _shared(trial, value, shapes[value.name], attempt)
        for value in trial.inputs
        if value.name not in trial.verdict.inputs
    }
    carrying = [value for value in trial.inputs if value.name in trial.verdict.inputs]
    kinds = len(FLOATS)
    for number in range(2 * kinds):
        row = dict(shared)
        for value in carrying:
            shape = shapes[value.name]
            part = _example(trial, value, shape, number)
            row[value.name] = _values(trial.random, value, shape, number, part)
        yield row


def _shared(trial: Trial, value: Value, shape: tuple[int, ...], attempt: int) -> "np.ndarray":
    example = trial.examples.get(value.name)
    if example is not None and example.shape == shape and attempt < 2:
        return example
    return _values(trial.random, value, shape, (2, 0, 5)[attempt], None)


def _example(
    trial: Trial, value: Value, shape: tuple[int, ...], number: int
) -> "np.ndarray | None":
    example = trial.examples.get(value.name)
    if example is None:
        return None
    axis = trial.verdict.inputs[value.name]
    if not example.shape[axis]:
        return None
    part = np.take(example, [number % example.shape[axis]], axis=axis)
    return part if part.shape == shape else None


FLOATS = ("normal", "large", "zeros", "small", "negative", "nan", "unit", "normal", "infinite")
INTEGERS = ("bits", "few", "digits", "zeros", "negative", "hundreds", "extremes", "few", "bits")


def _values(
    random: np.random.Generator,
    value: Value,
    shape: tuple[int, ...],
    number: int,
    example: "np.ndarray | None",
) -> "np.ndarray":
    """``example``: values that the graph accepts; most kinds are made from them."""
    dtype = _numpy(value.dtype)
    made = example
    if dtype.kind == "O":
        if example is None or number % 3:
            made = np.array(random.choice(WORDS, shape), dtype=object)
    elif dtype.kind == "b":
        made = np.asarray(random.integers(0, 2, shape) == 1)
    elif dtype.kind in "iu":
        if example is None or number % 3 == 2:
            made = _integers(random, dtype, shape, INTEGERS[number % len(INTEGERS)])
        elif number % 3 == 1:
            made = random.permuted(example, axis=None)
    elif example is None or number >= len(FLOATS) or number % 2:
        normal = random.standard_normal(shape) if example is None else example.astype(np.float64)
        with np.errstate(all="ignore"):
            made = _floats(random, normal, FLOATS[number % len(FLOATS)]).astype(dtype)
    assert made is not None
    return made


def _floats(random: np.random.Generator, normal: "np.ndarray", kind: str) -> "np.ndarray":
    if kind == "nan":
        return np.where(random.random(normal.shape) < 0.3, np.nan, normal)
    if kind == "infinite":
        return np.where(random.random(normal.shape) < 0.2, np.inf, normal)
    made = {
        "large": normal * 1e4,
        "zeros": normal * 0,
        "small": normal * 1e-3,
        "negative": -np.abs(normal) - 1,
        "unit": random.random(normal.shape),
    }
    return np.asarray(made.get(kind, normal))


def _integers(
    random: np.random.Generator, dtype: "np.dtype", shape: tuple[int, ...], kind: str
) -> "np.ndarray":
    info = np.iinfo(dtype)
    if kind == "extremes":
        return random.choice(np.array([info.min, info.max], dtype), shape)
    low, high = {
        "zeros": (0, 1), "few": (0, 4), "digits": (0, 10), "negative": (-4, 4),
        "hundreds": (0, 127),
    }.get(kind, (0, 2))  # fmt: skip
    return random.integers(max(low, info.min), high, shape).astype(dtype)


def _numpy(dtype: str) -> "np.dtype":
    found = DTYPES.get(dtype)
    if found is None:
        number = onnx.TensorProto.DataType.Value(dtype.upper())
        found = onnx.helper.tensor_dtype_to_np_dtype(number)
    return np.dtype(found)


def _compare(trial: Trial, runs: Sequence[tuple[Row, Outputs]], count: int, report: Report) -> None:
    """Merge ``count`` rows in several orders; every row must be what it is alone."""
    orders = [[(start + step * stride) % len(runs) for step in range(count)]
              for start, stride in ((0, 1), (1, 1), (len(runs) // 2, 5), (2, 0), (3, len(runs) - 1))]  # fmt: skip
    for order in orders:
        members = [runs[index] for index in order]
        found = trial.run(trial.merged([row for row, _ in members]))
        if isinstance(found, Exception):
            report.refused.append(f"{count} rows: {str(found)[:300]}")
            continue
        for place, (_, alone) in enumerate(members):
            report.compared += 1
            for name, expected in alone.items():
                try:
                    detail = difference(expected, trial.part(name, found[name], place, count))
                except ValueError as error:
                    detail = str(error)
                if detail and _is_rounding(trial, members, place, name, expected, found):
                    report.rounded += 1
                elif detail:
                    report.leaks.append(Leak(name, count, place, detail))


def _is_rounding(
    trial: Trial,
    members: Sequence[tuple[Row, Outputs]],
    place: int,
    name: str,
    expected: Output,
    found: Outputs,
) -> bool:
    """Whether a small difference comes from another kernel for another batch size alone.

    The row is run again at its place among copies of itself: the same kernels must give the same
    numbers as among strangers. (A network can magnify rounding: a normalisation of equal entries.)
    """
    count = len(members)
    row = members[place][0]
    copies = trial.run(trial.merged([row] * count))
    if isinstance(copies, Exception):
        return False
    try:
        merged = trial.part(name, found[name], place, count)
        own = trial.part(name, copies[name], place, count)
    except ValueError:
        return False
    return not difference(expected, merged, ROUNDED) and not difference(own, merged, 0.01)


def _compare_failing(
    trial: Trial, fails: Sequence[Row], runs: Sequence[Row], report: Report
) -> None:
    """A row that fails alone must make a merged run fail."""
    size = trial.verdict.fixed_rows
    for row in fails:
        for members, place in (([runs[0], row], 1), ([row, runs[-1]], 0),
                               ([runs[0], runs[-1], row, runs[0], runs[-1]], 2)):  # fmt: skip
            filled = members if size is None else [*members, *[runs[0]] * size][:size]
            if place < len(filled) and not isinstance(trial.run(trial.merged(filled)), Exception):
                detail = "fails alone and runs among others"
                report.leaks.append(Leak("", len(filled), place, detail))
