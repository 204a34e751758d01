"""Loads in threads: one after the other, with a bound on their time, and told to the observer."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from time import perf_counter
from typing import Any

from inference_service.core.errors import InvalidModel
from inference_service.core.requests import ModelRef
from inference_service.daemon import in_daemon
from inference_service.engine.interfaces import LoadRecord, ModelInfo, Observer, Runner
from inference_service.engine.versions import VersionSource

log = logging.getLogger(__name__)


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


async def in_turn(
    sources: Sequence[VersionSource],
    load_one: Callable[[VersionSource], Coroutine[Any, Any, None]],
    patience: float,
    begun: list[asyncio.Task[None]],
) -> None:
    """Load one version after the other; the tasks are added to ``begun``.

    A load that takes longer than ``patience`` seconds goes on beside the others.
    """
    for source in sources:
        loading = asyncio.create_task(load_one(source))
        begun.append(loading)
        await asyncio.wait({loading}, timeout=patience)
        if not loading.done():
            log.warning(
                "loading %s version %d takes long; the others are loaded beside it",
                source.name, source.version,
            )  # fmt: skip


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
