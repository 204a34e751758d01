"""The end of the process, whatever its threads do."""

import logging
import os
import sys
import threading
from typing import NoReturn

from inference_service.daemon import left_behind

log = logging.getLogger(__name__)

_LATER = 3.0
"""Seconds beyond the grace period for what is left to do then."""


def end(status: int) -> NoReturn:
    """Exit. Work that was left behind in native code is cut off, not waited for."""
    left = left_behind()
    if not left:
        sys.exit(status)
    log.warning("cut off: %s", ", ".join(left))
    _exit(status)


def end_within(seconds: float) -> None:
    """Exit with status 1 after this many seconds, unless the process has ended by then.

    Threads that decode or run something can't be stopped, and the interpreter would wait for
    them.
    """
    timer = threading.Timer(seconds + _LATER, _give_up)
    timer.daemon = True
    timer.start()


def _give_up() -> None:
    names = [t.name for t in threading.enumerate() if not t.daemon and t.is_alive()]
    log.error("the grace period is over; cut off: %s", ", ".join(names))
    _exit(1)


def _exit(status: int) -> NoReturn:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # its reader is gone
            continue
    os._exit(status)
