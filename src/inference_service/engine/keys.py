"""What must be equal for two requests to share a run: the batch key of the scheduler."""

import hashlib
import math
from collections.abc import Hashable, Sequence
from itertools import count
from typing import NamedTuple

from inference_service.core.requests import InferenceRequest
from inference_service.core.scheduling.buckets import quantised
from inference_service.core.tensors import Array, BatchMode, Tensors
from inference_service.engine.interfaces import ModelInfo

_BY_BYTES = 1024
"""Bytes. Equal inputs up to this size are compared themselves, larger ones by a hash."""
_LARGEST_HASHED = 2**20
"""Bytes; hashing more on the event loop would cost more than the batch brings."""

_REMEMBERED = 1024  # kinds of shapes and outputs


class Kind(NamedTuple):
    """A request's batch key, the numbers in a row of it (quantised), and its rows' length where
    rows of several lengths share a run."""

    key: Hashable
    row_elements: int
    length: int = 0


class BatchKeys:
    """Makes the keys of one model's requests."""

    def __init__(self, info: ModelInfo) -> None:
        self._signature = info.signature
        self._padding = info.padding
        self._unique = count()
        self._layout = info.signature.rows
        self._whole = info.signature.mode is BatchMode.WHOLE
        self._known: dict[Hashable, Kind] = {}
        self.row_elements = _row_elements(info) if info.signature.has_fixed_rows else 0
        self._usual = Kind(((), ()), self.row_elements)

    def of(self, request: InferenceRequest, *, alone: bool) -> Kind:
        """The kind of a request; one that runs alone has a key of its own."""
        if alone or self._whole:
            return Kind(next(self._unique), quantised(_numbers(request.inputs)))
        if self._layout.equal:
            shared = equal_key([request.inputs.get(name) for name in self._layout.equal])
            if shared is None:
                return Kind(next(self._unique), quantised(_numbers(request.inputs)))
            return self._kind(request, shared)
        if self.row_elements and not request.outputs:
            return self._usual
        known = (request.outputs, *[(name, array.shape) for name, array in request.inputs.items()])
        kind = self._known.get(known)
        if kind is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            kind = self._known[known] = self._kind(request, ())
        return kind

    def _kind(self, request: InferenceRequest, shared: Hashable) -> Kind:
        """The kind of a request by its shapes and outputs, and the inputs that must be equal."""
        if self.row_elements:
            return Kind((request.outputs, shared), self.row_elements)
        signature = self._signature
        shapes = self._row_shapes(request.inputs)
        numbers = sum(math.prod(shape) for shape in shapes)
        padding = self._padding
        if not padding.inputs:
            return Kind((request.outputs, shapes, shared), quantised(numbers))
        length = padding.length(request.inputs)
        if length == 0:
            return Kind((request.outputs, shapes, shared), 1)
        rest = tuple(
            shape[: axis.axis - 1] + shape[axis.axis :]
            if (axis := padding.inputs.get(spec.name)) is not None
            else shape
            for spec, shape in zip(signature.inputs, shapes, strict=True)
        )
        return Kind((request.outputs, rest, shared), max(1, numbers // length), length)

    def _row_shapes(self, inputs: Tensors) -> tuple[tuple[int, ...], ...]:
        if not self._layout.inputs:
            return tuple(inputs[spec.name].shape[1:] for spec in self._signature.inputs)
        shapes = []
        for spec in self._signature.inputs:
            axis, shape = self._layout.axis(spec.name), inputs[spec.name].shape
            shapes.append(tuple(n for at, n in enumerate(shape) if at != axis))
        return tuple(shapes)


def equal_key(arrays: Sequence[Array | None]) -> Hashable | None:
    """A key that is equal for bytewise equal arrays alone; None: too much to compare.

    An array that isn't there is one whose default holds.
    """
    if sum(array.nbytes for array in arrays if array is not None) > _LARGEST_HASHED:
        return None
    parts: list[Hashable] = []
    for array in arrays:
        content: Hashable
        if array is None:
            parts.append(None)
            continue
        if array.dtype.hasobject:
            values = array.ravel().tolist()
            if sum(map(len, values)) > _LARGEST_HASHED:
                return None
            content = tuple(values)
        else:
            data = array.tobytes()
            small = len(data) <= _BY_BYTES
            content = data if small else hashlib.blake2b(data, digest_size=32).digest()
        parts.append((array.dtype.str, array.shape, content))
    return tuple(parts)


def _numbers(inputs: Tensors) -> int:
    return max(1, sum(array.size for array in inputs.values()))


def _row_elements(info: ModelInfo) -> int:
    """Numbers in one row of all inputs, where that is the same for all rows."""
    rows = info.signature.rows
    return max(
        1,
        sum(
            math.prod(n or 1 for at, n in enumerate(spec.shape) if at != rows.axis(spec.name))
            for spec in info.signature.inputs
        ),
    )
