"""What a start is doing: each model as soon as it is loaded, with the time that it took."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import NamedTuple

from inference_service.engine.interfaces import ModelInfo, Runner
from inference_service.engine.versions import VersionSource


class Loaded(NamedTuple):
    """A version that has been loaded, or has failed to: the ``number``-th of ``total``."""

    name: str
    version: int
    seconds: float
    number: int
    total: int
    failed: bool


Tell = Callable[[Loaded], None]
"""Called in the thread that loads."""


def watched(sources: Sequence[VersionSource], tell: Tell) -> list[VersionSource]:
    """The same sources, which tell when each is loaded for the first time.

    Later loads of one belong to no start: it has been unloaded to make room, or rolled back to.
    """
    done: set[tuple[str, int]] = set()

    def load(source: VersionSource, warming: Callable[[], None]) -> tuple[ModelInfo, Runner]:
        started, failed = perf_counter(), True
        try:
            found = source.load(warming)
            failed = False
            return found
        finally:
            key = source.name, source.version
            if key not in done:
                done.add(key)
                seconds = perf_counter() - started
                tell(Loaded(*key, seconds, len(done), len(sources), failed))

    return [replace(source, load=partial(load, source)) for source in sources]
