"""Signals of the command, from its first line on."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


def _leave(_: int, __: FrameType | None) -> NoReturn:
    os._exit(0)


@contextmanager
def signals_first() -> Iterator[None]:
    """Until the server takes over, SIGTERM ends the process with 0 and SIGHUP does nothing.

    Imports and the scan take seconds, in which nothing has been accepted yet. As process 1 of a
    container SIGTERM would be ignored without a handler.
    """
    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, _leave),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
