"""An engine and a model that pass everything on: what adds a duty overrides the part it adds to."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inference_service.core.errors import Overloaded
from inference_service.core.requests import InferenceRequest, ModelRef
from inference_service.core.tensors import BatchMode
from inference_service.engine.interfaces import (
    Engine,
    ModelHandle,
    ModelInfo,
    ModelStatus,
    OnDone,
    Ticket,
)


class WrappedModel:
    """See `ModelHandle` for all of it."""

    def __init__(self, model: ModelHandle) -> None:
        self._model = model

    @property
    def info(self) -> ModelInfo:
        """See `ModelHandle.info`."""
        return self._model.info

    def refusal(self, deadline: float) -> Overloaded | None:
        """See `ModelHandle.refusal`."""
        return self._model.refusal(deadline)

    def submit(self, request: InferenceRequest, on_done: OnDone) -> Ticket:
        """See `ModelHandle.submit`."""
        return self._model.submit(request, on_done)


class WrappedEngine:
    """See `Engine` for all of it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def resolve(self, model: ModelRef, client: str = "") -> ModelHandle:
        """See `Engine.resolve`."""
        return self._engine.resolve(model, client)

    def describe(self, model: ModelRef) -> ModelInfo:
        """See `Engine.describe`."""
        return self._engine.describe(model)

    def statuses(self) -> Sequence[ModelStatus]:
        """See `Engine.statuses`."""
        return self._engine.statuses()

    def models(self) -> Sequence[ModelInfo]:
        """See `Engine.models`."""
        return self._engine.models()

    def queued(self) -> Mapping[ModelRef, int]:
        """See `Engine.queued`."""
        return self._engine.queued()

    def explain(self, model: ModelRef) -> Mapping[str, Any]:
        """See `Engine.explain`."""
        return self._engine.explain(model)

    def clock(self) -> float:
        """See `Engine.clock`."""
        return self._engine.clock()

    def soon(self, callback: Callable[[], None]) -> None:
        """See `Engine.soon`."""
        self._engine.soon(callback)


def rows_of(info: ModelInfo, request: InferenceRequest) -> int:
    """Rows of a request, as its first input has them; 1 where the model has none."""
    if info.signature.mode is BatchMode.WHOLE:
        return 1
    array = next(iter(request.inputs.values()), None)
    return int(array.shape[0]) if array is not None and array.ndim else 1
