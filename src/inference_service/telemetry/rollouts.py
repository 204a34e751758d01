"""How requests of each version have ended, and what has become of loads."""

from prometheus_client import CollectorRegistry

from inference_service.core.regression import Outcomes
from inference_service.core.requests import ModelRef
from inference_service.engine.interfaces import AnsweredRequests, BatchRecord, RequestRecord
from inference_service.telemetry.series import Counter

_FAILURES = frozenset({"execution_failed", "internal_error"})
"""Outcomes that are the model's fault; bad input, overload and deadlines are not."""


class OutcomeObserver:
    """Counts, for the rollback of a version that fails more often than the one before."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._outcomes: dict[tuple[str, str], list[int]] = {}
        self._loads = Counter(
            "inference_model_loads",
            "Versions that were loaded, refused by a check before the swap, or rolled back",
            ("model", "version", "outcome"),
            registry=registry,
        )

    def of(self, name: str, version: int) -> Outcomes:
        """Those of a version so far."""
        return Outcomes(*self._outcomes.get((name, str(version)), (0, 0)))

    def loaded(self, name: str, version: int, outcome: str) -> None:
        """A load has ended so."""
        self._loads.labels(name, str(version), outcome).inc()

    def rejected(self, model: str, reason: str) -> None:
        """See `Observer.rejected`."""

    def batched(self, record: BatchRecord) -> None:
        """See `Observer.batched`."""

    def finished(self, record: RequestRecord) -> None:
        """See `Observer.finished`."""
        ok = record.outcome == "ok"
        if ok or record.outcome in _FAILURES:
            self._count(record.model, record.version, 1, int(not ok))

    def answered(self, requests: AnsweredRequests) -> None:
        """See `Observer.answered`."""
        self._count(requests.model, requests.version, len(requests.seconds), 0)

    def _count(self, model: str, version: str, requests: int, failures: int) -> None:
        sums = self._outcomes.get((model, version))
        if sums is None:
            sums = self._outcomes[model, version] = [0, 0]
        sums[0] += requests
        sums[1] += failures

    def violated(self, model: ModelRef) -> None:
        """See `Observer.violated`."""
