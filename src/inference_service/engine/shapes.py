"""Which shapes of runs are new: onnxruntime plans its memory, and may choose kernels, for each."""

from collections.abc import Iterable

_MOST = 4096
"""Shapes that are remembered: lengths are buckets, so a model has far fewer."""


class Shapes:
    """Shapes that have been run: rows with padding, numbers in a row (quantised), length of rows.

    Once too many are known none is called new any more: the memory is bounded, and a model with
    that many is never warm.
    """

    def __init__(self, warm: Iterable[tuple[int, int, int]] = ()) -> None:
        """``warm`` shapes have been run when the model was loaded."""
        self._known = set(warm)

    def is_new(self, rows: int, row_elements: int, length: int) -> bool:
        """Whether nothing of this shape has been run before."""
        shape = (rows, row_elements, length)
        if shape in self._known or len(self._known) >= _MOST:
            return False
        self._known.add(shape)
        return True
