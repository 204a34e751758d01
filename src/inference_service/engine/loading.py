"""One load in a thread, with a bound on its time."""

import asyncio
from collections.abc import Callable
from time import perf_counter

from inference_service.core.errors import InvalidModel
from inference_service.daemon import in_daemon
from inference_service.engine.interfaces import ModelInfo, Runner

Loader = Callable[[Callable[[], None]], tuple[ModelInfo, Runner]]
"""Load, probe and warm up one version: see `manager.VersionSource`."""


async def in_time(
    load: Loader, warming: Callable[[], None], thread: str, limit: float
) -> tuple[tuple[ModelInfo, Runner], float]:
    """What was loaded, and the seconds of its warm-up; 0: it had none.

    Raises what loading raises, and InvalidModel after ``limit`` seconds; the thread is left behind.
    """
    loading = in_daemon(lambda: _timed(load, warming), thread)
    try:
        async with asyncio.timeout(limit):
            return await asyncio.wrap_future(loading)
    except TimeoutError:
        if loading.done():  # its own
            raise
        raise InvalidModel(
            f"it was not loaded within {limit:g} seconds (runtime.load_timeout)"
        ) from None


def _timed(load: Loader, warming: Callable[[], None]) -> tuple[tuple[ModelInfo, Runner], float]:
    begun = 0.0

    def warms() -> None:
        nonlocal begun
        begun = perf_counter()
        warming()

    found = load(warms)
    return found, perf_counter() - begun if begun else 0.0
