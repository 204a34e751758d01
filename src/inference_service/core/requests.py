"""The one request type that enters from any protocol and the one response type that leaves."""

import math
from dataclasses import dataclass

from inference_service.core.scheduling.tickets import Priority
from inference_service.core.tensors import Tensors


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model by name; version None is the one served by default."""

    name: str
    version: int | None = None

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name} version {self.version}"


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """Tensors for one model.

    ``deadline`` is the client's own, absolute on the engine's clock, in seconds; inf: it gave none,
    and the model's default holds. ``client`` is whom the service shares its time with fairly.
    """

    model: ModelRef
    inputs: Tensors
    outputs: tuple[str, ...] = ()
    id: str = ""
    deadline: float = math.inf
    client: str = ""
    priority: Priority = Priority.NORMAL


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of one request went, in seconds, and how many rows shared its run."""

    queue: float
    compute: float
    batch_rows: int


@dataclass(frozen=True, slots=True)
class InferenceResponse:
    """The answer: the version that gave it, the requested outputs, and where the time went."""

    model: ModelRef
    outputs: Tensors
    timing: Timing
