"""Which samples of a recording make a row of the recogniser, and how long rows are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inference_service.pipelines.speech_activity import CHUNK, RATE, Span

_PAUSE = RATE // 2  # samples: across a shorter pause, two segments are one row
_FINE, _COARSE = RATE // 2, RATE  # rows are as long as a multiple of this,
_COARSE_FROM = 4 * RATE  # from here on of the coarse one
_SHORTEST = RATE  # the graph has been made for a second or more
_SILENCE = round(0.15 * RATE)  # of the padding at a row's end


def can_be_cut(row: NDArray[np.float32]) -> bool:
    """Whether the graph takes it with less at its end."""
    return len(row) > _SHORTEST


def cut(row: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without most of the silence at its end."""
    return row[: max(len(row) - _SILENCE, _SHORTEST)]


def filled_up(row: NDArray[np.float32]) -> NDArray[np.float32]:
    """With silence, to a length that others have, too."""
    step = _FINE if len(row) <= _COARSE_FROM else _COARSE
    length = max(-(-len(row) // step) * step, _SHORTEST)
    found = np.zeros(length, np.float32)
    found[: len(row)] = row
    return found


def pieces(spans: Sequence[Span], probabilities: Sequence[float], longest: int) -> list[Span]:
    """Rows of ``longest`` samples at most: short ones are put together, long ones cut."""
    found: list[Span] = []
    for start, end in spans:
        if found and end - found[-1][0] <= longest and start - found[-1][1] <= _PAUSE:
            found[-1] = found[-1][0], end
            continue
        begun = start
        while end - begun > longest:
            middle = quietest(probabilities, begun + longest // 2, begun + longest)
            found.append((begun, middle))
            begun = middle
        found.append((begun, end))
    return found


def quietest(probabilities: Sequence[float], start: int, end: int) -> int:
    """Where between two samples it is least like speech: a cut there splits no word."""
    chunks = range(start // CHUNK + 1, min(end // CHUNK, len(probabilities)))
    if not chunks:
        return end
    return min(chunks, key=probabilities.__getitem__) * CHUNK
