"""Carries out a version plan: load, warm up, let requests in; drain and free."""

import asyncio
import logging
from collections.abc import Collection, Sequence

from inference_service.core.errors import (
    InferenceServiceError,
    InvalidInput,
    ModelNotFound,
    clipped,
)
from inference_service.core.lifecycle import ReadyWhen, State
from inference_service.engine.budget import Budget
from inference_service.engine.engine import LocalEngine
from inference_service.engine.interfaces import Observer
from inference_service.engine.loading import in_turn
from inference_service.engine.readiness import Readiness
from inference_service.engine.residence import Residence
from inference_service.engine.rollout import Rollout, RolloutRules, Standby
from inference_service.engine.staging import Candidate, Staging, warming_of
from inference_service.engine.versions import AS_USUAL, Choice, VersionSource

log = logging.getLogger(__name__)


_PATIENCE = 60.0
"""Seconds after which a load no longer holds up the others: it hangs, or the model is very large.
Until then they go one by one, as measured costs are disturbed by other loads."""


class Manager:
    """Loads versions one after the other, so that a start doesn't take all memory at once.

    A load that is not done within ``time_limit`` seconds has failed; after ``patience`` seconds the
    next one begins beside it. It can't be stopped: its thread is left behind. ``budget`` bounds
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
        rollout: Rollout | None = None,
    ) -> None:
        self._engine = engine
        self._patience = patience
        self.readiness = Readiness(ready_when)
        self._loaded: dict[tuple[str, int], VersionSource] = {}
        self._changing = asyncio.Lock()
        self._residence = Residence(engine, budget, self._woken)
        self.rollout = rollout or Rollout(engine, RolloutRules(linger=0, watch=0))
        self.rollout.on_regression = self._regressed
        self.staging = Staging(engine, observer, time_limit, self._residence, self.rollout)
        self._refused: dict[tuple[str, int], object] = {}  # fingerprints that were rolled back
        self._earlier: dict[str, VersionSource] = {}

    def problem(self) -> str | None:
        """Why the service is not ready, in words; None when it is."""
        engine = self._engine
        return self.readiness.problem(engine.statuses(), served=bool(engine.models()))

    async def load_all(self, sources: Sequence[VersionSource]) -> None:
        """Load every source. A version that fails is reported and fails alone."""
        self.readiness.expect((source.name, source.version) for source in sources)
        slow: list[asyncio.Task[None]] = []
        try:
            async with self._changing:
                for source in sources:
                    self._engine.report(source.name, source.version, State.LOADING)
                await in_turn(sources, self._load_first, self._patience, slow)
            self.readiness.finished = True
            await asyncio.gather(*slow)
        finally:
            for loading in slow:
                loading.cancel()

    async def _load_first(self, source: VersionSource) -> None:
        """Load at the start, when nothing is served yet whose clients a version could fail."""
        await self._load(source, Choice(force=True))
        earlier = source.earlier
        if earlier is None or self._engine.current(source.name) is not None:
            return
        self._engine.report(earlier.name, earlier.version, State.LOADING)
        await self._load_first(earlier)
        if self._engine.current(source.name) is not None:
            self.readiness.forget(source.name, source.version)

    async def load(
        self, name: str, sources: Sequence[VersionSource], choice: Choice = AS_USUAL
    ) -> None:
        """Serve these versions of a model and no others: load what is new or has changed.

        What was served goes on being served until the new is warm and has passed the gate. Raises
        InvalidInput, which says why, where a version could not be loaded; the others are.
        """
        async with self._changing:
            before = self._engine.current(name)
            problems = []
            for source in sources:
                problem = await self._refresh(source, choice)
                if problem is not None:
                    problems.append(f"version {source.version}: {problem}")
            if not problems:
                self._engine.route(name, sources[0].routing, choice.default)
                await self._retire(name, {source.version for source in sources})
            after = self._engine.current(name)
            if before is not None and after is not None and before.version != after.version:
                self._earlier[name] = self._loaded[name, before.version]
        if problems:
            raise InvalidInput(f"failed to load model '{name}': {'; '.join(problems)}")

    async def rollback(self, name: str, why: str = "on request") -> str:
        """Let the version answer again that was replaced last; what became of it, in words.

        Raises InvalidInput where there is none.
        """
        async with self._changing:
            return await self._roll_back(name, why)

    async def _roll_back(self, name: str, why: str) -> str:
        standby, earlier = self.rollout.latest(name), self._earlier.pop(name, None)
        if standby is not None:
            version, same = standby.source.version, standby.source.version == standby.successor
            log.error("model %s goes back to version %d: %s", name, version, why)
            self._refuse(name, () if same else {version})
            self._loaded[name, version] = standby.source
            self.rollout.take_back(standby, why)
            return f"version {version} answers again"
        if earlier is None:
            raise InvalidInput(f"model '{name}' has no version to go back to")
        self._refuse(name, {earlier.version})
        if self._engine.state(name, earlier.version) is not State.READY:
            problem = await self._refresh(earlier, Choice(force=True))
            if problem is not None:
                raise InvalidInput(f"model '{name}' can't go back: {problem}")
            await self._retire(name, {earlier.version})
        self._engine.route(name, default=earlier.version)
        return f"version {earlier.version} answers again"

    async def _regressed(self, standby: Standby, why: str) -> None:
        async with self._changing:
            if standby is self.rollout.latest(standby.source.name):
                await self._roll_back(standby.source.name, why)

    def _refuse(self, name: str, keep: Collection[int]) -> None:
        """Versions that are served are not loaded again until they change, or on request."""
        for (model, version), source in self._loaded.items():
            served = self._engine.state(name, version) is State.READY
            if model == name and version not in keep and served:
                self._refused[name, version] = source.fingerprint

    def knows(self, name: str) -> bool:
        """Whether a version of the model is served, is being loaded or has failed."""
        gone = {State.UNLOADED, State.DRAINING}
        return any(one.name == name and one.state not in gone for one in self._engine.statuses())

    async def unload(self, name: str) -> None:
        """Serve no version of a model any more. Raises ModelNotFound for an unknown one."""
        async with self._changing:
            if all(status.name != name for status in self._engine.statuses()):
                raise ModelNotFound(f"Request for unknown model: '{clipped(name)}' is not found")
            await self._unload(name, ())
            await self.rollout.finish(name)

    async def prepare(self, source: VersionSource) -> Candidate:
        """Load and warm a version beside what is served; no request reaches it.

        Raises what loading raises, and InvalidModel when the time is up. What is not activated
        must be discarded.
        """
        return await self.staging.prepare(source, lambda: None)

    async def activate(self, candidate: Candidate) -> None:
        """Let it serve its version, at once; see `Staging.activate`."""
        key = candidate.source.name, candidate.source.version
        before = self._loaded.get(key)
        self._loaded[key] = candidate.source
        await self.staging.activate(candidate, before)

    async def _refresh(self, source: VersionSource, choice: Choice) -> str | None:
        """Load a version unless it is served as it is. Returns what went wrong."""
        key = source.name, source.version
        state = self._engine.state(*key)
        if state in {State.LOADING, State.WARMING}:
            return "it is being loaded"
        if choice.watched and key in self._refused and self._refused[key] == source.fingerprint:
            return "it was rolled back, and has not changed since"
        self._refused.pop(key, None)
        if state is State.READY:
            known = self._loaded[key].fingerprint
            if known is None or known != source.fingerprint:
                return await self._exchange(source, choice)
            self._engine.note(*key, "")
            return None if choice.watched else await self._wake(key)
        if state is State.DRAINING:
            if self.rollout.restore(*key, source.fingerprint):
                return None
            await self.rollout.finish(source.name)
        self._engine.report(*key, State.LOADING)
        await self._load(source, choice)
        return self._engine.problem(*key)

    async def _exchange(self, source: VersionSource, choice: Choice) -> str | None:
        """Replace the files of a version that is served. Returns what went wrong."""
        key = source.name, source.version
        try:
            candidate = await self.staging.checked(source, lambda: None, choice)
        except Exception as error:
            log.error("model %s version %d failed to load: %s", *key, error)
            self._engine.note(*key, f"the changed files are not served: {error}")
            self.rollout.tell(*key, "failed")
            return str(error)
        await self.activate(candidate)
        return None

    async def _retire(self, name: str, keep: Collection[int]) -> None:
        """Put the versions aside that others have replaced."""
        current = self._engine.current(name)
        for worker in list(self._engine.workers()):
            version = worker.info.version
            if worker.info.name != name or version in keep or current is None:
                continue
            self.readiness.forget(name, version)
            self.rollout.retire(self._loaded[name, version], max(keep))
        await self._unload(name, keep)

    async def _woken(self, key: tuple[str, int]) -> None:
        async with self._changing:
            await self._wake(key)

    async def _wake(self, key: tuple[str, int]) -> str | None:
        """Load a version again that sleeps; another one stays as it is. Returns what went wrong."""
        sleeping = self._engine.asleep(*key)
        if sleeping is None:
            return None
        source = self._loaded[key]
        await self._residence.make_room(key, sleeping.info.ref)
        try:
            candidate = await self.prepare(source)
        except Exception as error:
            log.error("model %s version %d failed to load again: %s", *key, error)
            self._engine.lost(sleeping, str(error))
            return str(error)
        await self.activate(candidate)
        return None

    async def _unload(self, name: str, keep: Collection[int]) -> None:
        for status in self._engine.statuses():
            if status.name == name and status.version not in keep:
                self.readiness.forget(name, status.version)
                if status.state is State.READY:
                    await self._engine.remove(name, status.version)
                elif status.state is State.FAILED:
                    self._engine.report(name, status.version, State.UNLOADED)

    async def _load(self, source: VersionSource, choice: Choice = AS_USUAL) -> None:
        warming = warming_of(self._engine, source)
        try:
            await self.activate(await self.staging.checked(source, warming, choice))
        # The runtime's own errors have no common base; whatever it was, the others go on.
        except Exception as error:
            name, version, text = source.name, source.version, str(error)
            if not isinstance(error, InferenceServiceError):
                log.exception("loading %s version %d failed", name, version)
                text = f"{type(error).__name__}: {error}"
            log.error("model %s version %d failed to load: %s", name, version, text)
            self._engine.report(name, version, State.FAILED, text)
            self.rollout.tell(name, version, "failed")
