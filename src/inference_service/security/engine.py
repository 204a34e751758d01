"""An engine that asks, for each request, whether its client may use the model and so many rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from inference_service.core.errors import Overloaded
from inference_service.core.requests import InferenceRequest, InferenceResponse, ModelRef
from inference_service.core.tensors import BatchMode
from inference_service.engine.interfaces import Engine, ModelInfo, ModelStatus
from inference_service.security.authorizer import current_access
from inference_service.security.quotas import Quotas


class GuardedEngine:
    """The engine behind it, where the client of the running task may use it.

    Every protocol finds its model by `describe`, however it is named: in a path, in a body, as the
    only one. So this is the one place where ``infer:<model>`` is decided.
    """

    def __init__(self, engine: Engine, quotas: Quotas | None) -> None:
        self._engine = engine
        self._quotas = quotas

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """See `Engine.infer`. Raises Forbidden and QuotaExceeded, too."""
        info = self.describe(request.model)
        if self._quotas is not None:
            self._quotas.charge_rows(request.client, _rows(info, request))
        return await self._engine.infer(request)

    def describe(self, model: ModelRef) -> ModelInfo:
        """See `Engine.describe`. Raises Forbidden, too."""
        info = self._engine.describe(model)
        access = current_access.get()
        if access is not None:
            access.check_model(info.name)
        return info

    def statuses(self) -> Sequence[ModelStatus]:
        """See `Engine.statuses`."""
        return self._engine.statuses()

    def models(self) -> Sequence[ModelInfo]:
        """See `Engine.models`."""
        return self._engine.models()

    def queued(self) -> Mapping[ModelRef, int]:
        """See `Engine.queued`."""
        return self._engine.queued()

    def refusal(self, model: ModelRef, deadline: float) -> Overloaded | None:
        """See `Engine.refusal`."""
        return self._engine.refusal(model, deadline)

    def explain(self, model: ModelRef) -> Mapping[str, Any]:
        """See `Engine.explain`."""
        return self._engine.explain(model)

    def clock(self) -> float:
        """See `Engine.clock`."""
        return self._engine.clock()


def _rows(info: ModelInfo, request: InferenceRequest) -> int:
    if info.signature.mode is BatchMode.WHOLE:
        return 1
    array = next(iter(request.inputs.values()), None)
    return int(array.shape[0]) if array is not None and array.ndim else 1
