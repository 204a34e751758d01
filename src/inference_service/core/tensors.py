"""Data types, tensor specs and the signature of a model; arrays are checked against them."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from inference_service.core.errors import InvalidInput, quoted, unknown_inputs
from inference_service.core.rows import RowLayout

Array: TypeAlias = NDArray[np.generic]
Tensors: TypeAlias = Mapping[str, Array]
Shape: TypeAlias = tuple[int | None, ...]
"""Axis lengths; None is a length that may differ from request to request."""


class DType(StrEnum):
    """Element types by their names in the Open Inference Protocol."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The numpy dtype; BYTES are object arrays of str."""
        return _NUMPY[self]

    @property
    def is_float(self) -> bool:
        """Floating point of any width."""
        return self in _FLOATS

    @property
    def is_integer(self) -> bool:
        """Signed or unsigned integer of any width."""
        return self in _INTEGERS

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest value of an integer type."""
        info = np.iinfo(self.numpy.name)
        return int(info.min), int(info.max)

    @property
    def largest(self) -> float:
        """Largest finite value of a floating point type."""
        return _LARGEST[self]

    @property
    def label(self) -> str:
        """What a person calls it: float32, int64, string, bool."""
        return "string" if self is DType.BYTES else self.numpy.name


_NUMPY: dict[DType, np.dtype[np.generic]] = {
    DType.BOOL: np.dtype(np.bool_),
    DType.UINT8: np.dtype(np.uint8),
    DType.UINT16: np.dtype(np.uint16),
    DType.UINT32: np.dtype(np.uint32),
    DType.UINT64: np.dtype(np.uint64),
    DType.INT8: np.dtype(np.int8),
    DType.INT16: np.dtype(np.int16),
    DType.INT32: np.dtype(np.int32),
    DType.INT64: np.dtype(np.int64),
    DType.FP16: np.dtype(np.float16),
    DType.FP32: np.dtype(np.float32),
    DType.FP64: np.dtype(np.float64),
    DType.BYTES: np.dtype(np.object_),
}
_FLOATS = frozenset({DType.FP16, DType.FP32, DType.FP64})
_LARGEST = {d: float(np.finfo(_NUMPY[d].name).max) for d in sorted(_FLOATS)}
_MOST_EMPTY = 2**20
_INTEGERS = frozenset(d for d in DType if _NUMPY[d].kind in "iu")


class NonFinite(StrEnum):
    """What becomes of NaN and Infinity where the wire's format has none (JSON: RFC 8259)."""

    NULL = "null"
    """Answers have null in their place; requests that hold them are refused."""
    ERROR = "error"
    """An answer that would hold one is an error, and so is such a request."""
    BARE = "bare"
    """Both ways as NaN, Infinity and -Infinity, as Triton and TensorFlow Serving do."""


def render_shape(shape: Iterable[int | None]) -> str:
    """``[64]``, ``[batch, 3]`` with ``any`` for a free length: a shape in an error message."""
    return "[" + ", ".join("any" if n is None else str(n) for n in shape) + "]"


MOST_AXES = 64
"""Of a tensor: numpy has no more."""

_LARGEST_EMPTY = 2**48  # product of the other axes' lengths
_MOST_EMPTY_ROWS = 1024
"""Rows without a number in them: they cost a run each, and nothing to send."""


def element_count(shape: Sequence[int]) -> int:
    """The number of elements of a tensor that a client declares.

    The work is bounded, as the axes are: a product of any number of lengths takes time in the
    square of it. Raises InvalidInput for a shape that no array can have.
    """
    if len(shape) > MOST_AXES:
        raise InvalidInput(f"a tensor has at most {MOST_AXES} axes, got {len(shape)}")
    count = math.prod(shape)
    if count == 0 and math.prod(filter(None, shape)) > _LARGEST_EMPTY:
        raise InvalidInput(f"shape {render_shape(shape)} is too large, even without elements")
    return count


def shape_fits(actual: Sequence[int], wanted: Shape | None) -> bool:
    """Whether an array's shape is one that the spec allows; None allows every shape."""
    if wanted is None:
        return True
    if len(actual) != len(wanted):
        return False
    for want, got in zip(wanted, actual, strict=True):  # all() takes twice as long
        if want is not None and want != got:
            return False
    return True


def same_values(actual: Sequence[int], wanted: Shape | None) -> tuple[int, ...] | None:
    """The wanted shape of the same values: [n, 1] for [n] and the reverse, else None.

    A row of one value has two spellings, and clients use either for either.
    """
    if wanted is None:
        return None
    found: tuple[int, ...]
    if len(wanted) == 1 and len(actual) == 2 and actual[1] == 1:
        found = (actual[0],)
    elif len(wanted) == 2 and wanted[1] == 1 and len(actual) == 1:
        found = (actual[0], 1)
    else:
        return None
    return found if shape_fits(found, wanted) else None


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, element type and shape of an input or output, the batch axis included.

    ``symbols`` holds the graph's own names of the axes ("" where it has none); axes of one name
    have one length. Not ``ranked``: the file doesn't say how many axes there are, so any shape may
    come, and ``shape`` is empty.
    """

    name: str
    dtype: DType
    shape: Shape
    symbols: tuple[str, ...] = ()
    ranked: bool = True

    @property
    def scalar(self) -> bool:
        """Whether it has no axes, for certain."""
        return self.ranked and not self.shape

    def __str__(self) -> str:
        if not self.ranked:
            return f"{self.name} {self.dtype.label}[...]"
        axes = [
            str(n) if n is not None else (symbol or "any")
            for n, symbol in zip(self.shape, self.symbols or [""] * len(self.shape), strict=True)
        ]
        return f"{self.name} {self.dtype.label}[{', '.join(axes)}]"


class BatchMode(StrEnum):
    """How the rows of requests may meet in a run."""

    MERGE = "merge"
    """Rows are independent: rows of several requests run together."""
    SPLIT = "split"
    """The graph runs one row at a time: each row of a request is a run of its own."""
    WHOLE = "whole"
    """Axis 0 is not known to hold independent rows: a request runs alone, exactly as sent."""


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives, and how its rows may be batched.

    ``optional`` inputs have a default in the graph. They have no batch axis: a value holds for the
    whole run, so that requests that give one share a run only with equal values. ``rows`` tells
    where rows are in tensors whose batch axis isn't the first; clients see the graph's own shapes.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    mode: BatchMode = BatchMode.MERGE
    optional: tuple[TensorSpec, ...] = ()
    rows: RowLayout = field(default_factory=RowLayout, hash=False)  # it holds mappings
    _by_name: dict[str, TensorSpec] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {spec.name: spec for spec in self.accepted})

    @cached_property
    def accepted(self) -> tuple[TensorSpec, ...]:
        """All inputs that a request may have, the optional ones last."""
        return (*self.inputs, *self.optional)

    def accepts(self, names: Collection[str]) -> bool:
        """Whether these are the inputs of a request: all that are needed and none unknown."""
        return all(spec.name in names for spec in self.inputs) and all(
            name in self._by_name for name in names
        )

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """All outputs in the order of the graph."""
        return tuple(spec.name for spec in self.outputs)

    @cached_property
    def row_obstacle(self) -> str:
        """Why lists of rows can't be the inputs and outputs; "" where they can, as far as is known.

        Such a list has one entry for each row along axis 0 of every tensor.
        """
        for spec in self.inputs:
            if spec.scalar or self.rows.axis(spec.name) is None:
                return f"input '{spec.name}' has no axis for rows"
            if self.rows.axis(spec.name) != 0:
                return f"input '{spec.name}' has its rows on axis {self.rows.axis(spec.name)}"
        for spec in self.outputs:
            if spec.scalar or spec.name in self.rows.outputs:
                return f"output '{spec.name}' has no entry for each row on its first axis"
        return ""

    @cached_property
    def row_axes(self) -> dict[str, int | None]:
        """The batch axis of the outputs where it isn't the first; None: they have none.

        Of a graph whose requests run whole, a list of numbers and a first axis of fixed length
        are no batch: as for Triton, where max_batch_size is 0, all of the output is one row.
        """
        axes: dict[str, int | None] = {}
        for spec in self.outputs:
            fixed = len(spec.shape) == 1 or spec.shape[:1] != (None,)
            if not spec.shape or (self.mode is BatchMode.WHOLE and fixed):
                axes[spec.name] = None
            elif spec.name in self.rows.outputs:
                axes[spec.name] = self.rows.outputs[spec.name].axis
        return axes

    @cached_property
    def has_fixed_rows(self) -> bool:
        """Whether every axis but the batch axis has one length: then all rows share a shape."""
        return all(
            spec.ranked
            and all(
                n is not None or at == self.rows.axis(spec.name) for at, n in enumerate(spec.shape)
            )
            for spec in self.inputs
        )

    @cached_property
    def has_row_axis(self) -> bool:
        """Whether every input has rows, on axis 0, so that a list of instances can be stacked."""
        return not any(spec.scalar for spec in self.inputs) and all(
            self.rows.axis(spec.name) == 0 for spec in self.inputs
        )

    def wanted_shape(self, spec: TensorSpec) -> Shape | None:
        """The shape that a client may send; None: any.

        The batch axis is free unless requests run whole.
        """
        return self._wanted[spec.name]

    @cached_property
    def _wanted(self) -> dict[str, Shape | None]:
        wanted: dict[str, Shape | None] = {}
        for spec in self.accepted:
            shape = spec.shape
            if self.mode is not BatchMode.WHOLE and spec in self.inputs:
                axis = self.rows.axis(spec.name)
                shape = tuple(None if at == axis else n for at, n in enumerate(shape))
            wanted[spec.name] = shape if spec.ranked else None
        return wanted

    @cached_property
    def _plain(self) -> tuple[str, np.dtype[np.generic], tuple[int | None, ...]] | None:
        """The only input's name, dtype and rows' shape, where rows are merged and all alike."""
        if len(self.inputs) != 1 or self.mode is BatchMode.WHOLE or not self.has_fixed_rows:
            return None
        (spec,) = self.inputs
        if not self.has_row_axis or 0 in spec.shape[1:]:
            return None
        return spec.name, spec.dtype.numpy, spec.shape[1:]

    def check(self, inputs: Tensors, outputs: Sequence[str] = ()) -> int:
        """Verify names, dtypes and shapes and return the number of rows.

        One that runs whole, or whose inputs differ in rows, counts as one row. Raises InvalidInput.
        """
        if self._plain is not None and not outputs and len(inputs) == 1:  # the common case
            name, dtype, shape = self._plain
            array = inputs.get(name)
            if array is not None and array.dtype == dtype:
                actual: tuple[int, ...] = array.shape
                if actual and actual[0] and actual[1:] == shape:
                    return actual[0]
        if not self.accepts(inputs.keys()):
            raise wrong_names(self, inputs)
        for name, array in inputs.items():
            spec = self._by_name[name]
            if array.dtype != spec.dtype.numpy:
                message = f"expected {spec.dtype.label}, got {array.dtype.name}"
                raise InvalidInput(message, (name,))
            self._check_shape(name, array.shape)
        for name in outputs:
            if name not in self.output_names:
                known = quoted(self.output_names)
                raise InvalidInput(f"unknown output '{name}', this model has {known}")
        return 1 if self.mode is BatchMode.WHOLE else self._rows(inputs)

    def _check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        wanted = self._wanted[name]
        if wanted is not None and not shape_fits(shape, wanted):
            message = f"expected shape {render_shape(wanted)}, got {render_shape(shape)}"
            raise InvalidInput(message, (name,))
        if 0 in shape:
            _check_empty(name, shape)

    def fitted(self, inputs: Tensors) -> Tensors:
        """The inputs with [n, 1] and [n] in the shape that the graph has; the rest as it is."""
        if self._plain is not None and len(inputs) == 1:  # the common case
            name, _, shape = self._plain
            array = inputs.get(name)
            if array is not None and array.shape[1:] == shape:
                return inputs
        changed: dict[str, Array] = {}
        for name, array in inputs.items():
            wanted = self._wanted.get(name)
            if wanted is None or shape_fits(array.shape, wanted):
                continue
            shape_ = same_values(array.shape, wanted)
            if shape_ is not None:
                changed[name] = array.reshape(shape_)
        return {**inputs, **changed} if changed else inputs

    def _rows(self, inputs: Tensors) -> int:
        given = {spec.name: inputs[spec.name] for spec in self.inputs if inputs[spec.name].ndim}
        first = next(iter(self.rows.counts(given).values()), 1)
        if found := self.rows.disagreement(given):
            if self.mode is BatchMode.MERGE and self.rows.named_unlike(self.inputs):
                return 1
            raise InvalidInput(f"all inputs must have the same number of rows: {found}")
        if first == 0:
            raise InvalidInput("the batch is empty: at least one row is expected")
        if first > _MOST_EMPTY_ROWS and not any(inputs[spec.name].size for spec in self.inputs):
            raise InvalidInput(f"{first} rows that hold no values, the limit is {_MOST_EMPTY_ROWS}")
        return first


def _check_empty(name: str, shape: tuple[int, ...]) -> None:
    """Refuse a tensor without elements whose other axes cost without holding anything."""
    elements = 1
    for length in shape:
        elements *= length or 1
        if elements > _MOST_EMPTY:
            raise InvalidInput(
                f"shape {render_shape(shape)} holds no element, and the lengths of its other axes "
                f"multiply to more than {_MOST_EMPTY}",
                (name,),
            )


def wrong_names(signature: Signature, given: Iterable[str]) -> InvalidInput:
    """The error for missing and unknown inputs; both are named in one message."""
    names = [spec.name for spec in signature.accepted]
    known, present = set(names), dict.fromkeys(given)
    missing = [spec.name for spec in signature.inputs if spec.name not in present]
    unknown = [name for name in present if name not in known]
    parts = [f"missing input {quoted(missing)}"] if missing else []
    parts += [unknown_inputs(unknown)] if unknown else []
    return InvalidInput(f"{' and '.join(parts)}; this model takes {quoted(names)}")
