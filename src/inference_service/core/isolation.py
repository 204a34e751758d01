"""When a batch fails, find the guilty request, so that it fails alone."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from inference_service.core.errors import RowsMismatch, RunStopped, Unavailable

T = TypeVar("T")
R = TypeVar("R")


def run_isolated(parts: Sequence[T], run: Callable[[Sequence[T]], list[R]]) -> list[R | Exception]:
    """Run the parts together; where that fails, halve until the failing ones stand alone.

    Returns one result, or the error of running it alone, for each part in order. For k guilty
    parts among n, at most 1 + 2 * k * ceil(log2 n) runs are made. Raises RunStopped and Unavailable
    as they come, and RowsMismatch: halves of a run whose rows can't be told apart prove nothing.
    """
    try:
        return list(run(parts))
    except (RunStopped, RowsMismatch, Unavailable):
        raise
    # A model may fail with anything; the error goes to the one request that causes it.
    except Exception as error:
        if len(parts) == 1:
            return [error]
    middle = len(parts) // 2
    return run_isolated(parts[:middle], run) + run_isolated(parts[middle:], run)
