"""The way of one version into service: loaded, checked, activated or discarded."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from inference_service.core.lifecycle import State
from inference_service.engine.engine import LocalEngine
from inference_service.engine.interfaces import Observer
from inference_service.engine.loading import load
from inference_service.engine.residence import Residence
from inference_service.engine.rollout import Rollout
from inference_service.engine.versions import Choice, VersionSource
from inference_service.engine.worker import Worker


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version that is loaded and warm, and that no request reaches yet.

    ``seconds`` is what its load has taken. `Worker.submit` of ``worker`` runs requests for a check.
    """

    source: VersionSource
    worker: Worker
    seconds: float


class Staging:
    """``time_limit`` are the seconds after which a load has failed."""

    def __init__(
        self, engine: LocalEngine, observer: Observer, time_limit: float, residence: Residence,
        rollout: Rollout,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._observer = observer
        self._time_limit = time_limit
        self._residence = residence
        self._rollout = rollout

    async def activate(self, candidate: Candidate, before: VersionSource | None) -> None:
        """Let it serve its version, at once; what served it before is drained and freed.

        A version that was not served must have been reported as warming.
        """
        source, worker = candidate.source, candidate.worker
        key = source.name, source.version
        self._residence.seconds[key] = candidate.seconds
        worker.used_at = self._engine.clock()
        if self._engine.state(*key) is not State.READY:
            self._engine.add(worker)
        elif before is None or before is source:  # it has been asleep
            await self._engine.replace(worker)
        else:
            self._rollout.replace(worker, before)
        self._engine.route(source.name, source.routing)
        self._rollout.tell(*key, "loaded")
        await self._residence.make_room(None, worker.info.ref)

    async def discard(self, candidate: Candidate) -> None:
        """Free a version that is not going to be served."""
        await candidate.worker.drain()
        await candidate.worker.aclose()

    async def prepare(self, source: VersionSource, warming: Callable[[], None]) -> Candidate:
        """Load and warm a version; no request reaches it. Raises what loading raises."""
        started = self._engine.clock()
        info, runner = await load(source, warming, self._time_limit, self._observer)
        self._residence.sizes[source.name, source.version] = runner.memory_bytes
        worker = Worker(info, runner, self._observer, self._engine.dispatcher)
        return Candidate(source, worker, self._engine.clock() - started)

    async def checked(
        self, source: VersionSource, warming: Callable[[], None], choice: Choice
    ) -> Candidate:
        """A candidate that has passed the gate. Raises what is wrong with it."""
        candidate = await self.prepare(source, warming)
        try:
            await self._rollout.check(candidate.worker, source.goldens, force=choice.force)
        except BaseException:
            await self.discard(candidate)
            raise
        return candidate


def warming_of(engine: LocalEngine, source: VersionSource) -> Callable[[], None]:
    """What a load calls in its thread when the warm-up begins."""
    loop = asyncio.get_running_loop()

    def report() -> None:
        if engine.state(source.name, source.version) is State.LOADING:  # and was not given up
            engine.report(source.name, source.version, State.WARMING)

    def warming() -> None:
        loop.call_soon_threadsafe(report)

    return warming
