"""Sums for the statistics extension of the Open Inference Protocol; telling several observers."""

import time
from collections.abc import Callable, Sequence

from inference_service.core.requests import ModelRef
from inference_service.core.statistics import Durations, ModelStatistics
from inference_service.engine.interfaces import (
    AnsweredRequests,
    BatchRecord,
    LoadRecord,
    Observer,
    RequestRecord,
)

_CLIENTS_WILL = frozenset({"cancelled"})
"""Outcomes that are neither a success nor a failure of the model."""


class StatisticsObserver:
    """Keeps a `ModelStatistics` for each model version."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._models: dict[tuple[str, str], ModelStatistics] = {}
        self._by_ref: dict[ModelRef, ModelStatistics] = {}

    def of(self, model: ModelRef) -> ModelStatistics:
        """The sums of one version."""
        sums = self._by_ref.get(model)
        if sums is None:
            sums = self._by_ref[model] = self._of(model.name, str(model.version))
        return sums

    def rejected(self, model: str, reason: str) -> None:
        """See `Observer.rejected`; `finished` counts it."""

    def batched(self, record: BatchRecord) -> None:
        """See `Observer.batched`."""
        sums = self.of(record.model)
        sums.runs += record.runs
        durations = sums.batches.get(record.rows)
        if durations is None:
            durations = sums.batches[record.rows] = Durations()
        durations.add(record.seconds)

    def finished(self, record: RequestRecord) -> None:
        """See `Observer.finished`."""
        if not record.version or record.outcome in _CLIENTS_WILL:
            return
        sums = self._of(record.model, record.version)
        sums.last = self._clock()
        if record.outcome != "ok" or record.queue_seconds is None:
            sums.fail.add(record.seconds)
            return
        times = (
            record.seconds, record.queue_seconds, record.decode_seconds,
            record.compute_seconds or 0.0, record.encode_seconds,
        )  # fmt: skip
        sums.succeeded(times, record.rows)

    def loaded(self, record: LoadRecord) -> None:
        """See `Observer.loaded`; Triton has no such number."""

    def answered(self, requests: AnsweredRequests) -> None:
        """See `Observer.answered`."""
        sums = self._of(requests.model, requests.version)
        sums.last = self._clock()
        parts = (
            sum(requests.queue_seconds), sum(requests.decode_seconds),
            sum(requests.compute_seconds), sum(requests.encode_seconds),
        )  # fmt: skip
        sums.all_succeeded(requests.seconds, parts, sum(requests.rows))

    def violated(self, model: ModelRef) -> None:
        """See `Observer.violated`; Triton has no such number."""

    def _of(self, name: str, version: str) -> ModelStatistics:
        sums = self._models.get((name, version))
        if sums is None:
            sums = self._models[name, version] = ModelStatistics()
        return sums


class Observers:
    """Tells each of several."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def rejected(self, model: str, reason: str) -> None:
        """See `Observer.rejected`."""
        for observer in self._observers:
            observer.rejected(model, reason)

    def batched(self, record: BatchRecord) -> None:
        """See `Observer.batched`."""
        for observer in self._observers:
            observer.batched(record)

    def finished(self, record: RequestRecord) -> None:
        """See `Observer.finished`."""
        for observer in self._observers:
            observer.finished(record)

    def loaded(self, record: LoadRecord) -> None:
        """See `Observer.loaded`."""
        for observer in self._observers:
            observer.loaded(record)

    def answered(self, requests: AnsweredRequests) -> None:
        """See `Observer.answered`."""
        for observer in self._observers:
            observer.answered(requests)

    def violated(self, model: ModelRef) -> None:
        """See `Observer.violated`."""
        for observer in self._observers:
            observer.violated(model)
