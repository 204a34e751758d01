"""Breaking off a run."""

from collections.abc import Callable

import onnxruntime as ort


class Stop:
    """Breaks a run off between two nodes of the graph.

    The run's buffers must live until it has returned: freeing them before that crashes the process
    (microsoft/onnxruntime#24601).
    """

    __slots__ = ("_also", "options")

    def __init__(self) -> None:
        self.options = ort.RunOptions()
        self._also: Callable[[], None] | None = None

    @property
    def is_set(self) -> bool:
        """Whether it has been broken off."""
        return bool(self.options.terminate)

    def set(self) -> None:
        """Break it off, now or as soon as it begins."""
        self.options.terminate = True
        if self._also is not None:
            self._also()

    def also(self, action: Callable[[], None]) -> None:
        """Do this, too, when it is stopped; at once if that has been. It may be done twice."""
        self._also = action
        if self.options.terminate:
            action()
