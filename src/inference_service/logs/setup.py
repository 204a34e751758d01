"""The log of a process that only serves. A service in another program leaves logging alone."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from inference_service.logs.access import NAME as ACCESS
from inference_service.logs.formats import JsonLines, PrettyLines
from inference_service.logs.limits import RateLimit
from inference_service.logs.native import native_lines
from inference_service.logs.settings import LogFormat
from inference_service.logs.writer import ThreadedWriter

_STDERR = 2
log = logging.getLogger(__name__)


def formatter(kind: LogFormat, *, terminal: bool) -> logging.Formatter:
    """The one that is wanted; ``terminal``: people read along."""
    if kind is LogFormat.JSON or (kind is LogFormat.AUTO and not terminal):
        return JsonLines()
    return PrettyLines(colors=terminal and "NO_COLOR" not in os.environ)


@contextlib.contextmanager
def logging_to_stderr(level: str, kind: LogFormat) -> Iterator[None]:
    """Log to standard error in this format; SIGUSR1 switches between ``level`` and debug.

    All is as before afterwards, and what waits is written.
    """
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    keep = os.dup(_STDERR)
    writer = ThreadedWriter(keep)
    writer.setFormatter(formatter(kind, terminal=os.isatty(keep)))
    writer.addFilter(RateLimit(free=ACCESS))  # its sample is its limit
    root.handlers[:] = [writer]
    root.setLevel(level.upper())
    try:
        with native_lines(_STDERR, keep), _switched_by_signal(root, root.level):
            yield
    finally:
        writer.close()
        root.handlers[:] = before[1]
        root.setLevel(before[0])
        os.close(keep)


@contextlib.contextmanager
def _switched_by_signal(root: logging.Logger, level: int) -> Iterator[None]:
    def switch(_signal: int, _frame: FrameType | None) -> None:
        root.setLevel(logging.DEBUG if root.level != logging.DEBUG else level)
        log.warning("the log level is now %s", logging.getLevelName(root.level).lower())

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGUSR1, switch)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)
