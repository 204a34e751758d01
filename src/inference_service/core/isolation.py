"""When a batch fails, find the guilty request, so that it fails alone."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from inference_service.core.errors import (
    OutOfMemory,
    RowsMismatch,
    RunStopped,
    Unavailable,
    found_no_memory,
)

T = TypeVar("T")
R = TypeVar("R")


def run_isolated(parts: Sequence[T], run: Callable[[Sequence[T]], list[R]]) -> list[R | Exception]:
    """Run the parts together; where that fails, halve until the failing ones stand alone.

    Returns one result, or the error of running it alone, for each part in order. For k guilty
    parts among n, at most 1 + 2 * k * ceil(log2 n) runs are made. Raises RunStopped and Unavailable
    as they come, and RowsMismatch: halves of a run whose rows can't be told apart prove nothing.

    A half may find the memory that there isn't for the whole. But where memory is short for all,
    runs help none of them: once more runs have found none than one part alone can account for,
    1 + ceil(log2 n), the parts that are left are told so without one.
    """
    return _tried(parts, run, [2 + (len(parts) - 1).bit_length()])


def _tried(
    parts: Sequence[T], run: Callable[[Sequence[T]], list[R]], tries: list[int]
) -> list[R | Exception]:
    """``tries``: how many runs may yet find no memory; one number, that all halves share."""
    if not tries[0]:
        return [OutOfMemory("it was not run, as others found none") for _ in parts]
    try:
        return list(run(parts))
    except (RunStopped, RowsMismatch):
        raise
    # A model may fail with anything; the error goes to the one request that causes it.
    except Exception as error:
        if found_no_memory(error):
            tries[0] -= 1
        elif isinstance(error, Unavailable):
            raise
        if len(parts) == 1:
            return [error]
    middle = len(parts) // 2
    return _tried(parts[:middle], run, tries) + _tried(parts[middle:], run, tries)
