"""The engine that lives in this process: finds the worker for a request."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, TypeAlias

from inference_service.core.errors import (
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    clipped,
    quoted,
)
from inference_service.core.lifecycle import State, move
from inference_service.core.requests import ModelRef
from inference_service.core.routing import Routing
from inference_service.engine.activity import activity
from inference_service.engine.dispatcher import Dispatcher
from inference_service.engine.explanation import explained
from inference_service.engine.interfaces import Activity, ModelInfo, ModelStatus
from inference_service.engine.shadow import Comparison, Shadowed
from inference_service.engine.sleeping import ASLEEP, Sleeping
from inference_service.engine.traffic import Traffic
from inference_service.engine.worker import Worker

Clock: TypeAlias = Callable[[], float]
Found: TypeAlias = Worker | Sleeping | Shadowed


class LocalEngine:
    """A table of workers by model name and version, and the state of each version.

    ``cores`` are what the models share; a run takes as many as it has threads.
    """

    def __init__(self, clock: Clock = time.monotonic, cores: float = math.inf) -> None:
        self.dispatcher = Dispatcher(clock, cores)
        self.clock, self.soon = clock, self.dispatcher.soon  # see `Engine`
        self._workers: dict[str, dict[int, Worker]] = {}
        self._statuses: dict[str, dict[int, ModelStatus]] = {}
        self._sleeping: dict[str, dict[int, Sleeping]] = {}
        self._found: dict[ModelRef, Found] = {}  # by what requests ask for
        self._aside: list[Worker] = []
        self._traffic = Traffic()

    def resolve(self, model: ModelRef, client: str = "") -> Found:
        """See `Engine.resolve`."""
        found = self._found.get(model)
        return found if found is not None else self._search(model, client)

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
        sleeping = self.asleep(status.name, status.version)
        if sleeping is not None:
            return replace(status, error=ASLEEP, info=sleeping.info)
        if worker is None:
            return status
        info = worker.info
        error = status.error or str(self._traffic.comparisons.get(info.ref) or "")
        share = self._traffic.share(info.name, info.version, self._workers[info.name])
        return replace(status, error=error, info=info, traffic=share)

    def models(self) -> Sequence[ModelInfo]:
        """See `Engine.models`."""
        asleep = [one.info for some in self._sleeping.values() for one in some.values()]
        known = [*(worker.info for worker in self.workers()), *asleep]
        return sorted(known, key=lambda info: (info.name, info.version)) if asleep else known

    def memory(self) -> Mapping[ModelRef, int]:
        """Estimated bytes of each version that is loaded."""
        return {worker.info.ref: worker.memory_bytes for worker in self.workers()}

    def queued(self) -> Mapping[ModelRef, int]:
        """See `Engine.queued`."""
        return {worker.info.ref: worker.queue_rows for worker in self.workers()}

    def activity(self) -> Sequence[Activity]:
        """What each version that is ready is doing now."""
        now = self.clock()
        return [activity(worker, now) for worker in list(self.workers())]

    def running(self) -> Mapping[ModelRef, int]:
        """Runs in progress, for each version that is ready."""
        return {worker.info.ref: worker.running for worker in self.workers()}

    def explain(self, model: ModelRef) -> Mapping[str, Any]:
        """See `Engine.explain`."""
        info = self.describe(model)
        worker = self._workers.get(info.name, {}).get(info.version)
        if worker is None:
            raise ModelNotReady(f"model {info.ref} is {ASLEEP}")
        return explained(worker, self.clock())

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
        versions[version] = ModelStatus(name, version, state, error)

    def add(self, worker: Worker) -> None:
        """Let requests reach this worker; it is warm."""
        info = worker.info
        self._workers.setdefault(info.name, {})[info.version] = worker
        self._found.clear()
        self._traffic.comparisons.pop(info.ref, None)
        self.report(info.name, info.version, State.READY)

    async def replace(self, worker: Worker) -> None:
        """Let this worker take the place of the one that serves its version, drained and freed."""
        old = self.swap(worker)
        if old is not None:
            await self.free(old)

    def swap(self, worker: Worker) -> Worker | None:
        """Let this worker take the place of the one that serves its version, at once.

        The old one is returned. It answers the requests that have found it before, until it is
        freed or put back by another swap.
        """
        info = worker.info
        old = self._workers.get(info.name, {}).get(info.version)
        self._workers.setdefault(info.name, {})[info.version] = worker
        sleeping = self._sleeping.get(info.name, {}).pop(info.version, None)
        self._found.clear()
        self.note(info.name, info.version, "")
        if worker in self._aside:
            self._aside.remove(worker)
        if sleeping is not None:
            sleeping.woken(worker)
        if old is not None:
            old.successor = worker
            self._aside.append(old)
        return old

    def put_aside(self, name: str, version: int, why: str) -> Worker:
        """Let no new request find this version, which goes on answering those that have."""
        worker = self._workers[name].pop(version)
        self._forget(name)
        self._aside.append(worker)
        self.report(name, version, State.DRAINING, why)
        return worker

    def take_back(self, worker: Worker) -> None:
        """Let requests find a version again that was put aside."""
        self._aside.remove(worker)
        self.add(worker)

    async def free(self, worker: Worker, why: str = "") -> None:
        """Drain and free a worker that was put aside; its version is unloaded if nothing serves it.

        ``why`` is the reason for people.
        """
        info = worker.info
        await worker.drain()
        await worker.aclose()
        if worker in self._aside:
            self._aside.remove(worker)
        aside = any(one.info.ref == info.ref for one in self._aside)
        if self.state(info.name, info.version) is State.DRAINING and not aside:
            self.report(info.name, info.version, State.UNLOADED, why)

    def note(self, name: str, version: int, error: str) -> None:
        """Note for people what is wrong with a version, whose state stays; "" nothing."""
        status = self._statuses[name][version]
        self._statuses[name][version] = replace(status, error=error)

    def current(self, name: str) -> ModelInfo | None:
        """The version that answers requests which name none; None where there is none."""
        versions = self._workers.get(name, {})
        return versions[self._traffic.default(name, versions)].info if versions else None

    def route(self, name: str, routing: Routing | None = None, default: int | None = None) -> None:
        """Set what chooses the version for requests that name none; None: it stays as it is."""
        self._traffic.route(name, routing, default)
        self._found.clear()

    def _forget(self, name: str) -> None:
        self._found.clear()
        if not self._workers.get(name):
            self._workers.pop(name, None)

    async def put_to_sleep(self, sleeping: Sleeping) -> None:
        """Drain and free a version; its requests wait at this handle until it is replaced."""
        info = sleeping.info
        worker = self._workers[info.name].pop(info.version)
        worker.successor = self._sleeping.setdefault(info.name, {})[info.version] = sleeping
        self._found.clear()
        await worker.drain()
        await worker.aclose()

    def asleep(self, name: str, version: int) -> Sleeping | None:
        """The handle of a version that sleeps; None where it does not."""
        return self._sleeping.get(name, {}).get(version)

    def lost(self, sleeping: Sleeping, error: str) -> None:
        """A version that sleeps can't be loaded any more."""
        name, version = sleeping.info.name, sleeping.info.version
        self._sleeping[name].pop(version)
        self._found.clear()
        for state in (State.DRAINING, State.UNLOADED, State.LOADING, State.FAILED):
            self.report(name, version, state, error if state is State.FAILED else "")
        sleeping.failed(ModelNotReady(f"model {sleeping.info.ref} failed to load: {error}"))

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
        worker = self._workers.get(name, {}).pop(version, None)
        sleeping = self._sleeping.get(name, {}).pop(version, None)
        self._forget(name)
        self.report(name, version, State.DRAINING)
        if sleeping is not None:
            sleeping.failed(ModelNotReady(f"model {sleeping.info.ref} is being unloaded"))
        if worker is not None:
            await worker.drain()
            await worker.aclose()
        self.report(name, version, State.UNLOADED)

    async def drain(self) -> None:
        """Wait until every request that was admitted has ended."""
        await asyncio.gather(*(worker.drain() for worker in [*self.workers(), *self._aside]))

    async def aclose(self) -> None:
        """Free every worker. Call it after `drain`."""
        for worker in [*self.workers(), *self._aside]:
            await worker.aclose()

    def _search(self, model: ModelRef, client: str) -> Found:
        awake = self._workers.get(model.name, {})
        versions: dict[int, Found] = {**awake, **self._sleeping.get(model.name, {})}
        if versions:
            # Clients of TensorFlow Serving ask for version 0 where they want the latest.
            latest = model.version is None or (model.version == 0 and 0 not in versions)
            if latest:
                chosen = self._traffic.chosen(model.name, client, versions)
                if chosen is not None:
                    return self.resolve(ModelRef(model.name, chosen))
            default = self._traffic.default(model.name, versions)
            found = versions.get(default if latest else model.version or 0)
            if found is not None:
                found = self._traffic.shadowed(found, awake, awake.get) or found
                self._found[model] = found
                return found
        raise _missing(model, self._workers, self._statuses)

    def comparisons(self) -> Mapping[ModelRef, Comparison]:
        """What was found out about versions that get copies of requests."""
        return self._traffic.comparisons


def _missing(
    model: ModelRef,
    workers: Mapping[str, Mapping[int, Worker]],
    known: Mapping[str, Mapping[int, ModelStatus]],
) -> Exception:
    """What a request is told that finds no version."""
    statuses = known.get(model.name)
    if not statuses:
        if not model.name:
            return InvalidInput("the request names no model")
        loaded = quoted(sorted(workers)) or "none"
        name = clipped(model.name)
        text = f"Request for unknown model: '{name}' is not found; loaded are: {loaded}"
        return ModelNotFound(text, model.name, model.version)
    version = max(statuses) if model.version is None else model.version
    status = statuses.get(version)
    if status is None or status.state is State.UNLOADED:
        served = ", ".join(str(v) for v in sorted(workers.get(model.name, {}))) or "none"
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
