"""A logging handler that never makes its caller wait: a thread writes."""

import logging
import os
import threading
import time
from collections import deque

_MOST = 10_000
"""Records that may wait. What comes then is counted and left out."""
_PATIENCE = 1.0
"""Seconds that `flush` waits for a reader that doesn't read."""


class ThreadedWriter(logging.Handler):
    """Writes lines to a file descriptor in a thread of its own.

    A full pipe, or a terminal that was stopped, holds up the thread alone; a closed one loses the
    lines. ``dropped`` counts the records that were left out, and a line says so later.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.dropped = 0
        self._descriptor = descriptor
        self._waiting: deque[logging.LogRecord] = deque()
        self._wake = threading.Event()
        self._busy = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record. It must not change afterwards, and neither must its arguments."""
        if len(self._waiting) >= _MOST:
            self.dropped += 1
            return
        self._waiting.append(record)
        self._wake.set()

    def flush(self) -> None:
        """Wait until all is written, for a second at most."""
        until = time.monotonic() + _PATIENCE
        while (self._waiting or self._busy) and time.monotonic() < until:
            time.sleep(0.002)

    def close(self) -> None:
        """Write what waits and end the thread."""
        self.flush()
        self._ended = True
        self._wake.set()
        super().close()

    def _run(self) -> None:
        while not self._ended:
            self._wake.wait()
            self._wake.clear()
            self._busy = True
            while self._waiting:
                self._write(self.format(self._waiting.popleft()))
            if self.dropped:
                dropped, self.dropped = self.dropped, 0
                text = f"{dropped} log lines were left out: nothing read them in time"
                self._write(self.format(logging.makeLogRecord(
                    {"msg": text, "levelname": "WARNING", "name": __name__}
                )))  # fmt: skip
            self._busy = False

    def _write(self, line: str) -> None:
        data = (line + "\n").encode("utf-8", "backslashreplace")
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:  # nothing reads it any more
            self.dropped = 0
