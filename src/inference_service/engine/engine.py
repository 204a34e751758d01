"""The engine that lives in this process: finds the worker for a request."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from inference_service.core.errors import (
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    clipped,
    quoted,
)
from inference_service.core.lifecycle import State, move
from inference_service.core.requests import ModelRef
from inference_service.engine.dispatcher import Dispatcher
from inference_service.engine.explanation import explained
from inference_service.engine.interfaces import ModelInfo, ModelStatus
from inference_service.engine.worker import Worker


class LocalEngine:
    """A table of workers by model name and version, and the state of each version.

    ``cores`` are what the models share; a run takes as many as it has threads.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, cores: float = math.inf
    ) -> None:
        self.dispatcher = Dispatcher(clock, cores)
        self._workers: dict[str, dict[int, Worker]] = {}
        self._statuses: dict[str, dict[int, ModelStatus]] = {}
        self._found: dict[ModelRef, Worker] = {}  # by what requests ask for

    def resolve(self, model: ModelRef) -> Worker:
        """See `Engine.resolve`."""
        found = self._found.get(model)
        return found if found is not None else self._search(model)

    def describe(self, model: ModelRef) -> ModelInfo:
        """See `Engine.describe`."""
        return self.resolve(model).info

    def statuses(self) -> Sequence[ModelStatus]:
        """See `Engine.statuses`."""
        return [
            self._current(versions[version])
            for _, versions in sorted(self._statuses.items())
            for version in sorted(versions)
        ]

    def _current(self, status: ModelStatus) -> ModelStatus:
        """The status with what has been learned of the model since it was loaded."""
        worker = self._workers.get(status.name, {}).get(status.version)
        if worker is None or status.info is None or status.info is worker.info:
            return status
        return replace(status, info=worker.info)

    def models(self) -> Sequence[ModelInfo]:
        """See `Engine.models`."""
        return [worker.info for worker in self.workers()]

    def queued(self) -> Mapping[ModelRef, int]:
        """See `Engine.queued`."""
        return {worker.info.ref: worker.queue_rows for worker in self.workers()}

    def running(self) -> Mapping[ModelRef, int]:
        """Runs in progress, for each version that is ready."""
        return {worker.info.ref: worker.running for worker in self.workers()}

    def explain(self, model: ModelRef) -> Mapping[str, Any]:
        """See `Engine.explain`."""
        return explained(self.resolve(model), self.clock())

    def clock(self) -> float:
        """See `Engine.clock`."""
        return self.dispatcher.clock()

    def workers(self) -> Iterator[Worker]:
        """Every worker, by name and version."""
        return chain.from_iterable(
            (versions[version] for version in sorted(versions))
            for _, versions in sorted(self._workers.items())
        )

    def report(self, name: str, version: int, state: State, error: str = "") -> None:
        """Note a version's next state. Raises ValueError for a move that is not legal."""
        versions = self._statuses.setdefault(name, {})
        known = versions.get(version)
        if known is not None:
            move(known.state, state)
        worker = self._workers.get(name, {}).get(version)
        info = worker.info if worker is not None else None
        versions[version] = ModelStatus(name, version, state, error, info)

    def add(self, worker: Worker) -> None:
        """Let requests reach this worker; it is warm."""
        info = worker.info
        self._workers.setdefault(info.name, {})[info.version] = worker
        self._found.clear()
        self.report(info.name, info.version, State.READY)

    async def replace(self, worker: Worker) -> None:
        """Let this worker take the place of the one that serves its version, drained and freed."""
        info = worker.info
        old = self._workers[info.name][info.version]
        self._workers[info.name][info.version] = worker
        self._found.clear()
        status = self._statuses[info.name][info.version]
        self._statuses[info.name][info.version] = replace(status, info=info)
        await old.drain()
        await old.aclose()

    def state(self, name: str, version: int) -> State | None:
        """A version's state; None for one that was never seen."""
        status = self._statuses.get(name, {}).get(version)
        return None if status is None else status.state

    def problem(self, name: str, version: int) -> str | None:
        """Why a version failed to load; None where it did not."""
        status = self._statuses[name][version]
        return status.error if status.state is State.FAILED else None

    async def remove(self, name: str, version: int) -> None:
        """Let no more requests reach this version, drain it and free it."""
        worker = self._workers[name].pop(version)
        self._found.clear()
        if not self._workers[name]:
            del self._workers[name]
        self.report(name, version, State.DRAINING)
        await worker.drain()
        await worker.aclose()
        self.report(name, version, State.UNLOADED)

    async def drain(self) -> None:
        """Wait until every request that was admitted has ended."""
        await asyncio.gather(*(worker.drain() for worker in self.workers()))

    async def aclose(self) -> None:
        """Free every worker. Call it after `drain`."""
        for worker in self.workers():
            await worker.aclose()

    def _search(self, model: ModelRef) -> Worker:
        versions = self._workers.get(model.name)
        if versions:
            # Clients of TensorFlow Serving ask for version 0 where they want the latest.
            latest = model.version is None or (model.version == 0 and 0 not in versions)
            worker = versions.get(max(versions) if latest else model.version or 0)
            if worker is not None:
                self._found[model] = worker
                return worker
        raise self._missing(model)

    def _missing(self, model: ModelRef) -> Exception:
        statuses = self._statuses.get(model.name)
        if not statuses:
            if not model.name:
                return InvalidInput("the request names no model")
            loaded = quoted(sorted(self._workers)) or "none"
            name = clipped(model.name)
            text = f"Request for unknown model: '{name}' is not found; loaded are: {loaded}"
            return ModelNotFound(text, model.name, model.version)
        version = max(statuses) if model.version is None else model.version
        status = statuses.get(version)
        if status is None or status.state is State.UNLOADED:
            served = ", ".join(str(v) for v in sorted(self._workers.get(model.name, {}))) or "none"
            text = (
                f"Request for unknown model: '{clipped(model.name)}' version {version} is not "
                f"found: no version {version} loaded; loaded versions: {served}"
            )
            return ModelNotFound(text, model.name, version)
        if status.state is State.FAILED:
            return ModelNotReady(
                f"model '{model.name}' version {version} failed to load: {status.error}",
                retry_after=30.0,
            )
        return ModelNotReady(f"model '{model.name}' version {version} is {status.state}")
