"""One load in a thread: with a bound on its time, and told to the observer."""

import asyncio
from collections.abc import Callable
from time import perf_counter

from inference_service.core.errors import InvalidModel
from inference_service.core.requests import ModelRef
from inference_service.daemon import in_daemon
from inference_service.engine.interfaces import LoadRecord, ModelInfo, Observer, Runner
from inference_service.engine.versions import VersionSource


async def load(
    source: VersionSource, warming: Callable[[], None], limit: float, observer: Observer
) -> tuple[ModelInfo, Runner]:
    """Load a version. Raises what loading raises, and InvalidModel after ``limit`` seconds."""
    model, started = ModelRef(source.name, source.version), perf_counter()
    try:
        found, warm_up = await _in_time(source, warming, limit)
    except Exception:
        observer.loaded(LoadRecord(model, False, perf_counter() - started))
        raise
    observer.loaded(LoadRecord(model, True, perf_counter() - started, warm_up))
    return found


async def _in_time(
    source: VersionSource, warming: Callable[[], None], limit: float
) -> tuple[tuple[ModelInfo, Runner], float]:
    """What was loaded, and the seconds of its warm-up; 0: it had none. A thread that is late is
    left behind."""
    loading = in_daemon(lambda: _timed(source, warming), f"load {source.name}")
    try:
        async with asyncio.timeout(limit):
            return await asyncio.wrap_future(loading)
    except TimeoutError:
        if loading.done():  # its own
            raise
        raise InvalidModel(
            f"it was not loaded within {limit:g} seconds (runtime.load_timeout)"
        ) from None


def _timed(
    source: VersionSource, warming: Callable[[], None]
) -> tuple[tuple[ModelInfo, Runner], float]:
    begun = 0.0

    def warms() -> None:
        nonlocal begun
        begun = perf_counter()
        warming()

    found = source.load(warms)
    return found, perf_counter() - begun if begun else 0.0
