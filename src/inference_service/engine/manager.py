"""Carries out a version plan: load, warm up, let requests in; drain and free."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference_service.core.errors import InferenceServiceError
from inference_service.core.lifecycle import State
from inference_service.engine.engine import LocalEngine
from inference_service.engine.interfaces import ModelInfo, Observer, Runner
from inference_service.engine.worker import Worker

log = logging.getLogger(__name__)

Loader = Callable[[Callable[[], None]], tuple[ModelInfo, Runner]]
"""Load, probe and warm up one version: see `VersionSource`."""


@dataclass(frozen=True, slots=True)
class VersionSource:
    """One version that should be served, and the way to load it.

    ``load`` blocks and is called in a thread; it returns when the model is warm, and calls its
    argument when the warm-up begins. It raises InvalidModel or whatever the runtime raises.
    """

    name: str
    version: int
    load: Loader


class Manager:
    """Loads versions one after the other, so that a start doesn't take all memory at once."""

    def __init__(self, engine: LocalEngine, observer: Observer) -> None:
        self._engine = engine
        self._observer = observer
        self.finished = False

    @property
    def ready(self) -> bool:
        """Whether everything that should be served is warm."""
        return self.problem() is None

    def problem(self) -> str | None:
        """Why the service is not ready, in words; None when it is."""
        for status in self._engine.statuses():
            if status.state is State.FAILED:
                return f"model '{status.name}' version {status.version} failed: {status.error}"
            if status.state in {State.LOADING, State.WARMING}:
                return f"model '{status.name}' version {status.version} is {status.state}"
        return None if self.finished else "models are being loaded"

    async def load_all(self, sources: Sequence[VersionSource]) -> None:
        """Load every source. A version that fails is reported and fails alone."""
        for source in sources:
            self._engine.report(source.name, source.version, State.LOADING)
        for source in sources:
            await self._load(source)
        self.finished = True

    async def _load(self, source: VersionSource) -> None:
        loop = asyncio.get_running_loop()
        engine = self._engine

        def warming() -> None:
            loop.call_soon_threadsafe(engine.report, source.name, source.version, State.WARMING)

        try:
            info, runner = await asyncio.to_thread(source.load, warming)
        except InferenceServiceError as error:
            self._failed(source, str(error))
        # The runtime's own errors have no common base; whatever it was, the others go on.
        except Exception as error:
            log.exception("loading %s version %d failed", source.name, source.version)
            self._failed(source, f"{type(error).__name__}: {error}")
        else:
            engine.add(Worker(info, runner, self._observer, engine.dispatcher))

    def _failed(self, source: VersionSource, error: str) -> None:
        log.error("model %s version %d failed to load: %s", source.name, source.version, error)
        self._engine.report(source.name, source.version, State.FAILED, error)
