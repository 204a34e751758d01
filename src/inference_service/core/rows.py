"""Where the rows of a model's tensors are, and how rows of several requests share a run.

For most models axis 0 of every tensor is the batch axis: then `RowLayout` adds nothing to
`core.assembly`. Others keep a state on axis 1, answer time-first, have inputs without rows, or
outputs with several entries for each row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inference_service.core.assembly import assemble, split, take
from inference_service.core.errors import InvalidInput, RowsMismatch

if TYPE_CHECKING:  # `core.tensors` imports this module for `Signature`
    from inference_service.core.tensors import Array, Tensors, TensorSpec


class OutputRows(NamedTuple):
    """``entries`` of an output for each row along ``axis``; None: the same output for all rows."""

    axis: int | None = 0
    entries: int = 1


_PLAIN = OutputRows()


@dataclass(frozen=True)
class RowLayout:
    """The batch axes of a model's tensors, where they differ from axis 0 with one entry a row.

    ``inputs`` maps an input to its batch axis, or to None: it has no rows, and requests share a run
    only if theirs are bytewise equal. ``outputs`` likewise. What is not listed has its rows on
    axis 0.
    """

    inputs: Mapping[str, int | None] = field(default_factory=dict, hash=False)
    outputs: Mapping[str, OutputRows] = field(default_factory=dict, hash=False)

    @cached_property
    def trivial(self) -> bool:
        """Whether axis 0 of every tensor holds one entry for each row."""
        return not self.inputs and not self.outputs

    @cached_property
    def equal(self) -> tuple[str, ...]:
        """Inputs without rows, sorted: a part of what must be equal for two requests to merge."""
        return tuple(sorted(name for name, axis in self.inputs.items() if axis is None))

    def axis(self, name: str) -> int | None:
        """The batch axis of an input; None: it has no rows."""
        return self.inputs.get(name, 0)

    def output_axis(self, name: str) -> int | None:
        """The batch axis of an output; None: it is the same for all rows."""
        return self.outputs.get(name, _PLAIN).axis

    def counts(self, inputs: Tensors) -> dict[str, int]:
        """The rows of every input that has rows. Each has the batch axis."""
        axes = ((name, self.inputs.get(name, 0)) for name in inputs)
        return {name: inputs[name].shape[axis] for name, axis in axes if axis is not None}

    def named_unlike(self, inputs: Iterable[TensorSpec]) -> bool:
        """Whether the file names the batch axes of inputs unlike, so that their lengths may be.

        A request in which they are runs alone, as it was sent: the graph may broadcast them.
        """
        names = {
            spec.symbols[axis] if spec.symbols else ""
            for spec in inputs
            if spec.shape and (axis := self.axis(spec.name)) is not None
        }
        return len(names) > 1 and "" not in names

    def disagreement(self, inputs: Tensors) -> str:
        """How many rows the inputs have, in words, where they have not as many; else ""."""
        counts = self.counts(inputs)
        if len(set(counts.values())) < 2:
            return ""
        return ", ".join(f"{name} has {count}" for name, count in counts.items())

    def rows(self, inputs: Tensors) -> int:
        """The number of rows of inputs that agree about it."""
        for name, array in inputs.items():
            axis = self.inputs.get(name, 0)
            if axis is not None:
                return int(array.shape[axis])
        return 1

    def take(self, inputs: Tensors, start: int, stop: int) -> Tensors:
        """Rows ``start`` to ``stop`` of every input, as views."""
        if not self.inputs:
            return take(inputs, start, stop)
        return {
            name: _part(array, self.inputs.get(name, 0), start, stop)
            for name, array in inputs.items()
        }

    def take_outputs(self, outputs: Tensors, start: int, stop: int) -> Tensors:
        """The entries of rows ``start`` to ``stop`` of every output, as views."""
        return {
            name: _part(array, where.axis, start * where.entries, stop * where.entries)
            for name, array, where in self._outputs(outputs)
        }

    def assemble(self, parts: Sequence[Tensors]) -> Tensors:
        """The rows of all parts one after the other. A lone part is passed on without a copy."""
        if not self.inputs or len(parts) == 1:
            return assemble(parts)
        first = parts[0]
        return {
            name: first[name]
            if (axis := self.inputs.get(name, 0)) is None
            else np.concatenate([part[name] for part in parts], axis=axis)
            for name in first
        }

    def split(self, outputs: Tensors, counts: Sequence[int]) -> list[Tensors]:
        """Give each part its rows of every output, as views.

        Raises RowsMismatch where an output doesn't have its entries for each row that went in.
        """
        if not self.outputs:
            return split(outputs, counts)
        rows = sum(counts)
        for name, array, where in self._outputs(outputs):
            if where.axis is None:
                continue
            if array.ndim <= where.axis or array.shape[where.axis] != rows * where.entries:
                raise RowsMismatch(
                    f"output '{name}' has shape {list(array.shape)} for a batch of {rows} "
                    f"rows, and {rows * where.entries} entries on axis {where.axis} were expected"
                )
        if len(counts) == 1:
            return [outputs]
        ends = [0, *np.cumsum(counts).tolist()]
        return [self.take_outputs(outputs, start, stop) for start, stop in pairwise(ends)]

    def join(self, chunks: Sequence[Tensors], counts: Sequence[int]) -> Tensors:
        """The outputs of a request whose rows have run in several chunks.

        Raises InvalidInput where an output of a chunk has no entry for each row, so that the chunks
        can't be joined: the graph takes fewer rows at a time than were sent.
        """
        joined = {}
        for name in chunks[0]:
            where = self.outputs.get(name, _PLAIN)
            arrays = [chunk[name] for chunk in chunks]
            if where.axis is None:
                joined[name] = arrays[0]
                continue
            for array, count in zip(arrays, counts, strict=True):
                if array.ndim <= where.axis or array.shape[where.axis] != count * where.entries:
                    raise InvalidInput(
                        f"the graph ran {count} of {sum(counts)} rows at a time, and its output "
                        f"'{name}' of shape {list(array.shape)} can't be joined to one "
                        f"answer; send {count} at a time"
                    )
            joined[name] = np.concatenate(arrays, axis=where.axis)
        return joined

    def filled(self, inputs: Tensors, count: int, size: int) -> Tensors:
        """``size`` rows: the last of ``count`` rows is repeated, which is always a valid one."""
        filled = dict(inputs)
        for name, array in inputs.items():
            axis = self.inputs.get(name, 0)
            if axis is not None:
                last = _part(array, axis, count - 1, count)
                more = np.repeat(last, size - count, axis=axis)
                filled[name] = np.concatenate([array, more], axis=axis)
        return filled

    def cut(self, outputs: Tensors, count: int, size: int) -> Tensors:
        """The outputs of the first ``count`` of ``size`` rows; outputs without rows as they are."""
        return {
            name: _part(array, where.axis, 0, count * where.entries)
            if where.axis is not None
            and array.ndim > where.axis
            and array.shape[where.axis] == size * where.entries
            else array
            for name, array, where in self._outputs(outputs)
        }

    def repeated(self, row: Tensors, size: int) -> Tensors:
        """A batch of equal rows. Size 1 is the row itself."""
        return row if size == 1 else self.filled(row, self.rows(row), size)

    def _outputs(self, outputs: Tensors) -> Iterable[tuple[str, Array, OutputRows]]:
        return ((name, array, self.outputs.get(name, _PLAIN)) for name, array in outputs.items())


def _part(array: Array, axis: int | None, start: int, stop: int) -> Array:
    if axis is None:
        return array
    if axis == 0:
        return array[start:stop]
    return array[(slice(None),) * axis + (slice(start, stop),)]
