"""Carries out a version plan: load, warm up, let requests in; drain and free."""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from inference_service.core.errors import (
    InferenceServiceError,
    InvalidInput,
    ModelNotFound,
    clipped,
)
from inference_service.core.lifecycle import ReadyWhen, State
from inference_service.core.requests import ModelRef
from inference_service.engine.budget import Budget, Resident, to_evict
from inference_service.engine.engine import LocalEngine
from inference_service.engine.interfaces import LoadRecord, ModelInfo, Observer, Runner
from inference_service.engine.loading import Loader, in_time
from inference_service.engine.sleeping import Sleeping
from inference_service.engine.worker import Worker

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VersionSource:
    """One version that should be served, and the way to load it.

    ``fingerprint`` differs when the version's files do.

    ``load`` blocks and is called in a thread; it returns when the model is warm, and calls its
    argument when the warm-up begins. It raises InvalidModel or whatever the runtime raises.
    """

    name: str
    version: int
    load: Loader
    fingerprint: object = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version that is loaded and warm, and that no request reaches yet.

    ``seconds`` is what its load has taken. `Worker.submit` of ``worker`` runs requests for a check.
    """

    source: VersionSource
    worker: Worker
    seconds: float


_PATIENCE = 60.0
"""Seconds after which a load no longer holds up the others: it hangs, or the model is very large.
Until then they go one by one, as measured costs are disturbed by other loads."""


class Manager:
    """Loads versions one after the other, so that a start doesn't take all memory at once.

    A load that is not done within ``time_limit`` seconds has failed; after ``patience`` seconds the
    next one begins beside it. It can't be broken off: its thread is left behind. ``budget`` bounds
    the memory of what is loaded (None: it is not bounded).
    """

    def __init__(
        self,
        engine: LocalEngine,
        observer: Observer,
        *,
        time_limit: float = 300.0,
        patience: float = _PATIENCE,
        ready_when: ReadyWhen = ReadyWhen.ANY,
        budget: Budget | None = None,
    ) -> None:
        self._engine = engine
        self._observer = observer
        self._time_limit = time_limit
        self._patience = patience
        self._ready_when = ready_when
        self.finished = False
        self._expected: set[tuple[str, int]] = set()
        self._loaded: dict[tuple[str, int], VersionSource] = {}
        self._changing = asyncio.Lock()
        self._budget = budget
        self._sizes: dict[tuple[str, int], int] = {}
        self._seconds: dict[tuple[str, int], float] = {}
        self._asleep: dict[tuple[str, int], Sleeping] = {}
        self._waking: dict[tuple[str, int], asyncio.Task[None]] = {}

    @property
    def ready(self) -> bool:
        """Whether everything that should be served is warm."""
        return self.problem() is None

    def problem(self) -> str | None:
        """Why the service is not ready, in words; None when it is.

        What is loaded later, on request, doesn't count: other models go on being served.
        """
        if not self.finished:
            loading = self._first({State.LOADING, State.WARMING})
            return loading or "models are being loaded"
        if self._ready_when is ReadyWhen.ANY and self._engine.models():
            return None
        return self._first({State.FAILED, State.LOADING, State.WARMING})

    def _first(self, states: Collection[State]) -> str | None:
        for status in self._engine.statuses():
            if (status.name, status.version) in self._expected and status.state in states:
                model = f"model '{status.name}' version {status.version}"
                if status.state is State.FAILED:
                    return f"{model} failed: {status.error}"
                return f"{model} is {status.state}"
        return None

    async def load_all(self, sources: Sequence[VersionSource]) -> None:
        """Load every source. A version that fails is reported and fails alone."""
        self._expected.update((source.name, source.version) for source in sources)
        slow: list[asyncio.Task[None]] = []
        try:
            async with self._changing:
                for source in sources:
                    self._engine.report(source.name, source.version, State.LOADING)
                for source in sources:
                    loading = asyncio.create_task(self._load(source))
                    slow.append(loading)
                    await asyncio.wait({loading}, timeout=self._patience)
                    if not loading.done():
                        log.warning(
                            "loading %s version %d takes long; the others are loaded beside it",
                            source.name, source.version,
                        )  # fmt: skip
            self.finished = True
            await asyncio.gather(*slow)
        finally:
            for loading in slow:
                loading.cancel()

    async def load(self, name: str, sources: Sequence[VersionSource]) -> None:
        """Serve these versions of a model and no others: load what is new or has changed.

        What was served goes on being served until the new is warm. Raises InvalidInput, which says
        why, where a version could not be loaded; the others are.
        """
        async with self._changing:
            problems = []
            for source in sources:
                problem = await self._refresh(source)
                if problem is not None:
                    problems.append(f"version {source.version}: {problem}")
            if not problems:
                keep = {source.version for source in sources}
                await self._unload(name, keep)
        if problems:
            raise InvalidInput(f"failed to load model '{name}': {'; '.join(problems)}")

    async def unload(self, name: str) -> None:
        """Serve no version of a model any more. Raises ModelNotFound for an unknown one."""
        async with self._changing:
            if all(status.name != name for status in self._engine.statuses()):
                raise ModelNotFound(f"Request for unknown model: '{clipped(name)}' is not found")
            await self._unload(name, ())

    async def prepare(self, source: VersionSource) -> Candidate:
        """Load and warm a version beside what is served; no request reaches it.

        Raises what loading raises, and InvalidModel when the time is up. What is not activated
        must be discarded.
        """
        return await self._prepare(source, lambda: None)

    async def activate(self, candidate: Candidate) -> None:
        """Let it serve its version, at once; what served it before is drained and freed.

        A version that was not served must have been reported as warming.
        """
        source, worker = candidate.source, candidate.worker
        key = source.name, source.version
        self._loaded[key] = source
        self._seconds[key] = candidate.seconds
        worker.used_at = self._engine.clock()
        if self._engine.state(*key) is State.READY:
            await self._engine.replace(worker)
        else:
            self._engine.add(worker)
        await self._make_room(0, keep=worker.info.ref)

    async def discard(self, candidate: Candidate) -> None:
        """Free a version that is not going to be served."""
        await candidate.worker.drain()
        await candidate.worker.aclose()

    async def _prepare(self, source: VersionSource, warming: Callable[[], None]) -> Candidate:
        started = self._engine.clock()
        info, runner = await self._in_time(source, warming)
        self._sizes[source.name, source.version] = runner.memory_bytes
        worker = Worker(info, runner, self._observer, self._engine.dispatcher)
        return Candidate(source, worker, self._engine.clock() - started)

    async def _refresh(self, source: VersionSource) -> str | None:
        """Load a version unless it is served as it is. Returns what went wrong."""
        key = source.name, source.version
        state = self._engine.state(*key)
        if state in {State.LOADING, State.WARMING}:
            return "it is being loaded"
        if state is not State.READY:
            self._engine.report(*key, State.LOADING)
            await self._load(source)
            return self._engine.problem(*key)
        known = self._loaded[key].fingerprint
        if known is not None and known == source.fingerprint:
            return None
        try:
            candidate = await self.prepare(source)
        except Exception as error:
            log.error("model %s version %d failed to load: %s", *key, error)
            return str(error)
        await self.activate(candidate)
        return None

    async def _make_room(self, needed: int, keep: ModelRef) -> None:
        """Put the longest unused models to sleep until the budget has ``needed`` bytes left."""
        if self._budget is None:
            return
        workers = {worker.info.ref: worker for worker in self._engine.workers()}
        loaded = [Resident(ref, w.memory_bytes, w.used_at) for ref, w in workers.items()]
        kept = {ref for ref in workers if ref.name in self._budget.pinned} | {keep}
        for ref in to_evict(loaded, self._budget.total, needed, kept):
            key = ref.name, workers[ref].info.version
            wake = partial(self._wake, key)
            info, seconds = workers[ref].info, self._seconds.get(key, 1.0)
            log.info("model %s version %d is unloaded to make room", *key)
            sleeping = Sleeping(info, seconds, wake, self._engine.clock)
            self._asleep[key] = sleeping
            await self._engine.put_to_sleep(sleeping)

    def _wake(self, key: tuple[str, int]) -> None:
        """Load a version that sleeps, unless that has begun."""
        if key not in self._waking and key in self._asleep:
            task = self._waking[key] = asyncio.create_task(self._woken(key))
            task.add_done_callback(lambda _: self._waking.pop(key, None))

    async def _woken(self, key: tuple[str, int]) -> None:
        async with self._changing:
            sleeping = self._asleep.pop(key, None)
            if sleeping is None or self._engine.state(*key) is not State.READY:
                return
            source = self._loaded[key]
            await self._make_room(self._sizes.get(key, 0), keep=sleeping.info.ref)
            try:
                candidate = await self.prepare(source)
            except Exception as error:
                log.error("model %s version %d failed to load again: %s", *key, error)
                self._engine.lost(sleeping, str(error))
                return
            await self.activate(candidate)

    async def _unload(self, name: str, keep: Collection[int]) -> None:
        for status in self._engine.statuses():
            if status.name == name and status.version not in keep:
                self._expected.discard((name, status.version))
                self._asleep.pop((name, status.version), None)
                if status.state is State.READY:
                    await self._engine.remove(name, status.version)
                elif status.state is State.FAILED:
                    self._engine.report(name, status.version, State.UNLOADED)

    async def _load(self, source: VersionSource) -> None:
        loop = asyncio.get_running_loop()
        engine = self._engine

        def report() -> None:
            if engine.state(source.name, source.version) is State.LOADING:  # and was not given up
                engine.report(source.name, source.version, State.WARMING)

        def warming() -> None:
            loop.call_soon_threadsafe(report)

        try:
            await self.activate(await self._prepare(source, warming))
        except InferenceServiceError as error:
            self._failed(source, str(error))
        # The runtime's own errors have no common base; whatever it was, the others go on.
        except Exception as error:
            log.exception("loading %s version %d failed", source.name, source.version)
            self._failed(source, f"{type(error).__name__}: {error}")

    async def _in_time(
        self, source: VersionSource, warming: Callable[[], None]
    ) -> tuple[ModelInfo, Runner]:
        """Load in a thread. Raises what loading raises, and InvalidModel when the time is up."""
        model, started = ModelRef(source.name, source.version), perf_counter()
        try:
            found, warm_up = await in_time(
                source.load, warming, f"load {source.name}", self._time_limit
            )
        except Exception:
            self._observer.loaded(LoadRecord(model, False, perf_counter() - started))
            raise
        self._observer.loaded(LoadRecord(model, True, perf_counter() - started, warm_up))
        return found

    def _failed(self, source: VersionSource, error: str) -> None:
        log.error("model %s version %d failed to load: %s", source.name, source.version, error)
        self._engine.report(source.name, source.version, State.FAILED, error)
