"""The one request type that enters from any protocol and the one response type that leaves.

They are tuples: several are made for every request, and a frozen dataclass takes twice as long.
"""

import math
from typing import NamedTuple

from inference_service.core.scheduling.entries import Priority
from inference_service.core.tensors import Tensors


class ModelRef(NamedTuple):
    """A model by name; version None is the one served by default."""

    name: str
    version: int | None = None

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name} version {self.version}"


class InferenceRequest(NamedTuple):
    """Tensors for one model.

    ``deadline`` is the client's own, absolute on the engine's clock, in seconds; inf: it gave none,
    and the model's default holds. ``client`` is the key of the fair share. ``trace`` is
    what tracing knows of it; None: it is off.
    """

    model: ModelRef
    inputs: Tensors
    outputs: tuple[str, ...] = ()
    id: str = ""
    deadline: float = math.inf
    client: str = ""
    priority: Priority = Priority.NORMAL
    trace: object = None


class Timing(NamedTuple):
    """Where the time of one request went, in seconds, and how many rows shared its run."""

    queue: float
    compute: float
    batch_rows: int


class InferenceResponse(NamedTuple):
    """The answer: the version that gave it, the requested outputs, where the time went, how many
    rows it had."""

    model: ModelRef
    outputs: Tensors
    timing: Timing
    rows: int = 1
