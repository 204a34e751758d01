"""Tuning of the whole process: for the command line, not for a service in another program."""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from inference_service.runtime.memory import share_arenas

_GC_THRESHOLDS = (20_000, 20, 20)
"""Python's own 700 collects every few requests, which takes 4 % of small ones; hardly anything here
is garbage that needs collecting."""

_REFUSED_STREAM = "ASGI callable returned without completing handshake."


def _is_news(record: logging.LogRecord) -> bool:
    """uvicorn takes a WebSocket that was answered with an HTTP error for one without an answer."""
    return record.msg != _REFUSED_STREAM


@contextmanager
def tuned_process() -> Iterator[Callable[[], None]]:
    """Let Python's garbage collector and uvicorn's log fit a process that only serves.

    Yields what to call when the models are loaded: they stay, so the collector need not look at
    them again on every full collection. All is as before afterwards, but for glibc's arenas.
    """
    thresholds = gc.get_threshold()
    frozen = False
    logger = logging.getLogger("uvicorn.error")

    def freeze() -> None:
        nonlocal frozen
        frozen = True
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)

    logger.addFilter(_is_news)
    share_arenas()
    try:
        yield freeze
    finally:
        logger.removeFilter(_is_news)
        gc.set_threshold(*thresholds)
        if frozen:
            gc.unfreeze()
