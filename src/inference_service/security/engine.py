"""An engine that checks the client's right to the model, and its quota of rows."""

from inference_service.core.requests import InferenceRequest, ModelRef
from inference_service.engine.interfaces import (
    Engine,
    ModelHandle,
    ModelInfo,
    OnDone,
    Ticket,
)
from inference_service.engine.wrapping import WrappedEngine, WrappedModel, rows_of
from inference_service.security.authorizer import current_access
from inference_service.security.quotas import Quotas


class _ChargedModel(WrappedModel):
    """A model that charges the rows of each request to its client's quota.

    ``client`` is the one that access control told apart: a request may name another.
    """

    def __init__(self, model: ModelHandle, quotas: Quotas, client: str) -> None:
        super().__init__(model)
        self._quotas = quotas
        self._client = client

    def submit(self, request: InferenceRequest, on_done: OnDone) -> Ticket:
        """See `ModelHandle.submit`. Raises QuotaExceeded, too."""
        self._quotas.charge_rows(self._client or request.client, rows_of(self.info, request))
        return self._model.submit(request, on_done)


class GuardedEngine(WrappedEngine):
    """The engine behind it, where the client of the running task may use it.

    Every protocol finds its model by `resolve` or `describe`, however it is named: in a path, in a
    body, as the only one. So this is the one place where ``infer:<model>`` is decided.
    """

    def __init__(self, engine: Engine, quotas: Quotas | None) -> None:
        super().__init__(engine)
        self._quotas = quotas

    def resolve(self, model: ModelRef, client: str = "") -> ModelHandle:
        """See `Engine.resolve`. Raises Forbidden, too."""
        found = self._engine.resolve(model, client)
        _check(found.info)
        if self._quotas is None:
            return found
        access = current_access.get()
        return _ChargedModel(found, self._quotas, access.client if access is not None else "")

    def describe(self, model: ModelRef) -> ModelInfo:
        """See `Engine.describe`. Raises Forbidden, too."""
        info = self._engine.describe(model)
        _check(info)
        return info


def _check(info: ModelInfo) -> None:
    access = current_access.get()
    if access is not None:
        access.check_model(info.name)
