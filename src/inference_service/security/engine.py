"""An engine that checks the client's right to the model, and its quota of rows."""

from collections.abc import Mapping, Sequence
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
from inference_service.security.authorizer import current_access
from inference_service.security.quotas import Quotas


class _ChargedModel:
    """A model that charges the rows of each request to its client's quota."""

    def __init__(self, model: ModelHandle, quotas: Quotas) -> None:
        self._model = model
        self._quotas = quotas

    @property
    def info(self) -> ModelInfo:
        """See `ModelHandle.info`."""
        return self._model.info

    def refusal(self, deadline: float) -> Overloaded | None:
        """See `ModelHandle.refusal`."""
        return self._model.refusal(deadline)

    def submit(self, request: InferenceRequest, on_done: OnDone) -> Ticket:
        """See `ModelHandle.submit`. Raises QuotaExceeded, too."""
        self._quotas.charge_rows(request.client, _rows(self.info, request))
        return self._model.submit(request, on_done)


class GuardedEngine:
    """The engine behind it, where the client of the running task may use it.

    Every protocol finds its model by `resolve` or `describe`, however it is named: in a path, in a
    body, as the only one. So this is the one place where ``infer:<model>`` is decided.
    """

    def __init__(self, engine: Engine, quotas: Quotas | None) -> None:
        self._engine = engine
        self._quotas = quotas

    def resolve(self, model: ModelRef, client: str = "") -> ModelHandle:
        """See `Engine.resolve`. Raises Forbidden, too."""
        found = self._engine.resolve(model, client)
        _check(found.info)
        return found if self._quotas is None else _ChargedModel(found, self._quotas)

    def describe(self, model: ModelRef) -> ModelInfo:
        """See `Engine.describe`. Raises Forbidden, too."""
        info = self._engine.describe(model)
        _check(info)
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

    def explain(self, model: ModelRef) -> Mapping[str, Any]:
        """See `Engine.explain`."""
        return self._engine.explain(model)

    def clock(self) -> float:
        """See `Engine.clock`."""
        return self._engine.clock()


def _check(info: ModelInfo) -> None:
    access = current_access.get()
    if access is not None:
        access.check_model(info.name)


def _rows(info: ModelInfo, request: InferenceRequest) -> int:
    if info.signature.mode is BatchMode.WHOLE:
        return 1
    array = next(iter(request.inputs.values()), None)
    return int(array.shape[0]) if array is not None and array.ndim else 1
