"""What the shapes of a request decide before it is queued: refused, merged, or run alone.

Pure integer arithmetic; the result is remembered by shapes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from inference_service.core.errors import InvalidInput
from inference_service.core.rows import RowLayout
from inference_service.core.tensors import Shape, Tensors

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
Key: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]

_REMEMBERED = 1024  # kinds of shapes
_MIB = 2**20


@dataclass(frozen=True)
class Guard:
    """The bounds of one model.

    ``conditions`` are what a proof of independent rows depends on: a request for which one is false
    runs alone. ``longest`` bounds the lengths of input axes (None: no bound). ``peak_bytes`` is an
    upper bound on the memory of a run with inputs of these shapes, ``memory`` (bytes) what a run
    may take: a request above it is refused, and one of which a full batch would be above it runs
    alone.
    """

    conditions: Sequence[Callable[[Shapes], bool]] = ()
    longest: Mapping[str, Shape] = field(default_factory=dict)
    peak_bytes: Callable[[Shapes], int] | None = None
    memory: int | None = None
    rows: RowLayout = field(default_factory=RowLayout)
    largest_batch: int | None = None
    """Rows of one run: a larger request runs in several. None: it runs as it is."""
    _known: dict[Key, bool | str] = field(default_factory=dict, repr=False, compare=False)

    def alone(self, inputs: Tensors) -> bool:
        """Whether a request with these inputs may not share a run. Raises InvalidInput."""
        key = tuple([(name, array.shape) for name, array in inputs.items()])
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._known[key] = self._decided(dict(key))
        if isinstance(found, str):
            raise InvalidInput(found)
        return found

    def _decided(self, shapes: Shapes) -> bool | str:
        for name, bounds in self.longest.items():
            for axis, (length, bound) in enumerate(zip(shapes[name], bounds, strict=False)):
                if bound is not None and length > bound:
                    return f"{name}: axis {axis} has length {length}, and at most {bound} is taken"
        alone = not all(holds(shapes) for holds in self.conditions)
        if self.peak_bytes is None or self.memory is None:
            return alone
        rows = self._rows(shapes)
        as_run = shapes if alone or rows is None else self._resized(shapes, rows)
        if self.peak_bytes(as_run) > self.memory:
            return (
                f"a run with inputs of these shapes may take {self.peak_bytes(as_run) // _MIB} MiB "
                f"of memory; {self.memory // _MIB} MiB are allowed (setting runtime.max_run_bytes)"
            )
        if alone or self.largest_batch is None:
            return alone
        return self.peak_bytes(self._resized(shapes, self.largest_batch)) > self.memory

    def _rows(self, shapes: Shapes) -> int | None:
        """The rows of the largest run of a request; None: it runs as it is."""
        if self.largest_batch is None:
            return None
        for name, shape in shapes.items():
            axis = self.rows.axis(name)
            if axis is not None and axis < len(shape):
                return min(shape[axis], self.largest_batch)
        return None

    def _resized(self, shapes: Shapes, rows: int) -> Shapes:
        """The same shapes with this number of rows."""
        resized = {}
        for name, shape in shapes.items():
            axis = self.rows.axis(name)
            resized[name] = tuple(rows if at == axis else n for at, n in enumerate(shape))
        return resized
