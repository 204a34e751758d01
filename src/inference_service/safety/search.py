"""Which axes of which inputs carry the rows: the assignments that are tried, best first."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product

from inference_service.safety.graph import Value

MOST_TRIED = 60
MOST_LISTED = 4096
"""Combinations of axes that are looked at."""
MOST_COMBINED = 32
"""Inputs of which combinations are tried."""
MOST_FIXED = 3
"""Fixed batch sizes that are tried."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The axis of the rows by input; all other inputs must be equal for the members of a run.

    ``fixed`` is the number of rows of a graph with a fixed batch.
    """

    axes: Mapping[str, int]
    fixed: int | None = None


def assignments(inputs: Sequence[Value], defaults: Container[str] = ()) -> Iterator[Assignment]:
    """At most `MOST_TRIED`, those with the fewest equal inputs first.

    Inputs with a default (``defaults``) never carry rows: a request that leaves one out has rows of
    its own number all the same.
    """
    every = [value for value in inputs if value.shape and value.kind == "tensor"]
    tensors = [value for value in every if value.name not in defaults]
    free = (one for one in _free(tensors) if _is_sound(every, one.axes))
    fixed = _fixed(tensors)
    first_free = any(not isinstance(value.shape[0], int) for value in tensors if value.shape)
    ordered = (free, fixed) if first_free else (fixed, free)
    yield from islice((entry for some in ordered for entry in some), MOST_TRIED)


def _free(tensors: Sequence[Value]) -> Iterator[Assignment]:
    """Free axes: the first of every input, then the axes of one name, then all combinations."""
    tried: list[dict[str, int]] = []
    first = {v.name: 0 for v in tensors if v.shape and not isinstance(v.shape[0], int)}
    named = [_of_name(tensors, name) for name in _names(tensors)]
    for axes in (first, *named, *_combinations(tensors)):
        if axes and axes not in tried and _is_sound(tensors, axes):
            tried.append(axes)
            yield Assignment(axes)


def _names(tensors: Sequence[Value]) -> list[str]:
    found = dict.fromkeys(
        dim for value in tensors for dim in value.shape or () if isinstance(dim, str)
    )
    return sorted(found, key=lambda name: -sum(name in (v.shape or ()) for v in tensors))


def _of_name(tensors: Sequence[Value], name: str) -> dict[str, int]:
    return {v.name: v.shape.index(name) for v in tensors if v.shape and name in v.shape}


def _combinations(tensors: Sequence[Value]) -> list[dict[str, int]]:
    if len(tensors) > MOST_COMBINED:
        return []
    options = [
        [axis for axis, dim in enumerate(v.shape or ()) if not isinstance(dim, int)] + [None]
        for v in tensors
    ]
    listed = [
        {v.name: axis for v, axis in zip(tensors, entry, strict=True) if axis is not None}
        for entry in islice(product(*options), MOST_LISTED)
    ]
    return sorted(listed, key=lambda axes: (-len(axes), sum(axes.values())))


def _is_sound(tensors: Sequence[Value], axes: Mapping[str, int]) -> bool:
    """The name of a batch axis occurs nowhere else: on no equal input, on no second axis."""
    names = {v.shape[axes[v.name]] for v in tensors if v.shape and v.name in axes} - {None}
    for value in tensors:
        for axis, dim in enumerate(value.shape or ()):
            if dim in names and not isinstance(dim, int) and axes.get(value.name) != axis:
                return False
    return True


def _fixed(tensors: Sequence[Value]) -> Iterator[Assignment]:
    """A fixed batch of N rows: the first axes of length N. Never N = 1.

    An input with another first axis may hold them further behind (the state of an LSTM); every
    matrix must hold them.
    """
    sizes = dict.fromkeys(v.shape[0] for v in tensors if v.shape)
    for size in [n for n in sizes if isinstance(n, int) and n > 1][:MOST_FIXED]:
        first = {v.name: 0 for v in tensors if v.shape and v.shape[0] == size}
        behind = {v.name: v.shape.index(size) for v in tensors if v.shape and size in v.shape}
        if all(v.name in behind for v in tensors if len(v.shape or ()) > 1):
            yield Assignment(behind | first, size)
            if behind.keys() != first.keys():
                yield Assignment(first, size)
