"""The log of the command: it never blocks the service, and clients can't flood it.

A log driver that doesn't read, or a full disk, would otherwise stop the event loop in the middle of
a request. Lines wait in a bounded queue for a thread that writes them; lines that find it full are
dropped and counted. So are lines of one kind that come too often.
"""

import logging
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

_WAITING = 10_000
"""Lines in the queue."""
_MOST = 20
"""Lines of one kind within a period: same logger, level and text before values are filled in."""
_PERIOD = 10.0
"""Seconds."""
_KINDS = 1_000
_LONGEST = 16_384
"""Characters of a line, a stack trace included."""
_AT_EXIT = 1.0
"""Seconds for what still waits."""


class RateLimit:
    """Which lines are written. Pure but for the clock that it is given."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._until = 0.0
        self._counts: dict[tuple[str, int, str], int] = {}

    def allows(self, record: logging.LogRecord) -> bool:
        """Whether this one is written."""
        now = self._clock()
        if now >= self._until:
            self._until = now + _PERIOD
            self._counts.clear()
        kind = record.name, record.levelno, str(record.msg)
        if kind not in self._counts and len(self._counts) >= _KINDS:
            return False
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        return count <= _MOST


class UnblockedHandler(logging.Handler):
    """Writes to a descriptor from a thread of its own."""

    def __init__(self, descriptor: int = 2, limit: RateLimit | None = None) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._limit = limit or RateLimit()
        self._lines: queue.Queue[str] = queue.Queue(_WAITING)
        self._dropped = 0
        self._written = threading.Event()
        self._written.set()
        threading.Thread(target=self._write_all, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue it; it is called under the handler's lock."""
        if not self._limit.allows(record):
            self._dropped += 1
            return
        dropped, self._dropped = self._dropped, 0
        text = self.format(record)[:_LONGEST]
        if dropped:
            text = f"({dropped} lines were left out)\n{text}"
        self._written.clear()
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            self._dropped = dropped + 1

    def flush(self) -> None:
        """Wait until all is written, for a moment."""
        self._written.wait(_AT_EXIT)

    def _write_all(self) -> None:
        while True:
            data = (self._lines.get() + "\n").encode(errors="replace")
            with suppress(OSError):  # its reader has gone, or the disk is full
                while data:
                    data = data[os.write(self._descriptor, data) :]
            if self._lines.empty():
                self._written.set()
