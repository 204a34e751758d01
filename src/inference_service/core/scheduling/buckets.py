"""Rows of variable length: what they are padded to, and which of them should share a run.

Some optimal partition of rows into batches is contiguous in the order of their lengths
(TurboTransformers, Fang et al., PPoPP'21), so it is found by dynamic programming. Lengths are
padded to a geometric grid, on which there are few distinct ones; the programme runs over those.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

from inference_service.core.scheduling.policy import DEFAULTS


@lru_cache(maxsize=4096)
def quantised(length: int, ratio: float = DEFAULTS.length_ratio) -> int:
    """The smallest length of the grid 1, 2, 3 … 6, 8, 10, 12 … that is at least ``length``."""
    grid = 1
    while grid < length:
        grid = max(grid + 1, int(grid * ratio))
    return grid


def cheapest_cut(
    lengths: Sequence[tuple[int, int]], head: int, seconds: Callable[[int, int], float]
) -> tuple[int, int] | None:
    """The range of lengths that should run with a row of length ``head``.

    ``lengths`` are (length, rows) in rising order; ``seconds(rows, length)`` is the cost of that
    number of rows padded to that length, in as many runs as they need. None: all together, nothing
    is cut.
    """
    total = sum(rows for _, rows in lengths)
    longest = lengths[-1][0]
    used = sum(length * rows for length, rows in lengths)
    if len(lengths) == 1 or used >= (1 - DEFAULTS.padding_waste) * total * longest:
        return None
    best = [0.0]
    starts = []
    for last, (length, _) in enumerate(lengths):
        rows, options = 0, []
        for first in range(last, -1, -1):
            rows += lengths[first][1]
            options.append((best[first] + seconds(rows, length), first))
        cost, start = min(options)
        best.append(cost)
        starts.append(start)
    last = len(lengths) - 1
    while True:
        first = starts[last]
        if lengths[first][0] <= head <= lengths[last][0]:
            break
        last = first - 1
    if first == 0 and last == len(lengths) - 1:
        return None
    return lengths[first][0], lengths[last][0]


def padding_waste(lengths: Sequence[int], padded: int) -> float:
    """The share of a padded batch that is padding."""
    return 1 - sum(lengths) / (padded * len(lengths)) if lengths and padded else 0.0
